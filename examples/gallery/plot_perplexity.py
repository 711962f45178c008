r"""
Rows of a given entropy
=======================

A power of a distribution, :math:`q_i \propto p_i^\gamma`, is sharper for :math:`\gamma > 1` and flatter for
:math:`\gamma < 1`. :func:`kexue.entropy_normalize` finds the :math:`\gamma` that gives each row a wanted entropy
:math:`H`, or perplexity :math:`e^H`: the number of entries that a uniform distribution of that entropy has.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

rng = np.random.default_rng(1)
p = kx.softmax(rng.normal(scale=1.3, size=14))

fig, axes = plt.subplots(1, 3, figsize=(9.5, 2.7), layout="constrained", sharey=True)
for ax, perplexity in zip(axes, (2, 6, 12), strict=True):
    ax.bar(np.arange(14), p, color="0.8", label="$p$")
    q = kx.entropy_normalize(p, perplexity, target_kind="perplexity")
    ax.bar(np.arange(14), q, width=0.4, label="$q$")
    ax.set(title=f"perplexity {perplexity}", xticks=[])
    ax.legend(frameon=False)

# %%
# The entropy falls monotonically with :math:`\gamma`, from :math:`\log n` to the logarithm of how many entries share
# the maximum: every target between has one solution.

gamma = np.logspace(-2, 1.5, 200)
entropy, _ = kx.entropy_power_curve(p, gamma)
fig, ax = plt.subplots(figsize=(5.2, 3), layout="constrained")
ax.semilogx(gamma, np.exp(entropy))
for perplexity in (2, 6, 12):
    _, info = kx.entropy_normalize(p, perplexity, target_kind="perplexity", log=True)
    ax.plot(info.gamma, perplexity, "o", color="C1")
ax.set(xlabel=r"$\gamma$", ylabel="perplexity of $p^\\gamma$")

# %%
# The first step of t-SNE is the same problem: each point looks at its neighbours through a Gaussian, as wide as it
# takes to have, say, 20 of them. Where points lie densely, the Gaussians are narrow: every point gets the same number
# of neighbours, and outliers too.

points = np.r_[rng.normal(scale=0.15, size=(150, 2)), rng.normal(loc=[2.2, 0], scale=0.7, size=(150, 2))]
points = points[points[:, 0].argsort()]
squared = ((points[:, None] - points) ** 2).sum(axis=2)
affinities, info = kx.perplexity_affinities(squared, 20, log=True)
width = 1 / np.sqrt(2 * info.gamma)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained", width_ratios=[1.3, 1])
dots = axes[0].scatter(*points.T, c=width, s=14, cmap="viridis", norm="log")
axes[0].set_aspect("equal")
fig.colorbar(dots, ax=axes[0], label="standard deviation of a point's Gaussian")
axes[1].imshow(affinities, cmap="magma", vmin=0, vmax=0.1)
axes[1].set(title="affinities: rows of equal perplexity", xlabel="point, from left to right", ylabel="point")
plt.show()
