"""kexue.torch: values are those of kexue to the bit, gradients those of differences, and tensors are not copied."""

import gc
import threading
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_array

import kexue

torch = pytest.importorskip("torch")
kt = pytest.importorskip("kexue.torch")
GradcheckError = pytest.importorskip("torch.autograd.gradcheck").GradcheckError

gradcheck = partial(torch.autograd.gradcheck, eps=1e-6, atol=1e-7, rtol=1e-6, fast_mode=False)


@pytest.fixture(autouse=True)
def one_thread():
    """Beside pytest's other processes torch's threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensor(array, dtype=torch.float64):
    return torch.from_numpy(np.array(array)).to(dtype).requires_grad_()


def shares(logits):
    """Weights of sum 1, whose differences keep their total."""
    return torch.softmax(logits, -1)


# Every function as (function of tensors, the tensors it is differentiated by), with generic numbers: no ties, no kinks.
def cases(rng, dtype=torch.float64):
    def normal(*shape, scale=1.0):
        return tensor(scale * rng.normal(size=shape), dtype)

    def uniform(*shape):
        return tensor(rng.random(shape), dtype)

    labels = torch.tensor([0, 2, 1, 1, 0, 3])
    flags = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    soft = torch.tensor(rng.random((3, 5)), dtype=dtype)
    mask = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    costs, more = uniform(4, 6), uniform(2, 3, 4, 6)
    reg = tensor(0.2, dtype)
    x, y = normal(5, 3), normal(4, 3)
    return {
        "squareplus": (kt.squareplus, (normal(3, 4), tensor([[0.5], [2.0], [4.0]], dtype))),
        "squareplus, b of more dimensions": (kt.squareplus, (normal(4), uniform(2, 3, 1))),
        "squareplus, number": (lambda x: kt.squareplus(x, 4.0), (normal(7),)),
        "entropy_normalize": (kt.entropy_normalize, (uniform(2, 6) + 0.1, tensor([1.2, 1.5], dtype))),
        "entropy_normalize, one target": (kt.entropy_normalize, (uniform(2, 6) + 0.1, tensor(1.4, dtype))),
        "entropy_normalize, more targets": (kt.entropy_normalize, (uniform(6) + 0.1, tensor([[1.3], [1.5]], dtype))),
        "entropy_normalize, axis": (
            lambda p, t: kt.entropy_normalize(p, t, axis=0, target_kind="perplexity"),
            (uniform(6, 2) + 0.1, tensor([3.0, 4.0], dtype)),
        ),
        "entropy_normalize, fraction": (
            lambda p, t: kt.entropy_normalize(p, t, target_kind="fraction"),
            (uniform(2, 6) + 0.1, tensor([0.6, 0.8], dtype)),
        ),
        "entropy_normalize_logits": (kt.entropy_normalize_logits, (normal(2, 6), tensor([1.2, 1.5], dtype))),
        "emd2 by M": (lambda M: kt.emd2(None, None, M), (costs,)),
        "emd2": (lambda a, b, M: kt.emd2(shares(a), shares(b), M), (normal(4), normal(6), costs)),
        "emd2, totals change": (
            lambda a, K, M: kt.emd2(a.exp(), (K.softmax(0) @ a.exp()), M), (normal(4), normal(6, 4), costs)
        ),
        "emd2, broadcast": (
            lambda a, b, M: kt.emd2(shares(a), shares(b), M), (normal(3, 4), normal(2, 1, 6), more)
        ),
        "emd2, M broadcast": (lambda a, b, M: kt.emd2(shares(a), shares(b), M), (normal(3, 4), normal(6), costs)),
        "sinkhorn2": (
            lambda a, b, M, r: kt.sinkhorn2(shares(a), shares(b), M, r, tol=1e-13),
            (normal(4), normal(6), costs, reg),
        ),
        "sinkhorn2, tall": (
            lambda a, b, M, r: kt.sinkhorn2(shares(a), shares(b), M.mT, r, tol=1e-13),
            (normal(6), normal(4), costs, reg),
        ),
        "sinkhorn2, totals change": (
            lambda a, K, M: kt.sinkhorn2(a.exp(), K.softmax(0) @ a.exp(), M, 0.1, tol=1e-13),
            (normal(4), normal(6, 4), costs),
        ),
        "sinkhorn2, broadcast": (
            lambda a, b, M, r: kt.sinkhorn2(shares(a), shares(b), M, r, tol=1e-13),
            (normal(3, 4), normal(2, 1, 6), more, tensor([0.1, 0.2, 0.5], dtype)),
        ),
        "sinkhorn2, targets": (
            lambda a, b, M: kt.sinkhorn2(shares(a), shares(b).mT, M, 0.3, tol=1e-13),
            (normal(4), normal(3, 6), costs),
        ),
        "wmd": (kt.wmd, (x, y)),
        "wmd, weights": (lambda x, y, a, b: kt.wmd(x, y, a, b), (x, y, uniform(5) + 0.1, uniform(4) + 0.1)),
        "wmd, rms": (lambda x, y, a: kt.wmd(x, y, None, a, rms=True), (x, y, uniform(4) + 0.1)),
        "wrd": (kt.wrd, (x, y)),
        "wrd, weights": (lambda x, y, a, b: kt.wrd(x, y, a, b), (x, y, uniform(5) + 0.1, uniform(4) + 0.1)),
        "hsic": (lambda X, Y: kt.hsic(X, Y, bandwidth=1.3), (normal(8, 3), normal(8, 2))),
        "hsic, line": (lambda X, Y: kt.hsic(X, Y, gamma=(0.5, 1.0), estimator="unbiased"), (normal(8), normal(8))),
        "hsic, linear": (lambda X, Y: kt.hsic(X, Y, kernel="linear", estimator="n-1"), (normal(8, 3), normal(8, 2))),
        "hsic, two kernels": (
            lambda X, Y: kt.hsic(X, Y, kernel=("polynomial", "laplace"), bandwidth=(None, 1.0)),
            (normal(8, 3), normal(8, 2)),
        ),
        "zlpr_loss": (lambda s, t: kt.zlpr_loss(s, flags, threshold=t), (normal(3, 5), normal(3))),
        "zlpr_loss, one threshold": (
            lambda s, t: kt.zlpr_loss(s, soft.to(s.dtype), threshold=t), (normal(3, 5), normal())
        ),
        "zlpr_loss, axis": (
            lambda s, t: kt.zlpr_loss(s, flags * mask, threshold=t, mask=mask, axis=0, label_smoothing=0.1),
            (normal(3, 5), normal(5)),
        ),
        "zlpr_sparse_loss": (
            lambda s, t: kt.zlpr_sparse_loss(s, [[0, 3], [], [1, 2, 4]], threshold=t), (normal(3, 5), normal(3))
        ),
        "combinatorial_softmax_loss": (
            lambda s: kt.combinatorial_softmax_loss(s, flags.T.contiguous(), axis=0), (normal(5, 3),)
        ),
        "combinatorial_softmax_loss, filler": (
            lambda s, f: kt.combinatorial_softmax_loss(s, flags, max_labels=5, filler=f), (normal(3, 5), normal(2, 1))
        ),
        "combinatorial_softmax_loss, filler, axis": (
            lambda s, f: kt.combinatorial_softmax_loss(s, flags.T.contiguous(), max_labels=5, filler=f, axis=0),
            (normal(5, 3), normal(2, 1)),
        ),
        "cosent_loss": (lambda c: kt.cosent_loss(c, labels, 5.0), (normal(6),)),
        "cosent_loss, broadcast": (lambda c: kt.cosent_loss(c, torch.stack([labels, 3 - labels]), 2.0), (normal(6),)),
        "cosent_loss, axis": (lambda c: kt.cosent_loss(c, labels[:, None], 2.0, axis=0), (normal(6, 2),)),
        "cosent_embedding_loss": (
            lambda U, V: kt.cosent_embedding_loss(U, V, labels, 5.0), (normal(6, 3), normal(2, 1, 3))
        ),
        "info_nce_loss": (lambda c: kt.info_nce_loss(c, temperature=0.5, symmetric=True), (normal(2, 4, 4),)),
        "r_drop_loss": (lambda s, t: kt.r_drop_loss(s, t, labels[:3], alpha=2.0), (normal(3, 5), normal(3, 5))),
        "r_drop_loss, axis": (
            lambda s, t: kt.r_drop_loss(s, t, labels[:3], axis=0), (normal(5, 3), normal(5, 3))
        ),
    }  # fmt: skip


NAMES = list(cases(np.random.default_rng(0)))
# The functions as such, one case each.
PLAIN = [name for name in NAMES if "," not in name and " " not in name]


def leaves(tensors):
    return tuple(one.detach().requires_grad_() for one in tensors)


def test_every_function_is_here():
    assert set(PLAIN) == set(kt.__all__)
    assert kexue.torch is kt
    assert all(hasattr(kexue, name) for name in kt.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name, rng):
    function, tensors = cases(rng)[name]
    assert gradcheck(function, leaves(tensors))


@pytest.mark.parametrize("name", NAMES)
def test_one_gradient_at_a_time(name, rng):
    """What is needed depends on which tensor asks."""
    function, tensors = cases(rng)[name]
    tensors = leaves(tensors)
    together = torch.autograd.grad(function(*tensors).sum(), tensors)
    for k, expected in enumerate(together):
        alone = [one.detach().requires_grad_(i == k) for i, one in enumerate(tensors)]
        (found,) = torch.autograd.grad(function(*alone).sum(), alone[k])
        assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_float32(name):
    """float32 in, float32 out, near float64."""
    function, tensors = cases(np.random.default_rng(7))[name]
    single = [one.detach().float().requires_grad_() for one in tensors]
    double = [one.detach().double().requires_grad_() for one in single]
    with kexue.errstate(convergence="ignore"):  # tol=1e-13 of float32 weights
        values = [function(*side) for side in (single, double)]
        assert values[0].dtype == torch.float32 and values[1].dtype == torch.float64
        assert_allclose(values[0].detach(), values[1].detach(), rtol=1e-5, atol=1e-6)
        grads = [torch.autograd.grad(value.sum(), side) for value, side in zip(values, (single, double), strict=True)]
    for one, other in zip(*grads, strict=True):
        assert one.dtype == torch.float32
        assert_allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_mixed_dtypes():
    x, b = tensor([1.0, -2.0], torch.float32), tensor([2.0, 3.0])
    y = kt.squareplus(x, b)
    assert y.dtype == torch.float64
    y.sum().backward()
    assert (x.grad.dtype, b.grad.dtype) == (torch.float32, torch.float64)
    half = tensor([1.0, -2.0], torch.float16)
    y = kt.squareplus(half, 4.0)
    y.sum().backward()
    assert (y.dtype, half.grad.dtype) == (torch.float32, torch.float16)
    assert kt.squareplus(torch.tensor([1, -2]), 4.0).dtype == torch.float64
    assert kt.hsic(torch.rand(8), torch.rand(8).double()).dtype == torch.float64


# ---- values ----


@pytest.mark.parametrize("name", NAMES)
def test_without_gradients(name, rng):
    """The same number under no_grad, to rounding, and no graph."""
    function, tensors = cases(rng)[name]
    value = function(*tensors)
    assert value.requires_grad
    with torch.no_grad():
        plain = function(*tensors)
    assert not plain.requires_grad and plain.grad_fn is None
    assert_allclose(plain, value.detach(), rtol=1e-14)
    with torch.inference_mode():
        assert_allclose(function(*tensors), plain, rtol=0)
    assert function(*[one.detach() for one in tensors]).grad_fn is None


def test_values_are_those_of_kexue(rng):
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    a, b, M = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(4), 2), rng.random((5, 4))
    scores, labels = rng.normal(size=(3, 5)), rng.integers(0, 2, (3, 5))
    T = torch.from_numpy
    for name, arguments, options in [
        ("squareplus", (x, 2.0), {}),
        ("entropy_normalize", (a, 1.2), {}),
        ("entropy_normalize_logits", (scores, np.array([1.0, 1.2, 1.4])), {}),
        ("emd2", (a, b, M), {}),
        ("emd2", (None, b, M), {}),
        ("sinkhorn2", (a, b, M, 0.1), {}),
        ("sinkhorn2", (a, np.ascontiguousarray(b.T), M, 0.1), {"method": "log", "acceleration": "none"}),
        ("wmd", (x, y, None, b[0]), {"rms": True}),
        ("wrd", (x, y, a), {}),
        ("hsic", (x, x**2), {"estimator": "unbiased"}),
        ("hsic", (x, x**2), {"kernel": lambda A, B: A @ B.T}),
        ("zlpr_loss", (scores, labels), {"label_smoothing": 0.1}),
        ("zlpr_sparse_loss", (scores, np.array([[0, -1], [1, 2], [-1, -1]])), {}),
        ("combinatorial_softmax_loss", (scores, labels), {}),
        ("cosent_loss", (scores, labels, 3.0), {}),
        ("cosent_embedding_loss", (scores, scores[::-1].copy(), labels[:, 0]), {}),
        ("info_nce_loss", (M[:4],), {}),
        ("r_drop_loss", (scores, scores[::-1].copy(), labels[:, 0]), {"alpha": 3.0}),
    ]:
        tensors = [T(one) if isinstance(one, np.ndarray) else one for one in arguments]
        found = getattr(kt, name)(*tensors, **options)
        expected = getattr(kexue, name)(*arguments, **options)
        assert isinstance(found, torch.Tensor)
        assert found.shape == np.shape(expected)
        np.testing.assert_array_equal(found.numpy(), expected)


LAYOUTS = {
    "transposed": lambda one: one.mT.contiguous().mT if one.ndim > 1 else one,
    "every second": lambda one: torch.stack([one, one], -1)[..., 0],
    "expanded": lambda one: one[None].expand(1, *one.shape)[0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PLAIN)
def test_strides(name, layout, rng):
    function, tensors = cases(rng)[name]
    tensors = leaves(tensors)
    expected = function(*tensors)
    upstream = torch.from_numpy(rng.normal(size=expected.shape))
    strided = tuple(LAYOUTS[layout](one.detach()).requires_grad_() for one in tensors)
    before = [one.detach().clone() for one in strided]
    value = function(*strided)
    assert_allclose(value.detach(), expected.detach(), rtol=1e-12)
    # Gradients come in any layout, too: of a sum, for instance, as one number with strides of 0.
    found = torch.autograd.grad(value, strided, LAYOUTS[layout](upstream) if upstream.ndim else upstream)
    for one, other in zip(found, torch.autograd.grad(expected, tensors, upstream), strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(one, copy) for one, copy in zip(strided, before, strict=True))


def test_conjugates_and_negatives():
    """A view that torch negates on reading is not given to NumPy as it is."""
    view = torch._neg_view(torch.tensor([1.0, -2.0], dtype=torch.float64))
    assert view.is_neg()
    assert_allclose(kt.squareplus(view, 4.0), kexue.squareplus([-1.0, 2.0], 4.0))


def test_empty():
    x = torch.empty(0, 3, dtype=torch.float64, requires_grad=True)
    kt.squareplus(x, 4.0).sum().backward()
    assert x.grad.shape == (0, 3)
    scores = torch.empty(0, 3, requires_grad=True)
    kt.zlpr_loss(scores, torch.empty(0, 3, dtype=torch.bool)).sum().backward()
    assert scores.grad.shape == (0, 3)
    M = torch.empty(0, 3, 4, dtype=torch.float64, requires_grad=True)
    for cost in (kt.emd2(None, None, M), kt.sinkhorn2(None, None, M, 0.1)):
        assert cost.shape == (0,)
        (grad,) = torch.autograd.grad(cost.sum(), M)
        assert grad.shape == M.shape
    p = torch.empty(0, 3, dtype=torch.float64, requires_grad=True)
    kt.entropy_normalize(p, 1.0).sum().backward()
    assert p.grad.shape == (0, 3)


def test_weights_without_entries_are_uniform(rng):
    M = tensor(rng.random((3, 4)))
    for function in (kt.emd2, partial(kt.sinkhorn2, reg=0.1)):
        a, b = torch.empty(0, requires_grad=True), torch.empty(0, requires_grad=True)
        cost = function(a, b, M)
        assert torch.equal(cost, function(None, None, M))
        assert all(grad.shape == (0,) for grad in torch.autograd.grad(cost, (a, b)))


def test_what_is_no_tensor(rng):
    """Lists and arrays beside the tensor, as in kexue."""
    a, b, M = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4), 5).T, tensor(rng.random((3, 4)))
    expected = kt.sinkhorn2(tensor(a), tensor(b), M, 0.1)
    for weights in (a, a.tolist()):
        for targets in (b, b.tolist(), tensor(b)):
            found = kt.sinkhorn2(weights, targets, M, 0.1)
            assert torch.equal(found, expected)
    ids = [torch.tensor([0, 2]), torch.tensor([1])]
    assert torch.equal(kt.zlpr_sparse_loss(M[:2], ids), kt.zlpr_sparse_loss(M[:2], [[0, 2], [1]]))


def test_sparse_weights(rng):
    a = csr_array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    M = tensor(rng.random((3, 3)))
    with torch.no_grad():
        assert torch.equal(kt.sinkhorn2(a, a, M, 0.1), kexue.sinkhorn2(a, a, M.detach(), 0.1))
    with pytest.raises(kexue.KexueValueError, match="a is sparse, .*: a.toarray()"):
        kt.sinkhorn2(a, a, M, 0.1)
    with pytest.raises(TypeError, match="a must be an array of real numbers, not csr_array"):
        kt.emd2(a, a, M)


def test_numbers_may_be_tensors(rng):
    """Those without a gradient: for what has none by them it must not be lost in silence."""
    x, y, square = (tensor(rng.normal(size=shape)) for shape in ((6, 2), (6, 2), (6, 6)))
    labels = torch.arange(6)
    for name, function, number in [
        ("scale", lambda scale: kt.cosent_loss(x[:, 0], labels, scale), 3.0),
        ("scale", lambda scale: kt.cosent_embedding_loss(x, y, labels, scale), 3.0),
        ("temperature", lambda temperature: kt.info_nce_loss(square, temperature=temperature), 0.5),
        ("alpha", lambda alpha: kt.r_drop_loss(square, square, labels, alpha=alpha), 2.0),
        ("label_smoothing", lambda share: kt.zlpr_loss(square, square.detach() > 0, label_smoothing=share), 0.25),
        ("bandwidth", lambda bandwidth: kt.hsic(x, y, bandwidth=bandwidth), 1.5),
        ("gamma", lambda gamma: kt.hsic(x, y, gamma=gamma), 1.5),
        ("coef0", lambda coef0: kt.hsic(x, y, kernel="polynomial", coef0=coef0), 1.5),
    ]:
        found, expected = function(torch.tensor(number)), function(number)
        assert torch.equal(found, expected)
        found.sum().backward()
        with pytest.raises(kexue.KexueValueError, match=rf"{name} requires a gradient, .* pass {name}.detach\(\)"):
            function(torch.tensor(number, requires_grad=True))


def test_another_default_device(rng):
    """Values and gradients are on the processor, where the tensors are."""
    of = cases(rng)
    for name in PLAIN:
        function, tensors = of[name][0], leaves(of[name][1])
        expected = torch.autograd.grad(function(*tensors).sum(), tensors)
        with torch.device("meta"):
            found = torch.autograd.grad(function(*tensors).sum(), tensors)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


# ---- no copies ----


def address(value):
    return value.__array_interface__["data"][0] if isinstance(value, np.ndarray) else value.data_ptr()


@pytest.mark.parametrize("name", PLAIN)
def test_no_copy(name, rng, monkeypatch):
    """kexue gets the tensors' memory, and its result is the tensor."""
    received, returned = set(), []
    functions = {name: getattr(kexue, name)}
    functions |= {"emd2": {"emd": kexue.emd}, "sinkhorn2": {"sinkhorn": kexue.sinkhorn}}.get(name, {})

    def watched(function):
        def call(*args, **options):
            received.update(address(one) for one in (*args, *options.values()) if isinstance(one, np.ndarray))
            result = function(*args, **options)
            returned.append(result)
            return result

        return call

    function, tensors = cases(rng)[name]
    for other, original in functions.items():
        monkeypatch.setattr(kexue, other, watched(original))
    with torch.no_grad():
        tensors = [one.detach() for one in tensors]
        if name in ("emd2", "sinkhorn2"):
            tensors[:2] = [shares(one) for one in tensors[:2]]
            value = getattr(kt, name)(*tensors)
        else:
            value = function(*tensors)
    assert {one.data_ptr() for one in tensors} <= received
    if isinstance(returned[0], np.ndarray):
        assert address(returned[0]) == value.data_ptr()


