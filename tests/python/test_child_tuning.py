"""Child-tuning: Fisher information, masks, gradients and updates of which a part is kept, and the optimiser."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import _child_tuning_core


def kept_by(key, positions, p):
    """The definition: digits in base 256, out of NumPy's Philox, against those of p."""
    kept = np.zeros(positions, dtype=bool)
    undecided = np.ones(positions, dtype=bool)
    for digit in itertools.count():
        generator = np.random.Philox(key=key, counter=[0, digit, 0, 0])
        random = generator.random_raw(positions // 8 + 1).astype("<u8").view(np.uint8)[:positions]
        p *= 256
        kept |= undecided & (random < int(p))
        undecided &= random == int(p)
        p -= int(p)
        if p == 0 or not undecided.any():
            return kept


def key_of(rng):
    return np.random.default_rng(rng).integers(0, 2**64 - 1, size=2, dtype=np.uint64, endpoint=True)


# ---- Fisher information ----


def test_fisher_diagonal(any_layout, plain, untouched, dtype, rng):
    grads = any_layout(rng.normal(size=(6, 5)).astype(dtype))
    if len(grads) == 0:
        with pytest.raises(kexue.KexueValueError, match="per_sample_grads has no samples"):
            kexue.fisher_diagonal(grads)
        return
    with untouched(grads):
        result = kexue.fisher_diagonal(grads)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, (plain(grads).astype(np.float64) ** 2).mean(axis=0), rtol=1e-15)


@pytest.mark.parametrize("shape", [(1000, 3), (70000, 1), (3, 70000), (200, 10, 40), (5,), (4, 0)], ids=str)
def test_fisher_diagonal_in_blocks_and_chunks(shape, rng):
    grads = rng.normal(size=shape).astype(np.float32)
    exact = (grads.astype(np.float64) ** 2).mean(axis=0)
    np.testing.assert_allclose(kexue.fisher_diagonal(grads), exact, rtol=1e-13)
    chunks = np.array_split(grads, 3)
    np.testing.assert_allclose(kexue.fisher_diagonal(iter(chunks)), exact, rtol=1e-13)
    pairs = kexue.fisher_diagonal([chunk, chunk * 2] for chunk in chunks)
    np.testing.assert_allclose(pairs[1], 4 * exact, rtol=1e-13)
    lone = kexue.fisher_diagonal([grads])
    assert isinstance(lone, list)
    np.testing.assert_array_equal(lone[0], kexue.fisher_diagonal(grads))


def test_fisher_diagonal_keeps_the_squares_of_small_gradients():
    np.testing.assert_allclose(kexue.fisher_diagonal(np.full((2, 1), 1e-30, np.float32)), 1e-60, rtol=1e-6)


def test_fisher_diagonal_of_logistic_regression(rng):
    """Of samples from the model itself, it is the Hessian's diagonal X^2 s (1 - s): within 6 standard errors."""
    x, theta = rng.normal(size=(200000, 3)), np.array([0.5, -1.0, 0.2])
    s = 1 / (1 + np.exp(-x @ theta))
    y = rng.random(len(x)) < s
    grads = (y - s)[:, None] * x
    deviation = (grads**2).std(axis=0) / np.sqrt(len(x))
    exact = (x**2 * (s * (1 - s))[:, None]).mean(axis=0)
    assert (np.abs(kexue.fisher_diagonal(grads) - exact) < 6 * deviation).all()  # false alarms: 6e-9


# ---- masks ----


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
    st.floats(0, 1, exclude_min=True),
    st.integers(1, 5),
)
def test_exact_mask_is_a_stable_sort(values, p, parts):
    fisher = np.array(values, dtype=float)
    count = max(1, int(np.floor(p * len(values) + 0.5)))
    expected = np.zeros(len(values), dtype=bool)
    expected[np.argsort(-fisher, kind="stable")[:count]] = True
    np.testing.assert_array_equal(kexue.childtuning_mask(fisher, p), expected)
    jointly = kexue.childtuning_mask(np.array_split(fisher, parts), p)
    np.testing.assert_array_equal(np.concatenate(jointly), expected)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.floats(0.01, 1))
