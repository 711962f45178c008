"""The command line: ``python -m kexue search | compare | demo | info``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import shlex
import shutil
import sys
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kexue._search import Collection, Corpus
    from kexue._word_vectors import WordVectors

_DEMO_QUERIES = (
    "read a csv file",
    "parse command line arguments",
    "how do I send an email",
    "run a shell command and get its output",
    "difference between two dates",
)
_DEMO_TEXTS = ("compress the data of a file", "write bytes into a zip archive")
_BUILD_LINES = {
    "includes": "the compiler's option for the C headers",
    "libs": "the linker's options: the libraries that the core needs",
    "cmakedir": "the folder of the CMake package, for -Dkexue_DIR=",
    "pkgconfigdir": "the folder of kexue.pc, for PKG_CONFIG_PATH",
    "source": "the folder of a CMake project that builds the core",
    "amalgamation": "the core as one C file, kexue.c, with kexue.h beside it",
}
_SHOWN_MOVES = 25
_PICTURES = (".png", ".svg", ".pdf")
_MISSING_CHARACTERS = "no font was found for some of the characters: boxes stand for them in the picture"
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended


class UserError(Exception):
    """Something that the user can put right, said in one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0; 1 when the output cannot be written, and 141 when its reader went away; 2 for bad input; 130 after
        Ctrl-C.

    Raises
    ------
    SystemExit
        From argparse: 2 for a usage error, 0 after ``--help`` and ``--version``.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal's encoding lacks is shown as \xNN
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = _show_warning
            options.run(options)
        sys.stdout.flush()
    except UserError as error:
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED
    except OSError as error:  # of the output; what reading raises is a UserError
        # The interpreter flushes stdout once more at exit, which must not fail again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _BROKEN_PIPE
        _say(f"error: the output cannot be written: {error.strerror or error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kexue",
        description="Search and compare texts by exact Word Mover's or Word Rotator's Distance.",
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    search = commands.add_parser(
        "search",
        help="find the documents nearest to a question",
        description="Find the documents nearest to a question. Words without a vector are left out.",
    )
    search.add_argument("query", metavar="QUERY")
    _add_text_options(search)
    search.add_argument("--k", type=_positive_integer, default=5, help="how many documents to show (default 5)")
    search.add_argument(
        "--index",
        metavar="PATH",
        type=Path,
        help="a folder to keep the index in: if it is not there, it is made from the documents and the vectors; if "
        "it is, nothing but it is read, so that --docs and --vectors are refused",
    )
    search.set_defaults(run=_search, metric=None)  # None: not given, so that a kept index decides

    compare = commands.add_parser(
        "compare",
        help="distance of two texts, and which words moved where",
        description="Distance of two texts, lower bounds of it, and which words moved where.",
    )
    compare.add_argument("text_a", metavar="TEXT_A")
    compare.add_argument("text_b", metavar="TEXT_B")
    _add_text_options(compare)
    compare.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        help="also draw which words moved where, into a .png, .svg or .pdf file (needs matplotlib)",
    )
    compare.set_defaults(run=_compare)

    demo = commands.add_parser("demo", help="a short tour over the docstrings of the standard library")
    demo.set_defaults(run=_demo)
    info = commands.add_parser(
        "info",
        help="version, build, threads and cache folder; where C, Cython and CMake find the core",
        description="Version, build, threads and cache folder; or, for a build, one line of what is asked for.",
    )
    place = info.add_mutually_exclusive_group()
    for option, text in _BUILD_LINES.items():
        place.add_argument(f"--{option}", action="store_const", dest="line", const=option, help=text)
    info.set_defaults(run=_info)
    return parser


