"""How well the distances find a text again, beside plain retrieval: one run makes the tables of docs/quality.md.

    python bench/quality.py [--corpus docstrings|man|all] [--queries N] [--documents N] [--json FILE] [--markdown FILE]

The question is a document's first sentence, or the one line that a manual page has for its name; the target is
the rest of it, from which the sentence is gone. Every method ranks the same targets by the same words.
"""

from __future__ import annotations

import argparse
import glob
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

import kexue as kx
from kexue._corpus import standard_library_docstrings
from kexue._search import STOP_WORDS, weighted, word_weights
from kexue._word_vectors import WordVectors, tokenize

SEED = 0
RESAMPLES = 10_000
LEAST_WORDS = 10  # of a target: what is shorter is a remark, not a text
MOST_WORDS = 300  # of a target: some manual pages have a book in one section
PAGES_OF_ONE_PROGRAM = 100
METRICS = ("MRR", "recall@1", "recall@10")
DEFAULT = "WMD, TF-IDF"  # what `python -m kexue search` ranks by


class Item(NamedTuple):
    """A document in two parts, as words."""

    name: str
    question: list[str]
    target: list[str]


# ---- documents in two parts ----

_SIGNATURE = re.compile(r"[\w.]+\((?:[^()]|\([^()]*\))*\)[ \t]*(?:[-=]+>[ \t]*)?")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?][\"'`)]*(?=\s|$)")


def split_first_sentence(text: str) -> tuple[str, str]:
    """A docstring's first sentence, or its first paragraph if that ends sooner, and what comes after it.

    The signatures with which docstrings of C functions begin belong to neither.
    """
    text = text.strip()
    while signature := _SIGNATURE.match(text):
        line, _, after = text.partition("\n")
        runs_on = after.strip() and not after.startswith("\n") and not _SIGNATURE.match(after.lstrip())
        text = text[signature.end() :].strip() if runs_on else after.strip()
    paragraph = text.split("\n\n", 1)[0]
    sentence = _SENTENCE_END.search(paragraph)
    end = sentence.end() if sentence else len(paragraph)
    return text[:end], text[end:]


def without_phrase(words: list[str], phrase: list[str]) -> list[str]:
    """The words, less every repetition of the phrase; one or two words are no phrase.

    The docstrings of turtle and the pages of git say their first sentence twice.
    """
    kept, i = [], 0
    while i < len(words):
        if len(phrase) > 2 and words[i : i + len(phrase)] == phrase:
            i += len(phrase)
        else:
            kept.append(words[i])
            i += 1
    return kept


def make_item(name: str, question: list[str], target: list[str]) -> Item:
    return Item(name, question, without_phrase(target, question)[:MOST_WORDS])


def docstring_items() -> list[Item]:
    items = []
    for name, text in standard_library_docstrings():
        parts = (tokenize(part, split_identifiers=True) for part in split_first_sentence(text))
        items.append(make_item(name, *parts))
    return items


