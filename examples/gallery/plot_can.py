r"""
What the certain predictions say about the others
=================================================

A classifier that is certain of 80% of a batch has said how often each class occurs there. If class 0 is used up, an
undecided row is rather of class 1. Classification with alternating normalisation puts one undecided row :math:`p` below
the certain rows :math:`A`, scales the columns so that their means are the known frequencies :math:`\pi`, and the row to
sum 1:

.. math:: q_j \propto \frac{\pi_j \, p_j}{p_j + \sum_i A_{ij}}.

Nothing is learned.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

rng = np.random.default_rng(3)
PRIOR = np.array([0.6, 0.3, 0.1])
centres = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.7]])


def sample(n, shares):
    classes = rng.choice(3, size=n, p=shares)
    return centres[classes] + rng.normal(scale=0.75, size=(n, 2)), classes


# %%
# The classifier was trained on classes of equal frequency, in which it is optimal: Bayes' rule with equal priors. In
# use they are as 6 : 3 : 1, and that is known.

X, classes = sample(3000, PRIOR)
P = kx.softmax(-((X[:, None] - centres) ** 2).sum(axis=2) / (2 * 0.75**2))
corrected, uncertainty = kx.can(P, PRIOR, threshold=0.6, return_uncertainty=True)
uncertain = uncertainty >= 0.6

for name, rows in (("all rows", slice(None)), ("uncertain rows", uncertain)):
    before, after = ((p[rows].argmax(axis=1) == classes[rows]).mean() for p in (P, corrected))
    print(f"{name:15} accuracy {before:.3f} -> {after:.3f}")

# %%
# Rows in the simplex of three classes: corners are certainty. The uncertain ones move away from the rare class at the
# top; certain ones stay where they are.


def simplex(p):
    return p @ np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])


fig, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
ax.fill([0, 1, 0.5], [0, 0, 3**0.5 / 2], color="0.95")
shown = rng.choice(np.flatnonzero(uncertain), 120, replace=False)
start, end = simplex(P[shown]), simplex(corrected[shown])
ax.quiver(*start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1, width=0.003, color="C1", zorder=2)
ax.scatter(*simplex(P[~uncertain][::4]).T, s=5, label="certain")
for corner, name in zip(np.eye(3), ("class 0, 60%", "class 1, 30%", "class 2, 10%"), strict=True):
    side, offset = ("bottom", 4) if corner[2] else ("top", -4)
    ax.annotate(name, simplex(corner), xytext=(0, offset), textcoords="offset points", ha="center", va=side)
ax.set_aspect("equal")
ax.set_axis_off()
ax.legend(frameon=False, loc="upper left")

# %%
# How it depends on the frequencies that are given. Near the true ones it helps, far below them it harms. It is a
# heuristic: the best guess is not quite the truth.

shares = np.linspace(0.05, 0.9, 18)
priors = [(share, (1 - share) * 0.75, (1 - share) * 0.25) for share in shares]
accuracy = [(kx.can(P, prior, threshold=0.6).argmax(axis=1) == classes).mean() for prior in priors]
fig, ax = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
ax.plot(shares, accuracy, "o-")
ax.axhline((P.argmax(axis=1) == classes).mean(), color="0.6", label="without")
ax.axvline(0.6, color="0.8", linewidth=1, zorder=0)
ax.set(xlabel="frequency of class 0 that is assumed (true: 0.6)", ylabel="accuracy")
ax.legend(frameon=False)
plt.show()
