"""Backpropagation through time by complex steps, finite differences and torch; products of Jacobians by many digits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError
from reference import recurrent as reference
from reference.recurrent_cases import KINDS, Case

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
ALL = pytest.mark.parametrize("kind", KINDS)


def call_vjp(case, grad_h, grad_c=None, **options):
    function = getattr(kexue, case.name + "_vjp")
    starts, keywords = case.starts(case.h0, case.c0)
    upstream = (grad_h, grad_c) if case.has_cells else (grad_h,)
    return function(
        case.x, case.W, case.U, case.b, *starts, *upstream, **keywords, **case.options, **case.extra, **options
    )


def operands(case):
    """What the gradients are by, in their order."""
    parts = [case.x, case.W, case.U, case.b, case.h0]
    return [*parts, case.c0] if case.has_cells else [*parts, *case.extra.values()]


def upstream(case, seed=0):
    rng = np.random.default_rng(seed)
    shape = (*case.x.shape[:-1], case.h0.shape[-1])
    return [rng.normal(size=shape).astype(case.x.dtype) for _ in range(1 + case.has_cells)]


@ALL
def test_against_complex_steps(kind):
    case = Case(kind, 2, 4, 2, 3)
    grads = upstream(case)
    results = call_vjp(case, *grads)
    parts = [part.astype(complex) for part in operands(case)]
    assert len(results) == len(parts)

    def loss():
        x, W, U, b, h0, *rest = (part.tolist() for part in parts)
        c0 = rest[0] if case.has_cells else [[0] * 3] * 2
        extra = [] if case.has_cells else rest
        total = 0
        for k in range(2):
            outputs = reference.states(case.step, x[k], h0[k], c0[k], W, U, b, *extra)
            total += sum((np.array(part) * grad[k]).sum() for part, grad in zip(outputs, grads, strict=False))
        return total

    for part, mine in zip(parts, results, strict=True):
        assert mine.shape == part.shape
        for place in np.ndindex(part.shape):
            part[place] += 1e-30j
            wanted = loss().imag / 1e-30
            part[place] -= 1e-30j
            assert mine[place] == pytest.approx(wanted, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"relu"}))  # whose slope changes within a step
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (9, 5, 3, 20), (1, 3, 17, 140), (30, 2, 4, 33)])
def test_against_differences(sizes, kind):
    """Along a random direction of all operands together."""
    case = Case(kind, *sizes)
    grads = upstream(case)
    results = call_vjp(case, *grads)
    rng = np.random.default_rng(1)
    ways = [rng.normal(size=part.shape) for part in operands(case)]
    step, sums = 1e-5, []
    for sign in (1, -1):
        moved = Case(kind, *sizes)
        for part, way in zip(operands(moved), ways, strict=True):
            part += sign * step * way
        sums.append(sum((part * grad).sum() for part, grad in zip(moved.run(), grads, strict=True)))
    along = sum((part * way).sum() for part, way in zip(results, ways, strict=True))
    size = sum(np.abs(part * way).sum() for part, way in zip(results, ways, strict=True))
    assert along == pytest.approx((sums[0] - sums[1]) / (2 * step), abs=1e-7 * size)


@DTYPES
@ALL
def test_start_gradients_are_products_of_jacobians(kind, dtype):
    case = Case(kind, 3, 6, 2, 17, dtype)
    jacobians = case.run(return_jacobians=True)[-1].astype(np.float64)
    grads = [np.zeros_like(part) for part in upstream(case)]
    for part, one in zip(grads, upstream(case), strict=True):
        part[:, -1] = one[:, -1]
    row = np.concatenate([part[:, -1] for part in grads], axis=-1)[:, None].astype(np.float64)
    for t in range(5, -1, -1):
        row = row @ jacobians[:, t]
    results = call_vjp(case, *grads)
    starts = results[4:6] if case.has_cells else results[4:5]
    mine = np.concatenate(starts, axis=-1)
    tolerance = 1e-12 if dtype is np.float64 else 5e-5
    np.testing.assert_allclose(mine, row[:, 0], rtol=0, atol=tolerance * np.abs(row).max())


@ALL
def test_shared_starts_absent_ones_and_empty_sequences(kind):
    case = Case(kind, 4, 3, 2, 5)
    case.h0, case.c0 = np.zeros((1, 5)), np.zeros(5)
    shared = call_vjp(case, 1.0, 1.0) if case.has_cells else call_vjp(case, 1.0)
    whole = Case(kind, 4, 3, 2, 5)
    whole.h0, whole.c0 = None, None
    alone = call_vjp(whole, np.ones((4, 3, 5)), np.ones((4, 3, 5))) if case.has_cells else call_vjp(whole, 1.0)
    for k, (mine, wanted) in enumerate(zip(shared, alone, strict=True)):
        if k == 4 or (k == 5 and case.has_cells):
            assert mine.shape == (case.h0, case.c0)[k - 4].shape
            np.testing.assert_allclose(mine.ravel(), wanted.sum(axis=0), rtol=1e-12, atol=1e-14)
        else:
            np.testing.assert_array_equal(mine, wanted)
    whole.x, whole.b = np.ones((4, 0, 2)), None
    nothing = call_vjp(whole, 1.0)
    shapes = [(4, 0, 2), whole.W.shape, whole.U.shape, (whole.W.shape[1],), (4, 5)]
    assert [part.shape for part in nothing[:5]] == shapes
    assert not any(part.any() for part in nothing)


@ALL
def test_no_inputs_and_no_units(kind):
    case, other = Case(kind, 4, 3, 0, 5), Case(kind, 4, 3, 1, 5)
    other.W, other.U, other.b, other.h0, other.c0 = np.zeros_like(other.W), case.U, case.b, case.h0, case.c0
    other.extra = case.extra
    got, wanted = call_vjp(case, 1.0), call_vjp(other, 1.0)
    assert got[0].shape == (4, 3, 0) and got[1].shape == case.W.shape
    for mine, one in zip(got[2:], wanted[2:], strict=True):
        np.testing.assert_array_equal(mine, one)
    nothing = Case(kind, 4, 3, 2, 0)
    assert [part.shape for part in call_vjp(nothing, 1.0)[:3]] == [(4, 3, 2), (2, 0), (0, 0)]
    assert not call_vjp(nothing, 1.0)[0].any()


@ALL
def test_one_gradient_of_the_cells_may_be_absent(kind):
    case = Case(kind, 2, 3, 2, 4)
    if case.has_cells:
        grad = upstream(case)[0]
        for mine, wanted in zip(call_vjp(case, grad), call_vjp(case, grad, 0.0), strict=True):
            np.testing.assert_array_equal(mine, wanted)
    else:
        assert len(call_vjp(case, 1.0)) == 5 + len(case.extra)


@ALL
@pytest.mark.parametrize("workers", [2, 5])
def test_any_number_of_workers_gives_the_same_bits(kind, workers):
    case = Case(kind, 31, 4, 3, 21, np.float32)
    grads = upstream(case)
    for mine, wanted in zip(call_vjp(case, *grads, workers=workers), call_vjp(case, *grads, workers=1), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@DTYPES
@ALL
def test_saturated_gates_have_finite_gradients(kind, dtype):
    case = Case(kind, 2, 6, 3, 4, dtype)
    case.W = np.where(case.W > 0, dtype(1e4), dtype(-1e4))
    with np.errstate(all="raise", under="ignore"):
        results = call_vjp(case, *upstream(case))
    assert all(np.isfinite(part).all() for part in results)


@ALL
def test_nan_is_not_hidden(kind):
    case = Case(kind, 3, 4, 2, 5)
    clean = call_vjp(case, *upstream(case))
    case.x[1, 2, 0] = np.nan
    by_x, *_, by_h0 = call_vjp(case, *upstream(case))[:5]
    assert np.isnan(by_h0[1]).all()
    assert np.isnan(by_x[1, 2]).all()
    np.testing.assert_array_equal(by_h0[[0, 2]], clean[4][[0, 2]])


@DTYPES
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_torch(name, dtype):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    kind = {np.float32: torch.float32, np.float64: torch.float64}[dtype]
    layer = getattr(torch.nn, name)(6, 20, batch_first=True).to(kind)
    rng = np.random.default_rng(0)
    x, h0, c0, grad = (rng.normal(size=shape).astype(dtype) for shape in [(3, 15, 6), (3, 20), (3, 20), (3, 15, 20)])
    tx, th, tc = (torch.from_numpy(array).requires_grad_() for array in (x, h0, c0))
    out, _ = layer(tx, (th[None], tc[None]) if name == "LSTM" else th[None])
    out.backward(torch.from_numpy(grad))
    parameters = [parameter.detach().numpy() for parameter in layer.parameters()]
    theirs = [parameter.grad.numpy() for parameter in layer.parameters()]
    if name == "LSTM":
        mine = kexue.lstm_vjp(x, *kexue.lstm_weights_from_torch(*parameters), h0, c0, grad)
        wanted = [tx.grad, *kexue.lstm_weights_from_torch(*theirs[:2], theirs[2], 0 * theirs[3]), th.grad, tc.grad]
    elif name == "GRU":
        W, U, b, bias = kexue.gru_weights_from_torch(*parameters)
        mine = kexue.gru_vjp(x, W, U, b, h0, grad, convention="torch", recurrent_bias=bias)
        by_W, by_U, by_b, _ = kexue.gru_weights_from_torch(*theirs[:2], theirs[2], 0 * theirs[3])
        wanted = [tx.grad, by_W, by_U, by_b, th.grad, theirs[3][40:]]
    else:
        mine = kexue.simple_rnn_vjp(x, *kexue.simple_rnn_weights_from_torch(*parameters), h0, grad)
        wanted = [tx.grad, *kexue.simple_rnn_weights_from_torch(*theirs[:2], theirs[2], 0 * theirs[3]), th.grad]
    for one, other in zip(mine, wanted, strict=True):
        other = np.asarray(other)
        at = (1e-6 if dtype is np.float32 else 1e-12) * max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=at)


# ---- products of Jacobians ----


def test_norms_of_5000_matrices_against_many_digits():
    """5000 random matrices of 3 x 3: to 1e-10 of the norm, at every place that is looked at."""
    jacobians = np.random.default_rng(0).normal(size=(5000, 3, 3))
    places = [1, 2, 10, 500, 5000]
    with mpmath.workdps(50):
        product, wanted = mpmath.eye(3), {}
        for t, matrix in enumerate(jacobians, 1):
            product = mpmath.matrix(matrix.tolist()) * product
            if t in places:
                square = sum(v * v for v in product)
                largest = max(mpmath.svd_r(product, compute_uv=False))
                wanted[t] = (float(mpmath.log(square) / 2), float(mpmath.log(largest)))
    for stabilization in ("qr", "none"):
        frobenius = kexue.jacobian_product_log_norms(jacobians, norm="frobenius", stabilization=stabilization)
        spectral = kexue.jacobian_product_log_norms(jacobians, stabilization=stabilization)
        for t in places:
            assert frobenius[t - 1] == pytest.approx(wanted[t][0], abs=1e-10)
            assert spectral[t - 1] == pytest.approx(wanted[t][1], abs=1e-10)
        assert spectral[-1] > 710  # beyond float64's largest number


@pytest.mark.parametrize("turn", [np.eye(3), [[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
def test_what_grew_and_is_cut_off_later_leaves_the_rest(turn):
    """Gates that keep one cell for 400 steps and another for 900: beyond what one matrix can hold beside the first."""
    turn = np.array(turn)
    back = np.linalg.inv(turn)
    steps = [turn @ np.diag([10.0, 0.1, 0.5]) @ back] * 400 + [turn @ np.diag([0.1, 10.0, 0.5]) @ back] * 900
    heights = np.array([400 - 900, 900 - 400]) * np.log(10)
    logs = kexue.jacobian_product_log_norms(np.array(steps))
    assert logs[399] == pytest.approx(heights[0] + 900 * np.log(10), rel=1e-12)
    assert logs[-1] == pytest.approx(heights.max(), rel=1e-12)
    assert kexue.jacobian_product_log_norms(np.array(steps), stabilization="none")[-1] < 400 * np.log(10)
    back_in_time = kexue.jacobian_product_log_norms(np.array(steps), direction="backward")
    assert back_in_time[0] == pytest.approx(heights.max(), rel=1e-12)


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
def test_both_directions(norm):
    jacobians = np.random.default_rng(1).normal(size=(2, 130, 4, 4))
    order = {"spectral": 2, "frobenius": "fro"}[norm]
    forward = kexue.jacobian_product_log_norms(jacobians, norm=norm)
    backward = kexue.jacobian_product_log_norms(jacobians, norm=norm, direction="backward")
    assert forward.shape == backward.shape == (2, 130)
    for k in range(2):
        ahead = back = np.eye(4)
        for t in range(130):
            ahead, back = jacobians[k, t] @ ahead, back @ jacobians[k, -1 - t]
            assert forward[k, t] == pytest.approx(np.log(np.linalg.norm(ahead, order)), abs=1e-11)
            assert backward[k, -1 - t] == pytest.approx(np.log(np.linalg.norm(back, order)), abs=1e-11)


def test_the_backward_norm_is_the_gradient_through_time():
    case = Case("lstm", 1, 8, 2, 6)
    *_, jacobians = case.run(return_jacobians=True)
    logs = kexue.jacobian_product_log_norms(jacobians, norm="frobenius", direction="backward")
    rows = []
    for k in range(12):
        grads = [np.zeros((1, 8, 6)), np.zeros((1, 8, 6))]
        grads[k // 6][0, -1, k % 6] = 1
        rows.append(np.concatenate(call_vjp(case, *grads)[4:], axis=-1))
    assert logs[0, 0] == pytest.approx(np.log(np.linalg.norm(rows)), abs=1e-12)


@settings(max_examples=50)
@given(st.integers(-1060, 1000), st.integers(1, 40), st.integers(0, 2**32))
def test_scales_of_any_size(exponent, steps, seed):
    jacobians = np.random.default_rng(seed).uniform(-1, 1, size=(steps, 2, 2))
    jacobians[:, 0, 0] = 1
    scaled = jacobians * 2.0**exponent
    if exponent < -1000:  # what is left of the digits
        jacobians = np.ldexp(scaled, -exponent)
    for norm in ("spectral", "frobenius"):
        logs = kexue.jacobian_product_log_norms(jacobians, norm=norm)
        moved = kexue.jacobian_product_log_norms(scaled, norm=norm)
        np.testing.assert_allclose(moved, logs + np.arange(1, steps + 1) * exponent * np.log(2), rtol=1e-13, atol=1e-10)


def test_zeros():
    jacobians = np.ones((5, 2, 2))
    jacobians[2] = 0
    logs = kexue.jacobian_product_log_norms(jacobians)
    np.testing.assert_allclose(logs, [np.log(2), np.log(4), -np.inf, -np.inf, -np.inf], rtol=1e-15)
    back = kexue.jacobian_product_log_norms(jacobians, direction="backward")
    np.testing.assert_allclose(back, [-np.inf, -np.inf, -np.inf, np.log(4), np.log(2)], rtol=1e-15)
    np.testing.assert_array_equal(kexue.jacobian_product_log_singular_values(jacobians), [-np.inf, -np.inf])
    assert kexue.lyapunov_exponents(jacobians)[-1] == -np.inf
    # A nilpotent matrix, and one whose first column is zero
    np.testing.assert_array_equal(
        kexue.jacobian_product_log_singular_values(np.tile([[0.0, 1.0], [0.0, 0.0]], (2, 1, 1))), [-np.inf, -np.inf]
    )
    values = kexue.jacobian_product_log_singular_values(np.tile([[0.0, 1.0], [0.0, 2.0]], (3, 1, 1)))
    assert values[0] == pytest.approx(np.log(4 * np.sqrt(5)))
    assert values[1] == -np.inf


@pytest.mark.parametrize(("steps", "n"), [(1, 1), (1, 4), (30, 2), (400, 4), (60, 8)])
def test_log_singular_values_against_many_digits(steps, n):
    """Apart by more than float64 spans, at 400 steps."""
    jacobians = np.random.default_rng([steps, n]).normal(size=(steps, n, n))
    wanted = reference.log_singular_values(jacobians, digits=40 + 3 * steps)[0]
    mine = kexue.jacobian_product_log_singular_values(jacobians)
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(mine.sum(), np.linalg.slogdet(jacobians)[1].sum(), atol=1e-10)
    assert mine[0] == pytest.approx(kexue.jacobian_product_log_norms(jacobians)[-1], abs=1e-11)


def test_log_singular_values_that_are_far_apart_in_one_step():
    """Their ratio is out of range, and so are squares of the smaller."""
    jacobians = np.tile(np.diag([1e-300, 1.0, 1e-200, 1e300]), (1000, 1, 1))
    wanted = np.array([300, 0, -200, -300]) * 1000 * np.log(10)
    np.testing.assert_allclose(kexue.jacobian_product_log_singular_values(jacobians), wanted, rtol=1e-13, atol=1e-9)
    np.testing.assert_allclose(kexue.lyapunov_exponents(jacobians), wanted / 1000, rtol=1e-13, atol=1e-12)
    permuted = jacobians[:1] @ np.eye(4)[[2, 0, 3, 1]]
    np.testing.assert_allclose(
        kexue.jacobian_product_log_singular_values(permuted), wanted / 1000, rtol=1e-13, atol=1e-9
    )


def test_log_singular_values_that_are_equal():
    rng = np.random.default_rng(3)
    rotations = np.linalg.qr(rng.normal(size=(200, 5, 5)))[0]
    np.testing.assert_allclose(kexue.jacobian_product_log_singular_values(rotations), 0, atol=1e-11)
    np.testing.assert_allclose(kexue.lyapunov_exponents(rotations), 0, atol=1e-13)
    assert kexue.jacobian_product_log_singular_values(np.ones((2, 0, 3, 3))).tolist() == [[0, 0, 0]] * 2


def test_lyapunov_exponents():
    rng = np.random.default_rng(4)
    jacobians = rng.normal(size=(2, 3000, 3, 3)) * np.exp(rng.normal(size=(2, 3000, 1, 1)))
    values = kexue.lyapunov_exponents(jacobians)
    np.testing.assert_allclose(values.sum(axis=-1), np.linalg.slogdet(jacobians)[1].mean(axis=-1), atol=1e-12)
    exact = kexue.jacobian_product_log_singular_values(jacobians)
    np.testing.assert_allclose(values, exact / 3000, atol=5e-3)
    later = np.linalg.slogdet(jacobians[:, 50:])[1].mean(axis=-1)
    np.testing.assert_allclose(kexue.lyapunov_exponents(jacobians, discard=50).sum(axis=-1), later, atol=1e-12)
    # log |J e| of Gaussian J and a unit vector e: (log 2 + digamma(3/2)) / 2 = 0.3648
    gaussian = rng.normal(size=(20000, 3, 3))
    assert kexue.lyapunov_exponents(gaussian, discard=100)[0] == pytest.approx(0.36482, abs=0.02)


def test_recursion():
    """Of all weights of a network, beside backpropagation."""
    case = Case("tanh", 1, 6, 2, 3)
    h, jacobians = case.run(return_jacobians=True)
    before = np.concatenate([case.h0[:, None], h[:, :-1]], axis=1)
    # of pre-activation j by U[k, j]: h'_k
    explicit = (1 - h**2)[..., :, None, None] * np.eye(3)[:, None, :] * before[..., None, :, None]
    sums = kexue.rnn_gradient_recursion(jacobians, explicit.reshape(1, 6, 3, 9))
    for k in range(3):
        grad = np.zeros((1, 6, 3))
        grad[0, -1, k] = 1
        np.testing.assert_allclose(sums[0, -1, k].reshape(3, 3), call_vjp(case, grad)[2], rtol=1e-12, atol=1e-14)
    start = np.random.default_rng(0).normal(size=(3, 9))
    moved = kexue.rnn_gradient_recursion(jacobians, explicit.reshape(1, 6, 3, 9), start)
    product = np.linalg.multi_dot(jacobians[0, ::-1])
    np.testing.assert_allclose(moved[0, -1] - sums[0, -1], product @ start, rtol=1e-11, atol=1e-13)


J = np.ones((4, 2, 2))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: kexue.jacobian_product_log_norms(np.ones((2, 2))), r"must have shape \(\.\.\., steps, n, n\)"),
        (lambda: kexue.jacobian_product_log_norms(np.ones((2, 2, 3))), "jacobians must have shape"),
        (lambda: kexue.jacobian_product_log_norms(J, norm="nuclear"), 'norm must be "spectral" or "frobenius"'),
        (lambda: kexue.jacobian_product_log_norms(J, stabilization="svd"), 'stabilization must be "qr" or "none"'),
        (lambda: kexue.jacobian_product_log_norms(J, direction="up"), 'direction must be "forward" or "backward"'),
        (lambda: kexue.jacobian_product_log_norms(J * np.nan), r"jacobians\[0, 0, 0\] is nan"),
        (lambda: kexue.lyapunov_exponents(J, discard=4), "more steps than are discarded"),
        (lambda: kexue.lyapunov_exponents(J, discard=-1), "discard must be at least 0"),
        (lambda: kexue.rnn_gradient_recursion(J, np.ones((3, 2, 1))), r"explicit must have shape \(\.\.\., 4, 2, p\)"),
        (lambda: kexue.rnn_gradient_recursion(J, np.ones((4, 2, 1)), np.ones((2, 2))), r"start must have shape"),
        (lambda: kexue.rnn_gradient_recursion(np.ones((2, 4, 2, 2)), np.ones((3, 4, 2, 1))), "leading dimensions"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(KexueValueError, match=text):
        call()
