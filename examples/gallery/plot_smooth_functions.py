r"""
Corners made smooth
===================

Convolving a function that has corners or steps with a density :math:`k` makes it smooth, and keeps what it is like
from afar:

.. math:: (f * k)(x) = \int f(x - y) \, k(y) \, dy.

relu becomes a different known activation for each density: SquarePlus for Student's t with two degrees of freedom,
softplus for the logistic density, and an antiderivative of the normal distribution for a Gaussian.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

x = np.linspace(-3, 3, 601)
b = kx.SQUAREPLUS_B_MINIMAX

# %%
# SquarePlus needs no exponential. Which b is nearest to softplus? 4 gives the same curvature at 0,
# :data:`kexue.SQUAREPLUS_B_MINIMAX` the least of the largest differences: it is reached at 0 and near 3.56, with
# opposite signs, as it must be for the best approximation.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
axes[0].plot(x, np.maximum(x, 0), color="0.75", linewidth=4, label="relu")
axes[0].plot(x, kx.softplus(x), label=r"softplus, $\log(1 + e^x)$")
axes[0].plot(x, kx.squareplus(x, b), label=r"SquarePlus, $(x + \sqrt{x^2 + b}) / 2$")
axes[0].legend(frameon=False)
axes[0].set_title("two smooth relus")
wide = np.linspace(0, 12, 601)
for value, name in ((4.0, "b = 4, equal curvature"), (b, f"b = {b:.4f}, minimax"), (1.0, "b = 1")):
    axes[1].plot(wide, kx.squareplus(wide, value) - kx.softplus(wide), label=name)
axes[1].axhline(0, color="0.7", linewidth=1, zorder=0)
axes[1].set(title="SquarePlus less softplus", xlabel="x")
axes[1].legend(frameon=False)

# %%
# The same for functions with jumps, whose derivatives are zero almost everywhere and useless for learning. Wide
# kernels make gradients, narrow ones are faithful.

stairs = np.linspace(-1.5, 2.5, 801)
fig, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained", sharey=True)
for ax, (kernel, scales) in zip(
    axes, {"gaussian": (0.05, 0.15, 0.4), "logistic": (40, 15, 5), "cauchy": (0.02, 0.08, 0.3)}.items(), strict=True
):
    ax.plot(stairs, np.floor(stairs), color="0.8", linewidth=4)
    for scale in scales:
        ax.plot(stairs, kx.smooth_floor(stairs, kernel=kernel, scale=scale), label=f"scale {scale:g}")
    ax.set_title(f"floor, {kernel}")
    ax.legend(frameon=False)

# %%
# And for a function of your own: :func:`kexue.smooth_function` integrates, when it is told where the corners are.


def tent(x):
    return np.maximum(1 - np.abs(x), 0)


fig, ax = plt.subplots(figsize=(5.4, 3), layout="constrained")
t = np.linspace(-2, 2, 201)
ax.plot(t, tent(t), color="0.8", linewidth=4)
for scale in (0.1, 0.3, 0.6):
    ax.plot(t, kx.smooth_function(tent, "gaussian", scale, breakpoints=[-1, 0, 1])(t), label=f"scale {scale:g}")
ax.legend(frameon=False)
plt.show()
