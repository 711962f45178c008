r"""
Colours of one picture in another
=================================

A picture's colours are points of a cube. To give one picture the mood of another, move its cloud of colours onto the
other's at the least cost. For Gaussians of the same means and covariances the optimal map is linear,

.. math::

   T(x) = m_q + A (x - m_p), \qquad
   A = \Sigma_p^{-1/2} (\Sigma_p^{1/2} \Sigma_q \Sigma_p^{1/2})^{1/2} \Sigma_p^{-1/2},

and :func:`kexue.gaussian_ot_map` computes it. The exact plan between samples of the colours has no such form, and
follows the clouds more closely.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

rng = np.random.default_rng(0)
HEIGHT, WIDTH = 96, 128
rows, columns = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT]], [[WIDTH]]]


def landscape(sky_top, sky_low, hill_far, hill_near, sun):
    """Sky, a sun, two ranges of hills; a little grain."""
    picture = sky_top + (sky_low - sky_top) * rows[..., None]
    picture = np.where((np.hypot(rows - 0.3, (columns - 0.7) * 1.3) < 0.09)[..., None], sun, picture)
    far = rows > 0.6 - 0.12 * np.sin(5 * columns + 1)
    near = rows > 0.75 - 0.1 * np.sin(7 * columns)
    picture = np.where(far[..., None], hill_far * (1.3 - 0.5 * rows[..., None]), picture)
    picture = np.where(near[..., None], hill_near * (1.4 - 0.6 * rows[..., None]), picture)
    return np.clip(picture + rng.normal(scale=0.02, size=picture.shape), 0, 1)


day = landscape(*map(np.array, ([0.25, 0.5, 0.9], [0.8, 0.9, 1.0], [0.3, 0.55, 0.5], [0.2, 0.5, 0.2], [1.0, 1.0, 0.8])))
dusk = landscape(
    *map(np.array, ([0.3, 0.1, 0.4], [1.0, 0.6, 0.3], [0.35, 0.2, 0.35], [0.2, 0.08, 0.15], [1, 0.9, 0.5]))
)

# %%
# The linear map, and the exact plan between 800 colours of each. A colour of the sample goes to the mean of where its
# mass goes, and the other pixels move as the nearest colour of the sample does. The linear map cannot bend the cloud:
# the sun loses its yellow. The plan must use up every colour of its target: a few pixels become bright ones, since
# there is more sun in one sample than in the other.

x, y = day.reshape(-1, 3), dusk.reshape(-1, 3)
gaussian = kx.gaussian_ot_map(x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T))
linear = np.clip(gaussian(x), 0, 1).reshape(day.shape)

sample_x, sample_y = x[rng.choice(len(x), 800, replace=False)], y[rng.choice(len(y), 800, replace=False)]
plan = kx.emd(None, None, ((sample_x[:, None] - sample_y) ** 2).sum(axis=2))
moved = plan @ sample_y * 800
nearest = ((x**2).sum(axis=1)[:, None] + (sample_x**2).sum(axis=1) - 2 * x @ sample_x.T).argmin(axis=1)
exact = np.clip(x + (moved - sample_x)[nearest], 0, 1).reshape(day.shape)

fig, axes = plt.subplots(2, 4, figsize=(10, 4.4), layout="constrained", height_ratios=[1, 1.1])
titles = ("picture", "mood", "linear map", "exact plan")
for column, title, picture in zip(axes.T, titles, (day, dusk, linear, exact), strict=True):
    column[0].imshow(picture)
    column[0].set_title(title)
    column[0].set_axis_off()
    colours = picture.reshape(-1, 3)[::7]
    column[1].scatter(colours[:, 0], colours[:, 2], s=3, c=colours)
    column[1].set(xlim=(0, 1), ylim=(0, 1), xlabel="red", xticks=[0, 1], yticks=[0, 1], aspect="equal")
axes[1, 0].set_ylabel("blue")

# %%
# How far the clouds are from the mood's: squared 2-Wasserstein distances of 400 colours each.


def distance(picture):
    colours = picture.reshape(-1, 3)[:: len(x) // 400][:400]
    target = y[:: len(y) // 400][:400]
    return kx.emd2(None, None, ((colours[:, None] - target) ** 2).sum(axis=2))


for title, picture in zip(titles, (day, dusk, linear, exact), strict=True):
    print(f"{title:10}  {distance(picture):.5f}")
plt.show()
