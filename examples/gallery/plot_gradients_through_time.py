r"""
Why gradients vanish, and why they explode
==========================================

The gradient of a recurrent network's last state by an early one is a product of Jacobians,

.. math::

   \frac{\partial h_T}{\partial h_t} = J_T J_{T-1} \cdots J_{t+1}, \qquad J_s = \frac{\partial h_s}{\partial h_{s-1}},

whose norm grows or falls exponentially with its length. After a thousand steps it may be below :math:`10^{-300}`,
where float64 ends. :func:`kexue.jacobian_product_log_norms` works in logarithms, so that the slope can still be seen.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx
import kexue.plot

rng = np.random.default_rng(0)
UNITS, STEPS = 16, 600
x = rng.normal(size=(5, STEPS, 4))

# %%
# A tanh network by the spectral radius :math:`\rho` of its recurrent weights. Small weights: the gradient vanishes.
# Large ones: states saturate, which holds the explosion back and does not prevent it. What is between is a narrow
# range.

jacobians = {}
for radius in (0.6, 1.0, 1.4, 2.5):
    U = radius * rng.normal(size=(UNITS, UNITS)) / np.sqrt(UNITS)
    W = 0.3 * rng.normal(size=(4, UNITS))
    jacobians[rf"$\rho$ = {radius}"] = kx.simple_rnn(x, W, U, return_jacobians=True)[-1]

fig, ax = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
kexue.plot.gradient_norms(jacobians, ax=ax)
ax.set_title("tanh networks by the radius of their weights")

# %%
# Gates: the LSTM's cell is multiplied by its forget gate alone, so it can be taught to remember. With a forget bias
# of 0 a gate is about one half, and nearly half of the gradient is lost in each step; with 4 it lives for hundreds of
# steps. The GRU without such a bias does little better than the first.

jacobians = {}
for name, bias in (("LSTM, forget bias 0", 0.0), ("LSTM, forget bias 4", 4.0)):
    W, U = 0.3 * rng.normal(size=(4, 4 * UNITS)), 0.5 * rng.normal(size=(UNITS, 4 * UNITS)) / np.sqrt(UNITS)
    b = np.zeros(4 * UNITS)
    b[:UNITS] = bias
    jacobians[name] = kx.lstm(x[:, :300], W, U, b, return_jacobians=True)[-1]
W, U = 0.3 * rng.normal(size=(4, 3 * UNITS)), 0.5 * rng.normal(size=(UNITS, 3 * UNITS)) / np.sqrt(UNITS)
jacobians["GRU"] = kx.gru(x[:, :300], W, U, return_jacobians=True)[-1]

fig, ax = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
kexue.plot.gradient_norms(jacobians, ax=ax)
ax.set_title("gated networks")

# %%
# The slope has a name: Lyapunov exponents. Positive: two nearby states part exponentially, and so do gradients.

radii = np.linspace(0.4, 3, 14)
exponents = []
for radius in radii:
    U = radius * np.random.default_rng(1).normal(size=(UNITS, UNITS)) / np.sqrt(UNITS)
    run = kx.simple_rnn(0.3 * x[:1, :500], W[:, :UNITS], U, return_jacobians=True)[-1]
    exponents.append(kx.lyapunov_exponents(run[0])[0])
fig, ax = plt.subplots(figsize=(5.2, 3), layout="constrained")
ax.axhline(0, color="0.7", linewidth=1, zorder=0)
ax.plot(radii, exponents, "o-")
ax.set(xlabel=r"spectral radius $\rho$", ylabel="largest Lyapunov exponent")
plt.show()
