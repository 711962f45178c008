"""Zero-shot decisions with a next-sentence model: ``python examples/next_sentence.py``.

`classify`, `label_pairs` and `link` take any model that gives two logits, IsNext and NotNext, for pairs of texts. With
BERT of the package transformers (``AutoModelForNextSentencePrediction``), that is

    def model(first, second):
        batch = tokenizer(list(first), list(second), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            return bert(**batch).logits.numpy()

A small one is trained here in its place, so that the example runs anywhere in a few seconds: on docstrings of Python's
standard library, to tell whether a sentence follows another. It knows of no task. All accuracies are of modules that
were held out, word vectors included; they differ a little between versions of Python, as the docstrings do.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

import kexue as kx

Texts = Sequence[str]
Model = Callable[[Texts, Texts], np.ndarray]

# ---- decisions, by any model ----


def classify(model: Model, texts: Texts, prompts: Texts) -> np.ndarray:
    """The number of the prompt that follows each text best."""
    scores = [kx.nsp_scores(model(texts, [prompt] * len(texts))) for prompt in prompts]
    return kx.candidates_contrast(np.stack(scores, axis=1))


def label_pairs(model: Model, first: Texts, second: Texts, proportions: Sequence[float]) -> kx.SamplesContrastResult:
    """Labels of pairs of which the proportions are known, and thresholds for other pairs."""
    return kx.samples_contrast(kx.nsp_scores(model(first, second)), proportions)


def link(model: Model, mentions: Texts, candidates: Texts) -> np.ndarray:
    """For each mention, the index of its best candidate; mentions are repeated, once for each of their candidates."""
    return kx.grouped_argmax(kx.nsp_scores(model(mentions, candidates)), mentions)


# ---- text ----

# A prompt for what a text may be about, and modules about it.
TOPICS = {
    "networks": (
        "It connects to the server over the network and sends a request with headers.",
        {"ftplib", "http", "imaplib", "poplib", "smtplib", "socketserver", "urllib"},
    ),
    "numbers": (
        "The result is a number computed from the float and integer values of the data.",
        {"fractions", "numbers", "random", "statistics"},
    ),
    "files": (
        "The file is read from the directory and written to the archive on disk.",
        {"filecmp", "fileinput", "gzip", "shutil", "tarfile", "tempfile", "zipfile"},
    ),
    "concurrency": (
        "The thread waits for the lock until another task or process has finished.",
        {"asyncio", "concurrent", "queue", "sched", "threading"},
    ),
}
OTHERS = {"argparse", "calendar", "configparser", "difflib", "email", "logging", "pdb", "textwrap", "xml"}
HELD_OUT = OTHERS.union(*(modules for _, modules in TOPICS.values()))

NO_DOCUMENTATION = {"idlelib", "lib2to3", "site-packages", "dist-packages", "test", "tests", "turtledemo"}


def docstrings() -> Iterator[tuple[str, str]]:
    """Top-level module and text of every docstring in the sources of the standard library, in a fixed order."""
    root = Path(sysconfig.get_path("stdlib"))
    for top in sorted(root.iterdir()):
        if top.name in NO_DOCUMENTATION or not top.stem.isidentifier():
            continue
        for path in [top] if top.suffix == ".py" else sorted(top.rglob("*.py")):
            if NO_DOCUMENTATION.intersection(path.relative_to(root).parts):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in somebody else's strings
                tree = ast.parse(path.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    text = ast.get_docstring(node)
                    if text:
                        yield top.stem, text


def sentences(text: str) -> list[str]:
    """Different sentences of the paragraphs of prose: those that start at the left and hold no code."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        if re.match(r"[A-Z]", paragraph) and not re.search(r">>>|::|--|\n {4}", paragraph):
            found += re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split()))
    return [sentence for sentence in dict.fromkeys(found) if 5 <= len(sentence.split()) <= 40]


def following(documents: list[list[str]]) -> tuple[list[str], list[str]]:
    """Every sentence that has one after it, and the one after it."""
    pairs = [pair for document in documents for pair in zip(document, document[1:], strict=False)]
    return [first for first, _ in pairs], [second for _, second in pairs]


def shuffled(texts: list[str], rng: np.random.Generator) -> list[str]:
    return [texts[i] for i in rng.permutation(len(texts))]


# ---- a small model ----


