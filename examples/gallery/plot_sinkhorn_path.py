r"""
From a matching to a blur: the regularisation of Sinkhorn
=========================================================

Entropic transport adds a price for plans that are sharp:

.. math:: \min_P \; \langle P, M \rangle + \varepsilon \sum_{ij} P_{ij} \log P_{ij}, \qquad P 1 = a,\; P^\top 1 = b.

As :math:`\varepsilon` falls the plan approaches the exact one; as it grows, the product :math:`a b^\top`, which knows
nothing of the cost. The usual kernel :math:`e^{-M / \varepsilon}` underflows on the way down. Here every value
converges.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

grid = np.linspace(0, 1, 100)
a = np.exp(-(((grid - 0.25) / 0.08) ** 2)) + 0.02
b = np.exp(-(((grid - 0.55) / 0.05) ** 2)) + 0.7 * np.exp(-(((grid - 0.8) / 0.06) ** 2)) + 0.02
a, b = a / a.sum(), b / b.sum()
M = (grid[:, None] - grid) ** 2

fig, axes = plt.subplots(1, 4, figsize=(9.5, 2.7), layout="constrained", sharey=True)
for ax, reg in zip(axes, (0.0003, 0.003, 0.03, 0.3), strict=True):
    ax.imshow(kx.sinkhorn(a, b, M, reg) ** 0.5, cmap="magma", origin="lower", extent=(0, 1, 0, 1))
    ax.set(title=rf"$\varepsilon$ = {reg:g}", xlabel="to")
axes[0].set_ylabel("from")

# %%
# What that does to numbers. The entropic plan costs more than the exact one, and the more the larger
# :math:`\varepsilon` is. Even from a histogram to itself it costs something, as mass is blurred. The Sinkhorn
# divergence subtracts what the blur does to each side alone: it is 0 for equal histograms at any :math:`\varepsilon`.

exact = kx.emd2(a, b, M)
regs = np.logspace(-4, 0.5, 25)
cost = [kx.sinkhorn2(a, b, M, reg) for reg in regs]
itself = [kx.sinkhorn2(a, a, M, reg) for reg in regs]
points = grid[:, None]
divergence = [kx.sinkhorn_divergence(points, points, reg, a=a, b=b) for reg in regs]
to_itself = [kx.sinkhorn_divergence(points, points, reg, a=a, b=a) for reg in regs]

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.axhline(exact, color="0.6", linewidth=3, label="exact cost, $a$ to $b$")
ax.semilogx(regs, cost, "C0", label="cost of the entropic plan, $a$ to $b$")
ax.semilogx(regs, itself, "C0--", label="the same, $a$ to $a$")
ax.semilogx(regs, divergence, "C3", label="Sinkhorn divergence, $a$ to $b$")
ax.semilogx(regs, to_itself, "C3--", label="the same, $a$ to $a$")
ax.set(xlabel=r"regularisation $\varepsilon$", ylabel="cost, or divergence", ylim=(-0.01, None))
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(0, 0.55))
plt.show()