def test_percentile_mask_keeps_ties(values, p):
    fisher = np.array(values, dtype=float)
    mask = kexue.childtuning_mask(fisher, p, method="percentile")
    np.testing.assert_array_equal(mask, fisher >= np.percentile(fisher, (1 - p) * 100))
    if mask.any():
        assert mask[fisher >= fisher[mask].min()].all()


def test_masks_of_parameters_together(dtype, rng):
    fisher = [rng.random((30, 20)).astype(dtype), 1 + rng.random(50).astype(dtype), 1e-9 * rng.random(40).astype(dtype)]
    masks = kexue.childtuning_mask(fisher, 0.3)
    assert [mask.shape for mask in masks] == [part.shape for part in fisher]
    assert all(mask.dtype == bool for mask in masks)
    assert sum(int(mask.sum()) for mask in masks) == round(0.3 * 690)
    assert masks[1].all()
    assert not masks[2].any()
    assert all(mask.all() for mask in kexue.childtuning_mask(fisher, 1))
    assert all(mask.all() for mask in kexue.childtuning_mask(fisher, 1, method="percentile"))


def test_mask_layouts(any_layout, plain, untouched, dtype, rng):
    fisher = any_layout(rng.random(size=(5, 7)).astype(dtype))
    with untouched(fisher):
        mask = kexue.childtuning_mask(fisher, 0.4)
    np.testing.assert_array_equal(mask, kexue.childtuning_mask(plain(fisher), 0.4))
    assert mask.shape == fisher.shape


# ---- gradients by chance ----


@pytest.mark.parametrize("p", [0.3, 0.5, 1 / 256, 255 / 256, 0.7, 1 - 2**-53, 1.0, 1e-12])
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 5000])
def test_what_is_kept_is_as_defined(p, size, dtype, workers, rng):
    g = rng.normal(size=size).astype(dtype)
    result = kexue.childtuning_gradient(g, p, rng=7, workers=workers)
    kept = kept_by(key_of(7), size, p)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.where(kept, g, 0) * dtype.type(1 / p))


def test_digits_decide_one_after_another():
    """A third digit is looked at once in 65536 times, and keeps 1 in 16 here."""
    p, size = 0.5 + 2**-20, 1_000_000
    result = kexue.childtuning_gradient(np.ones(size, np.float32), p, rng=4, rescale=False)
    np.testing.assert_array_equal(result, kept_by(key_of(4), size, p))


def test_beginning_and_parts_do_not_depend_on_the_rest(dtype, rng):
    g = rng.normal(size=200001).astype(dtype)
    whole = kexue.childtuning_gradient(g, 0.3, rng=3, workers=2)
    np.testing.assert_array_equal(kexue.childtuning_gradient(g[:777], 0.3, rng=3), whole[:777])
    parts = [g[:10].reshape(2, 5), g[10:100000], g[100000:100000], g[100000:].reshape(1, -1)]
    results = kexue.childtuning_gradient(parts, 0.3, rng=3)
    assert [part.shape for part in results] == [part.shape for part in parts]
    np.testing.assert_array_equal(np.concatenate([part.reshape(-1) for part in results]), whole)
    np.testing.assert_array_equal(kexue.childtuning_gradient(g, 0.3, rng=3, workers=1), whole)


def test_list_of_two_precisions(rng):
    parts = [rng.normal(size=5).astype(np.float32), rng.normal(size=5)]
    results = kexue.childtuning_gradient(parts, 0.5, rng=0)
    assert [part.dtype for part in results] == [np.float32, np.float64]


@pytest.mark.parametrize("mode", ["F", "D"])
def test_layouts(mode, any_layout, plain, untouched, dtype, rng):
    g = any_layout(rng.normal(size=(5, 7)).astype(dtype))
    options = {"rng": 0} if mode == "F" else {"mask": rng.random(g.shape) < 0.5, "mode": "D"}
    with untouched(g):
        result = kexue.childtuning_gradient(g, 0.5, **options)
    np.testing.assert_array_equal(result, kexue.childtuning_gradient(plain(g), 0.5, **options))
    assert result.dtype == plain(g).dtype


