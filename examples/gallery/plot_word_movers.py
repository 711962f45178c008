r"""
Which word moved where
======================

The Word Mover's Distance of two texts is the cost of the cheapest way to turn the words of one into the words of the
other, a word moving to another at the distance of their vectors. The number says how far the texts are apart; the
plan behind it says why.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx
import kexue.plot

# %%
# Vectors come from somewhere: a file of GloVe or word2vec (:meth:`kexue.WordVectors.load`), or a corpus. Here they
# are made by hand, one axis a topic, so that the picture can be checked by eye.

topics = {  # politics, media, speaking, place, food
    "Obama": [3.0, 0.3, 0.3, 0.4, 0], "president": [3.1, 0, 0.2, 0.2, 0.1],
    "speaks": [0.3, 0.5, 2.9, 0, 0], "greets": [0.5, 0.1, 2.5, 0.2, 0.1],
    "media": [0.3, 3.0, 0.6, 0, 0], "press": [0.2, 2.9, 0.8, 0.1, 0],
    "Illinois": [0.4, 0, 0, 2.9, 0.1], "Chicago": [0.2, 0.1, 0, 3.1, 0.3],
    "band": [0, 1.0, 1.0, 0.2, 0.2], "eats": [0, 0, 0.6, 0.2, 2.8], "pizza": [0, 0.1, 0, 0.5, 3.2],
}  # fmt: skip
query = ["Obama", "speaks", "media", "Illinois"]
near = ["president", "press", "Chicago"]
far = ["band", "eats", "pizza", "Chicago"]


def vectors(words):
    return np.array([topics[word] for word in words], dtype=float)


print(f"to the near text {kx.wmd(vectors(query), vectors(near)):.3f}")
print(f"to the far text  {kx.wmd(vectors(query), vectors(far)):.3f}")

# %%
# Bars are words, as high as their weights; a band is a move, as wide as its mass, and its colour is the cost of a
# unit. On the left the words find their counterparts, and *speaks*, which has none, is shared out. On the right only
# *Illinois* is near anything. (Each picture has its own scale of colours.)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, words in zip(axes, (near, far), strict=True):
    cost = np.linalg.norm(vectors(query)[:, None] - vectors(words), axis=2)
    plan = kx.emd(None, None, cost)
    kexue.plot.transport(plan, query, words, cost=cost, cost_label="distance", ax=ax)
    ax.set_title(f"WMD {(plan * cost).sum():.2f}")

# %%
# Bounds rule out most documents before anything is solved. The centroid distance and the relaxed distance are never
# above the exact one; the search index (:class:`kexue.DocumentIndex`) is built on that.

rng = np.random.default_rng(0)
names = list(topics)
texts = [list(rng.choice(names, 4, replace=False)) for _ in range(60)]
exact = np.array([kx.wmd(vectors(query), vectors(text)) for text in texts])
relaxed = np.array([kx.rwmd(vectors(query), vectors(text)) for text in texts])
centroid = np.array([kx.wcd(vectors(query), vectors(text)) for text in texts])
assert (relaxed <= exact + 1e-12).all() and (centroid <= exact + 1e-12).all()

fig, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
ax.scatter(exact, relaxed, s=16, label="relaxed")
ax.scatter(exact, centroid, s=16, marker="s", label="centroid")
ax.axline((1, 1), slope=1, color="0.7", linewidth=1, zorder=0)
ax.set(xlabel="Word Mover's Distance", ylabel="bound", xlim=(0, None), ylim=(0, None))
ax.legend(frameon=False)
plt.show()
