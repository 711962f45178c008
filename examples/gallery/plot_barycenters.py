r"""
Between two shapes: Wasserstein barycentres
===========================================

The mean of two histograms is both of them, half as high. Their Wasserstein barycentre lies between them:

.. math:: \min_p \sum_k \lambda_k \, \mathrm{OT}_\varepsilon(h_k, p).

:func:`kexue.sinkhorn_barycenter` finds it by iterative Bregman projections (Benamou et al., arXiv:1412.5154).
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

SIZE = 32
rows, columns = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
disc = rows**2 + columns**2 < 0.45
ring = np.abs(np.hypot(rows, columns) - 0.68) < 0.14
cross = (np.minimum(np.abs(rows), np.abs(columns)) < 0.16) & (np.maximum(np.abs(rows), np.abs(columns)) < 0.85)
shapes = np.stack([shape.ravel() / shape.sum() for shape in (cross, ring)]).astype(float)

places = np.c_[rows.ravel(), columns.ravel()]
M = ((places[:, None] - places) ** 2).sum(axis=2)

# %%
# The weights go from one shape to the other. Above: barycentres, whose arms swing outwards and close to a ring.
# Below: means, in which nothing moves.

shares = np.linspace(0, 1, 6)
fig, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for column, share in zip(axes.T, shares, strict=True):
    weights = np.array([1 - share, share])
    between = kx.sinkhorn_barycenter(shapes, M, 0.01, weights=np.maximum(weights, 1e-9))
    for ax, image in zip(column, (between, weights @ shapes), strict=True):
        ax.imshow(image.reshape(SIZE, SIZE), cmap="bone_r")
        ax.set(xticks=[], yticks=[])
    column[0].set_title(f"{share:.0%}")
axes[0, 0].set_ylabel("barycentre")
axes[1, 0].set_ylabel("mean")
plt.show()