# ---- gradients where they are special ----


def test_emd2_without_mass():
    M = tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 9.0]])
    a, b = tensor([0.5, 0.5]), tensor([0.5, 0.5, 0.0])
    kt.emd2(a, b, M).backward()
    assert_allclose(M.grad, np.diag([0.5, 0.5, 0.0])[:2])
    # Mass that appears at the third column comes from the first row, at 5: relative to the first column's 0.
    assert_allclose(b.grad[2] - b.grad[0], 5.0)


def test_forbidden_everywhere():
    M = tensor([[0.0, 1.0, np.inf], [1.0, 0.0, np.inf]])
    b = tensor([0.5, 0.5, 0.0])
    kt.emd2(None, b, M).backward()
    assert torch.isfinite(M.grad).all() and torch.isfinite(b.grad).all()
    assert_allclose(M.grad, np.eye(2, 3) / 2)
    kt.sinkhorn2(None, b, M, 0.1).backward()
    assert torch.isfinite(M.grad).all() and torch.isfinite(b.grad).all()


def test_emd2_is_a_subgradient_at_kinks(rng):
    """Uniform weights: potentials are not unique, but each is below the cost everywhere."""
    M = torch.from_numpy(rng.random((5, 5)))
    z = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    here = kt.emd2(shares(z), None, M)
    a = shares(z).detach().requires_grad_()
    (slope,) = torch.autograd.grad(kt.emd2(a, None, M), a)
    for _ in range(50):
        other = rng.dirichlet(np.ones(5))
        bound = here.item() + float(slope @ (torch.from_numpy(other) - a.detach()))
        assert kexue.emd2(other, None, M.numpy()) >= bound - 1e-12


