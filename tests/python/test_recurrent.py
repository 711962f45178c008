"""Recurrent networks: states and step Jacobians against loops over units, torch, and known values."""

import _thread
import signal
import threading

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError
from reference.recurrent_cases import KINDS, Case

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
ALL = pytest.mark.parametrize("kind", KINDS)


@DTYPES
@ALL
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1), (1, 5, 3, 4), (2, 3, 17, 16), (3, 4, 2, 7), (7, 2, 5, 33), (13, 3, 64, 64), (1, 2, 130, 20)]
)
def test_states(sizes, kind, dtype):
    case = Case(kind, *sizes, dtype)
    bound = 50 * np.finfo(dtype).eps
    for mine, wanted in zip(case.run(), case.expected(), strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, wanted, rtol=bound, atol=bound * (5 if kind == "relu" else 1))


@ALL
def test_long_sums(kind):
    """More units than a block of the sums has, and more steps than are projected together."""
    case = Case(kind, 1, 3, 2, 150)
    for mine, wanted in zip(case.run(), case.expected(), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-13, atol=1e-13)
    case = Case(kind, 2, 210, 2, 3)
    for mine, wanted in zip(case.run(), case.expected(), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12, atol=1e-12)


@DTYPES
@ALL
def test_cells_are_steps_of_a_sequence(kind, dtype):
    """With the weights in place or packed, and for sequences together or alone: the same bits."""
    for size in (5, 64):
        case = Case(kind, 9, 12, 3, size, dtype)
        whole = case.run()
        h, c = case.h0, case.c0
        for t in range(12):
            parts = case.cell(case.x[:, t], h, c)
            for part, together in zip(parts, whole, strict=True):
                np.testing.assert_array_equal(part, together[:, t])
            h, c = parts[0], parts[-1]
        alone = case.cell(case.x[4, 0], case.h0[4], case.c0[4])
        for part, together in zip(alone, whole, strict=True):
            np.testing.assert_array_equal(part, together[4, 0])


