r"""
A plan between two clouds of points
===================================

Forty points are to become sixty others. Mass :math:`a_i = 1/40` lies at each source, mass :math:`b_j = 1/60` is
wanted at each target, and moving a unit costs the distance. The cheapest plan solves

.. math:: \min_P \sum_{ij} P_{ij} M_{ij} \quad\text{over}\quad P \ge 0,\; P 1 = a,\; P^\top 1 = b.

It is a linear program, so an optimal plan sits at a vertex: of 2400 entries at most 40 + 60 - 1 are not zero.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

rng = np.random.default_rng(4)
angles = rng.uniform(0, np.pi, 40)
x = np.c_[np.cos(angles), np.sin(angles)] + rng.normal(scale=0.06, size=(40, 2))
angles = rng.uniform(0, np.pi, 60)
y = np.c_[1 - np.cos(angles), 0.4 - np.sin(angles)] + rng.normal(scale=0.06, size=(60, 2))
M = np.linalg.norm(x[:, None] - y, axis=2)

result = kx.solve(M)
print(f"cost {result.value:.6f}, gap {result.gap:.1e}, {result.sparse_plan.nnz} moves")

# %%
# Each line is a move, as wide as its mass. No two lines cross: where they did, swapping their ends would be shorter.

fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
plan = result.sparse_plan
for i, j, mass in zip(*plan.coords, plan.data, strict=True):
    ax.plot(*zip(x[i], y[j], strict=True), color="0.45", linewidth=120 * mass, solid_capstyle="round", zorder=1)
ax.scatter(*x.T, s=30, label="sources", zorder=2)
ax.scatter(*y.T, s=22, marker="s", label="targets", zorder=2)
ax.set_aspect("equal")
ax.set_axis_off()
ax.legend(frameon=False)

# %%
# How do we know that no plan is cheaper? The potentials :math:`u, v` of the result satisfy :math:`u_i + v_j \le
# M_{ij}` everywhere, so every plan costs at least :math:`\sum a_i u_i + \sum b_j v_j`. The *gap* printed above is the
# difference between the cost and that bound: rounding errors. Where mass moves, the bound is tight.

u, v = result.potentials
slack = M - u[:, None] - v
moves = result.plan > 0

fig, axes = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained", width_ratios=[1.1, 1])
image = axes[0].imshow(slack, cmap="cividis", aspect="auto")
axes[0].scatter(*np.nonzero(moves)[::-1], s=6, color="white")
axes[0].set(title="slack $M - u - v$; dots: where mass moves", xlabel="target", ylabel="source")
fig.colorbar(image, ax=axes[0])
bins = np.linspace(0, slack.max(), 40)
axes[1].hist(slack[~moves], bins, label="no mass moves")
axes[1].hist(np.abs(slack[moves]), bins, label="mass moves")
axes[1].set(xlabel="slack", ylabel="pairs", yscale="log")
axes[1].legend(frameon=False)
plt.show()