def unrolled(a, b, M, reg):
    u, v = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(2000 if reg < 0.1 else 200):
        u = -reg * torch.logsumexp((v - M) / reg + b.log(), -1)
        v = -reg * torch.logsumexp((u[:, None] - M) / reg + a.log()[:, None], -2)
    return (a[:, None] * b * ((u[:, None] + v - M) / reg).exp() * M).sum()


@pytest.mark.parametrize("reg", [0.03, 0.3, 30.0])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_sinkhorn2_against_autograd(shape, reg, rng):
    """Autograd through all passes: the gradient of the cost, not of the regularised minimum."""
    m, n = shape
    x, y, M = tensor(rng.normal(size=m)), tensor(rng.normal(size=n)), tensor(rng.random(shape))
    values, grads = [], []
    for function in (unrolled, partial(kt.sinkhorn2, tol=1e-13)):
        values.append(function(shares(x), shares(y), M, reg))
        grads.append(torch.autograd.grad(values[-1], (x, y, M)))
    assert_allclose(values[0].detach(), values[1].detach(), rtol=1e-10)
    for expected, found in zip(*grads, strict=True):
        assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_sinkhorn2_tends_to_emd2(rng):
    x, y, M = tensor(rng.normal(size=6)), tensor(rng.normal(size=8)), tensor(rng.random((6, 8)))
    grads = [
        torch.autograd.grad(function(shares(x), shares(y), M), (x, y, M))
        for function in (kt.emd2, lambda a, b, M: kt.sinkhorn2(a, b, M, 1e-3))
    ]
    for exact, entropic in zip(*grads, strict=True):
        assert_allclose(entropic, exact, atol=5e-3)