@ALL
@pytest.mark.parametrize("workers", [2, 3, 7])
def test_any_number_of_workers_gives_the_same_bits(kind, workers):
    case = Case(kind, 40, 5, 3, 21, np.float32)
    for mine, wanted in zip(case.run(workers=workers), case.run(workers=1), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@ALL
def test_jacobians(kind):
    """By the complex step, whose error is far below rounding."""
    case = Case(kind, 3, 4, 2, 5)
    results = case.run(return_jacobians=True)
    states, jacobians = results[:-1], results[-1]
    for mine, wanted in zip(states, case.run(), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    before_h = np.concatenate([case.h0[:, None], states[0][:, :-1]], axis=1)
    before_c = np.concatenate([case.c0[:, None], states[-1][:, :-1]], axis=1)
    np.testing.assert_array_equal(case.jacobian(case.x, before_h, before_c), jacobians)
    size, weights = 5, case.weights()
    count = size * (1 + case.has_cells)
    assert jacobians.shape == (3, 4, count, count)
    for place in np.ndindex(3, 4):
        start = [*before_h[place].tolist(), *(before_c[place].tolist() if case.has_cells else [])]
        for k in range(count):
            moved = [complex(v, 1e-30 * (j == k)) for j, v in enumerate(start)]
            h, c = case.step(case.x[place].tolist(), moved[:size], moved[size:] or [0] * size, *weights)
            column = np.imag(np.array([*h, *(c if case.has_cells else [])])) / 1e-30
            np.testing.assert_allclose(jacobians[(*place, slice(None), k)], column, rtol=1e-12, atol=1e-14)


def test_jacobians_of_float32():
    case = Case("gru", 2, 3, 2, 4, np.float32)
    wide = Case("gru", 2, 3, 2, 4)
    for name in ("x", "W", "U", "b", "h0", "c0"):
        setattr(wide, name, getattr(case, name).astype(np.float64))
    jacobians = case.run(return_jacobians=True)[-1]
    assert jacobians.dtype == np.float32
    np.testing.assert_allclose(jacobians, wide.run(return_jacobians=True)[-1], atol=1e-6)


# ---- values ----

GATES = [0.3, -0.2, 0.4], [0.8, 0.5, -0.6], [0.1, 0.0, 0.2]


def test_values_of_a_scalar_gru():
    b = GATES[2]
    W, U = ([part] for part in GATES[:2])
    h, jacobian = kexue.gru([[0.5]], W, U, b, [0.4], return_jacobians=True)
    assert h.item() == pytest.approx(0.3152664939204548, rel=1e-15)
    assert jacobian.item() == pytest.approx(0.13217937159655957, rel=1e-14)
    assert kexue.gru_cell([0.5], [0.4], W, U, b).item() == h.item()
    assert kexue.gru_jacobian([0.5], [0.4], W, U, b).item() == jacobian.item()


def test_values_of_a_scalar_lstm():
    W, U, b = GATES
    derivative, terms = kexue.lstm_path_derivative(0.5, 0.9, 0.7, W, U, b)
    wanted = [0.6572643411827573, 0.05528217973948685, 0.004186912385022364, -0.1088691697938078]
    np.testing.assert_allclose(terms, wanted, rtol=1e-14)
    assert derivative == pytest.approx(0.6078642635134587, rel=1e-14)
    # It is the total derivative of c by c' along h' = o' tanh(c').
    before = 0.7 * np.tanh(0.9)
    jacobian = kexue.lstm_jacobian([0.5], [before], [0.9], [[*W, 0.1]], [[*U, 0.3]], [*b, 0.0])
    assert jacobian[1] @ [0.7 * (1 - np.tanh(0.9) ** 2), 1] == pytest.approx(derivative, rel=1e-14)
    many = kexue.lstm_path_derivative(np.full((3, 1), 0.5), np.full(2, 0.9), 0.7, [*W, 5.0], U, np.tile(b, (3, 2, 1)))
    np.testing.assert_array_equal(many[0], np.full((3, 2), derivative))
    np.testing.assert_array_equal(many[1], np.broadcast_to(terms, (3, 2, 4)))


def test_values_of_a_scalar_rnn():
    assert kexue.rnn_jacobian([0.1], [0.3], [[1.0]], [[2.0]]).item() == pytest.approx(1.2694791799649174, rel=1e-15)
    assert kexue.simple_rnn_cell([0.1], [0.3], [[1.0]], [[2.0]]).item() == pytest.approx(np.tanh(0.7), rel=1e-15)


def test_constants():
    with mpmath.workdps(40):
        argument = mpmath.findroot(lambda c: c * mpmath.tanh(c) - mpmath.mpf(1) / 2, 0.77)
        assert float(argument) == kexue.TANH_JACOBIAN_ARGUMENT
        assert float(argument * mpmath.sech(argument) ** 2) == kexue.TANH_JACOBIAN_BOUND


@given(st.floats(-1, 1).filter(lambda h: abs(h) > 1e-3), st.floats(-1e4, 1e4))
def test_bound_of_the_scalar_rnn(h, U):
    bound = kexue.rnn_jacobian_bound(h)
    assert abs(kexue.rnn_jacobian([0.0], [h], [[0.0]], [[U]]).item()) <= bound * (1 + 1e-13)
    best = kexue.TANH_JACOBIAN_ARGUMENT / h
    assert kexue.rnn_jacobian([0.0], [h], [[0.0]], [[best]]).item() == pytest.approx(np.copysign(bound, h), rel=1e-13)


def test_bound_at_zero_is_infinite():
    np.testing.assert_array_equal(kexue.rnn_jacobian_bound([0.0, 1.0]), [np.inf, kexue.TANH_JACOBIAN_BOUND])
    assert kexue.rnn_jacobian_bound(np.float32(0.5)).dtype == np.float32


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.floats(0.1, 30), st.sampled_from(["gru", "gru_after", "gru_single_gate", "lstm"]))
def test_states_stay_within_one(seed, size, kind):
    case = Case(kind, 2, 30, 2, 4, seed=seed)
    case.U = case.U * size
    case.W = case.W * size
    case.h0 = np.tanh(case.h0)
    assert (np.abs(case.run()[0]) <= 1).all()


# ---- extremes ----


@DTYPES
@ALL
def test_saturated_gates(kind, dtype):
    """Pre-activations of +-10^4 give the gates' limits, and no floating-point error."""
    case = Case(kind, 2, 6, 3, 4, dtype)
    case.W = np.where(case.W > 0, dtype(1e4), dtype(-1e4))
    case.x = np.sign(case.x)
    wanted = case.expected() if dtype is np.float64 else None
    with np.errstate(all="raise"):
        results = case.run()
        jacobians = case.run(return_jacobians=True)[-1]
    assert all(np.isfinite(part).all() for part in results)
    assert np.isfinite(jacobians).all()
    if wanted is not None:
        for mine, one in zip(results, wanted, strict=True):
            np.testing.assert_allclose(mine, one, rtol=1e-13, atol=1e-15)


def test_infinite_inputs_saturate():
    W, U = [[1.0, -1.0, 1.0, 1.0]], [[0.5, 0.5, 0.5, 0.5]]
    h, c = kexue.lstm([[np.inf], [-np.inf]], W, U, None, [0.3], [0.25])
    np.testing.assert_array_equal(c, [[0.25], [-1.0]])
    np.testing.assert_allclose(h, [[np.tanh(0.25)], [0.0]], atol=0, rtol=1e-15)


@DTYPES
@ALL
def test_nan_stays_in_its_sequence(kind, dtype):
    case = Case(kind, 8, 5, 3, 9, dtype)
    clean = case.run()
    case.x[3, 2, 1] = np.nan
    for mine, wanted in zip(case.run(), clean, strict=True):
        assert np.isnan(mine[3, 2:]).all()
        mine[3, 2:] = wanted[3, 2:]
        np.testing.assert_array_equal(mine, wanted)


@DTYPES
def test_tanh_and_sigma_of_small_and_large_numbers(dtype):
    x = np.concatenate([np.logspace(-30, 2, 400), [0.0]]).astype(dtype)
    x = np.concatenate([x, -x])
    eps, wide = np.finfo(dtype).eps, x.astype(np.float64)
    h = kexue.simple_rnn(x[:, None, None], np.ones((1, 1), dtype), np.zeros((1, 1), dtype))
    np.testing.assert_allclose(h.ravel(), np.tanh(wide), rtol=2 * eps, atol=0)
    # n = tanh(40) = 1 and h' = 0: h is the update gate
    W, b = np.array([[1, 0, 0]], dtype), np.array([0, 0, 40], dtype)
    z = kexue.gru(x[:, None, None], W, np.zeros((1, 3), dtype), b)
    np.testing.assert_allclose(z.ravel(), 1 / (1 + np.exp(-wide)), rtol=3 * eps, atol=np.finfo(dtype).tiny)


def test_empty():
    W, U = np.ones((2, 12)), np.ones((3, 12))
    for shape in [(0, 2), (4, 0, 2), (0, 5, 2), (2, 0, 3, 2)]:
        h, c, jacobians = kexue.lstm(np.ones(shape), W, U, return_jacobians=True)
        assert h.shape == c.shape == (*shape[:-1], 3)
        assert jacobians.shape == (*shape[:-1], 6, 6)
    nothing = kexue.gru(np.ones((4, 0)), np.ones((0, 9)), np.ones((3, 9)), np.ones(9))
    np.testing.assert_array_equal(nothing, kexue.gru(np.ones((4, 1)), np.zeros((1, 9)), np.ones((3, 9)), np.ones(9)))
    assert kexue.simple_rnn_cell(np.ones((0, 2)), np.ones(3), np.ones((2, 3)), np.ones((3, 3))).shape == (0, 3)


@ALL
def test_no_units(kind):
    """n = 0: nothing, but of the right shapes."""
    case = Case(kind, 4, 3, 2, 0)
    results = case.run(return_jacobians=True)
    width = 2 * case.h0.shape[-1] if case.has_cells else 0
    assert [part.shape for part in results] == [(4, 3, 0)] * (len(results) - 1) + [(4, 3, width, width)]


# ---- arguments ----


@ALL
def test_layouts(kind):
    case = Case(kind, 6, 5, 4, 7)
    wanted = case.run()
    whole = np.zeros((5, 12, 8))
    whole[:, ::2, ::-2] = case.x.swapaxes(0, 1)
    case.x = whole[:, ::2, ::-2].swapaxes(0, 1)
    case.W, case.U = np.asfortranarray(case.W), case.U.astype(">f8")
    case.h0 = case.h0.copy()
    case.h0.flags.writeable = False
    for mine, one in zip(case.run(), wanted, strict=True):
        np.testing.assert_array_equal(mine, one)


def test_leading_dimensions_and_shared_starts():
    case = Case("lstm", 6, 4, 3, 5)
    case.x = case.x.reshape(2, 3, 4, 3)
    case.h0, case.c0 = case.h0[:3], case.c0[0]
    h, c = case.run()
    assert h.shape == c.shape == (2, 3, 4, 5)
    for i, j in np.ndindex(2, 3):
        one = kexue.lstm(case.x[i, j], case.W, case.U, case.b, case.h0[j], case.c0)
        np.testing.assert_array_equal([h[i, j], c[i, j]], one)
    cell = kexue.lstm_cell(case.x[0, 0, 0], case.h0, case.c0, case.W, case.U, case.b)
    assert cell[0].shape == (3, 5)


def test_dtypes():
    assert kexue.simple_rnn([[1]], [[1]], [[0]]).dtype == np.float64
    narrow = np.ones((1, 1), np.float16)
    assert kexue.simple_rnn(narrow, narrow, narrow).dtype == np.float32
    assert kexue.simple_rnn(narrow, narrow, np.ones((1, 1))).dtype == np.float64


X, W3, U3 = np.ones((4, 2)), np.ones((2, 9)), np.ones((3, 9))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: kexue.gru(X, W3, np.ones((3, 8))), r"U must have shape \(n, 3 n\), but its shape is \(3, 8\)"),
        (lambda: kexue.simple_rnn(X, W3, U3), r"U must have shape \(n, n\)"),
        (lambda: kexue.gru(X, np.ones((2, 8)), U3), r"W must have 9 columns as U has, but its shape is \(2, 8\)"),
        (lambda: kexue.gru(np.ones((4, 3)), W3, U3), r"x must have shape \(\.\.\., steps, 2\).*\(4, 3\)"),
        (lambda: kexue.gru(np.ones(2), W3, U3), "x must have shape"),
        (lambda: kexue.gru(X, W3, U3, np.ones(3)), r"b must have shape \(9,\), but its shape is \(3,\)"),
        (lambda: kexue.gru(X, W3, U3, None, np.ones(2)), r"h0 must have shape \(\.\.\., 3\)"),
        (lambda: kexue.gru(X, W3, U3, None, np.ones((2, 3))), r"h0 must broadcast to \(3,\)"),
        (lambda: kexue.gru(X, W3, U3, convention="keras"), 'convention must be "kexue" or "torch"'),
        (lambda: kexue.gru(X, W3, U3, variant="double"), 'variant must be "standard"'),
        (lambda: kexue.gru(X, W3, U3, variant="proposal", convention="torch"), "torch's convention"),
        (lambda: kexue.gru(X, W3, U3, recurrent_bias=np.ones(3)), "recurrent_bias must be None"),
        (lambda: kexue.gru(X, W3, U3, c0=np.ones(3)), "c0 must be None"),
        (lambda: kexue.gru(X, W3, U3, convention="torch", recurrent_bias=np.ones(2)), "recurrent_bias must have shape"),
        (lambda: kexue.gru_cell(np.ones((4, 2)), np.ones((3, 3)), W3, U3), r"h must have leading dimensions"),
        (lambda: kexue.gru_cell(X[0], np.ones(3), W3, U3, c=np.ones(3)), "c must be None"),
        (lambda: kexue.gru_jacobian(np.ones(3), np.ones(3), W3, U3), r"x must have shape \(\.\.\., 2\)"),
        (lambda: kexue.simple_rnn(X, np.ones((2, 1)), [[1.0]], activation="sin"), "activation must be"),
        (lambda: kexue.gru_vjp(X, W3, U3, None, None, np.ones((4, 2))), r"grad_h must broadcast to \(4, 3\)"),
        (lambda: kexue.gru_vjp(X, W3, U3, None, None, 1.0, 1.0), "grad_c must be None"),
        (lambda: kexue.lstm_path_derivative(1.0, 1.0, 1.0, [1.0, 2.0], U3[0, :3]), r"W must have shape \(\.\.\., 3\)"),
        (lambda: kexue.lstm_path_derivative([1.0, 1], [1.0, 1, 1], 1.0, [1.0] * 3, [1.0] * 3), "broadcast"),
        (lambda: kexue.lstm_weights_from_torch(np.ones((6, 2)), np.ones((8, 2))), "weight_ih must have 4 blocks"),
        (lambda: kexue.lstm_weights_from_torch(np.ones((8, 2)), np.ones((4, 2))), "weight_hh must have 8 rows"),
        (lambda: kexue.gru_weights_from_torch(np.ones((6, 2)), np.ones((6, 2)), np.ones(6)), "bias_ih and bias_hh"),
        (lambda: kexue.simple_rnn_weights_from_torch(np.ones(3), np.ones((3, 3))), "weight_ih must have 2 dimensions"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(KexueValueError, match=text):
        call()


def test_arguments_are_not_modified():
    case = Case("gru_after", 3, 4, 2, 5)
    before = [part.copy() for part in (case.x, case.W, case.U, case.b, case.h0)]
    case.run()
    for mine, wanted in zip((case.x, case.W, case.U, case.b, case.h0), before, strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_ctrl_c_stops_it():
    x, U = np.zeros((200_000, 1)), np.zeros((256, 1024))
    # A shell ignores the signal for what it runs in the background.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            kexue.lstm(x, np.zeros((1, 1024)), U, workers=1)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, handler)


# ---- torch ----


@DTYPES
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_torch(name, bias, dtype):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    kind = {np.float32: torch.float32, np.float64: torch.float64}[dtype]
    layer = getattr(torch.nn, name)(6, 20, batch_first=True, bias=bias).to(kind)
    cell = getattr(torch.nn, name + "Cell")(6, 20, bias=bias).to(kind)
    rng = np.random.default_rng(0)
    x, h0, c0 = (rng.normal(size=shape).astype(dtype) for shape in [(3, 15, 6), (3, 20), (3, 20)])
    at = {"atol": 1e-6 if dtype is np.float32 else 1e-12, "rtol": 0}
    for module in (layer, cell):
        parameters = [parameter.detach().numpy() for parameter in module.parameters()]
        with torch.no_grad():
            tx, th, tc = (torch.from_numpy(array) for array in (x, h0, c0))
            if name == "LSTM":
                W, U, b = kexue.lstm_weights_from_torch(*parameters)
                mine = kexue.lstm(x, W, U, b, h0, c0) if module is layer else kexue.lstm_cell(x[:, 0], h0, c0, W, U, b)
                theirs = layer(tx, (th[None], tc[None]))[0] if module is layer else cell(tx[:, 0], (th, tc))
                if module is layer:
                    mine = mine[0]
            elif name == "GRU":
                W, U, b, recurrent_bias = kexue.gru_weights_from_torch(*parameters)
                options = {"convention": "torch", "recurrent_bias": recurrent_bias}
                mine = kexue.gru(x, W, U, b, h0, **options)
                if module is cell:
                    mine = kexue.gru_cell(x[:, 0], h0, W, U, b, **options)
                theirs = layer(tx, th[None])[0] if module is layer else cell(tx[:, 0], th)
            else:
                W, U, b = kexue.simple_rnn_weights_from_torch(*parameters)
                mine = kexue.simple_rnn(x, W, U, b, h0)
                if module is cell:
                    mine = kexue.simple_rnn_cell(x[:, 0], h0, W, U, b)
                theirs = layer(tx, th[None])[0] if module is layer else cell(tx[:, 0], th)
        np.testing.assert_allclose(np.asarray(mine), np.array([np.asarray(t) for t in theirs]), **at)
