"""Train the head of a sentence encoder: ``python examples/sentence_encoder.py``.

A sentence is some words; each word has a fixed vector, as from word2vec or the last layer of a frozen Transformer. The
head is a linear map of word vectors, and a sentence's embedding is the mean of its mapped words. It learns from graded
pairs, "how similar are these two, 0 to 5?", by two losses that ask for an order alone:

- CoSENT of the cosines of the embeddings;
- CoSENT of minus the Word Mover's Distances between the mapped words, which goes through the optimal transport plans.

Sentences are synthetic. Topics stand behind the words, and the grade of a pair is how much of their topics both
sentences share. Word vectors have their topic in ten directions, and more of other things in others: the untrained
head cannot tell these apart. Told are Spearman's correlations of cosines, and of minus the distances, with the grades
of pairs that were not trained on and have no word of the training in them, so knowing words by heart is of no use.
"topics" is a head that is given the ten directions: what is missing from 1 there is in words that are too few to tell
a mixture of topics.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import kexue
import kexue.torch as kt

TOPICS, WORDS_PER_TOPIC, DIMENSION, MAPPED, GRADES = 12, 200, 32, 16, 5


@dataclass(frozen=True)
class Pairs:
    """Two sentences each, as word numbers, and grades from 0 to 5."""

    first: list[np.ndarray]
    second: list[np.ndarray]
    grades: Tensor

    def __len__(self) -> int:
        return len(self.first)


class Language:
    """Words of topics, and their vectors. The first half of each topic's words is for training."""

    def __init__(self, rng: np.random.Generator) -> None:
        count = TOPICS * WORDS_PER_TOPIC
        self.topic_of = np.repeat(np.arange(TOPICS), WORDS_PER_TOPIC)
        self.for_training = np.tile(np.arange(WORDS_PER_TOPIC) < WORDS_PER_TOPIC // 2, TOPICS)
        directions = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0]
        self.topic_directions = torch.from_numpy(directions[:, :10].T.astype(np.float32))
        meaning = rng.normal(size=(TOPICS, 10))
        # What words differ by besides: frequency, grammar, and so on, in directions that hold most of the variance.
        nuisance = rng.normal(size=(count, DIMENSION - 10)) * np.geomspace(4.0, 0.3, DIMENSION - 10)
        vectors = np.concatenate([meaning[self.topic_of] + 0.5 * rng.normal(size=(count, 10)), nuisance], axis=1)
        self.vectors = torch.from_numpy((vectors @ directions.T).astype(np.float32))

    def pairs(self, count: int, rng: np.random.Generator, *, training: bool) -> Pairs:
        first, second, shared = [], [], []
        for share in rng.integers(0, GRADES + 1, count) / GRADES:
            theta, other = rng.dirichlet(np.full(TOPICS, 0.15), 2)
            other = share * theta + (1 - share) * other
            first.append(self._sentence(theta, rng, training))
            second.append(self._sentence(other, rng, training))
            shared.append(np.minimum(theta, other).sum())
        return Pairs(first, second, torch.from_numpy(np.rint(GRADES * np.array(shared))))

    def _sentence(self, theta: np.ndarray, rng: np.random.Generator, training: bool) -> np.ndarray:
        topics = rng.choice(TOPICS, size=rng.integers(6, 15), p=theta)
        half = WORDS_PER_TOPIC // 2
        return topics * WORDS_PER_TOPIC + rng.integers(0, half, len(topics)) + (0 if training else half)


def embeddings(words: Tensor, sentences: list[np.ndarray]) -> Tensor:
    return torch.stack([words[torch.from_numpy(sentence)].mean(0) for sentence in sentences])


def distances(words: Tensor, pairs: Pairs, chosen: np.ndarray) -> Tensor:
    """Word Mover's Distances between mapped words."""
    return torch.stack([kt.wmd(words[pairs.first[k]], words[pairs.second[k]]) for k in chosen])


def train(
    language: Language, pairs: Pairs, *, wmd_weight: float, epochs: int, batch_size: int = 32, seed: int = 0
) -> torch.nn.Linear:
    """The head that the two losses make; without the second one if its weight is 0."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = torch.nn.Linear(DIMENSION, MAPPED, bias=False)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(epochs):
        order = rng.permutation(len(pairs))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            grades = pairs.grades[chosen]
            words = head(language.vectors)
            loss = kt.cosent_embedding_loss(
                embeddings(words, [pairs.first[k] for k in chosen]),
                embeddings(words, [pairs.second[k] for k in chosen]),
                grades,
            )
            if wmd_weight:
                far = distances(words, pairs, chosen)
                # In units of their mean, of which the order does not know: else the head would just grow.
                loss = loss + wmd_weight * kt.cosent_loss(-far / far.mean(), grades)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head


@torch.no_grad()
def evaluate(head: torch.nn.Linear, language: Language, pairs: Pairs) -> tuple[float, float]:
    """Spearman's correlations of cosines and of minus the distances with the grades."""
    words, grades = head(language.vectors), pairs.grades.numpy()
    cosines = kexue.cosine_pairs(*(embeddings(words, side).numpy() for side in (pairs.first, pairs.second)))
    far = distances(words, pairs, np.arange(len(pairs))).numpy()
    return float(kexue.spearman(cosines, grades)), float(kexue.spearman(-far, grades))


def run(
    train_pairs: int = 1500, test_pairs: int = 1000, epochs: int = 8, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The correlations of cosines and distances by name of the head."""
    rng = np.random.default_rng(seed)
    language = Language(rng)
    training = language.pairs(train_pairs, rng, training=True)
    held_out = language.pairs(test_pairs, rng, training=False)
    topics = torch.nn.Linear(DIMENSION, len(language.topic_directions), bias=False)
    topics.weight.data = language.topic_directions
    heads = {
        "untrained": train(language, training, wmd_weight=0.0, epochs=0, seed=seed),
        "CoSENT": train(language, training, wmd_weight=0.0, epochs=epochs, seed=seed),
        "CoSENT and WMD": train(language, training, wmd_weight=3.0, epochs=epochs, seed=seed),
        "topics": topics,
    }
    return {name: evaluate(head, language, held_out) for name, head in heads.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':6} {'head':16} {'cosines':>8} {'WMD':>8}")
    with kexue.threads(1):
        for seed in range(options.seeds):
            start = time.process_time()
            for name, (cosines, far) in run(seed=seed).items():
                print(f"seed {seed} {name:16} {cosines:8.3f} {far:8.3f}")
            print(f"{time.process_time() - start:.1f} s of the processor")


if __name__ == "__main__":
    main()
