"""What is measured of decisions: alternating normalisation, closed forms, adversarial validation, next sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from workloads import Side, Workload, recent

import kexue as kx

# ---- alternating normalisation ----


# How far one class's score is above the others, by how many rows of 100 classes are uncertain at the threshold 0.9.
MARGINS = {"half": (0, 6), "a sixth": (2, 9), "twenty rows": (8, 9)}


@recent
def predictions(rows: int, n: int, dtype: str, uncertain: str) -> np.ndarray:
    rng = np.random.default_rng([rows, n])
    scores = rng.standard_normal((rows, n))
    scores[np.arange(rows), rng.integers(n, size=rows)] += rng.uniform(*MARGINS[uncertain], rows)
    if uncertain == "twenty rows":
        scores[:: rows // 20] *= 0.05
    return special.softmax(scores, axis=1).astype(dtype)


def _uncertainty(P: np.ndarray, k: int = 3) -> np.ndarray:
    largest = np.partition(P, P.shape[1] - k, axis=1)[:, -k:]
    largest = largest / largest.sum(axis=1, keepdims=True)
    return special.entr(largest).sum(axis=1) / np.log(k)


def _literal(P: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The definition: every uncertain row below all certain ones, and both normalisations."""
    certain = _uncertainty(P) < 0.9
    C, result = P[certain], P.copy()
    for row in np.flatnonzero(~certain):
        Y = np.concatenate([C, P[row : row + 1]])
        Y = Y / Y.mean(axis=0) * prior
        result[row] = (Y / Y.sum(axis=1, keepdims=True))[-1]
    return result


