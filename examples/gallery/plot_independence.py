r"""
Dependence that no correlation sees
===================================

HSIC compares all pairs of points: if x and y are independent, pairs that are near in x are no nearer in y than
others. With centred kernel matrices :math:`K, L` of n points,

.. math:: \mathrm{HSIC} = \frac{1}{n^2} \operatorname{tr}(K H L H), \qquad H = I - \tfrac1n 1 1^\top,

and :func:`kexue.hsic_test` says how rarely independent samples would reach that much.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

rng = np.random.default_rng(0)


def circle(n, noise):
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.cos(angle) + noise * rng.normal(size=n), np.sin(angle) + noise * rng.normal(size=n)


def parabola(n, noise):
    x = rng.uniform(-1, 1, n)
    return x, x**2 + noise * rng.normal(size=n)


def independent(n, noise):
    return rng.normal(size=n), rng.normal(size=n)


fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, law in zip(axes, (circle, parabola, independent), strict=True):
    x, y = law(200, 0.1)
    correlation = np.corrcoef(x, y)[0, 1]
    p = kx.hsic_test(x[:, None], y[:, None], rng=0).pvalue
    ax.scatter(x, y, s=8)
    ax.set(xlabel="x", ylabel="y")
    ax.set_title(f"{law.__name__}\ncorrelation {correlation:.2f}, HSIC's p = {p:.3f}")

# %%
# Where the test says 0.001, none of 1000 shuffled samples had as large an HSIC: that is the smallest p that it can
# give. How many points does it take to notice? The power is how often p is below 0.05, here over 60 samples of a
# noisy circle. The line below is how often that happens without any dependence: 5%, as it must.


def power(law, n):
    tests = [law(n, 0.25) for _ in range(60)]
    return np.mean([kx.hsic_test(x[:, None], y[:, None], n_permutations=100, rng=1).pvalue < 0.05 for x, y in tests])


def power_of_correlation(n):
    bound = 1.96 / np.sqrt(n)
    return np.mean([abs(np.corrcoef(*circle(n, 0.25))[0, 1]) > bound for _ in range(60)])


sizes = [20, 40, 80, 120, 160]
fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
ax.plot(sizes, [power(circle, n) for n in sizes], "o-", label="HSIC, noisy circle")
ax.plot(sizes, [power_of_correlation(n) for n in sizes], "s--", label="correlation, noisy circle")
ax.plot(sizes, [power(independent, n) for n in sizes], "^:", label="HSIC, independent")
ax.axhline(0.05, color="0.7", linewidth=1, zorder=0)
ax.set(xlabel="points", ylabel="share of tests that reject", ylim=(-0.02, 1.02))
ax.legend(frameon=False)
plt.show()