@pytest.mark.parametrize("mode", ["F", "D"])
def test_out(mode, layout, dtype, rng):
    g = rng.normal(size=(40, 30)).astype(dtype)
    options = {"rng": 0} if mode == "F" else {"mask": rng.random(g.shape) < 0.5, "mode": "D", "rescale": True}
    expected = kexue.childtuning_gradient(g, 0.4, **options)
    place = layout(g)
    if not place.flags.writeable or not place.dtype.isnative:
        with pytest.raises((kexue.KexueValueError, TypeError), match="out"):
            kexue.childtuning_gradient(g, 0.4, out=place, **options)
        return
    assert kexue.childtuning_gradient(place, 0.4, out=place, **options) is place
    np.testing.assert_array_equal(place, expected)
    shifted = np.empty(g.size + 3, dtype)
    shifted[3:] = g.reshape(-1)
    options["mask"] = options["mask"].reshape(-1) if "mask" in options else None
    kexue.childtuning_gradient(shifted[3:], 0.4, out=shifted[:-3], **options)
    np.testing.assert_array_equal(shifted[:-3], expected.reshape(-1))


def test_what_is_dropped_is_gone(dtype):
    g = np.full(3000, np.nan, dtype)
    kept = kept_by(key_of(5), g.size, 0.3)
    g[kept] = 1
    g[np.flatnonzero(~kept)[::2]] = np.inf
    with np.errstate(all="raise"):
        result = kexue.childtuning_gradient(g, 0.3, rng=5)
        by_mask = kexue.childtuning_gradient(g, 0.3, mode="D", mask=kept, rescale=True)
    np.testing.assert_array_equal(result, kept * dtype.type(1 / 0.3))
    np.testing.assert_array_equal(by_mask, result)
    assert not np.signbit(kexue.childtuning_gradient(-np.ones(3000), 0.3, rng=5)[~kept]).any()
    huge = kexue.childtuning_gradient(np.full(3000, np.finfo(dtype).max), 0.3, rng=5)
    np.testing.assert_array_equal(huge, np.where(kept, np.inf, 0))


def test_rescale(rng):
    g = rng.normal(size=1000)
    mask = rng.random(1000) < 0.3
    scaled, plain = (kexue.childtuning_gradient(g, 0.25, rng=0, rescale=rescale) for rescale in (True, False))
    np.testing.assert_array_equal(scaled, 4 * plain)
    np.testing.assert_array_equal(kexue.childtuning_gradient(g, 0.25, rng=0), scaled)
    np.testing.assert_array_equal(kexue.childtuning_gradient(g, 0.25, mode="D", mask=mask), mask * g)
    np.testing.assert_array_equal(kexue.childtuning_gradient(g, 0.25, mode="D", mask=mask, rescale=True), 4 * mask * g)
    np.testing.assert_array_equal(kexue.update_dropout(g, 0.25, 0), scaled)
    np.testing.assert_array_equal(kexue.update_dropout(g, 0.25, 0, rescale=False), plain)
    np.testing.assert_array_equal(kexue.childtuning_gradient(g, 1, rng=0), g)


def test_generator_moves_on_and_an_integer_does_not():
    g, generator = np.ones(1000), np.random.default_rng(0)
    first, second = (kexue.childtuning_gradient(g, 0.5, rng=generator) for _ in range(2))
    assert 300 < np.count_nonzero(first != second) < 700
    np.testing.assert_array_equal(kexue.childtuning_gradient(g, 0.5, rng=0), first)


def test_moments(rng):
    """METHODS' values; within 6 standard errors, false alarms 2e-9 each."""
    mu, s, p, n = 0.7, 1.3, 0.3, 4_000_000
    variance = s**2 + (1 - p) / p * (mu**2 + s**2)
    assert variance == pytest.approx(6.776666666666667, rel=1e-15)
    result = kexue.childtuning_gradient(rng.normal(mu, s, size=n), p, rng=1)
    assert abs(result.mean() - mu) < 6 * np.sqrt(variance / n)
    spread = (result - mu) ** 2
    assert abs(spread.mean() - variance) < 6 * spread.std() / np.sqrt(n)
    kept = result != 0
    assert abs(kept.mean() - p) < 6 * np.sqrt(p * (1 - p) / n)
    # neighbours, and those a byte, a word, a block apart, are independent
    for lag in (1, 8, 32, 2048, 32768):
        covariance = np.mean((kept[lag:] - p) * (kept[:-lag] - p))
        assert abs(covariance) < 6 * p * (1 - p) / np.sqrt(n - lag)