def test_sinkhorn2_of_blocks():
    """Two blocks that exchange nothing: the linear system is singular twice, the gradient is not garbage."""
    M = tensor([[0.0, 1.0, 90.0, 99.0], [1.0, 0.0, 95.0, 90.0], [99.0, 90.0, 0.0, 1.0], [90.0, 99.0, 1.0, 0.2]])
    a = tensor([0.25, 0.25, 0.2, 0.3])
    kt.sinkhorn2(a, a.detach(), M, 0.5).backward()
    assert M.grad.abs().max() < 1 and a.grad.abs().max() < 200
    for rows in (slice(0, 2), slice(2, 4)):
        part = M.detach()[rows, rows].clone().requires_grad_()
        weights = a.detach()[rows].clone().requires_grad_()
        kt.sinkhorn2(weights, weights.detach(), part, 0.5).backward()
        assert_allclose(M.grad[rows, rows], part.grad, atol=1e-8)
        assert_allclose(np.diff(a.grad[rows]), np.diff(weights.grad), atol=1e-8)


def test_sinkhorn2_of_single_points():
    """Each point is a block of its own, and the system of the marginals has no rank at all."""
    M = tensor(np.where(np.eye(4), 1.0, 900.0))
    a = tensor(np.full(4, 0.25))
    kt.sinkhorn2(a, a.detach(), M, 0.5).backward()
    assert_allclose(M.grad, np.eye(4) / 4, atol=1e-12)
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("function", [kt.emd2, partial(kt.sinkhorn2, reg=0.2)])
def test_gradients_by_weights_have_the_same_mean(function, rng):
    """The one constant that is free is chosen, and homogeneity holds: the cost is its gradient times the weights."""
    M = torch.from_numpy(rng.random((4, 6)) + 1)
    a, b = tensor(3 * rng.dirichlet(np.ones(4))), tensor(3 * rng.dirichlet(np.ones(6)))
    cost = function(a, b, M)
    by_a, by_b = torch.autograd.grad(cost, (a, b))
    assert_allclose(by_a.mean(), by_b.mean(), rtol=1e-10)
    assert_allclose(by_a @ a.detach() + by_b @ b.detach(), cost.detach(), rtol=1e-8)