def _add_text_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--docs",
        metavar="FILE|FOLDER|-",
        help="the documents: a folder (a document a file), a .jsonl or .csv file with a field named text, "
        "a text file (paragraphs, or a document a line where there are no blank lines), or - for standard "
        "input (a document a line). Default: the docstrings of the standard library of this Python",
    )
    parser.add_argument(
        "--vectors",
        metavar="FILE",
        help="word vectors: word2vec, GloVe, fastText .vec or .npz. Default: learned from the documents and cached",
    )
    parser.add_argument(
        "--metric",
        choices=("wmd", "wrd"),
        default="wmd",
        help="Word Mover's or Word Rotator's Distance (default wmd)",
    )
    parser.add_argument(
        "--weights",
        choices=("tfidf", "counts"),
        help="weights of the words: how often they occur, or that times log((1 + n) / (1 + df)) + 1, with df "
        "of the n documents having the word, and without English function words (default tfidf; counts for "
        "compare with --vectors and without --docs, where there are no documents)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


class _ShowVersion(argparse.Action):
    """As argparse's own action, but the package is asked only when the option is given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from kexue import __version__

        print(f"kexue {__version__}")
        parser.exit()


def _positive_integer(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return value


def _say(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"kexue: {message}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"note: {message}")


def _notify(message: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        _say(message)


@contextlib.contextmanager
def _user_errors(what: str = "") -> Iterator[None]:
    """What reading a user's files and texts raises, as a sentence."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        raise UserError(f"{what}{where}{error.strerror or error}") from error
    except (ValueError, ImportError, MemoryError, OverflowError) as error:
        raise UserError(f"{what}{error or type(error).__name__}") from error


class _Stopwatch:
    """Seconds of each step, for ``--json``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, function: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = function()
        self.seconds[name] = round(time.perf_counter() - begin, 6)
        return result


def _load(options: argparse.Namespace, stopwatch: _Stopwatch) -> tuple[Corpus, WordVectors]:
    """Corpus and word vectors that the options ask for."""
    from kexue._search import load_corpus
    from kexue._word_vectors import WordVectors

    given = None
    if options.vectors is not None:
        with _user_errors():
            given = stopwatch("vectors", lambda: WordVectors.load(options.vectors))
    with _user_errors():
        corpus, learned = stopwatch("corpus", lambda: load_corpus(options.docs, learn=given is None, notify=_notify))
    return corpus, given if given is not None else learned


def _known(text: str, unknown: list[str], has_words: bool, which: str) -> None:
    """Say which words have no vector; a UserError where no word is left."""
    if not has_words:
        if not unknown:
            raise UserError(f"{which} {text!r} has no word in it")
        raise UserError(f"no word of {which} is known: {', '.join(unknown)}")
    if unknown:
        _say(f"note: not known, and left out of {which}: {', '.join(unknown)}")


def _printable(text: str) -> str:
    """Without control characters, which could drive the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(text: str, width: int) -> str:
    """The beginning of a text that fills at most `width` columns."""
    used = 0
    for position, character in enumerate(text):
        used += _columns(character)
        if used > width:
            return text[: max(position - 1, 0)] + ("…" if width > 0 else "")
    return text


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _search(options: argparse.Namespace) -> None:
    stopwatch = _Stopwatch()
    kept = options.index is not None and os.path.exists(options.index)
    if kept:
        collection = _open_kept(options, stopwatch)
    else:
        if options.index is not None and not options.index.parent.is_dir():
            raise UserError(f"{options.index}: there is no folder {options.index.parent}")
        collection = _collect(options, stopwatch)
    answer = _answer(options.query, collection, options.k, stopwatch)
    if options.index is not None and not kept:
        _keep(collection, options.index, stopwatch)
    if options.json:
        print(json.dumps({**answer, "timings": stopwatch.seconds}))
    else:
        _print_results(answer["results"])


def _collect(options: argparse.Namespace, stopwatch: _Stopwatch) -> Collection:
    """What is searched, made from the documents and the vectors that the options name."""
    from kexue._search import collect

    corpus, words = _load(options, stopwatch)
    named: dict[str, Any] = {"metric": options.metric or "wmd", "weights": options.weights or "tfidf"}
    with _user_errors():
        return stopwatch("index", lambda: collect(corpus, words, **named))


def _open_kept(options: argparse.Namespace, stopwatch: _Stopwatch) -> Collection:
    """What is searched, as it was kept; a UserError where the options ask for something else."""
    from kexue._search import open_kept

    with _user_errors():
        collection = stopwatch("index", lambda: open_kept(options.index))
    for option in ("docs", "vectors"):
        if getattr(options, option) is not None:
            raise UserError(
                f"{options.index} is there already and would not follow --{option}: search it without, "
                "or delete it first to have it made anew"
            )
    for option, found in (("metric", collection.index.metric), ("weights", collection.weights)):
        if getattr(options, option) not in (None, found):
            raise UserError(
                f"{options.index} was made with --{option} {found}: search it without --{option}, "
                "or delete it first to have it made anew"
            )
    return collection


def _keep(collection: Collection, path: Path, stopwatch: _Stopwatch) -> None:
    from kexue._search import keep

    try:
        stopwatch("keep", lambda: keep(collection, path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    _say(f"note: kept the index of {len(collection.names)} documents in {path}")


def _answer(text: str, collection: Collection, k: int, stopwatch: _Stopwatch) -> dict[str, Any]:
    """The nearest documents and how they were found; a UserError where there are none."""
    from kexue._search import rank, read_query

    query = read_query(text, collection.words, split_identifiers=collection.split_identifiers)
    _known(text, query.unknown, query.counts.nnz > 0, "the query")
    with _user_errors():  # of vectors that are too large; of kept ones that were damaged since
        nearest, stats = stopwatch("search", lambda: rank(query, collection, k))
        results = [
            {"rank": place, "distance": distance, "name": collection.names[i], "text": collection.texts[i]}
            for place, (i, distance) in enumerate(nearest, 1)
        ]
    if not results:
        raise UserError("no document has a word that is known")
    return {
        "query": text,
        "metric": collection.index.metric,
        "weights": collection.weights,
        "unknown_words": query.unknown,
        "documents": len(collection.names),
        "results": results,
        "stats": stats,
    }


def _print_results(results: list[dict[str, Any]]) -> None:
    width = shutil.get_terminal_size().columns
    names = [_cut(_printable(result["name"]), max(20, 2 * width // 5)) for result in results]
    name_width = max(map(_columns, names))
    rank_width = len(str(len(results)))
    for result, name in zip(results, names, strict=True):
        head = f"{result['rank']:{rank_width}}  {result['distance']:6.4f}  {_pad(name, name_width)}  "
        first_line = _printable(result["text"].split("\n", 1)[0])
        print((head + _cut(first_line, max(20, width - _columns(head)))).rstrip())


def _compare(options: argparse.Namespace) -> None:
    stopwatch = _Stopwatch()
    if options.plot is not None:
        _check_plot(options.plot)
    if options.vectors is not None and options.docs is None and options.weights != "tfidf":
        from kexue._word_vectors import WordVectors

        corpus = None
        options.weights = "counts"
        with _user_errors():
            words = stopwatch("vectors", lambda: WordVectors.load(options.vectors))
    else:
        options.weights = options.weights or "tfidf"
        corpus, words = _load(options, stopwatch)
    comparison = stopwatch("compare", lambda: _comparison(options, corpus, words))
    if options.plot is not None:
        stopwatch("plot", lambda: _plot(comparison, options.plot))
    if options.json:
        print(json.dumps({**comparison, "timings": stopwatch.seconds}))
    else:
        _print_comparison(comparison)


def _comparison(options: argparse.Namespace, corpus: Corpus | None, words: WordVectors) -> dict[str, Any]:
    """Distance, bounds, and the moves of the optimal plan, the costliest first."""
    import numpy as np

    from kexue import rwmd, solve, wcd
    from kexue._search import read_query, weighted, word_weights

    texts = (options.text_a, options.text_b)
    split_identifiers = corpus is not None and corpus.split_identifiers
    queries = [read_query(text, words, split_identifiers=split_identifiers) for text in texts]
    for text, query, which in zip(texts, queries, ("text A", "text B"), strict=True):
        _known(text, query.unknown, query.counts.nnz > 0, which)
    counts = queries[0].counts[:0] if corpus is None else corpus.counts_over(words)
    factor = word_weights(counts, queries, words, options.weights)
    rows = [weighted(query.counts, factor) for query in queries]
    x, y = (words.vectors[row.indices].astype(np.float64) for row in rows)
    x_weights, y_weights = (row.data / row.data.sum() for row in rows)

    if options.metric == "wmd":
        cost = np.linalg.norm(x[:, None] - y[None], axis=2)
        masses = [x_weights, y_weights]
        bounds = {"wcd": float(wcd(x, y, x_weights, y_weights))}
    else:
        lengths = [np.linalg.norm(vectors, axis=1) for vectors in (x, y)]
        masses = [weights * length for weights, length in zip((x_weights, y_weights), lengths, strict=True)]
        for mass, which in zip(masses, ("text A", "text B"), strict=True):
            if not mass.any():
                raise UserError(
                    f"the vectors of all words of {which} are zero, so that {options.metric} does not exist"
                )
        masses = [mass / mass.sum() for mass in masses]
        units = [
            vectors / np.where(length > 0, length, 1)[:, None] for vectors, length in zip((x, y), lengths, strict=True)
        ]
        cost = ((units[0][:, None] - units[1][None]) ** 2).sum(axis=2) / 2  # 1 - cos, and exactly 0 for the same word
        bounds = {}
    bounds["rwmd"] = float(rwmd(x, y, x_weights, y_weights, metric=options.metric))
    solution = solve(cost, *masses)
    distance = float(solution.value)
    plan = solution.plan
    moves = [
        {
            "from": words.index_to_key[rows[0].indices[i]],
            "to": words.index_to_key[rows[1].indices[j]],
            "mass": float(plan[i, j]),
            "distance": float(cost[i, j]),
            "cost": float(plan[i, j] * cost[i, j]),
            "share": float(plan[i, j] * cost[i, j] / distance) if distance > 0 else 0.0,
        }
        for i, j in np.argwhere(plan > 0)
    ]
    moves.sort(key=lambda move: (-move["cost"], -move["mass"]))
    return {
        "text_a": options.text_a,
        "text_b": options.text_b,
        "metric": options.metric,
        "weights": options.weights,
        "unknown_words": [query.unknown for query in queries],
        "distance": distance,
        "bounds": bounds,
        "moves": moves,
    }


def _print_comparison(comparison: dict[str, Any]) -> None:
    moves = comparison["moves"]
    print(f"{comparison['metric']}   {comparison['distance']:.6f}")
    for name, value in comparison["bounds"].items():
        print(f"{name:5} {value:.6f}  (lower bound)")
    print()
    # A mass that would be shown as 0 is the rounding of weights that are not quite equal.
    shown = [move for move in moves if move["mass"] >= 5e-5][:_SHOWN_MOVES]
    words = [[_cut(move[end], 30) for move in shown] for end in ("from", "to")]
    from_width, to_width = (max(4, *map(_columns, column)) for column in words)
    print(f"{'from':{from_width}}  {'to':{to_width}}    mass  distance    cost  share")
    for source, target, move in zip(*words, shown, strict=True):
        numbers = f"{move['mass']:6.4f}  {move['distance']:8.4f}  {move['cost']:6.4f}  {move['share']:5.1%}"
        print(f"{_pad(source, from_width)}  {_pad(target, to_width)}  {numbers}")
    if hidden := len(moves) - len(shown):
        cost = comparison["distance"] - sum(move["cost"] for move in shown)
        print(f"and {hidden} smaller {'moves' if hidden > 1 else 'move'} that cost {max(cost, 0):.4f} in all")


def _check_plot(path: Path) -> None:
    """What can be known to be wrong before anything is computed."""
    from kexue.plot import require_matplotlib

    if path.suffix.lower() not in _PICTURES:
        raise UserError(f"{path}: the name of a picture must end in {', '.join(_PICTURES[:-1])} or {_PICTURES[-1]}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    with _user_errors():
        require_matplotlib()


def _plot(comparison: dict[str, Any], path: Path) -> None:
    """Draw the moves of a comparison; the file is written whole or not at all, and the same for the same moves."""
    import numpy as np
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from kexue import plot

    moves = comparison["moves"]
    words = [list(dict.fromkeys(move[end] for move in moves)) for end in ("from", "to")]
    places = [{word: place for place, word in enumerate(column)} for column in words]
    mass, distance = np.zeros((2, len(words[0]), len(words[1])))
    for move in moves:
        place = places[0][move["from"]], places[1][move["to"]]
        mass[place], distance[place] = move["mass"], move["distance"]

    form = path.suffix.lower().removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    # No pyplot: it would pick a display, and keep the figure.
    figure = Figure(figsize=plot.figure_size(*words), layout="constrained")
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "kexue", "pdf.fonttype": 42}
    try:
        with rc_context(style), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            axes = plot.transport(mass, *words, cost=distance, cost_label="distance", ax=figure.subplots())
            axes.set_title(f"{comparison['metric']} {comparison['distance']:.6f}")
            with open(temporary, "xb") as file:
                figure.savefig(file, format=form, dpi=150, metadata=undated)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    # matplotlib warns of each character; in an SVG file the reader's fonts draw them.
    glyphs = [str(warning.message).startswith("Glyph ") for warning in caught]
    if any(glyphs) and form != "svg":
        _say(f"note: {_MISSING_CHARACTERS}")
    for warning, of_glyph in zip(caught, glyphs, strict=True):
        if not of_glyph:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _demo(_: argparse.Namespace) -> None:
    from kexue._search import collect

    stopwatch = _Stopwatch()
    corpus, words = _load(argparse.Namespace(docs=None, vectors=None), stopwatch)
    collection = collect(corpus, words, metric="wmd", weights="tfidf")
    print(
        f"{len(corpus.names)} docstrings of Python {platform.python_version()}'s standard library, and "
        f"vectors of {len(words)} words that were learned from them: {stopwatch.seconds['corpus']:.2f} s\n"
    )
    for text in _DEMO_QUERIES:
        stopwatch = _Stopwatch()
        answer = _answer(text, collection, 3, stopwatch)
        print(f"search {text!r}: {stopwatch.seconds['search'] * 1000:.1f} ms")
        _print_results(answer["results"])
        print()
    print(f"compare {_DEMO_TEXTS[0]!r} {_DEMO_TEXTS[1]!r}")
    pair = argparse.Namespace(text_a=_DEMO_TEXTS[0], text_b=_DEMO_TEXTS[1], metric="wmd", weights="tfidf")
    _print_comparison(_comparison(pair, corpus, words))


def _info(options: argparse.Namespace) -> None:
    if options.line is not None:
        try:
            print(_build_line(options.line))
        except FileNotFoundError as error:
            raise UserError(str(error)) from error
        return
    from kexue import show_config
    from kexue._search import cache_folder

    show_config()
    folder = cache_folder()
    files = list(folder.glob("*.npz")) if folder.is_dir() else []
    size = sum(file.stat().st_size for file in files)
    print(f"{'cache':14} {folder} ({len(files)} files, {size / 1e6:.1f} MB)")


def _build_line(option: str) -> str:
    from kexue import get_include
    from kexue._config import installed_path

    if option == "includes":
        return f"-I{shlex.quote(get_include())}"
    if option == "libs":
        return "" if os.name == "nt" else "-lm -lpthread"
    return installed_path(
        *{
            "cmakedir": ("lib", "cmake", "kexue"),
            "pkgconfigdir": ("lib", "pkgconfig"),
            "source": ("source",),
            "amalgamation": ("amalgamation", "kexue.c"),
        }[option]
    )