def manual_folders() -> list[str]:
    """Where manual pages lie on this machine."""
    if shutil.which("man"):
        done = subprocess.run(["man", "-w"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip().split(":")
    return os.environ.get("MANPATH", "/usr/local/share/man:/usr/share/man").split(":")


def manual_files(folders: Iterable[str], rng: np.random.Generator) -> list[str]:
    """English manual pages; of the programs with a page for each of their commands, some drawn by lot.

    Without that bound, one installed cloud client with 16,000 pages would be the corpus.
    """
    programs = defaultdict(list)
    for folder in folders:
        for path in glob.glob(os.path.join(glob.escape(folder), "man[1-9]*", "*.[1-9]*")):
            programs[re.split(r"(?<=\w)[-_:.]", os.path.basename(path))[0]].append(path)
    files: list[str] = []
    for _, paths in sorted(programs.items()):
        paths.sort()
        if len(paths) > PAGES_OF_ONE_PROGRAM:
            paths = [paths[i] for i in rng.permutation(len(paths))[:PAGES_OF_ONE_PROGRAM]]
        files += paths
    return files


def manual_items(files: Iterable[str]) -> list[Item]:
    items = []
    for path in files:
        try:
            with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
                source = file.read().decode("utf-8", "replace")
        except OSError:  # a link to a page that is not installed
            continue
        parts = (tokenize(part) for part in split_manual_page(source))
        items.append(make_item(os.path.basename(path).removesuffix(".gz"), *parts))
    return items


# ---- roff ----

_COMMENT = re.compile(r"(?<!\\)\\[\"#].*")
_ESCAPES = [
    (re.compile(r"\\[fFmMgkn*](?:\[[^]]*\]|\(..|[^[(])"), ""),  # fonts, colours, registers, strings
    (re.compile(r"\\s[-+]?(?:\[[^]]*\]|\d+)"), ""),
    (re.compile(r"\\[hvwloLDbxXZ]'[^']*'"), " "),
    (re.compile(r"\\(?:-|\((?:hy|mi|em|en)|\[(?:hy|mi|em|en)\])"), "-"),
    (re.compile(r"\\(?:\(aq|\[aq\]|'|\(cq|\[cq\]|`)"), "'"),
    (re.compile(r"\\(?:\(..|\[[^]]*\])"), " "),  # other characters that have a name
    (re.compile(r"\\[~0 ]"), " "),
    (re.compile(r"\\[&,/|^%:ducrtpa)]|\\$"), ""),
    (re.compile(r"\\e|\\\\"), " "),
]
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')
# What comes after these is not text. Those of mdoc first.
_NO_TEXT = frozenset(
    """
    Bd Bk Bl Dd Dt Ed Ek El Fo Fc Lb Os Pp Rs Re Sm Ud Bt
    AT DT EE EX HP LP ME MT P PD PP RE RS TH UC UE UR YS ad af am bp br ce cf chop cp cs cu de ds ec eo ev fam fc fi
    fl fp fs ft hc hla hw hy in it lf ll ls lt mk na ne nf nh nm nn nr ns nx ny os pc pl pm pn po ps rm rn rr rs rt
    so sp ss sv ta tc ti tm tr ul vs wh
    """.split()
)
_MDOC_MARKS = frozenset(
    """
    Ac Ad An Ao Ap Aq Ar Bc Bo Bq Brc Bro Brq Bx Cd Cm Dc Dl Do Dq Dv Ec Em En Eo Er Es Ev Fa Fl Fn Ft Fx Ic In Li Lk
    Ms Mt Nd Nm No Ns Nx Oc Oo Op Ox Pa Pc Po Pq Ql Qc Qo Qq Sc So Sq Sx Sy Ta Tn Ux Va Vt Xc Xo Xr
    """.split()
)
_ALTERNATING = frozenset("BI BR IB IR RB RI".split())


def plain(text: str) -> str:
    """Text without roff's escapes."""
    for pattern, replacement in _ESCAPES:
        text = pattern.sub(replacement, text)
    return text


def manual_sections(source: str) -> Iterator[tuple[str, str]]:
    """Name, in capitals, and text of each section: of man(7) and mdoc(7), by their commonest macros.

    Tables, definitions of macros and what is for a printer only are left out.
    """
    name, lines, until, own_name = "", [], "", ""
    for line in source.splitlines():
        line = _COMMENT.sub("", line)
        if until:
            if line.replace(" ", "").startswith(until) or (until == r"\}" and until in line):
                until = ""
            continue
        request = re.match(r"[.'][ \t]*(\S*)[ \t]*(.*)", line)
        if request and request[1] in ("if", "ie", "el", "while"):
            if r"\{" in request[2]:
                until = "" if r"\}" in request[2] else r"\}"
                continue
            rest = re.match(r"n[ \t]+(.*)", request[2]) if request[1] != "el" else None
            line = rest[1] if rest else ""
            request = re.match(r"[.'][ \t]*(\S*)[ \t]*(.*)", line)
        if not request:
            lines.append(plain(line))
            continue
        macro, content = request.groups()
        if macro in ("de", "de1", "am", "ig"):
            until = ".."
        elif macro in ("TS", "EQ", "PS"):
            until = "." + macro[0] + "E" if macro != "EQ" else ".EN"
        elif macro in ("SH", "Sh"):
            yield name, "\n".join(lines)
            name, lines = plain(content).replace('"', "").strip().upper(), []
        elif macro and macro not in _NO_TEXT:
            words = [quoted.replace('""', '"') or bare for quoted, bare in _ARGUMENT.findall(content)]
            if macro in _ALTERNATING:
                words = ["".join(words)]
            elif macro == "IP":  # its second argument is a width
                words = words[:1]
            elif macro in _MDOC_MARKS or macro in ("It", "D1", "Ss"):
                words = [word for word in words if word not in _MDOC_MARKS]
                if macro == "Nm":
                    own_name = own_name or " ".join(words)
                    words = words or [own_name]
                elif macro == "Nd":
                    words.insert(0, "-")
            lines.append(plain(" ".join(words)))
    yield name, "\n".join(lines)


def split_manual_page(source: str) -> tuple[str, str]:
    """What a page says behind its name ("list directory contents"), and its description; empty without them."""
    sections: dict[str, str] = {}
    for name, text in manual_sections(source):
        sections.setdefault(name, text)
    heading = " ".join(sections.get("NAME", "").split())
    _, *question = re.split(r" (?:-+|[\u2013\u2014]) ", heading, maxsplit=1)
    return (question[0], sections.get("DESCRIPTION", "")) if question else ("", "")


# ---- the pool ----


@dataclass(frozen=True)
class Pool:
    """Targets and questions as counts over the words that have vectors; question i asks for target `answers[i]`."""

    items: list[Item]
    words: WordVectors
    targets: sparse.csr_array
    questions: sparse.csr_array
    answers: np.ndarray

    def tfidf(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Questions and targets with the weights of the command line: none for function words."""
        factor = word_weights(self.targets, [], self.words, "tfidf")
        return weighted(self.questions, factor), weighted(self.targets, factor)


def make_pool(items: Sequence[Item], documents: int, queries: int, rng: np.random.Generator) -> Pool:
    """Targets drawn by lot, the vectors learned from them, and questions drawn from theirs.

    A target of the same words as an earlier one is left out: no method could tell them apart. A sentence that is
    the question of several targets, or has no known word besides function words, is not asked.
    """
    distinct: dict[tuple[str, ...], Item] = {}
    for item in items:
        if len(item.target) >= LEAST_WORDS and item.question and not STOP_WORDS.issuperset(item.target):
            distinct.setdefault(tuple(sorted(item.target)), item)
    eligible = list(distinct.values())
    drawn = [eligible[i] for i in np.sort(rng.permutation(len(eligible))[:documents])]
    if not drawn:
        raise ValueError(f"none of {len(items)} documents has a first sentence and {LEAST_WORDS} more words")
    words = WordVectors.fit([item.target for item in drawn], window=20, rng=SEED)  # as the command line
    times_asked = Counter(tuple(item.question) for item in drawn)
    askable = [
        i
        for i, item in enumerate(drawn)
        if times_asked[tuple(item.question)] == 1
        and any(word in words and word not in STOP_WORDS for word in item.question)
    ]
    answers = np.sort(rng.permutation(askable)[:queries]).astype(np.int64)
    if len(answers) == 0:
        raise ValueError(f"none of {len(drawn)} documents has a question of known words")
    return Pool(
        drawn,
        words,
        words.count_matrix([item.target for item in drawn]),
        words.count_matrix([drawn[i].question for i in answers]),
        answers,
    )


# ---- methods: a distance of each question to each target ----


def scaled_rows(rows: sparse.csr_array, sizes: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(1 / np.where(sizes > 0, sizes, 1)) @ rows)


def cosine_distances(questions: sparse.csr_array, targets: sparse.csr_array) -> np.ndarray:
    x, y = (scaled_rows(rows, np.sqrt((rows * rows).sum(axis=1))) for rows in (questions, targets))
    return 1 - (x @ y.T).toarray()


def l1_distances(questions: sparse.csr_array, targets: sparse.csr_array) -> np.ndarray:
    """sum |x - y| of rows scaled to sum 1, which is 2 - 2 sum min(x, y)."""
    x, y = (scaled_rows(rows, rows.sum(axis=1)) for rows in (questions, targets))
    columns = y.tocsc()
    shared = np.zeros((x.shape[0], columns.shape[0]))
    for i in range(x.shape[0]):
        for k in range(x.indptr[i], x.indptr[i + 1]):
            column = slice(*columns.indptr[x.indices[k] : x.indices[k] + 2])
            shared[i, columns.indices[column]] += np.minimum(columns.data[column], x.data[k])
    return 2 - 2 * shared


def bm25_distances(
    questions: sparse.csr_array, targets: sparse.csr_array, *, k1: float = 1.2, b: float = 0.75
) -> np.ndarray:
    """The negative of Okapi BM25, with the inverse document frequency that cannot be negative."""
    count = targets.shape[0]
    having = np.bincount(targets.indices, minlength=targets.shape[1])
    inverse_frequency = np.log(1 + (count - having + 0.5) / (having + 0.5))
    lengths = targets.sum(axis=1)
    damping = k1 * (1 - b + b * lengths / lengths.mean())
    rows = np.repeat(np.arange(count), np.diff(targets.indptr))
    data = inverse_frequency[targets.indices] * targets.data * (k1 + 1) / (targets.data + damping[rows])
    scores = sparse.csr_array((data, targets.indices, targets.indptr), shape=targets.shape)
    return -(questions @ scores.T).toarray()


def centroid_distances(questions: sparse.csr_array, targets: sparse.csr_array, vectors: np.ndarray) -> np.ndarray:
    x, y = (rows @ vectors.astype(np.float64) for rows in (questions, targets))
    x, y = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300) for rows in (x, y))
    return 1 - x @ y.T


def methods(pool: Pool) -> dict[str, Callable[[], np.ndarray]]:
    """Name and call of each method. "TF-IDF" and BM25 are without function words."""
    counts, tfidf = (pool.questions, pool.targets), pool.tfidf()
    is_content = np.ones(len(pool.words))
    is_content[[pool.words.key_to_index[word] for word in STOP_WORDS if word in pool.words]] = 0
    content = tuple(weighted(rows, is_content) for rows in counts)
    vectors = pool.words.vectors

    def transport(rows: tuple[sparse.csr_array, sparse.csr_array], metric: str) -> np.ndarray:
        return kx.pairwise_distances(*rows, vectors=vectors, metric=metric, empty="inf")

    return {
        DEFAULT: lambda: transport(tfidf, "wmd"),
        "WMD, counts": lambda: transport(counts, "wmd"),
        "WRD, TF-IDF": lambda: transport(tfidf, "wrd"),
        "WRD, counts": lambda: transport(counts, "wrd"),
        "centroid cosine, TF-IDF": lambda: centroid_distances(*tfidf, vectors),
        "centroid cosine, counts": lambda: centroid_distances(*counts, vectors),
        "TF-IDF cosine": lambda: cosine_distances(*tfidf),
        "TF-IDF L1": lambda: l1_distances(*tfidf),
        "BM25": lambda: bm25_distances(*content),
    }


# ---- figures ----


def pessimistic_ranks(distances: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """How many targets are at least as near as the right one, itself among them: ties count against a method."""
    right = distances[np.arange(len(answers)), answers]
    return (distances <= right[:, None]).sum(axis=1)


def scores_of(ranks: np.ndarray) -> np.ndarray:
    """A row a question, a column a metric of METRICS."""
    return np.stack([1 / ranks, ranks <= 1, ranks <= 10], axis=1)


def bootstrap_means(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means over questions that are drawn with replacement: scores (questions, ...) gives (resamples, ...)."""
    count = len(scores)
    columns = scores.reshape(count, -1)
    means = [
        rng.multinomial(count, np.full(count, 1 / count), size=min(500, resamples - begin)) @ columns / count
        for begin in range(0, resamples, 500)
    ]
    return np.concatenate(means).reshape(resamples, *scores.shape[1:])


@dataclass(frozen=True)
class Interval:
    """A figure and the middle 95% of its bootstrap distribution."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, resampled: np.ndarray) -> Interval:
        low, high = np.quantile(resampled, [0.025, 0.975])
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True)
class Line:
    """A method. `differences` are its MRR less that of each other method, and `best_other` is the best of these.

    `shorter` and `longer` are the MRR over the questions for the shorter and the longer half of the targets;
    `found_unshared` tells how many of the questions that share no word with their target are answered among ten.
    """

    method: str
    metrics: dict[str, Interval]
    best_other: str
    differences: dict[str, Interval]
    shorter: float | None
    longer: float | None
    found_unshared: int
    cpu_milliseconds: float


def summarize(
    ranks: dict[str, np.ndarray], milliseconds: dict[str, float], is_long: np.ndarray, shares: np.ndarray
) -> list[Line]:
    """Lines, best MRR first. One set of resamples serves all methods, so that differences are paired."""
    names = list(ranks)
    scores = np.stack([scores_of(ranks[name]) for name in names], axis=1)
    means = scores.mean(axis=0)
    resampled = bootstrap_means(scores, RESAMPLES, np.random.default_rng(SEED))
    order = np.argsort(-means[:, 0], kind="stable")
    lines = []
    for m in order:
        differences = {
            names[k]: Interval.of(means[m, 0] - means[k, 0], resampled[:, m, 0] - resampled[:, k, 0])
            for k in order
            if k != m
        }
        lines.append(
            Line(
                names[m],
                {metric: Interval.of(means[m, j], resampled[:, m, j]) for j, metric in enumerate(METRICS)},
                next(iter(differences)),
                differences,
                mean_or_none(scores[~is_long, m, 0]),
                mean_or_none(scores[is_long, m, 0]),
                int(scores[~shares, m, 2].sum()),
                milliseconds[names[m]],
            )
        )
    return lines


def mean_or_none(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


@dataclass(frozen=True)
class Report:
    """The lines of one corpus, and what they depend on."""

    corpus: str
    digest: str
    found: int
    targets: int
    questions: int
    unshared: int
    vocabulary: int
    words_of_a_question: float
    words_of_a_target: float
    share_of_known_words: float
    lines: list[Line]


def evaluate(corpus: str, items: Sequence[Item], documents: int, queries: int) -> Report:
    pool = make_pool(items, documents, queries, np.random.default_rng(SEED))
    ranks, milliseconds = {}, {}
    for name, distances in methods(pool).items():
        begin = time.process_time()  # of all threads, and little disturbed by what else the machine does
        result = distances()
        milliseconds[name] = 1000 * (time.process_time() - begin) / len(pool.answers)
        ranks[name] = pessimistic_ranks(result, pool.answers)
    asked = [len(pool.items[i].question) for i in pool.answers]
    lengths = np.array([len(item.target) for item in pool.items])
    is_long = lengths[pool.answers] > np.median(lengths[pool.answers])
    questions, targets = pool.tfidf()
    shares = (questions * targets[pool.answers]).sum(axis=1) > 0
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(item).encode("utf-8", "surrogatepass"))
    return Report(
        corpus,
        digest.hexdigest()[:12],
        len(items),
        len(pool.items),
        len(pool.answers),
        int(np.count_nonzero(~shares)),
        len(pool.words),
        float(np.median(asked)),
        float(np.median(lengths)),
        float(pool.questions.sum() / sum(asked)),
        summarize(ranks, milliseconds, is_long, shares),
    )


# ---- output ----


def markdown(report: Report) -> str:
    """A heading, a sentence, a table, and the command line's default method beside each other one.

    A method that surely loses to the best has its difference in bold.
    """

    def told(interval: Interval, sign: str = "") -> str:
        return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"

    header = (
        "method",
        *METRICS,
        "MRR less the best other's",
        "MRR, shorter half",
        "longer half",
        f"found of {report.unshared} unshared",
        "CPU ms",
    )
    text = [
        f"### {report.corpus}",
        "",
        f"{report.questions} questions (median {report.words_of_a_question:g} words) to {report.targets} targets "
        f"(median {report.words_of_a_target:g} words), of {report.found} documents with the digest {report.digest}. "
        f"{report.vocabulary} words have vectors, among them {report.share_of_known_words:.1%} of the "
        "questions' words.",
        "",
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
    ]
    for line in report.lines:
        to_best = line.differences[line.best_other]
        cells = [
            line.method,
            *(told(line.metrics[metric]) for metric in METRICS),
            f"**{told(to_best, '+')}**" if to_best.high < 0 else told(to_best, "+"),
            *("" if half is None else f"{half:.3f}" for half in (line.shorter, line.longer)),
            str(line.found_unshared),
            f"{line.cpu_milliseconds:.2f}",
        ]
        text.append("| " + " | ".join(cells) + " |")
    default = next(line for line in report.lines if line.method == DEFAULT)
    differences = [f"{name} {told(interval, '+')}" for name, interval in default.differences.items()]
    text += ["", f"MRR of {DEFAULT}, less that of: {'; '.join(differences)}."]
    return "\n".join(text) + "\n"


def write(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How well the distances find a text by its first sentence.")
    parser.add_argument("--corpus", choices=("docstrings", "man", "all"), default="all")
    parser.add_argument("--queries", metavar="N", type=positive, default=1000, help="questions of a corpus")
    parser.add_argument("--documents", metavar="N", type=positive, default=5000, help="targets of a corpus")
    parser.add_argument("--json", metavar="FILE", help="also write figures and intervals to a file")
    parser.add_argument("--markdown", metavar="FILE", help="also write the tables to a file")
    options = parser.parse_args(arguments)

    config = kx.show_config(mode="dict")
    about = {
        "python": config["python"],
        "kexue": config["kexue"],
        "isa": config["isa"],
        "threads": kx.get_num_threads(),
        "seed": SEED,
        "resamples": RESAMPLES,
    }
    print(", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n", flush=True)
    corpora: list[tuple[str, list[Item]]] = []
    if options.corpus in ("docstrings", "all"):
        corpora.append(("Docstrings of the standard library", docstring_items()))
    if options.corpus in ("man", "all"):
        pages = manual_items(manual_files(manual_folders(), np.random.default_rng(SEED)))
        if pages:
            corpora.append(("Manual pages", pages))
        else:
            print("There are no manual pages on this machine: nothing is measured on them.\n", flush=True)
    reports = []
    for corpus, items in corpora:
        reports.append(evaluate(corpus, items, options.documents, options.queries))
        print(markdown(reports[-1]), flush=True)
    if options.json:
        write(options.json, json.dumps({**about, "corpora": [asdict(report) for report in reports]}, indent=1))
    if options.markdown:
        write(options.markdown, "\n".join(markdown(report) for report in reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