def test_sinkhorn2_without_mass():
    """The derivative by mass that appears is that from the right."""
    M, b = torch.tensor([[0.0, 1.0, 0.7], [1.0, 0.2, 0.3], [0.4, 0.6, 0.9]]).double(), tensor([0.3, 0.0, 0.7])
    a = tensor([0.0, 0.6, 0.4])
    value = kt.sinkhorn2(a, b, M, 0.2, tol=1e-14)
    by_a, by_b = torch.autograd.grad(value, (a, b))
    for weights, gradient, place in ((a, by_a, 0), (b, by_b, 1)):
        step = torch.full((3,), -5e-7, dtype=torch.float64)
        step[place] = 1e-6
        moved = [(one + step).detach() if one is weights else one.detach() for one in (a, b)]
        difference = kt.sinkhorn2(*moved, M, 0.2, tol=1e-14) - value.detach()
        assert_allclose(difference / 1e-6, gradient @ step / 1e-6, atol=1e-5)


def test_sinkhorn2_forbidden(rng):
    M = rng.random((4, 5))
    M[0, 1] = M[2, 3] = np.inf
    M[3] = [np.inf, np.inf, np.inf, np.inf, 0.5]
    moving = torch.from_numpy(np.isfinite(M))
    x, costs = tensor(rng.normal(size=4)), tensor(M[np.isfinite(M)])
    b = torch.tensor([0.15, 0.15, 0.15, 0.15, 0.4], dtype=torch.float64)

    def function(x, costs):
        # The last row can go to one column alone.
        a = torch.cat([0.75 * shares(x[:3]), torch.tensor([0.25], dtype=torch.float64)])
        return kt.sinkhorn2(a, b, torch.full((4, 5), torch.inf).double().masked_scatter(moving, costs), 0.3, tol=1e-13)

    assert gradcheck(function, (x, costs))


def test_warmstart(rng):
    M = tensor(rng.random((4, 5)))
    _, log = kexue.sinkhorn2(None, None, M.detach().numpy(), 0.1, log=True)
    start = torch.from_numpy(log["u"]), torch.from_numpy(log["v"])
    found = torch.autograd.grad(kt.sinkhorn2(None, None, M, 0.1, warmstart=start, max_iter=1000), M)
    assert_allclose(found[0], torch.autograd.grad(kt.sinkhorn2(None, None, M, 0.1), M)[0], atol=1e-7)
    for wrong in (start[:1], start * 2, torch.ones(2, 4), 1.0):
        with pytest.raises(kexue.KexueValueError, match="warmstart must be a pair of potentials"):
            kt.sinkhorn2(None, None, M, 0.1, warmstart=wrong)
    with pytest.raises(kexue.KexueValueError, match=r"warmstart\[1\] requires a gradient"):
        kt.sinkhorn2(None, None, M, 0.1, warmstart=(start[0], start[1].clone().requires_grad_()))


