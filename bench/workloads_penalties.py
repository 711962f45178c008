"""What is measured of gradient penalties and adversarial perturbations."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx


def _three(found: Any) -> np.ndarray:
    return np.array([found.lhs, found.lhs_tight, found.rhs])


def _numpy_penalties(weights: list, biases: list, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Batched, with NumPy's norms of stacks."""
    states, jacobians, slopes = [x], [np.broadcast_to(np.eye(x.shape[1]), (len(x), x.shape[1], x.shape[1]))], []
    for W, b in zip(weights, biases, strict=True):
        states.append(np.tanh(states[-1] @ W.T + b))
        slopes.append(1 - states[-1] ** 2)
        jacobians.append(slopes[-1][:, :, None] * (W @ jacobians[-1]))
    upstream, sides = np.broadcast_to(c, states[-1].shape), np.zeros((3, len(x)))
    gx_sq = ((c @ jacobians[-1]) ** 2).sum(axis=-1)
    for W, h, J, slope in zip(weights[::-1], states[-2::-1], jacobians[-2::-1], slopes[::-1], strict=True):
        delta, factor = slope * upstream, 1 + (h**2).sum(axis=-1)
        sides[0] += gx_sq * factor / (np.linalg.norm(W, 2) * np.linalg.norm(J, 2, axis=(1, 2))) ** 2
        sides[1] += gx_sq * factor / np.linalg.norm(W @ J, 2, axis=(1, 2)) ** 2
        sides[2] += (delta**2).sum(axis=-1) * factor
        upstream = delta @ W
    return sides


