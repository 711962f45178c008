"""F1 optimised itself: a linear classifier whose weights maximise the score that is reported.

    python examples/optimize_f1.py

F1 = 2 hits / (guessed + true) jumps wherever an example crosses the boundary, and is flat elsewhere: it has no gradient
to follow. So one usually minimises the logistic loss, and takes it on trust that F1 comes out well. Here the logistic
regression is only where `kexue.minimize` begins, which needs values alone.

Every digit of scikit-learn's in turn is told from the nine others, by 16 features (the means of squares of 2 x 2
pixels): too few for some digits, which a logistic regression then hardly ever guesses. 1000 examples are learned from,
797 are held out, and three random splits are averaged. The fair comparison is a logistic regression whose threshold is
moved to where F1 is greatest; minimising F1 may change the weights, too.
"""

from __future__ import annotations

import numpy as np

import kexue as kx

EXAMPLES, SPLITS = 1000, 3


def f1(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of the guess that a score is above 0; of every row of scores."""
    guesses = scores > 0
    return 2 * (guesses & labels).sum(axis=-1) / (guesses.sum(axis=-1) + labels.sum())


def features() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    return images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16), digits


def logistic_regression(X: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Newton's method, with a penalty of 1 on all slopes but that of the last column of ones."""
    slopes = np.zeros(X.shape[1])
    penalty = np.append(np.ones(X.shape[1] - 1), 0.0)
    for _ in range(20):
        p = kx.softplus_grad(X @ slopes)  # the logistic function
        hessian = (X.T * (p * (1 - p))) @ X + np.diag(penalty)
        slopes -= np.linalg.solve(hessian, X.T @ (p - labels) + penalty * slopes)
    return slopes


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    thresholds = np.sort(scores)
    return float(thresholds[f1(scores - thresholds[:, None], labels).argmax()])


def maximize_f1(X: np.ndarray, labels: np.ndarray, start: np.ndarray, seed: int) -> np.ndarray:
    """Multiples of slopes are as good as they are: first steps are a tenth of their length. Jumps want many samples."""
    found = kx.minimize(
        lambda slopes: -f1(slopes @ X.T, labels),
        start,
        radius=0.1 * np.linalg.norm(start) / np.sqrt(len(start)),
        n_samples=50,
        vectorized=True,
        rng=seed,
    )
    return found.x


def measure(digit: int) -> np.ndarray:
    """F1 where it was learned and where it was not: at 0.5, at the best threshold, of the slopes that maximise it."""
    images, digits = features()
    total = np.zeros((3, 2))
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(digits))
        pixels, labels = images[order], digits[order] == digit
        mean, deviation = pixels[:EXAMPLES].mean(axis=0), pixels[:EXAMPLES].std(axis=0) + 1e-9
        X = np.hstack([(pixels - mean) / deviation, np.ones((len(pixels), 1))])
        learned, held_out = slice(EXAMPLES), slice(EXAMPLES, None)
        logistic = logistic_regression(X[learned], labels[learned])
        moved = logistic.copy()
        moved[-1] -= best_threshold(X[learned] @ logistic, labels[learned])
        direct = maximize_f1(X[learned], labels[learned], logistic, seed=split)
        for row, slopes in enumerate((logistic, moved, direct)):
            total[row] += [f1(X[part] @ slopes, labels[part]) for part in (learned, held_out)]
    return total / SPLITS


if __name__ == "__main__":
    print("       logistic, 0.5   best threshold   F1 itself")
    print("digit  learned  new    learned  new     learned  new")
    every = []
    for digit in range(10):
        every.append(measure(digit))
        print(f"{digit:5}  " + "    ".join(f"{learned:.3f}  {new:.3f}" for learned, new in every[-1]))
    print(" mean  " + "    ".join(f"{learned:.3f}  {new:.3f}" for learned, new in np.mean(every, axis=0)))