@pytest.mark.parametrize("name", ["wmd", "wrd"])
def test_distances_in_blocks(name, rng, monkeypatch):
    function, tensors = cases(rng)[name]
    expected = torch.autograd.grad(function(*tensors), tensors)
    monkeypatch.setattr("kexue.torch._documents._BLOCK_ENTRIES", 9)  # two rows and two rows and one
    for one, other in zip(torch.autograd.grad(function(*tensors), tensors), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("function", [kt.wmd, kt.wrd])
def test_coincident_and_zero_vectors(function):
    """At a kink the gradient is 0 by what coincides or has no direction, and finite everywhere."""
    x = tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    distance = function(x, x.detach().clone())
    distance.backward()
    assert_allclose(distance.item(), 0, atol=1e-12)
    if function is kt.wmd:
        assert_allclose(x.grad, np.zeros((3, 2)), atol=1e-12)
    assert torch.isfinite(x.grad).all()
    assert_allclose(x.grad[2], np.zeros(2))


def test_wmd_of_close_vectors():
    """Differences, not sums, of vectors far from the origin."""
    x, y = tensor([[1e6, 1.0], [2e6, -3.0]]), torch.tensor([[1e6 + 3e-4, 1.0 + 4e-4], [2e6, -3.5]]).double()
    x = x.detach().to(torch.float64).requires_grad_()
    kt.wmd(x, y).backward()
    difference = (x.detach() - y).numpy()
    assert_allclose(x.grad, difference / np.linalg.norm(difference, axis=1, keepdims=True) / 2, rtol=1e-9)


def test_hsic_median_is_held_fixed(rng):
    X, Y = tensor(rng.normal(size=(9, 3))), tensor(rng.normal(size=(9, 2)))
    widths = kexue.median_bandwidth(X.detach().numpy()), kexue.median_bandwidth(Y.detach().numpy())
    fixed = torch.autograd.grad(kt.hsic(X, Y, bandwidth=widths), (X, Y))
    for one, other in zip(torch.autograd.grad(kt.hsic(X, Y), (X, Y)), fixed, strict=True):
        assert_allclose(one, other, rtol=1e-12)


def test_loss_of_masked_scores():
    scores = tensor([0.3, -np.inf, 1.2, np.nan])
    mask = torch.tensor([True, True, True, False])
    kt.zlpr_loss(scores, torch.tensor([1, 0, 0, 0]), mask=mask).backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[1] == scores.grad[3] == 0


# ---- graphs ----


@pytest.mark.parametrize("name", PLAIN)
def test_second_derivatives_are_refused(name, rng):
    function, tensors = cases(rng)[name]
    tensors = leaves(tensors)
    grads = torch.autograd.grad(function(*tensors).sum(), tensors, create_graph=True)
    text = f"kexue.torch.{name} has no second derivative"
    with pytest.raises(RuntimeError, match=text):
        # A gradient penalty, beside a term that has a second derivative: it must not just be left out.
        penalty = sum(grad.square().sum() for grad in grads) + sum(one.square().sum() for one in tensors)
        torch.autograd.grad(penalty, tensors[0], retain_graph=True)
    with pytest.raises(RuntimeError, match=text):
        torch.autograd.grad(sum(grad.sum() for grad in grads), tensors[-1])


def test_second_derivative_by_what_comes_from_above(rng):
    function, tensors = cases(rng)["cosent_loss"]
    upstream = tensor(1.0)
    (grad,) = torch.autograd.grad(function(*tensors), tensors, upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="cosent_loss has no second derivative"):
        torch.autograd.grad(grad.sum(), upstream)


@pytest.mark.parametrize("name", PLAIN)
def test_changes_in_place_are_noticed(name, rng):
    function, tensors = cases(rng)[name]
    tensors = [one.detach().clone().requires_grad_() for one in tensors]
    moved = [one * 1.0 for one in tensors]
    if name in ("emd2", "sinkhorn2"):
        value = getattr(kt, name)(None, None, moved[2], *moved[3:])
        changed = moved[2]
    else:
        value, changed = function(*moved), moved[0]
    with torch.no_grad():
        changed += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.sum().backward()


def test_backward_twice(rng):
    function, tensors = cases(rng)["emd2"]
    value = function(*tensors)
    value.backward(retain_graph=True)
    first = [one.grad.clone() for one in tensors]
    value.backward()
    assert all(torch.equal(one.grad, 2 * grad) for one, grad in zip(tensors, first, strict=True))
    with pytest.raises(RuntimeError, match="a second time"):
        value.backward()


def test_what_a_graph_holds_is_freed():
    M = torch.rand(20, 20, requires_grad=True)
    cost = kt.emd2(None, None, M)
    node = weakref.ref(cost.grad_fn)
    cost.backward()
    with pytest.raises(RuntimeError, match="freed"):
        _ = cost.grad_fn.saved_tensors
    del cost
    gc.collect()
    assert node() is None


def test_unused_gradients_are_not_computed(rng, monkeypatch):
    """The plan of emd2, the gradients of a loss: only where they are asked for."""

    def refuse(*args, **options):
        raise AssertionError("the plan is not needed")

    a, M = shares(tensor(rng.normal(size=4))), torch.from_numpy(rng.random((4, 5)))
    x = tensor(rng.normal(size=(3, 2)))
    expected = torch.autograd.grad(kt.emd2(a, None, M), a)
    monkeypatch.setattr(kexue, "emd", refuse)
    monkeypatch.setattr(kexue, "sinkhorn", refuse)
    monkeypatch.setattr(kexue, "solve", refuse)
    assert torch.equal(torch.autograd.grad(kt.emd2(a, None, M), a)[0], expected[0])
    with torch.no_grad():
        kt.emd2(a, None, M), kt.sinkhorn2(a, None, M, 0.1), kt.wmd(x, x)
    with pytest.raises(AssertionError, match="not needed"):
        kt.emd2(None, None, M.clone().requires_grad_())
    asked = []
    slope = kexue.squareplus_grad_b
    monkeypatch.setattr(kexue, "squareplus_grad_b", lambda *args: asked.append("b") or slope(*args))
    for b in (2.0, torch.tensor(2.0), tensor(2.0)):
        assert asked == []
        kt.squareplus(x, b).sum().backward()
    assert asked == ["b"]
    loss = kexue.zlpr_loss
    asked.clear()
    monkeypatch.setattr(
        kexue, "zlpr_loss", lambda *args, **options: asked.append(options["return_grad"]) or loss(*args, **options)
    )
    scores, threshold = torch.rand(2, 3), torch.tensor(0.5)
    kt.zlpr_loss(scores, torch.ones(2, 3, dtype=torch.bool), threshold=threshold)
    kt.zlpr_loss(scores, torch.ones(2, 3, dtype=torch.bool), threshold=threshold.requires_grad_())
    assert asked == [False, True]


def test_a_wrong_gradient_would_be_found(rng, monkeypatch):
    """gradcheck is of use: a gradient that is off by a ten-thousandth does not pass."""
    vjp = kexue.entropy_normalize_vjp
    monkeypatch.setattr(
        kexue, "entropy_normalize_vjp", lambda *args, **options: [1.0001 * one for one in vjp(*args, **options)]
    )
    function, tensors = cases(rng)["entropy_normalize"]
    with pytest.raises(GradcheckError):
        gradcheck(function, leaves(tensors))


# ---- torch's other ways to run a function ----

# When they are first used.
ignore_deprecations_of_torch = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@ignore_deprecations_of_torch
def test_functional_transforms_are_refused(rng):
    x = torch.from_numpy(rng.normal(size=(3, 4)))
    for transform in (
        lambda: torch.func.grad(lambda x: kt.squareplus(x, 4.0).sum())(x),
        lambda: torch.func.vmap(lambda x: kt.squareplus(x, 4.0))(x),
        lambda: torch.func.jvp(lambda x: kt.squareplus(x, 4.0), (x,), (x,)),
    ):
        with pytest.raises(RuntimeError, match="x has no memory of its own: .* torch.func"):
            transform()


@ignore_deprecations_of_torch
def test_batched_gradients(rng):
    """vmap over backward works where torch alone computes it, and is refused where kexue does."""
    p = torch.from_numpy(rng.random(4)).requires_grad_()
    eye = torch.eye(4, dtype=torch.float64)
    (jacobian,) = torch.autograd.grad(kt.squareplus(p, 4.0), p, eye, is_grads_batched=True)
    assert_allclose(jacobian.diagonal(), kexue.squareplus_grad(p.detach().numpy(), 4.0))
    with pytest.raises(RuntimeError, match="no memory of its own: .* batched gradients"):
        torch.autograd.grad(kt.entropy_normalize(p, 1.0), p, eye, is_grads_batched=True)


@pytest.mark.filterwarnings("ignore")  # Dynamo looks into everything, also into what warns
def test_compiled_functions_compute_the_same(rng):
    """Dynamo leaves kexue out of its graphs."""
    x = tensor(rng.normal(size=6))

    def function(x):
        return kt.squareplus(2 * x, 4.0).sin().sum()

    expected = function(x)
    found = torch.compile(function, backend="eager")(x)
    assert_allclose(found.detach(), expected.detach(), rtol=1e-14)
    assert_allclose(*(torch.autograd.grad(value, x)[0] for value in (found, expected)), rtol=1e-14)


@ignore_deprecations_of_torch
def test_forward_mode_is_refused(rng):
    x = torch.from_numpy(rng.normal(size=3))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises((RuntimeError, NotImplementedError), match="jvp"):
            kt.squareplus(dual, 4.0)


def test_checkpoints(rng):
    """What is saved goes through torch's hooks: it may be computed again, or put elsewhere."""
    function, tensors = cases(rng)["emd2"]
    expected = torch.autograd.grad(function(*tensors), tensors)
    value = torch.utils.checkpoint.checkpoint(function, *tensors, use_reentrant=False)
    for one, other in zip(torch.autograd.grad(value, tensors), expected, strict=True):
        assert torch.equal(one, other)


def test_in_a_module_with_an_optimizer():
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    x, targets = torch.randn(16, 4), torch.rand(16, 3) < 0.3
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = kt.zlpr_loss(kt.squareplus(layer(x), 4.0), targets, threshold=1.0).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_several_threads(rng):
    """Each with a graph of its own; errors come back to the caller."""
    function, tensors = cases(rng)["wmd"]
    expected = torch.autograd.grad(function(*tensors), tensors)
    found = []

    def work():
        mine = leaves(tensors)
        found.append(torch.autograd.grad(function(*mine), mine))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(one, other) for grads in found for one, other in zip(grads, expected, strict=True))


