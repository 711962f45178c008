r"""
Attention as a product of features, and what it costs
=====================================================

Softmax attention weighs keys by :math:`e^{q \cdot k}`, which takes all pairs. If :math:`e^{q \cdot k} \approx \phi(q)
\cdot \phi(k)` for features of finite dimension, sums over keys can be made once, and the time is linear in the
length. Two kinds of features: random ones (FAVOR), unbiased for any q and k; polynomial ones, exact up to a power of
q · k.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx
import kexue.plot

rng = np.random.default_rng(0)
Q, K = rng.normal(size=(2, 200, 4)) * 0.6

fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained", sharey=True)
exact = np.exp(Q @ K.T)
exact_range = [exact.min(), exact.max()]
features = {
    "FAVOR, 16 features": lambda X: kx.favor_features(X, W16),
    "FAVOR, 256 features": lambda X: kx.favor_features(X, W256),
    "Taylor, degree 2": lambda X: kx.taylor_features(X, 2),
}
W16, W256 = kx.favor_projection(16, 4, rng=0), kx.favor_projection(256, 4, rng=0)
for ax, (name, phi) in zip(axes, features.items(), strict=True):
    ax.scatter(exact, phi(Q) @ phi(K).T, s=2, alpha=0.3, edgecolors="none", rasterized=True)
    ax.plot(exact_range, exact_range, color="0.5", linewidth=1)
    ax.set(xscale="log", yscale="log", title=name, xlabel=r"$e^{q \cdot k}$")
axes[0].set_ylabel(r"$\phi(q) \cdot \phi(k)$")

# %%
# Random features are right on average, and wrong by a factor that grows with the length of :math:`q + k`. Taylor's
# polynomial of degree 2 is positive and nearly exact about :math:`q \cdot k = 0`, but it rises again on the left, and
# falls behind on the right. Which is better depends on the dimension and on how long q and k are:
# :func:`kexue.plot.kernel_error` draws it for your own; dotted is the law of independent random directions.

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained", sharey=True)
for ax, length in zip(axes, (0.3, 0.6), strict=True):
    kexue.plot.kernel_error(length * rng.normal(size=(200, 4)), n_features=[8, 16, 32, 64, 128, 256], rng=0, ax=ax)
    ax.set_title(f"entries of q and k with standard deviation {length}")

# %%
# And what it does to outputs: attention over 512 keys by random features, beside the exact result. For short q and k
# the error falls like :math:`m^{-1/2}`, as of any mean. For longer ones a few large features decide, and more of them
# help little: scale q and k down, or take attention as it is.

numbers = [8, 16, 32, 64, 128, 256, 512]
fig, ax = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
for length, marker in ((0.3, "o"), (0.6, "s")):
    q, k = length * rng.normal(size=(2, 512, 4))
    v = rng.normal(size=(512, 4))
    exact = kx.attention(q, k, v, scale=1.0)
    errors = []
    for m in numbers:
        outputs = [kx.favor_attention(q, k, v, kx.favor_projection(m, 4, rng=seed), scale=1.0) for seed in range(10)]
        errors.append(np.sqrt(np.mean((np.array(outputs) - exact) ** 2)))
    ax.loglog(numbers, errors, f"{marker}-", label=f"standard deviation {length}")
ax.loglog(numbers, 0.02 / np.sqrt(numbers), "--", color="0.6", label=r"slope $m^{-1/2}$")
ax.set(xlabel="features m", ylabel="error of an output, rms")
ax.legend(frameon=False)
plt.show()