class SmallModel:
    """Logistic regression of a pair on the word vectors of both, of which it takes means."""

    def __init__(self, corpus: list[str], rng: np.random.Generator) -> None:
        documents = [sentences(text) for text in corpus]
        everything = [sentence for document in documents for sentence in document]
        self.words = kx.WordVectors.fit(corpus, dimension=50, min_count=3, rng=rng)
        frequency = self.words.count_matrix(everything).sum(axis=0)
        frequency = np.asarray(frequency).ravel() / frequency.sum()
        self.weights = 1e-3 / (1e-3 + frequency)  # frequent words say little
        self.center = np.zeros(50)
        self.center = self.embed(everything)[0].mean(axis=0)
        first, second = following(documents)
        features = self.features([*first, *first], [*second, *shuffled(second, rng)])
        self.mean, self.deviation = features.mean(axis=0), features.std(axis=0)
        self.slopes = logistic_regression(self.standardized(features), np.repeat([1.0, 0.0], len(first)))

    def embed(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """A vector of each text, and the weights of its words."""
        weights = self.words.count_matrix(list(texts)).multiply(self.weights).tocsr()
        total = np.asarray(weights.sum(axis=1)).reshape(-1, 1)
        return weights @ self.words.vectors / np.maximum(total, 1e-9) - self.center, weights

    def features(self, first: Texts, second: Texts) -> np.ndarray:
        (u, words_of_first), (v, words_of_second) = self.embed(first), self.embed(second)
        u, v = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9) for vectors in (u, v))
        shared = np.asarray(words_of_first.minimum(words_of_second).sum(axis=1)).reshape(-1, 1)
        cosines = (u * v).sum(axis=1, keepdims=True)
        return np.hstack([u * v, np.abs(u - v), cosines, cosines**2, shared, np.log1p(shared)])

    def standardized(self, features: np.ndarray) -> np.ndarray:
        return np.hstack([(features - self.mean) / self.deviation, np.ones((len(features), 1))])

    def __call__(self, first: Texts, second: Texts) -> np.ndarray:
        is_next = self.standardized(self.features(first, second)) @ self.slopes
        return np.stack([is_next, np.zeros_like(is_next)], axis=1)


def logistic_regression(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Newton's method, with a penalty on all slopes but that of the last column of ones."""
    slopes = np.zeros(X.shape[1])
    penalty = np.append(np.full(X.shape[1] - 1, 100.0), 0.0)
    for _ in range(8):
        p = kx.softplus_grad(X @ slopes)  # the logistic function
        hessian = (X.T * (p * (1 - p))) @ X + np.diag(penalty)
        slopes -= np.linalg.solve(hessian, X.T @ (p - y) + penalty * slopes)
    return slopes


# ---- how good it is ----


def measure() -> dict[str, tuple[float, float]]:
    """The accuracy of each task, and that of guessing the most frequent answer."""
    rng = np.random.default_rng(0)
    corpus = list(docstrings())
    model = SmallModel([text for module, text in corpus if module not in HELD_OUT], rng)
    held_out = [(module, sentences(text)) for module, text in corpus if module in HELD_OUT]
    documents = [document for _, document in held_out if document]

    # Its own task
    first, second = following(documents)
    scores = kx.nsp_scores(model([*first, *first], [*second, *shuffled(second, rng)]))
    follows = np.repeat([True, False], len(first))
    result = {"does it follow?": (np.mean((scores > 0.5) == follows), 0.5)}

    # The topic of a docstring, of which the first three sentences are seen
    prompts, modules = zip(*TOPICS.values(), strict=True)
    known = [
        (topic, " ".join(document[:3]))
        for module, document in held_out
        for topic, members in enumerate(modules)
        if document and module in members
    ]
    topics = np.array([topic for topic, _ in known])
    found = classify(model, [text for _, text in known], prompts)
    result["which topic?"] = (np.mean(found == topics), np.bincount(topics).max() / len(topics))

    # Do two sentences come from one docstring? One pair of three does. The thresholds of one half decide on the other.
    near = [(document[i], document[i + 2]) for document in documents for i in range(len(document) - 2)]
    first, second = [a for a, _ in near], [b for _, b in near]
    pairs = list(zip(first * 3, [*second, *shuffled(second, rng), *shuffled(second, rng)], strict=True))
    order = rng.permutation(len(pairs))
    first, second = [pairs[i][0] for i in order], [pairs[i][1] for i in order]
    together, half = order < len(near), len(order) // 2
    contrast = label_pairs(model, first[:half], second[:half], [2, 1])
    result["from one docstring?"] = (np.mean(contrast.labels == together[:half]), np.mean(~together[:half]))
    others = kx.apply_thresholds(kx.nsp_scores(model(first[half:], second[half:])), contrast.thresholds)
    result["the same by thresholds"] = (np.mean(others == together[half:]), np.mean(~together[half:]))

    # Which of ten sentences follows? The answer comes last, so that ties count as mistakes.
    starts = {document[0]: document[1] for document in documents if len(document) > 1}
    mentions, answers = list(starts), list(starts.values())
    candidates = [[*rng.choice(answers, 9).tolist(), answer] for answer in answers]
    best = link(model, np.repeat(mentions, 10).tolist(), [text for ten in candidates for text in ten])
    result["which of ten follows?"] = (np.mean(best % 10 == 9), 0.1)
    return {task: (float(accuracy), float(guessed)) for task, (accuracy, guessed) in result.items()}


if __name__ == "__main__":
    print(f"{'task':25} accuracy  guessing")
    for task, (accuracy, guessed) in measure().items():
        print(f"{task:25} {accuracy:8.3f}  {guessed:8.3f}")