class Distances(torch.utils.data.Dataset):
    """Computes in the worker, which is a fork of a process that has used threads."""

    def __init__(self):
        self.points = torch.arange(24, dtype=torch.float64).reshape(4, 3, 2).sin()

    def __len__(self):
        return 4

    def __getitem__(self, k):
        return kt.wmd(self.points[k], self.points[0]), kt.emd2(None, None, torch.cdist(self.points, self.points)).sum()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
def test_data_loader():
    data = Distances()
    kt.emd2(None, None, torch.rand(8, 20, 20, requires_grad=True), workers=2).sum().backward()
    expected = [data[k] for k in range(4)]
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, timeout=120)
    found = [pair for batch in loader for pair in zip(*batch, strict=True)]
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# ---- errors ----


def test_other_devices():
    here = torch.rand(3, 3)
    there = torch.empty(3, 3, device="meta")
    for name, device_argument, call in [
        ("x", there, lambda t: kt.squareplus(t, 4.0)),
        ("b", there, lambda t: kt.squareplus(here, t)),
        ("M", there, lambda t: kt.emd2(None, None, t)),
        ("a", there[0], lambda t: kt.emd2(t, None, here)),
        ("y", there, lambda t: kt.wmd(here, t)),
        ("targets", there, lambda t: kt.zlpr_loss(here, t)),
        ("positive_ids", there, lambda t: kt.zlpr_sparse_loss(here, t)),
        ("reg", there[0, 0], lambda t: kt.sinkhorn2(None, None, here, t)),
    ]:
        with pytest.raises(kexue.KexueValueError, match=f"^{name} is on the device meta, .* pass {name}.cpu()"):
            call(device_argument)