def test_small_probability_is_exact():
    """0.001 is 0.256 of a first digit: digits behind it decide. 6 standard errors, false alarms 2e-9."""
    n, p = 4_000_000, 0.001
    kept = np.count_nonzero(kexue.childtuning_gradient(np.ones(n, np.float32), p, rng=2))
    assert abs(kept - n * p) < 6 * np.sqrt(n * p)


# ---- the optimiser ----


def adamw(x, gradients, lr, betas, eps, decay):
    """Step by step, as PyTorch's documentation has it."""
    x, m, v = x.astype(np.longdouble), 0, 0
    for t, g in enumerate(gradients, 1):
        x = x * (1 - lr * decay)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        x = x - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return x


def test_adamw_of_everything(dtype, rng):
    x = [rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=5).astype(dtype)]
    start = [part.copy() for part in x]
    gradients = [[rng.normal(size=part.shape).astype(dtype) for part in x] for _ in range(30)]
    optimizer = kexue.ChildTuningAdamW(x, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1)
    for step in gradients:
        optimizer.step(step)
    assert optimizer.n_steps == 30
    for i, (part, begin) in enumerate(zip(x, start, strict=True)):
        assert optimizer.params[i] is part
        expected = adamw(begin, [step[i] for step in gradients], 0.01, (0.8, 0.99), 1e-6, 0.1)
        np.testing.assert_allclose(part, expected.astype(dtype), rtol=0, atol=100 * np.finfo(dtype).eps)


def test_adamw_is_torchs(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=50)
    theirs = torch.nn.Parameter(torch.from_numpy(x.copy()))
    reference = torch.optim.AdamW([theirs], lr=0.02, weight_decay=0.05)
    optimizer = kexue.ChildTuningAdamW(x, lr=0.02, weight_decay=0.05)
    for _ in range(100):
        g = rng.normal(size=50)
        optimizer.step(g)
        theirs.grad = torch.from_numpy(g)
        reference.step()
    np.testing.assert_allclose(x, theirs.detach().numpy(), rtol=0, atol=1e-12)


def test_optimizer_drops_gradients_and_updates(rng):
    x, g = np.zeros(1000), rng.normal(size=1000)
    kexue.ChildTuningAdamW(x, p=0.4, rng=0).step(g)
    kept = kexue.childtuning_gradient(g, 0.4, rng=0) != 0
    np.testing.assert_allclose(x, -1e-3 * kept * np.sign(g), atol=1e-8)  # the first step of Adam is a sign
    update = np.zeros(1000)
    optimizer = kexue.ChildTuningAdamW(update, p=0.4, rng=0, target="update")
    optimizer.step(g)
    np.testing.assert_allclose(update, -1e-3 / 0.4 * kept * np.sign(g), atol=1e-7)
    np.testing.assert_allclose(optimizer.means[0], 0.1 * g, rtol=1e-14)  # the moments are of all
    mask = rng.random(1000) < 0.2
    task = np.ones(1000)
    kexue.ChildTuningAdamW(task, lr=0.1, p=0.2, mode="D", mask=mask, weight_decay=0.5).step(g)
    np.testing.assert_allclose(task, 0.95 - 0.1 * mask * np.sign(g), atol=1e-6)  # what is dropped decays
    whole = np.ones(1000)
    kexue.ChildTuningAdamW(whole, lr=0.1, mode="D", mask=mask, weight_decay=0.5).step(g)  # p is 1
    np.testing.assert_array_equal(whole, task)


@pytest.mark.parametrize("target", ["gradient", "update"])
def test_optimizer_of_a_number(target):
    number, vector = np.array(2.0), np.array([2.0])
    for param in (number, vector):
        optimizer = kexue.ChildTuningAdamW(param, lr=0.1, p=0.5, rng=0, target=target)
        for _ in range(20):
            optimizer.step(2 * param)
    assert number == vector[0] != 2


