"""Attention where it could go wrong: memory, interruption, what is hidden, strange arguments; and PyTorch's."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

import kexue
from reference import attention as reference


def run_python(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# ---- memory, interruption ----

LONG = {
    "plain": "",
    "causal": "causal=True",
    "entropy": "return_entropy=True, scale='entropy'",
    "row mask": "mask=mask[None]",
    "row mask, entropy": "mask=mask[None], causal=True, return_entropy=True, scale='entropy'",
    "additive row mask": "mask=np.where(mask, np.float32(0), np.float32(-np.inf))[None]",
}


@pytest.mark.parametrize("options", LONG)
def test_memory(options):
    """16384 queries and keys: a matrix of weights would be 1 GB, or a quarter as bytes."""
    beyond = run_python(
        """if True:
        import json, re, sys
        import numpy as np, kexue as kx
        n, rng = 16384, np.random.default_rng(0)
        Q, K, V = rng.standard_normal((3, n, 64), dtype=np.float32)
        mask = rng.random(n) < 0.5
        kx.attention(Q[:9], K[:9], V[:9], return_entropy=True, workers=1)
        def peak():
            if sys.platform == "linux":  # ru_maxrss would start at its parent's peak
                with open("/proc/self/status") as file:
                    return int(re.search(r"VmHWM:\\s*(\\d+) kB", file.read())[1]) * 1024
            import resource
            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        if sys.platform == "linux":
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the peak so far is forgotten
        before = peak()
        result = kx.attention(Q, K, V, workers=1, """
        + LONG[options]
        + """)
        out = result if isinstance(result, np.ndarray) else result[0]
        print(json.dumps(peak() - before - out.nbytes))
        """
    )
    assert beyond < 10_000_000


@pytest.mark.parametrize("call", ["attention(X, X, X)", "attention(wide, wide, wide)", "attention_vjp(X, X, X, X)"])
def test_interrupt(call):
    name, latency, after = run_python(
        """if True:
        import json, os, signal, threading, time
        import numpy as np, kexue as kx
        X, wide = (np.ones((n, d), dtype=np.float32) for n, d in ((400_000, 64), (60_000, 1024)))
        kx.attention(X[:9], X[:9], X[:9])
        sent = []
        def interrupt():
            time.sleep(0.5)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        name = latency = None
        thread.start()
        try:
            kx."""
        + call
        + """
            thread.join()
        except BaseException as caught:
            name, latency = type(caught).__name__, time.perf_counter() - sent[0]
        thread.join()
        print(json.dumps([name, latency, float(kx.attention([[1.0]], [[1.0]], [[3.0]])[0, 0])]))
        """
    )
    assert name == "KeyboardInterrupt"
    assert latency < 2
    assert after == 3


# ---- numbers that are not finite, and masks that hide by numbers ----


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["keys", "values"])
def test_what_is_hidden_does_not_matter(where, bad, dtype, rng):
    """As in a batch that was padded with what happened to be there."""
    Q, K, V, grad = (rng.normal(size=(90, 6)).astype(dtype) for _ in range(4))
    mask = np.ones((90, 90), bool)
    mask[::2, [3, 70, 89]] = False
    mask[5] = False
    added = np.where(mask, rng.normal(size=(90, 90)), -np.inf).astype(dtype)
    spoilt = {"keys": K.copy(), "values": V.copy()}
    spoilt[where][[3, 70, 89], 2] = bad
    for allowed in (mask, added):
        clean_out, clean_entropy = kexue.attention(Q, K, V, mask=allowed, return_entropy=True)
        out, entropy = kexue.attention(Q, spoilt["keys"], spoilt["values"], mask=allowed, return_entropy=True)
        np.testing.assert_array_equal(out[::2], clean_out[::2])
        np.testing.assert_array_equal(entropy[::2], clean_entropy[::2])
        np.testing.assert_array_equal(out[5], 0)
        if where == "values":
            assert (~np.isfinite(out[1::2, 2]) | (np.arange(90)[1::2] == 5)).all()
            np.testing.assert_array_equal(entropy, clean_entropy)
        elif np.isnan(bad):
            assert np.isnan(np.delete(out[1::2], 2, axis=0)).all() and np.isnan(np.delete(entropy[1::2], 2)).all()
        by_q, _, _ = kexue.attention_vjp(Q, spoilt["keys"], spoilt["values"], grad, mask=allowed)
        np.testing.assert_array_equal(by_q[::2], kexue.attention_vjp(Q, K, V, grad, mask=allowed)[0][::2])
    mask[:, [3, 70, 89]] = False
    for mine, wanted in zip(
        kexue.attention_vjp(Q, spoilt["keys"], spoilt["values"], grad, mask=mask, return_grad_scale=True),
        kexue.attention_vjp(Q, K, V, grad, mask=mask, return_grad_scale=True),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, wanted)


def test_values_of_later_keys_do_not_matter(dtype, rng):
    Q, K, V = (rng.normal(size=(4, 3)).astype(dtype) for _ in range(3))
    V[2, 1] = np.nan
    out = kexue.attention(Q, K, V, causal=True)
    assert np.isfinite(out[:2]).all() and np.isnan(out[2:, 1]).all() and np.isfinite(out[2:, [0, 2]]).all()


def test_entropy_of_what_is_not_finite(dtype):
    Q = np.array([[np.nan], [1.0]], dtype)
    _, entropy = kexue.attention(Q, np.ones((3, 1), dtype), np.ones((3, 1), dtype), return_entropy=True)
    assert np.isnan(entropy[0]) and entropy[1] == pytest.approx(math.log(3), rel=1e-6)


@pytest.mark.parametrize("low", [-1e4, -1e9, -1e30, -3e38])
def test_rows_hidden_by_large_numbers(low, dtype, rng):
    """As padded queries of some libraries: a large number for every key swallows the digits of scores, or scores."""
    Q, K, V, grad = (rng.normal(size=(7, 4)).astype(dtype) for _ in range(4))
    mask = np.zeros((7, 7), dtype)
    mask[2] = low
    lost = np.finfo(dtype).eps * -low
    P = reference.weights(Q, K, np.full(7, 0.5), np.zeros((7, 7)))
    if lost > 10:
        P[2] = 1 / 7
    atol = np.full(7, 50 * np.finfo(dtype).eps)
    if lost < 10:
        atol[2] = max(atol[2], 4 * lost)
    out = kexue.attention(Q, K, V, mask=mask)
    assert (np.abs(out - P @ V) <= atol[:, None]).all()
    by_q, by_k, by_v = kexue.attention_vjp(Q, K, V, grad, mask=mask)
    exact = P * (grad @ V.T - (grad * (P @ V)).sum(axis=1)[:, None]) / 2
    assert (np.abs(by_v - P.T @ grad) <= 10 * atol.max()).all()
    assert (np.abs(by_q - exact @ K) <= 10 * atol[:, None]).all()
    assert (np.abs(by_k - exact.T @ Q) <= 10 * atol.max()).all()


# ---- arguments ----


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"scale": "entropy"}, {"mask": True}, {"mask": 0.5}])
@pytest.mark.parametrize(
    "shapes",
    [
        ((0, 3, 4), (0, 5, 4), (0, 5, 2)),
        ((2, 0, 4), (2, 5, 4), (2, 5, 2)),
        ((2, 3, 4), (2, 0, 4), (2, 0, 2)),
        ((2, 3, 0), (2, 5, 0), (2, 5, 2)),
        ((2, 3, 4), (2, 5, 4), (2, 5, 0)),
        ((0, 0, 0), (0, 0, 0), (0, 0, 0)),
        ((1, 3, 4), (0, 5, 4), (0, 5, 2)),
        ((2, 1, 3, 4), (1, 0, 5, 4), (5, 2)),
    ],
)
def test_nothing(shapes, options, dtype):
    arrays = [np.ones(shape, dtype) for shape in shapes]
    outer = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    out, entropy = kexue.attention(*arrays, return_entropy=True, **options)
    assert out.shape == (*outer, shapes[0][-2], shapes[2][-1]) and entropy.shape == out.shape[:-1]
    *grads, by_scale = kexue.attention_vjp(*arrays, np.ones_like(out), return_grad_scale=True, **options)
    assert [grad.shape for grad in grads] == list(shapes) and by_scale.shape == out.shape[:-1]


def test_masks_of_any_shape(dtype, rng):
    Q, K, V = (rng.normal(size=(2, 5, 4)).astype(dtype) for _ in range(3))
    for shape in ((), (1,), (5,), (5, 1), (1, 5), (5, 5), (2, 1, 5), (2, 5, 1), (3, 1, 1, 5)):
        for mask in (rng.random(shape) < 0.7, rng.normal(size=shape)):
            whole = np.broadcast_to(mask, (*np.shape(mask)[:-2], 5, 5))
            for causal in (False, True):
                for scale in ("sqrt", "entropy"):
                    options = {"causal": causal, "scale": scale}
                    out = kexue.attention(Q, K, V, mask=mask, **options)
                    np.testing.assert_array_equal(out, kexue.attention(Q, K, V, mask=whole.copy(), **options))
                    assert out.shape == (*np.broadcast_shapes(whole.shape[:-2], (2,)), 5, 4)


def test_large_masks_are_counted_in_parts(monkeypatch, rng):
    Q, K, V = rng.normal(size=(3, 40, 8))
    mask = rng.random((2, 40, 40)) < 0.5
    whole = kexue.attention(Q, K, V, mask=mask, causal=True, scale="entropy")
    monkeypatch.setattr("kexue._attention_problem._BLOCK", 600)
    np.testing.assert_array_equal(kexue.attention(Q, K, V, mask=mask, causal=True, scale="entropy"), whole)


def test_refuses_what_could_mean_two_things(dtype):
    X = np.ones((2, 2), dtype)
    for options, error, message in (
        (
            {"mask": [[1, 0], [1, 1]]},
            TypeError,
            "mask must be of bool or floating-point numbers, but its dtype is int64",
        ),
        ({"mask": np.ones((2, 2), np.uint8)}, TypeError, "mask must be of bool"),
        ({"mask": np.ma.array(np.ones((2, 2)), mask=True)}, TypeError, "mask is a masked array"),
        ({"mask": np.ones((2, 2), complex)}, TypeError, "mask must hold real numbers"),
        ({"causal": np.ones(2)}, TypeError, "causal must be True or False, not ndarray"),
        ({"causal": None}, TypeError, "causal must be True or False, not NoneType"),
        ({"scale": None}, TypeError, "scale must be an array of real numbers"),
        ({"scale": "SQRT"}, kexue.KexueValueError, "scale must be"),
    ):
        with pytest.raises(error, match=message):
            kexue.attention(X, X, X, **options)
        with pytest.raises(error, match=message):
            kexue.attention_vjp(X, X, X, X, **options)
    for array in (X + 0j, X.astype(object), np.ma.array(X), "x", None):
        for place in range(3):
            arguments = [X, X, X]
            arguments[place] = array
            with pytest.raises(TypeError, match="QKV"[place]):
                kexue.attention(*arguments)
        with pytest.raises(TypeError, match="grad"):
            kexue.attention_vjp(X, X, X, array)


def test_numbers_beyond_float32():
    X = np.eye(2, dtype=np.float32)
    with pytest.raises(kexue.KexueValueError, match=r"scale is 1e\+39, beyond float32"):
        kexue.attention(X, X, X, scale=1e39)
    assert np.isfinite(kexue.attention(X.astype(float), X, X, scale=1e39)).all()
    hidden = kexue.attention(X, X, X, mask=np.array([0, -1e300]))  # as -inf, and without a warning
    np.testing.assert_array_equal(hidden, [[1, 0], [1, 0]])
    with pytest.raises(kexue.KexueValueError, match=r"mask\[1\] is inf"):
        kexue.attention(X, X, X, mask=np.array([0, 1e300]))


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 9), (9, 1)])
def test_causal_with_other_numbers_of_keys(shape, dtype, rng):
    queries, keys = shape
    Q, K, V, grad = (rng.normal(size=(n, 4)).astype(dtype) for n in (queries, keys, keys, queries))
    mask = np.arange(keys) <= np.arange(queries)[:, None]
    np.testing.assert_array_equal(kexue.attention(Q, K, V, causal=True), kexue.attention(Q, K, V, mask=mask))
    for mine, wanted in zip(
        kexue.attention_vjp(Q, K, V, grad, causal=True), kexue.attention_vjp(Q, K, V, grad, mask=mask), strict=True
    ):
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"scale": "entropy"}])
def test_many_workers(options, workers, rng):
    Q, K, V, grad = (rng.normal(size=(3, 500, 24)).astype(np.float32) for _ in range(4))
    mask = rng.random((500, 500)) < 0.5
    mine, entropy = kexue.attention(Q, K, V, mask=mask, return_entropy=True, workers=workers, **options)
    alone, entropy_alone = kexue.attention(Q, K, V, mask=mask, return_entropy=True, workers=1, **options)
    np.testing.assert_array_equal(mine, alone)
    np.testing.assert_array_equal(entropy, entropy_alone)
    for one, other in zip(
        kexue.attention_vjp(Q, K, V, grad, mask=mask, return_grad_scale=True, workers=workers, **options),
        kexue.attention_vjp(Q, K, V, grad, mask=mask, return_grad_scale=True, workers=1, **options),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


# ---- PyTorch ----


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 7, 3, 4), (64, 64, 64, 64), (130, 65, 16, 33), (200, 300, 64, 64)])
@pytest.mark.parametrize("kind", ["plain", "causal", "bool", "additive", "scale"])
def test_is_that_of_torch(kind, shape, dtype, rng):
    torch = pytest.importorskip("torch")
    queries, keys, d, d_v = shape
    Q, K, V, grad = (
        rng.normal(size=(2, 3, *size)).astype(dtype) for size in ((queries, d), (keys, d), (keys, d_v), (queries, d_v))
    )
    seen = rng.random((queries, keys)) < 0.6
    seen[:, 0] = True  # torch has NaN for a query that sees nothing
    added = rng.normal(size=(2, 1, queries, keys)).astype(dtype)
    mine, theirs = {
        "plain": ({}, {}),
        "causal": ({"causal": True}, {"is_causal": True}),
        "bool": ({"mask": seen}, {"attn_mask": torch.from_numpy(seen)}),
        "additive": ({"mask": added}, {"attn_mask": torch.from_numpy(added)}),
        "scale": ({"scale": 0.3}, {"scale": 0.3}),
    }[kind]
    tensors = [torch.from_numpy(array).requires_grad_() for array in (Q, K, V)]
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, **theirs)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    out = kexue.attention(Q, K, V, **mine)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=0, atol=tolerance * max(1, np.abs(V).max()))
    gradients = torch.autograd.grad(expected, tensors, torch.from_numpy(grad))
    for result, wanted in zip(kexue.attention_vjp(Q, K, V, grad, **mine), gradients, strict=True):
        np.testing.assert_allclose(
            result, wanted.numpy(), rtol=0, atol=4 * tolerance * max(1, np.abs(wanted.numpy()).max())
        )