def _loop(P: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """A loop over the uncertain rows as well; but only the last row is made, and the sums of the others once."""
    certain = _uncertainty(P) < 0.9
    S, result = P[certain].sum(axis=0), P.copy()
    for row in np.flatnonzero(~certain):
        p = P[row]
        new = p * prior / (S + p)
        result[row] = new / new.sum()
    return result


def numpy_can(P: np.ndarray, prior: np.ndarray) -> np.ndarray:
    certain = _uncertainty(P) < 0.9
    p, result = P[~certain], P.copy()
    new = p * prior / (P[certain].sum(axis=0) + p)
    result[~certain] = new / new.sum(axis=1, keepdims=True)
    return result


CAN_PEERS = {"NumPy loop": _loop, "NumPy": numpy_can, "the definition": _literal}
NUMPY = ("NumPy loop", "NumPy")


@recent
def can(rows: int, n: int, dtype: str, uncertain: str, peers: tuple[str, ...] = NUMPY) -> Workload:
    """One iteration. All sides find out which rows are uncertain, and return all rows: "a copy" does no more."""
    P = predictions(rows, n, dtype, uncertain)
    prior = np.random.default_rng(n).dirichlet(np.full(n, 20.0)).astype(dtype)
    sides = {"kexue": Side(lambda: kx.can(P, prior, workers=1))}
    for peer in peers:
        sides[peer] = Side(lambda function=CAN_PEERS[peer]: function(P, prior))
    sides["a copy"] = Side(P.copy, comparable=None)
    tolerance = {"rtol": 1e-11} if dtype == "float64" else {"rtol": 2e-4, "atol": 1e-7}
    return Workload(f"can, {rows}x{n} {dtype}, {uncertain} uncertain", sides, **tolerance, bytes_moved=2 * P.nbytes)


@recent
def can_iterations(rows: int, n: int, iterations: int) -> Workload:
    """More of them: for NumPy, all uncertain rows one after the other."""
    P = predictions(rows, n, "float64", "half")
    prior = np.random.default_rng(n).dirichlet(np.full(n, 20.0))

    def loop() -> np.ndarray:
        certain = _uncertainty(P) < 0.9
        C, result = P[certain], P.copy()
        Y = np.empty((len(C) + 1, n))
        for row in np.flatnonzero(~certain):
            Y[:-1], Y[-1] = C, P[row]
            for _ in range(iterations):
                Y *= prior / Y.sum(axis=0)
                Y /= Y.sum(axis=1, keepdims=True)
            result[row] = Y[-1]
        return result

    sides = {
        "kexue": Side(lambda: kx.can(P, prior, iterations=iterations, workers=1)),
        "NumPy loop": Side(loop),
    }
    return Workload(f"can, {iterations} iterations, {rows}x{n}", sides, rtol=1e-10)


@recent
def topk_entropy(rows: int, n: int, dtype: str) -> Workload:
    P = predictions(rows, n, dtype, "half")
    sides = {"kexue": Side(lambda: kx.topk_entropy(P, 3, workers=1)), "NumPy": Side(lambda: _uncertainty(P))}
    tolerance = {"rtol": 1e-11, "atol": 1e-13} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    return Workload(f"topk_entropy, {rows}x{n} {dtype}", sides, **tolerance, bytes_moved=P.nbytes)


# ---- closed forms ----


@recent
def classes(rows: int, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([rows, n, count])
    y = rng.integers(count, size=rows)
    mixture = rng.standard_normal((n, n)) / np.sqrt(n)
    return (rng.standard_normal((rows, n)) + rng.standard_normal((count, n))[y]) @ mixture + 3.0, y


@recent
def analytic_logistic_regression(rows: int, n: int, count: int) -> Workload:
    """Fit, and the probabilities of the same rows."""
    X, y = classes(rows, n, count)

    def of(model: Any) -> np.ndarray:
        return model.fit(X, y).predict_proba(X)

    sides = {
        "kexue": Side(lambda: of(kx.AnalyticLogisticRegression())),
        "scikit-learn's LDA": Side(lambda: of(LinearDiscriminantAnalysis(solver="lsqr"))),
        # Another model, which is what the closed form stands in for.
        "scikit-learn's LogisticRegression": Side(lambda: of(LogisticRegression(max_iter=1000)), comparable=None),
    }
    return Workload(
        f"AnalyticLogisticRegression, fit and predict, {rows}x{n}, {count} classes", sides, rtol=1e-8, atol=1e-12
    )


@recent
def class_statistics(rows: int, n: int, count: int, batches: int = 10) -> Workload:
    """Ten batches, and the rule at the end. NumPy adds up moments about the first row; LDA needs all rows at once."""
    X, y = classes(rows, n, count)
    parts = list(zip(np.array_split(X, batches), np.array_split(y, batches), strict=True))

    def in_batches() -> Any:
        statistics = kx.ClassStatistics(count, n)
        for batch in parts:
            statistics.update(*batch)
        return statistics.solve()

    def by_moments() -> np.ndarray:
        weights, sums, squares, origin = np.zeros(count), np.zeros((count, n)), np.zeros((n, n)), X[0]
        for given, labels in parts:
            centred, one_hot = given - origin, np.eye(count)[labels]
            weights += one_hot.sum(axis=0)
            sums += one_hot.T @ centred
            squares += centred.T @ centred
        means = sums / weights[:, None]
        covariance = (squares - means.T @ (weights[:, None] * means)) / rows
        return _rows_about_their_mean(np.linalg.solve(covariance, means.T).T)

    def lda() -> np.ndarray:
        return _rows_about_their_mean(LinearDiscriminantAnalysis(solver="lsqr").fit(X, y).coef_)

    sides = {
        "kexue": Side(in_batches, comparable=lambda rule: _rows_about_their_mean(rule.W)),
        "scikit-learn's LDA": Side(lda),
        "NumPy": Side(by_moments),
    }
    name = f"ClassStatistics, {rows}x{n} in {batches} batches, {count} classes"
    return Workload(name, sides, rtol=1e-7, atol=1e-10, operations=rows * n * n)


def _rows_about_their_mean(W: np.ndarray) -> np.ndarray:
    """Weights of classes, up to what all of them share, which changes no probability."""
    return W - W.mean(axis=0)


@recent
def softmax_rule(rows: int, n: int, count: int) -> Workload:
    X, y = classes(rows, n, count)
    rule = kx.ClassStatistics(count, n).update(X, y).solve()
    sides = {
        "kexue": Side(lambda: rule.log_proba(X)),
        "SciPy": Side(lambda: special.log_softmax((X - rule.mean) @ rule.centred_W.T + rule.centred_b, axis=1)),
    }
    return Workload(f"SoftmaxRule.log_proba, {rows}x{n}, {count} classes", sides, rtol=1e-9, atol=1e-9)


@recent
def closed_form(name: str, rows: int, n: int) -> Workload:
    """Slopes and intercepts."""
    X, y = classes(rows, n, 2 if name == "logistic_closed_form" else 10)
    Y = X[:, :5] @ np.random.default_rng(n).standard_normal((5, 3)) + X**2 @ np.ones((n, 3)) / n

    def slopes(result: tuple[Any, Any]) -> np.ndarray:
        W, b = (np.asarray(part) for part in result)
        return np.append(W.ravel(), b.ravel())

    def lda() -> tuple[np.ndarray, np.ndarray]:
        model = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
        return model.coef_, model.intercept_

    def least_squares() -> tuple[np.ndarray, np.ndarray]:
        solution = np.linalg.lstsq(np.column_stack([X, np.ones(rows)]), Y)[0]
        return solution[:-1], solution[-1]

    def scikit_learn() -> tuple[np.ndarray, np.ndarray]:
        model = LinearRegression().fit(X, Y)
        return model.coef_.T, model.intercept_

    kexue, peers = {
        "softmax_closed_form": (lambda: kx.softmax_closed_form(X, y), {"scikit-learn's LDA": lda}),
        "logistic_closed_form": (lambda: kx.logistic_closed_form(X, y), {"scikit-learn's LDA": lda}),
        "linear_regression_closed_form": (
            lambda: kx.linear_regression_closed_form(X, Y),
            {"scikit-learn": scikit_learn, "NumPy's lstsq": least_squares},
        ),
    }[name]
    sides = {side: Side(call, comparable=slopes) for side, call in {"kexue": kexue, **peers}.items()}
    return Workload(f"{name}, {rows}x{n}", sides, rtol=1e-8, atol=1e-9)


# ---- adversarial validation ----


@recent
def adversarial_split(rows: int, n: int) -> Workload:
    """The fifth of the rows that is nearest to a shifted test set, by five folds; compared by where its middle is."""
    rng = np.random.default_rng([rows, n])
    X, X_test = rng.standard_normal((rows, n)), rng.standard_normal((rows // 2, n))
    X_test[:, :3] += 0.6

    def kexue() -> np.ndarray:
        ((_, validation),) = kx.AdversarialSplit(X_test, rng=0).split(X)
        return validation

    def scikit_learn() -> np.ndarray:
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        labels = np.repeat([0, 1], [rows, rows // 2])
        found = cross_val_predict(model, np.concatenate([X, X_test]), labels, method="predict_proba", cv=5)[:rows, 1]
        return np.argsort(-found, kind="stable")[: rows // 5]

    def middle(validation: np.ndarray) -> np.ndarray:
        return X[validation, :3].mean(axis=0)

    sides = {
        "kexue": Side(kexue, comparable=middle),
        "scikit-learn's LogisticRegression": Side(scikit_learn, comparable=middle),
    }
    return Workload(f"AdversarialSplit, {rows} and {rows // 2} rows of {n}", sides, rtol=0.03)


@recent
def importance(name: str, count: int) -> Workload:
    rng = np.random.default_rng(count)
    probabilities, values = rng.beta(2, 3, count), rng.random(count)
    labels = (rng.random(count) < probabilities).astype(np.int64)
    weights = probabilities / (1 - probabilities)
    shares = weights / weights.sum()
    comparable, rtol = np.asarray, 1e-11
    kexue, expression = {
        "discriminator_weights": (
            lambda: kx.discriminator_weights(probabilities),
            lambda: probabilities / (1 - probabilities),
        ),
        "weighted_metric": (
            lambda: kx.weighted_metric(values, weights),
            lambda: np.average(values, weights=weights),
        ),
        "area_under_curve": (
            lambda: kx.area_under_curve(values, labels),
            lambda: roc_auc_score(labels, values),
        ),
        "resample_validation": (
            lambda: kx.resample_validation(weights, count // 5, rng=0),
            lambda: np.random.default_rng(0).choice(count, count // 5, p=shares),
        ),
    }[name]
    if name == "resample_validation":
        # The shares may differ in their last digits, and so may a few draws.
        comparable, rtol = (lambda rows: values[rows].mean()), 1e-4
    peer = "scikit-learn" if name == "area_under_curve" else "NumPy"
    sides = {"kexue": Side(kexue, comparable=comparable), peer: Side(expression, comparable=comparable)}
    return Workload(f"{name}, {count}", sides, rtol=rtol)


# ---- next-sentence rules ----


def _best_of_groups(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """By a sort, and the first entry of each group; in the order of the groups' first entries."""
    order = np.lexsort((-scores, groups))
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]]))
    return order[starts][np.argsort(np.minimum.reduceat(order, starts))]


def _best_in_a_loop(scores: np.ndarray, groups: np.ndarray) -> list[int]:
    best: dict[Any, int] = {}
    values = scores.tolist()
    for index, (score, group) in enumerate(zip(values, groups.tolist(), strict=True)):
        if group not in best or score > values[best[group]]:
            best[group] = index
    return list(best.values())


@recent
def next_sentence(name: str, count: int) -> Workload:
    """A million scores, of ten labels or of groups of ten."""
    rng = np.random.default_rng(count)
    logits, scores = rng.standard_normal((count, 2)), rng.random(count)
    candidates = scores.reshape(-1, 10)
    groups = rng.integers(count // 10, size=count)
    thresholds = np.array([0.25, 0.5, 0.75])

    def by_sorting() -> np.ndarray:
        labels = np.empty(count, dtype=np.int64)
        labels[np.argsort(scores, kind="stable")] = np.repeat(np.arange(4), count // 4)
        return labels

    kexue, peers = {
        "nsp_scores": (
            lambda: kx.nsp_scores(logits),
            {"SciPy's softmax": lambda: special.softmax(logits, axis=1)[:, 0]},
        ),
        "candidates_contrast": (
            lambda: kx.candidates_contrast(candidates),
            {"NumPy": lambda: np.argmax(candidates, axis=1)},
        ),
        "samples_contrast": (lambda: kx.samples_contrast(scores, 4).labels, {"NumPy": by_sorting}),
        "apply_thresholds": (
            lambda: kx.apply_thresholds(scores, thresholds),
            {"NumPy": lambda: np.digitize(scores, thresholds, right=True)},
        ),
        "grouped_argmax": (
            lambda: kx.grouped_argmax(scores, groups),
            {
                "NumPy": lambda: _best_of_groups(scores, groups),
                "a loop": lambda: _best_in_a_loop(scores, groups),
            },
        ),
    }[name]
    sides = {side: Side(call) for side, call in {"kexue": kexue, **peers}.items()}
    return Workload(f"{name}, {count}", sides, rtol=1e-13)
