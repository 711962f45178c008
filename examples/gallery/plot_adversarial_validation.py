r"""
A validation set that looks like the test set
=============================================

If test rows are distributed differently, the error on held-out training rows is the error of another task. A
classifier D that tells test rows from training rows knows how: the odds are the ratio of the densities,

.. math:: w(x) = \frac{D(x)}{1 - D(x)} \approx \frac{p_\text{test}(x)}{p_\text{train}(x)},

with which rows can be weighted or drawn. :class:`kexue.AdversarialSplit` does it, cross-fitted.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx
import kexue.plot

rng = np.random.default_rng(0)


def sample(n, centre):
    X = np.c_[rng.normal(centre, 1, n), rng.normal(0, 1, n)]
    return X, np.sin(1.2 * X[:, 0]) + 0.3 * X[:, 1] + 0.2 * rng.normal(size=n)


X, _ = sample(3000, 0.0)
X_test, _ = sample(3000, 0.8)

splitter = kx.AdversarialSplit(X_test, validation_size=0.2, method="resample", rng=0)
train, validation = next(splitter.split(X))

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
bins = np.linspace(-4, 5, 46)
for rows, name in ((X, "training rows"), (X_test, "test rows"), (X[validation], "validation rows")):
    axes[0].hist(rows[:, 0], bins, density=True, histtype="step", linewidth=1.8, label=name)
axes[0].set(xlabel="$x_0$", yticks=[])
axes[0].legend(frameon=False)
kexue.plot.discriminator_weights(splitter, ax=axes[1])

# %%
# What it is worth: a line is fitted to a sine, so its error depends on where one looks. 60 repetitions with 1000
# rows, of which 200 validate. A random split says that all is well, each time. Weighted losses are right on average,
# and scatter, as a few heavy rows decide. Rows that are drawn by their weights scatter less.

rows = []
for seed in range(60):
    X, y = sample(1000, 0.0)
    X_test, y_test = sample(1000, 0.8)
    splitter = kx.AdversarialSplit(X_test, method="resample", rng=seed)
    train, drawn = next(splitter.split(X))
    held_out = rng.permutation(1000)[:200]
    estimates = []
    for fitted, checked, weights in (
        (np.setdiff1d(np.arange(1000), held_out), held_out, None),
        (np.setdiff1d(np.arange(1000), held_out), held_out, splitter.weights_[held_out]),
        (train, drawn, None),
    ):
        line = np.linalg.lstsq(np.c_[X[fitted], np.ones(len(fitted))], y[fitted], rcond=None)[0]
        losses = (np.c_[X[checked], np.ones(len(checked))] @ line - y[checked]) ** 2
        estimates.append(losses.mean() if weights is None else kx.weighted_metric(losses, weights))
    full = np.linalg.lstsq(np.c_[X, np.ones(1000)], y, rcond=None)[0]
    rows.append([((np.c_[X_test, np.ones(1000)] @ full - y_test) ** 2).mean(), *estimates])
rows = np.array(rows)

differences = rows[:, 1:] - rows[:, :1]
names = ("random", "random, weighted", "resampled")
for name, difference in zip(names, differences.T, strict=True):
    print(f"{name:17} {difference.mean():+.3f}, standard deviation {difference.std():.3f}")

fig, ax = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
ax.axvline(0, color="0.6", linewidth=1)
ax.boxplot(differences, orientation="horizontal", tick_labels=names, widths=0.5, medianprops={"color": "C1"})
ax.invert_yaxis()
ax.set(xlabel=f"estimated error less the error on test rows (which is {rows[:, 0].mean():.2f} on average)")
plt.show()