def test_optimizer_goes_on_from_a_pickle(rng):
    weights = [rng.normal(size=(3, 2)), rng.normal(size=4)]
    optimizer = kexue.ChildTuningAdamW(weights, p=0.5, rng=3)
    optimizer.step(weights)
    copy = pickle.loads(pickle.dumps(optimizer))
    for one in (optimizer, copy):
        for _ in range(3):
            one.step(one.params)
    assert copy.n_steps == 4
    for ours, theirs in zip(weights, copy.params, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_adam_moves_by_the_root_of_p():
    """Of gradients that are mostly signal the long-run step is sqrt(p) of Adam's. The mean over 20,000 parameters has a
    standard error below 0.1%; the second moment's own noise at betas[1] = 0.999 is another 0.2%."""
    p, n, steps = 0.3, 20000, 600
    lengths = []
    for share in (1.0, p):
        x, generator = np.zeros(n), np.random.default_rng(0)
        optimizer = kexue.ChildTuningAdamW(x, lr=1e-3, weight_decay=0, p=share, rng=1)
        for step in range(steps):
            if step == steps // 2:
                half = x.mean()
            optimizer.step(generator.normal(1, 0.1, size=n))
        lengths.append(x.mean() - half)
    assert abs(lengths[1] / lengths[0] - 0.5477225575051661) < 0.01


# ---- errors ----

ONE, TWO = np.ones(1), np.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kexue.fisher_diagonal(1.0), TypeError, "per_sample_grads must be an array"),
        (lambda: kexue.fisher_diagonal(np.float64(1)), ValueError, "per_sample_grads must have a dimension"),
        (lambda: kexue.fisher_diagonal(iter([])), ValueError, "per_sample_grads has no samples"),
        (lambda: kexue.fisher_diagonal([ONE, TWO]), ValueError, "as many samples for every parameter"),
        (lambda: kexue.fisher_diagonal(iter([np.ones((1, 2)), np.ones((1, 3))])), ValueError, "chunk 1"),
        (lambda: kexue.fisher_diagonal(iter([ONE, [ONE]])), ValueError, "chunk 1"),
        (lambda: kexue.fisher_diagonal(["a"]), TypeError, "per_sample_grads must hold real numbers"),
        (lambda: kexue.childtuning_mask([1, np.nan], 0.5), ValueError, r"fisher\[1\] is nan"),
        (lambda: kexue.childtuning_mask([ONE, np.array([1, np.inf])], 0.5), ValueError, r"fisher\[1\]\[1\] is inf"),
        (lambda: kexue.childtuning_mask(ONE, 0), ValueError, "p must be greater than 0 and at most 1, got 0"),
        (lambda: kexue.childtuning_mask(ONE, np.nan), ValueError, "p must be greater than 0"),
        (lambda: kexue.childtuning_mask(ONE, True), TypeError, "p must be a number"),
        (lambda: kexue.childtuning_mask(ONE, 0.5, method="sort"), ValueError, "method must be"),
        (lambda: kexue.childtuning_gradient(ONE, 1.5), ValueError, "p must be greater than 0"),
        (lambda: kexue.childtuning_gradient(ONE, 1e-309), ValueError, "1/p exceeds the range of float64"),
        (lambda: kexue.childtuning_gradient(np.float32([1]), 1e-39), ValueError, "1/p exceeds the range of float32"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, mode="G"), ValueError, 'mode must be "F" or "D"'),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, mode="D"), TypeError, "needs a mask"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, mask=[True]), TypeError, 'mask is for mode="D"'),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, mode="D", mask=[1]), TypeError, "mask must hold booleans"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, mode="D", mask=[True] * 2), ValueError, "mask has shape"),
        (lambda: kexue.childtuning_gradient([ONE, TWO], 0.5, mode="D", mask=[[True]]), ValueError, "mask has 1 arrays"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, rescale="no"), TypeError, "rescale must be a bool"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, out=TWO), ValueError, "out has shape"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, out=[1.0]), TypeError, "out must be an array of dtype float64"),
        (lambda: kexue.childtuning_gradient([ONE, TWO], 0.5, out=[ONE, ONE]), ValueError, r"out\[1\] has shape"),
        (lambda: kexue.childtuning_gradient(["a"], 0.5), TypeError, "g must hold real numbers"),
        (lambda: kexue.childtuning_gradient([ONE, "a"], 0.5), TypeError, r"g\[1\] must hold real numbers"),
        (lambda: kexue.childtuning_gradient(ONE, 0.5, workers=0), ValueError, "workers must be at least 1"),
        (lambda: kexue.update_dropout(ONE, 0, 1), ValueError, "p must be greater than 0"),
        (lambda: kexue.update_dropout("a", 0.5, 1), TypeError, "delta must hold real numbers"),
        (lambda: kexue.ChildTuningAdamW([1.0]), TypeError, "params must be an array of dtype float64"),
        (lambda: kexue.ChildTuningAdamW(np.ones(1, int)), TypeError, "params must be an array of dtype float64"),
        (lambda: kexue.ChildTuningAdamW(np.ones(1, np.float16)), TypeError, "params must be an array of dtype float32"),
        (lambda: kexue.ChildTuningAdamW([[1.0], [1.0, 2.0]]), TypeError, "params must be an array"),
        (lambda: kexue.ChildTuningAdamW([ONE, [1.0]]), TypeError, r"params\[1\] must be an array"),
        (lambda: kexue.ChildTuningAdamW(np.ma.ones(1)), TypeError, "params must be an array.*not MaskedArray"),
        (lambda: kexue.ChildTuningAdamW([ONE, TWO, ONE]), ValueError, r"params\[2\] is params\[0\]"),
        (lambda: kexue.ChildTuningAdamW(ONE, rescale="no"), TypeError, "rescale must be a bool"),
        (lambda: kexue.ChildTuningAdamW(ONE, workers=0), ValueError, "workers must be at least 1"),
        (lambda: kexue.ChildTuningAdamW(np.float32([1]), p=1e-39), ValueError, "1/p exceeds the range of float32"),
        (lambda: kexue.ChildTuningAdamW(ONE, lr=10**400), ValueError, "lr exceeds the range of float64"),
        (lambda: kexue.ChildTuningAdamW(ONE, lr=-1), ValueError, "lr must not be negative"),
        (lambda: kexue.ChildTuningAdamW(ONE, lr="1"), TypeError, "lr must be a number"),
        (lambda: kexue.ChildTuningAdamW(ONE, betas=0.9), ValueError, "betas must be two numbers"),
        (
            lambda: kexue.ChildTuningAdamW(ONE, betas=(0.9, 1)),
            ValueError,
            r"betas\[1\] must not be negative and be less",
        ),
        (lambda: kexue.ChildTuningAdamW(ONE, target="both"), ValueError, "target must be"),
        (lambda: kexue.ChildTuningAdamW(ONE, mode="D"), TypeError, "needs a mask"),
        (lambda: kexue.ChildTuningAdamW(ONE, mask=[True]), TypeError, 'mask is for mode="D"'),
        (lambda: kexue.ChildTuningAdamW(ONE).step(TWO), ValueError, "grads has shape"),
        (lambda: kexue.ChildTuningAdamW([ONE]).step(ONE), TypeError, "grads must be a list of arrays"),
        (lambda: kexue.ChildTuningAdamW([ONE]).step([]), ValueError, "grads has 0 arrays, but params has 1"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_nothing_is_written_before_all_is_checked():
    parts = [np.ones(100), np.ones(3)]
    places = [part.copy() for part in parts]
    places[1].flags.writeable = False
    with pytest.raises(kexue.KexueValueError, match=r"out\[1\] is read-only"):
        kexue.childtuning_gradient(parts, 0.5, rng=0, out=places)
    np.testing.assert_array_equal(places[0], 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda parts, out: kexue.update_dropout(parts, 0.5, 0, out=out),
        lambda parts, out: kexue.childtuning_gradient(
            parts, 0.5, mode="D", mask=[np.arange(9) % 2 == 0] * 2, rescale=True, out=out
        ),
        lambda parts, out: kexue.clip_weights(parts, 0.5, out=out),
    ],
    ids=["chance", "mask", "clip_weights"],
)
def test_arrays_of_lists_that_share_memory(call, rng):
    """As if all had been read before any was written."""
    parts = list(rng.normal(size=(2, 9)))
    expected = call([part.copy() for part in parts], None)
    call(parts, parts[::-1])
    np.testing.assert_array_equal(parts[1], expected[0])
    np.testing.assert_array_equal(parts[0], expected[1])
    tied = rng.normal(size=9)
    expected = call([tied.copy(), tied.copy()], None)[1]
    call([tied, tied], [tied, tied])  # once, not twice
    np.testing.assert_array_equal(tied, expected)


def test_the_core_checks_too():
    with pytest.raises(kexue.KexueValueError):
        _child_tuning_core.drop(ONE, key_of(0), 0, 2.0, 1.0, np.empty(1), None)
