r"""
Fewer dimensions, nearly the same distances
===========================================

Johnson and Lindenstrauss: n points of any space can be mapped linearly into :math:`k = O(\log n / \varepsilon^2)`
dimensions such that no squared distance changes by more than a share :math:`\varepsilon`. A random matrix does it. k
does not depend on where the points come from.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import pdist

import kexue as kx
import kexue.plot

rng = np.random.default_rng(0)
X = rng.normal(size=(150, 1000)) * np.exp(-np.arange(1000) / 150)
before = pdist(X, "sqeuclidean")

fig, axes = plt.subplots(1, 3, figsize=(9.5, 2.9), layout="constrained", sharex=True)
for ax, k in zip(axes, (16, 64, 256), strict=True):
    ratio = pdist(kx.random_projection(X, k, kind="srht", rng=0), "sqeuclidean") / before
    ax.hist(ratio, bins=np.linspace(0, 2.2, 67))
    ax.axvline(1, color="0.5", linewidth=1)
    ax.set(title=f"{k} dimensions", xlabel="squared distance, after / before", yticks=[])

# %%
# The width falls like :math:`\sqrt{2 / k}`. How many dimensions are enough for all pairs at once is
# :func:`kexue.jl_min_dim`: logarithmic in the number of points, quadratic in the accuracy.

fig, ax = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
points = np.logspace(1, 6, 60).astype(int)
for eps in (0.1, 0.2, 0.5):
    ax.loglog(points, kx.jl_min_dim(points, eps), label=rf"$\varepsilon$ = {eps}")
ax.set(xlabel="points", ylabel="dimensions that are enough")
ax.legend(frameon=False)

# %%
# What four kinds of projections do to the data above: the largest change of a distance (solid), the change that 95%
# of distances stay below (dashed), and what the largest change is below with 95% confidence if the matrix is Gaussian
# (dotted). ``srht`` and ``osnap``, which need no product with a full matrix, do about as well.

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
kexue.plot.distortion(X, [16, 32, 64, 128, 256, 512], kinds=["gaussian", "rademacher", "srht", "osnap"], rng=0, ax=ax)
plt.show()
