r"""
Labels that do not exclude each other: one threshold for all
============================================================

Independent sigmoids for many labels, few of which apply, are drowned in negatives. ZLPR compares scores with each
other and with 0 instead,

.. math:: \log\Bigl(1 + \sum_{i \in \text{neg}} e^{s_i}\Bigr) + \log\Bigl(1 + \sum_{j \in \text{pos}} e^{-s_j}\Bigr),

which wants every positive score above 0 and every negative one below. So 0 is the threshold for any number of labels,
and nothing has to be tuned.
"""

import matplotlib.pyplot as plt
import numpy as np

import kexue as kx

rng = np.random.default_rng(0)
ROWS, FEATURES, LABELS = 1000, 30, 120
true_weights = rng.normal(size=(FEATURES, LABELS))


def sample(rows):
    X = rng.normal(size=(rows, FEATURES))
    scores = X @ true_weights / np.sqrt(FEATURES) + 0.3 * rng.normal(size=(rows, LABELS))
    return X, scores > 2.0  # about three of 120 labels apply


X, labels = sample(ROWS)
X_test, labels_test = sample(ROWS)


def fit(loss, steps=120):
    """Adam over a linear model, whatever the loss."""
    W, b = np.zeros((FEATURES, LABELS)), np.zeros(LABELS)
    state = [[np.zeros_like(w), np.zeros_like(w)] for w in (W, b)]
    for step in range(1, steps + 1):
        gradient = loss(X @ W + b)
        for w, g, (first, second) in zip((W, b), (X.T @ gradient, gradient.sum(axis=0)), state, strict=True):
            first += 0.1 * (g - first)
            second += 0.01 * (g * g - second)
            w -= 0.1 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-12)
    return W, b


def zlpr(scores):
    return kx.zlpr_loss(scores, labels, return_grad=True)[1] / ROWS


def sigmoids(scores):
    return (kx.softplus_grad(scores) - labels) / ROWS


def f1(scores, threshold):
    guess = scores > threshold
    return 2 * (guess & labels_test).sum() / (guess.sum() + labels_test.sum())


# %%
# The same linear model, trained with both losses for as long, and F1 on new rows for every threshold. ZLPR's curve is
# flat about 0, where the formula puts the threshold, so little is lost by using it. That of the sigmoids is best well
# below 0, since every label by itself is improbable; where, has to be found out.

thresholds = np.linspace(-4, 4, 81)
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, loss, colour in (("ZLPR", zlpr, "C0"), ("sigmoids", sigmoids, "C1")):
    W, b = fit(loss)
    curve = [f1(X_test @ W + b, threshold) for threshold in thresholds]
    best = int(np.argmax(curve))
    ax.plot(thresholds, curve, colour, label=name)
    ax.plot(thresholds[best], curve[best], "o", color=colour)
    print(f"{name:9} F1 at threshold 0: {f1(X_test @ W + b, 0):.3f}; best {curve[best]:.3f} at {thresholds[best]:.1f}")
ax.axvline(0, color="0.7", linewidth=1, zorder=0)
ax.set(xlabel="threshold", ylabel="F1 on new rows")
ax.legend(frameon=False)

# %%
# Why: the gradient by a row's scores. Of the negatives, only those with a high score are pushed; their sum is at most
# 1, however many there are. That of sigmoids grows with the number of labels.

scores = np.linspace(-4, 4, 120)
target = np.zeros(120)
_, gradient = kx.zlpr_loss(scores, target, return_grad=True)
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(scores, gradient, label=f"ZLPR, sum {gradient.sum():.2f}")
ax.plot(scores, kx.softplus_grad(scores), label=f"sigmoids, sum {kx.softplus_grad(scores).sum():.0f}")
ax.set(xlabel="score of a negative label", ylabel="gradient")
ax.legend(frameon=False)
plt.show()