@recent
def mlp_gradient_penalties(n: int, sizes: tuple[int, ...]) -> Workload:
    """tanh layers, a linear function of the output; torch by vmap over samples, and by a loop of autograd calls."""
    rng = np.random.default_rng([n, *sizes])
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    weights = [rng.normal(size=(m, k)) / np.sqrt(k) for k, m in pairs]
    biases = [rng.normal(size=m) for _, m in pairs]
    x, c = rng.normal(size=(n, sizes[0])), rng.normal(size=sizes[-1])
    sides = {
        "kexue": Side(lambda: kx.mlp_gradient_penalties(weights, biases, "tanh", x, c), comparable=_three),
        "NumPy": Side(lambda: _numpy_penalties(weights, biases, x, c)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        W, b = ([torch.from_numpy(array) for array in arrays] for arrays in (weights, biases))
        points, target, layers = torch.from_numpy(x), torch.from_numpy(c), len(W)

        def run(x: Any, W: Any, b: Any, until: int) -> Any:
            for t in range(until):
                x = torch.tanh(W[t] @ x + b[t])
            return x

        def one(x: Any, grad: Any, jacobian: Any) -> Any:
            gx, gW, gb = grad(x)
            left = tight = 0.0
            right = sum((g**2).sum() for g in (*gW, *gb))
            gx_sq = (gx**2).sum()
            for t in range(layers):
                J, h = jacobian(x, t), run(x, W, b, t)
                factor = gx_sq * (1 + (h**2).sum())
                left = left + factor / (torch.linalg.matrix_norm(W[t], 2) * torch.linalg.matrix_norm(J, 2)) ** 2
                tight = tight + factor / torch.linalg.matrix_norm(W[t] @ J, 2) ** 2
            return torch.stack([left, tight, right])

        def functional(x: Any) -> Any:
            grad = torch.func.grad(lambda x, W, b: target @ run(x, W, b, layers), argnums=(0, 1, 2))
            return one(x, lambda x: grad(x, W, b), lambda x, t: torch.func.jacrev(lambda x: run(x, W, b, t))(x))

        def by_autograd(x: Any) -> Any:
            leaves = [leaf.clone().requires_grad_() for leaf in (x, *W, *b)]
            value = target @ run(leaves[0], leaves[1 : layers + 1], leaves[layers + 1 :], layers)
            gx, *rest = torch.autograd.grad(value, leaves)
            return one(
                x,
                lambda x: (gx, rest[:layers], rest[layers:]),
                lambda x, t: torch.autograd.functional.jacobian(lambda x: run(x, W, b, t), x),
            )

        batched = torch.func.vmap(functional)
        sides["torch vmap"] = Side(lambda: batched(points), comparable=lambda sides: sides.numpy().T)
        sides["torch loop"] = Side(
            lambda: torch.stack([by_autograd(row) for row in points]), comparable=lambda sides: sides.numpy().T
        )
    title = f"mlp_gradient_penalties, {n} samples, widths {'-'.join(map(str, sizes))}"
    return Workload(title, sides, rtol=1e-9, absent=without_torch("torch vmap", "torch loop"))


@recent
def noise_regularizer(n: int, outputs: int, inputs: int, loss: str) -> Workload:
    rng = np.random.default_rng([n, outputs, inputs])
    J, f = rng.normal(size=(n, outputs, inputs)), kx.softmax(rng.normal(size=(n, outputs)))
    f_or_none = f if loss == "kl" else None
    sides = {
        "kexue": Side(lambda: kx.noise_regularizer(J, 0.1, loss=loss, f=f_or_none)),
        "NumPy": Side(
            (lambda: 0.005 * ((J**2).sum(axis=2) / f).sum(axis=1))
            if loss == "kl"
            else (lambda: 0.01 * (J**2).sum(axis=(1, 2)))
        ),
    }
    torch: Any = installed("torch")
    if torch is not None:
        jacobian, shares = torch.from_numpy(J), torch.from_numpy(f)
        sides["torch"] = Side(
            (lambda: 0.005 * ((jacobian**2).sum(dim=2) / shares).sum(dim=1))
            if loss == "kl"
            else (lambda: 0.01 * torch.linalg.matrix_norm(jacobian) ** 2),
            comparable=lambda value: value.numpy(),
        )
    return Workload(
        f"noise_regularizer, {n} of {outputs}x{inputs}, {loss}", sides, absent=without_torch(), bytes_moved=J.nbytes
    )


@recent
def jacobian_penalty_hutchinson(n: int, outputs: int, inputs: int, count: int) -> Workload:
    """A layer of tanh; beside all Jacobians. Estimates differ: their means over the batch are compared."""
    rng = np.random.default_rng([n, outputs, inputs])
    W, x = rng.normal(size=(outputs, inputs)), rng.normal(size=(n, inputs))

    def vjp(eta: np.ndarray) -> np.ndarray:
        return (eta * (1 - np.tanh(x @ W.T) ** 2)) @ W

    def whole() -> np.ndarray:
        J = (1 - np.tanh(x @ W.T) ** 2)[:, :, None] * W
        return np.einsum("nij,nij->n", J, J)

    sides = {
        "kexue": Side(
            lambda: kx.jacobian_penalty_hutchinson(vjp, (n, outputs), n_samples=count, rng=0), comparable=np.mean
        ),
        "the Jacobian": Side(whole, comparable=np.mean),
    }
    torch: Any = installed("torch")
    if torch is not None:
        weights, points = torch.from_numpy(W), torch.from_numpy(x).requires_grad_()

        def model(row: Any) -> Any:
            return torch.tanh(weights @ row)

        def estimate() -> Any:
            total = 0.0
            for _ in range(count):
                eta = torch.randint(0, 2, (n, outputs), dtype=torch.float64) * 2 - 1
                (gradient,) = torch.autograd.grad(torch.tanh(points @ weights.T), points, eta)
                total = total + (gradient**2).sum(dim=1)
            return total / count

        jacobian = torch.func.vmap(torch.func.jacrev(model))
        sides["torch"] = Side(estimate, comparable=lambda value: value.numpy().mean())
        sides["torch's Jacobian"] = Side(
            lambda: (jacobian(points.detach()) ** 2).sum(dim=(1, 2)), comparable=lambda value: value.numpy().mean()
        )
    title = f"jacobian_penalty_hutchinson, {n} of {outputs}x{inputs}, {count} samples"
    return Workload(title, sides, rtol=0.1, absent=without_torch("torch", "torch's Jacobian"))


@recent
def laplacian_penalty(n: int, inputs: int) -> Workload:
    """Of sum cosh(w . x), from gradients along eight random signs, and from Hessians: means are compared."""
    rng = np.random.default_rng([n, inputs])
    W, x = rng.normal(size=(8, inputs)) / np.sqrt(inputs), rng.normal(size=(n, inputs))

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.sinh(x @ W.T) @ W

    def hessians() -> np.ndarray:
        return 0.005 * np.trace(np.einsum("nk,ki,kj->nij", np.cosh(x @ W.T), W, W, optimize=True), axis1=1, axis2=2)

    sides = {
        "kexue": Side(lambda: kx.laplacian_penalty(gradient, 0.1, x=x, n_samples=8, rng=0), comparable=np.mean),
        "all Hessians": Side(hessians, comparable=np.mean),
    }
    torch: Any = installed("torch")
    if torch is not None:
        weights, points = torch.from_numpy(W), torch.from_numpy(x)
        hessian = torch.func.vmap(torch.func.jacrev(torch.func.grad(lambda row: torch.cosh(weights @ row).sum())))
        sides["torch"] = Side(
            lambda: 0.005 * hessian(points).diagonal(dim1=1, dim2=2).sum(dim=1),
            comparable=lambda value: value.numpy().mean(),
        )
    return Workload(f"laplacian_penalty, {n} of {inputs}", sides, rtol=0.1, absent=without_torch())


@recent
def fgm_perturbation(n: int, d: int, dtype: str) -> Workload:
    g = np.random.default_rng([n, d]).standard_normal((n, d), dtype=np.dtype(dtype))
    sides = {
        "kexue": Side(lambda: kx.fgm_perturbation(g, 0.5)),
        "NumPy": Side(lambda: g * (np.asarray(0.5, g.dtype) / np.linalg.norm(g, axis=-1, keepdims=True))),
    }
    torch: Any = installed("torch")
    if torch is not None:
        gradient = torch.from_numpy(g)
        sides["torch"] = Side(lambda: 0.5 * torch.nn.functional.normalize(gradient), comparable=lambda r: r.numpy())
    rtol = 1e-5 if dtype == "float32" else 1e-13
    return Workload(
        f"fgm_perturbation, {n}x{d} {dtype}", sides, rtol=rtol, absent=without_torch(), bytes_moved=2 * g.nbytes
    )


@recent
def vat_perturbation(n: int, d: int, classes: int, iterations: int) -> Workload:
    """Of a linear softmax, whose gradient is written down; torch has it from autograd."""
    rng = np.random.default_rng([n, d, classes])
    W, x, start = rng.normal(size=(classes, d)) / np.sqrt(d), rng.normal(size=(n, d)), rng.normal(size=(n, d))

    def ours() -> np.ndarray:
        clean = x @ W.T

        def grad(points: np.ndarray) -> np.ndarray:
            return kx.vat_loss(clean, points @ W.T, return_grad=True)[1] @ W

        return kx.vat_perturbation(grad, x, start=start, iterations=iterations)

    def by_numpy() -> np.ndarray:
        p, u = kx.softmax(x @ W.T), start / np.linalg.norm(start, axis=1, keepdims=True)
        for _ in range(iterations):
            u = (kx.softmax((x + 1e-3 * u) @ W.T) - p) @ W
            u /= np.linalg.norm(u, axis=1, keepdims=True)
        return u

    sides = {"kexue": Side(ours), "NumPy": Side(by_numpy)}
    torch: Any = installed("torch")
    if torch is not None:
        weights, points, first = torch.from_numpy(W), torch.from_numpy(x), torch.from_numpy(start)
        functional = torch.nn.functional

        def theirs() -> Any:
            with torch.no_grad():
                clean = torch.log_softmax(points @ weights.T, dim=1)
            u = functional.normalize(first)
            for _ in range(iterations):
                u.requires_grad_()
                log_q = torch.log_softmax((points + 1e-3 * u) @ weights.T, dim=1)
                loss = functional.kl_div(log_q, clean, reduction="sum", log_target=True)
                (gradient,) = torch.autograd.grad(loss, u)
                u = functional.normalize(gradient, eps=1e-30)
            return u

        sides["torch"] = Side(theirs, comparable=lambda value: value.numpy())
    title = f"vat_perturbation, {n}x{d}, {classes} classes, {iterations} iterations"
    return Workload(title, sides, rtol=0, atol=1e-8, absent=without_torch())


@recent
def vat_loss(n: int, classes: int, dtype: str) -> Workload:
    """With gradients by the logits."""
    rng = np.random.default_rng([n, classes])
    a, b = rng.standard_normal((2, n, classes), dtype=np.dtype(dtype))

    def by_numpy() -> tuple[np.ndarray, np.ndarray]:
        log_p, log_q = kx.log_softmax(a), kx.log_softmax(b)
        p = np.exp(log_p)
        return (p * (log_p - log_q)).sum(axis=1), np.exp(log_q) - p

    def joined(result: Any) -> np.ndarray:
        return np.column_stack([np.asarray(part) for part in result])

    sides = {
        "kexue": Side(lambda: kx.vat_loss(a, b, return_grad=True), comparable=joined),
        "NumPy": Side(by_numpy, comparable=joined),
    }
    torch: Any = installed("torch")
    if torch is not None:
        clean, perturbed = torch.from_numpy(a), torch.from_numpy(b).requires_grad_()

        def theirs() -> Any:
            with torch.no_grad():
                log_p = torch.log_softmax(clean, dim=1)
            log_q = torch.log_softmax(perturbed, dim=1)
            loss = torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
            (gradient,) = torch.autograd.grad(loss.sum(), perturbed)
            return loss.detach(), gradient

        sides["torch"] = Side(theirs, comparable=joined)
    rtol, atol = (1e-3, 1e-6) if dtype == "float32" else (1e-9, 1e-15)
    name = f"vat_loss with gradients, {n}x{classes} {dtype}"
    return Workload(name, sides, rtol=rtol, atol=atol, absent=without_torch(), bytes_moved=3 * a.nbytes)