def test_what_is_no_tensor_or_not_for_numpy():
    x = torch.rand(3)
    with pytest.raises(TypeError, match="x must be a torch.Tensor, not ndarray"):
        kt.squareplus(np.ones(3), 4.0)
    with pytest.raises(TypeError, match="M must be a torch.Tensor, not list"):
        kt.sinkhorn2(None, None, [[1.0]], 0.1)
    with pytest.raises(TypeError, match=r"x is of torch.bfloat16, .* pass x.float\(\)"):
        kt.squareplus(x.bfloat16(), 4.0)
    with pytest.raises(TypeError, match=r"x has the layout torch.sparse_coo: pass x.to_dense\(\)"):
        kt.squareplus(x.to_sparse(), 4.0)
    with pytest.raises(TypeError, match="scores must hold real numbers"):
        kt.zlpr_loss(x.to(torch.complex64), torch.ones(3))
    with pytest.raises(TypeError):
        kt.squareplus(x.to(torch.complex64), 4.0)


def test_arguments_without_a_gradient():
    x = torch.rand(3, requires_grad=True)
    for name, call in [
        ("targets", lambda: kt.zlpr_loss(x, x)),
        ("labels", lambda: kt.cosent_loss(x, x)),
        ("labels", lambda: kt.r_drop_loss(x, x, x)),
    ]:
        with pytest.raises(kexue.KexueValueError, match=rf"{name} requires a gradient, .* pass {name}.detach\(\)"):
            call()
        with torch.no_grad():
            call()
    with pytest.raises(kexue.KexueValueError, match="kernel is a callable"):
        kt.hsic(torch.rand(9, requires_grad=True), torch.rand(9), kernel=("rbf", lambda A, B: A @ B.T))


def test_errors_and_warnings_of_kexue(rng):
    M = torch.from_numpy(rng.random((30, 40)))
    M[3, 17] = torch.nan
    with pytest.raises(kexue.KexueValueError, match=r"M\[3, 17\] is nan"):
        kt.emd2(None, None, M.requires_grad_())
    M = tensor(rng.random((30, 40)))
    for function in (
        lambda: kt.emd2(None, None, M, max_iter=2),
        lambda: kt.sinkhorn2(None, None, M, 0.01, max_iter=2),
    ):
        with pytest.warns(kexue.ConvergenceWarning, match="max_iter=2") as caught:
            function()
        assert caught[0].filename == __file__
        with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning):
            function()
    with pytest.raises(kexue.KexueValueError, match="x_weights sum to 0"):
        kt.wmd(torch.ones(2, 3), torch.ones(2, 3), torch.zeros(2))
    with pytest.raises(kexue.KexueValueError, match="scale must be positive"):
        kt.cosent_loss(torch.rand(3), torch.arange(3), -1.0)


# ---- shapes ----


shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_squareplus_of_any_shapes(data):
    full = data.draw(shapes)
    numbers = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, b = (
        tensor(numbers.random(tuple(data.draw(st.sampled_from([1, size])) for size in full[skip:])))
        for skip in (data.draw(st.integers(0, len(full))) for _ in range(2))
    )
    upstream = torch.from_numpy(numbers.random(torch.broadcast_shapes(x.shape, b.shape)))
    found = torch.autograd.grad(kt.squareplus(x, b), (x, b), upstream)
    expected = torch.autograd.grad((x + (x * x + b).sqrt()) / 2, (x, b), upstream)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert_allclose(one, other, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_transport_of_any_batches(data):
    """A batch is its problems one by one; what is broadcast gets the sum of its problems' gradients."""
    numbers = np.random.default_rng(data.draw(st.integers(0, 999)))
    m, n = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    batch = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))

    def part(*core):
        kept = batch[data.draw(st.integers(0, len(batch))) :]
        return numbers.random(tuple(data.draw(st.sampled_from([1, size])) for size in kept) + core)

    a, b, M = (tensor(one) for one in (part(m) + 0.1, part(n) + 0.1, part(m, n)))
    exact = data.draw(st.booleans())
    function = kt.emd2 if exact else partial(kt.sinkhorn2, reg=0.5, tol=1e-12)
    wide = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1], M.shape[:-2])
    upstream = torch.from_numpy(numbers.random(wide))
    found = torch.autograd.grad(function(shares(a), shares(b), M), (a, b, M), upstream)
    total = 0.0
    for index in np.ndindex(wide):
        one = (shares(a).expand(*wide, m)[index], shares(b).expand(*wide, n)[index], M.expand(*wide, m, n)[index])
        total = total + upstream[index] * function(*one)
    for gradient, expected in zip(found, torch.autograd.grad(total, (a, b, M)), strict=True):
        assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_losses_along_any_axis(data):
    numbers = np.random.default_rng(data.draw(st.integers(0, 999)))
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    scores, labels = numbers.normal(size=shape), torch.from_numpy(numbers.integers(0, 2, shape))
    name = data.draw(st.sampled_from(["zlpr_loss", "cosent_loss", "combinatorial_softmax_loss"]))
    results = []
    for moved in (False, True):
        leaf = tensor(scores)
        given = (leaf.movedim(axis, -1), labels.movedim(axis, -1)) if moved else (leaf, labels)
        loss = getattr(kt, name)(*given, axis=-1 if moved else axis)
        upstream = torch.arange(1.0, loss.numel() + 1, dtype=torch.float64).reshape(loss.shape)
        results.append((loss.detach(), *torch.autograd.grad(loss, leaf, upstream)))
    for one, other in zip(*results, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-14)
