"""What alternating normalisation does to weak classifiers on the data sets that come with scikit-learn:

    python tests/accuracy_can.py [--seeds 50] [--per-class 5] [--threshold 0.9]

For each seed a classifier learns from a few examples of each class and predicts the others. The prior is that of the
examples to predict in the first table; in the second too, where one class of them is cut to a tenth and some of the
others to a half or a tenth; in the third these have a uniform prior, as the examples for learning suggest it.

Printed are the accuracy without, its mean change in points and in how many seeds it rose, stayed and fell; the same for
the log loss, where a fall is good; the share of uncertain rows; and how much the accuracy changes if all probabilities
are multiplied by the prior instead, which is Bayes' rule after learning from equally frequent classes.

tests/python/test_can.py runs a short form.
"""

import argparse

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kexue as kx

DATA = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
CLASSIFIERS = {
    "naive Bayes": lambda: GaussianNB(var_smoothing=1e-2),
    "logistic regression": lambda: LogisticRegression(C=0.1),
    "5 neighbours": lambda: KNeighborsClassifier(5, weights="distance"),
}
SETTINGS = {
    "same frequencies, their prior": (False, True),
    "shifted frequencies, their prior": (True, True),
    "shifted frequencies, uniform prior": (True, False),
}


def split(y, per_class, shifted, rng):
    """Indices for learning, as many of each class, and for testing."""
    learn = np.concatenate([rng.choice(np.flatnonzero(y == c), per_class, replace=False) for c in np.unique(y)])
    test = np.setdiff1d(np.arange(len(y)), learn)
    if shifted:
        kept = rng.choice([1.0, 0.5, 0.1], size=y.max() + 1)
        kept[rng.integers(len(kept))] = 1.0
        kept[np.argmin(kept + (kept == 1) * rng.random(len(kept)))] = 0.1
        test = test[rng.random(len(test)) < kept[y[test]]]
    return learn, test


def log_loss(P, y):
    return -np.log(np.maximum(P[np.arange(len(y)), y], np.finfo(np.float64).eps)).mean()


def effects(data, classifier, setting, *, seeds=50, per_class=5, threshold=0.9):
    """For each seed: accuracy without and with, log loss without and with, uncertain rows, accuracy by Bayes' rule."""
    X, y = DATA[data](return_X_y=True)
    shifted, knows_prior = SETTINGS[setting]
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        learn, test = split(y, per_class, shifted, rng)
        model = make_pipeline(StandardScaler(), CLASSIFIERS[classifier]()).fit(X[learn], y[learn])
        P = model.predict_proba(X[test])
        counts = np.bincount(y[test], minlength=y.max() + 1) + 0.5  # of no class there is nothing
        prior = counts if knows_prior else np.ones(len(counts))
        Q, u = kx.can(P, prior, threshold=threshold, return_uncertainty=True)
        before, after, by_rule = ((R.argmax(axis=1) == y[test]).mean() for R in (P, Q, P * prior))
        losses = log_loss(P, y[test]), log_loss(Q, y[test])
        rows.append([before, after, *losses, (u >= threshold).mean(), by_rule])
    return np.array(rows)


def tally(change):
    """Seeds in which it rose, stayed, fell."""
    return f"{(change > 0).sum()}/{(change == 0).sum()}/{(change < 0).sum()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--per-class", type=int, default=5)
    parser.add_argument("--threshold", type=float, default=0.9)
    arguments = parser.parse_args()
    for setting in SETTINGS:
        print(f"\n{setting}\n")
        print("| data | classifier | accuracy | change | seeds | log loss | change | seeds | uncertain | by Bayes |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for data in DATA:
            for classifier in CLASSIFIERS:
                r = effects(data, classifier, setting, **vars(arguments)).T
                accuracy, loss = r[1] - r[0], r[3] - r[2]
                print(
                    f"| {data} | {classifier} | {100 * r[0].mean():.1f}% "
                    f"| {100 * accuracy.mean():+.2f} | {tally(accuracy)} "
                    f"| {r[2].mean():.3f} | {loss.mean():+.3f} | {tally(loss)} | {100 * r[4].mean():.0f}% "
                    f"| {100 * (r[5] - r[0]).mean():+.2f} |"
                )


if __name__ == "__main__":
    main()
