"""A small valid call of every public function of arrays: name -> (positional arguments, keyword arguments).

What is a NumPy array here may be one of another library in a test; what is a list, a number or a callable stays.
"""

import dataclasses

import numpy as np
import scipy.stats

import kexue

_rng = np.random.default_rng(20211229)


def _normal(*shape):
    return _rng.normal(size=shape)


def _weights(*shape):
    w = _rng.random(shape) + 0.1
    return w / w.sum(axis=-1, keepdims=True)


def _spd(*shape, n=3):
    root = _normal(*shape, n, n)
    return root @ np.swapaxes(root, -1, -2) + np.eye(n)


def _call(*args, **kwargs):
    return args, kwargs


_x, _rows, _other_rows = _normal(6), _normal(4, 6), _normal(4, 6)
_X, _Y = _normal(7, 3), _normal(7, 2)
_p, _P = _weights(6), _weights(4, 6)
_positive = _rng.random(6) + 0.5
_labels = np.array([0, 1, 0, 1, 1, 0, 1])
_targets = np.array([[1.0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0] * 6, [1, 1, 1, 0, 0, 0]])
_M = _rng.random((2, 3, 4))
_a, _b = _weights(2, 3), _weights(2, 4)
_heads = _normal(3, 2, 5, 4)
_Q, _K, _V = _heads
_pairs = _normal(6, 6)
_codes = _rng.integers(0, 2**63, size=(5, 2), dtype=np.uint64)
# A step of width 2 to 3, with g gates: W (2, 3g), U (3, 3g), b (3g).
_step, _h, _c = _normal(2), np.tanh(_normal(3)), _normal(3)
_sequence = _normal(4, 2)


def _cell(gates):
    return _normal(2, 3 * gates), _normal(3, 3 * gates), _normal(3 * gates)


_plain_cell, _gru_cell, _lstm_cell = _cell(1), _cell(3), _cell(4)
_jacobians = _normal(5, 3, 3)
_gaussians = (_normal(2, 3), _spd(2), _normal(2, 3), _spd(2))
_documents = np.array([[1.0, 1, 0, 0, 2], [0, 1, 3, 0, 0], [0, 0, 0, 1, 1]])
_mixing = _normal(3, 2)


def _torch_weights(gates):
    return _normal(3 * gates, 2), _normal(3 * gates, 3), _normal(3 * gates), _normal(3 * gates)


UFUNCS = {
    "cosine_pairs": _call(_rows, _other_rows),
    "cosine_pairs_vjp": _call(_rows, _other_rows, _normal(4)),
    "entropy": _call(_P),
    "exp_taylor": _call(_x, 4),
    "exp_taylor_grad": _call(_x, 4),
    "gelu": _call(_x),
    "gelu_grad": _call(_x),
    "gelu_tanh": _call(_x),
    "gelu_tanh_grad": _call(_x),
    "hsic_from_kernels": _call(_spd(n=5), _spd(n=5)),
    "hsic_from_kernels_unbiased": _call(_spd(n=5), _spd(n=5)),
    "l2_normalize": _call(_rows),
    "l2_normalize_vjp": _call(_rows, _other_rows),
    "log_softmax": _call(_rows),
    "log_softmax_vjp": _call(_rows, _other_rows),
    "logsumexp": _call(_rows),
    "logsumexp_vjp": _call(_rows, _normal(4)),
    "softmax": _call(_rows),
    "softmax_vjp": _call(_P, _rows),
    "softplus": _call(_x),
    "softplus_grad": _call(_x),
    "squareplus": _call(_x, _positive),
    "squareplus_grad": _call(_x, _positive),
    "squareplus_grad_b": _call(_x, _positive),
    "squareplus_inverse": _call(_positive, 1.0),
    "swish": _call(_x),
    "swish_grad": _call(_x),
}

FUNCTIONS = {
    "adam_expected_update": _call(_x, np.square(_x) + _positive),
    "angle_from_hamming": _call(np.array([3, 10, 20]), 64),
    "apply_thresholds": _call(_x, np.array([-0.5, 0.5])),
    "area_under_curve": _call(_normal(7), _labels),
    "attention": _call(_Q, _K, _V, mask=np.tril(np.ones((5, 5), dtype=bool)), return_entropy=True),
    "attention_entropy": _call(_P),
    "attention_entropy_model": _call(np.array([128, 256]), np.array([64, 64]), np.array([0.1, 0.2])),
    "attention_head_dim": _call(np.array([128, 512])),
    "attention_macs": _call(np.array([128, 512]), np.array([8, 8]), np.array([64, 64])),
    "attention_rank": _call(_weights(2, 5, 5)),
    "attention_vjp": _call(_Q, _K, _V, _normal(2, 5, 4), return_grad_scale=True),
    "ball_step_length": _call(np.array([8.0, 512.0]), np.array([0.2, 0.3])),
    "boltzmann_step": _call(
        lambda x: float(x @ x), np.ones(2), 0.1, lambda n, rng: (rng.normal(size=(n, 2)), np.zeros(n)), rng=0
    ),
    "can": _call(_P, _p, threshold=0.5, return_uncertainty=True),
    "candidates_contrast": _call(_P),
    "childtuning_gradient": _call(_x, 0.5, rng=0),
    "childtuning_mask": _call(_positive, 0.5),
    "cka": _call(_X, _Y),
    "cka_matrix": _call([_X, _Y], {"first": _Y, "second": _X}),
    "clip_by_norm": _call(_x, 0.5, return_norm=True),
    "clip_global_norm": _call([_x, _rows], 0.5),
    "clip_weights": _call(_x, 0.5),
    "combinatorial_predict": _call(_rows, 3),
    "combinatorial_softmax_loss": _call(_rows, _targets, return_grad=True),
    "cosent_embedding_loss": _call(_rows, _other_rows, np.array([0.0, 1.0, 2.0, 1.0]), return_grad=True),
    "cosent_loss": _call(np.tanh(_x), np.arange(6.0), return_grad=True),
    "cosine_from_hamming": _call(np.array([3, 10, 20]), 64, return_error=True),
    "cosine_target_loss": _call(np.tanh(_x), np.array([1.0, 0, 1, 0, 1, 0]), return_grad=True),
    "descent_bound": _call(_positive, _positive / 4, 2.0),
    "discriminator_weights": _call(logits=_x),
    "effective_sample_size": _call(_rows),
    "effective_truncated_std": _call(_positive, np.array([-2.0] * 6), np.array([2.0] * 6)),
    "elbo": _call(_rows),
    "embedding_dim": _call(np.array([1000, 100000])),
    "embedding_logit_std": _call(np.array([64, 128]), np.array([0.02, 0.02])),
    "emd": _call(_a, _b, _M, log=True),
    "emd2": _call(_a, _b, _M, log=True),
    "emd2_1d": _call(_normal(2, 3), _normal(2, 4), _a, _b),
    "emd_1d": _call(_normal(3), _normal(4), _a[0], _b[0], log=True),
    "entropy_invariant_scale": _call(np.array([128, 512]), 64),
    "entropy_matched_scale": _call(np.array([2.0, 3.0]), np.array([128, 512]), np.array([64, 64])),
    "entropy_normalize": _call(_P, np.array([1.0, 1.1, 1.2, 1.3]), log=True),
    "entropy_normalize_logits": _call(_rows, np.array([1.0, 1.1, 1.2, 1.3])),
    "entropy_normalize_logits_vjp": _call(_rows, np.array([1.0, 1.1, 1.2, 1.3]), _other_rows),
    "entropy_normalize_vjp": _call(_P, np.array([1.0, 1.1, 1.2, 1.3]), _rows),
    "entropy_power_curve": _call(_p, np.array([0.0, 1.0, 1.7])),
    "expdef_features": _call(_X, 2),
    "expdef_ratio": _call(_x, 4),
    "expected_orthogonality_error": _call(np.array([64, 128]), np.array([64, 64])),
    "favor_attention": _call(_Q, _K, _V, _normal(8, 4)),
    "favor_features": _call(_X, _normal(8, 3), return_log_scale=True),
    "favor_features_vjp": _call(_X, _normal(8, 3), _normal(7, 8)),
    "favor_relative_variance": _call(_X, _X[::-1].copy()),
    "ffn_macs": _call(np.array([128, 512]), np.array([64, 64])),
    "fgm_perturbation": _call(_rows, np.array([[0.1], [0.2], [0.3], [0.4]])),
    "fisher_diagonal": _call(_rows),
    "frechet_distance": _call(_normal(20, 3), _normal(20, 3)),
    "frechet_distance_from_statistics": _call(*(part[0] for part in _gaussians)),
    "fwht": _call(_normal(3, 8)),
    "gaussian_bhattacharyya": _call(*_gaussians),
    "gaussian_bhattacharyya_grad": _call(*_gaussians),
    "gaussian_entropy": _call(_gaussians[1]),
    "gaussian_entropy_grad": _call(_gaussians[1]),
    "gaussian_hellinger": _call(*_gaussians),
    "gaussian_hellinger_grad": _call(*_gaussians),
    "gaussian_kl": _call(*_gaussians),
    "gaussian_kl_grad": _call(*_gaussians),
    "gaussian_logpdf_diag": _call(_rows, _other_rows, np.exp(_rows)),
    "gaussian_mixture_proposal": _call(_x, 0.5),
    "gaussian_ot_map": _call(*_gaussians),
    "gaussian_w2": _call(*_gaussians),
    "gaussian_w2_grad": _call(*_gaussians),
    "gn_input_gradient": _call(_x, _normal(6, 3), _normal(6, 3)),
    "gradient_normalize": _call(_x, _positive),
    "gradient_penalty": _call(_positive, return_grad=True),
    "grouped_argmax": _call(_normal(7), _labels),
    "gru": _call(_sequence, *_gru_cell, _h, return_jacobians=True),
    "gru_cell": _call(_step, _h, *_gru_cell),
    "gru_jacobian": _call(_step, _h, *_gru_cell),
    "gru_vjp": _call(_sequence, *_gru_cell, _h, _normal(4, 3)),
    "gru_weights_from_torch": _call(*_torch_weights(3)),
    "hamming_distances": _call(_codes, _codes[:2].copy()),
    "hamming_neighbors": _call(_codes[:2].copy(), _codes, 2),
    "hsic": _call(_X, _Y),
    "hsic_block": _call(_normal(12, 3), _normal(12, 2), block_size=4, bandwidth=1.0),
    "hsic_gradient": _call(_X, _Y),
    "hsic_random_features": _call(_X, _Y, rng=0, bandwidth=1.0),
    "hsic_streaming": _call(_X, _Y, bandwidth=1.0),
    "hsic_test": _call(_X, _Y, rng=0, n_permutations=20),
    "importance_log_weights": _call(_x, _positive, -_positive),
    "info_nce_loss": _call(_pairs, return_grad=True),
    "init_variance": _call(np.array([64, 128]), np.array([64, 64]), "xavier"),
    "inner_product_bound": _call(np.array([64, 128]), np.array([0.1, 0.2])),
    "iwae_bound": _call(_rows),
    "iwae_bound_grad": _call(_rows),
    "iwae_bound_vjp": _call(_rows, _normal(4)),
    "jacobian_penalty_hutchinson": _call(lambda eta: eta @ _mixing, 3, weights=_weights(3), n_samples=4, rng=0),
    "jacobian_product_log_norms": _call(_jacobians),
    "jacobian_product_log_singular_values": _call(_jacobians),
    "jl_min_dim": _call(np.array([1000, 100000]), np.array([0.1, 0.2])),
    "jl_success_probability": _call(np.array([100, 1000]), np.array([500, 500]), np.array([0.3, 0.4])),
    "kernel_error": _call(_X, _X[:4].copy(), np.exp(_X), np.exp(_X[:4])),
    "laplace_kernel": _call(_X, _X[:4].copy(), bandwidth=1.0),
    "laplacian_penalty": _call(_spd(), 0.1),
    "layer_norm": _call(_rows, _positive, _x),
    "layer_norm_vjp": _call(_rows, _other_rows, _positive),
    "linear_attention": _call(np.exp(_Q), np.exp(_K), _V),
    "linear_attention_vjp": _call(np.exp(_Q), np.exp(_K), _V, _normal(2, 5, 4)),
    "linear_kernel": _call(_X, _X[:4].copy()),
    "linear_regression_closed_form": _call(_X, _Y, sample_weight=_rng.random(7)),
    "linear_warmup": _call(np.arange(5), 3.0),
    "log_density_estimate": _call(
        np.array([1.0, -0.5, 0.8]),
        lambda z: (z @ _mixing.T, 0.5),
        scipy.stats.multivariate_normal(np.zeros(2)),
        scipy.stats.norm([0.5, 0.25], [0.75, 0.75]),
        n_samples=10,
        rng=0,
    ),
    "log_esp": _call(_rows, 3, return_grad=True),
    "logistic_closed_form": _call(_X, _labels),
    "lookahead_boost": _call(np.log(_p), [1], kexue.PrefixTree([[1, 2, 3], [1, 4]]), [5, 1, 4]),
    "lstm": _call(_sequence, *_lstm_cell, _h, _c),
    "lstm_cell": _call(_step, _h, _c, *_lstm_cell),
    "lstm_jacobian": _call(_step, _h, _c, *_lstm_cell),
    "lstm_path_derivative": _call(_x, _x, 1 / (1 + np.exp(-_x)), _normal(3), _normal(3), _normal(3)),
    "lstm_vjp": _call(_sequence, *_lstm_cell, _h, _c, _normal(4, 3)),
    "lstm_weights_from_torch": _call(*_torch_weights(4)),
    "lyapunov_exponents": _call(_jacobians),
    "marchenko_pastur_edges": _call(np.array([64, 128]), np.array([64, 64])),
    "median_bandwidth": _call(_X),
    "mgs_step": _call(_rows, _normal(4), _normal(4), 0.5, return_ess=True),
    "mgs_weights": _call(_normal(4), _normal(4), 0.5),
    "minimize": _call(lambda x: float(x @ x), np.ones(2), rng=0, max_iter=2, bounds=None),
    "mlp_gradient_penalties": _call(
        [_normal(3, 2), _normal(1, 3)], [_normal(3), _normal(1)], ["tanh", "identity"], _normal(2), np.ones(1)
    ),
    "noise_regularizer": _call(_normal(3, 3), 0.1, loss="kl", f=_normal(3), from_logits=True),
    "norm_concentration_bound": _call(np.array([64, 128]), np.array([0.1, 0.2])),
    "normalized_hsic": _call(_X, _Y),
    "nsp_scores": _call(_normal(4, 2)),
    "ntk_linear": _call(_rows, _normal(6, 2), _normal(2)),
    "optimal_baseline": _call(_rows, _normal(4), _weights(4)),
    "orthogonality_error": _call(_normal(2, 3, 3)),
    "pad_to_power_of_two": _call(_rows),
    "pairwise_distances": _call(_documents, vectors=_normal(5, 3)),
    "pairwise_rank_loss": _call(_rows, _targets, return_grad=True),
    "perplexity_affinities": _call(np.square(_x[:, None] - _x), np.array([2.0] * 6)),
    "policy_gradient": _call(_rows, _normal(4), return_std=True),
    "polynomial_kernel": _call(_X, _X[:4].copy()),
    "post_norm_weights": _call(3, np.array([1.0, 0.5, 0.25])),
    "pre_norm_variance": _call(np.array([1, 2, 3]), np.array([1.0, 0.5, 2.0])),
    "r_drop_loss": _call(_rows, _other_rows, np.array([0, 2, 1, 5]), return_grad=True),
    "random_projection": _call(_X, 2, rng=0),
    "randomized_svd": _call(_normal(8, 5), 2, rng=0),
    "rbf_kernel": _call(_X, _X[:4].copy(), bandwidth=1.0),
    "resample_validation": _call(_positive, 3, rng=0),
    "rms_norm": _call(_rows, _positive),
    "rms_norm_vjp": _call(_rows, _other_rows, _positive),
    "rnn_gradient_recursion": _call(_jacobians, _normal(5, 3, 2)),
    "rnn_jacobian": _call(_step, _h, *_plain_cell),
    "rnn_jacobian_bound": _call(_h),
    "rwmd": _call(_X, _X[:4].copy(), _weights(7), _weights(4)),
    "samples_contrast": _call(_normal(8), np.array([0.5, 0.25, 0.25])),
    "sentence_pair_features": _call(_rows, _other_rows),
    "sign_hash": _call(_X, 64, rng=0),
    "simple_rnn": _call(_sequence, *_plain_cell, _h),
    "simple_rnn_cell": _call(_step, _h, *_plain_cell),
    "simple_rnn_vjp": _call(_sequence, *_plain_cell, _h, _normal(4, 3)),
    "simple_rnn_weights_from_torch": _call(*_torch_weights(1)),
    "sinkhorn": _call(_a, _b, _M, 0.5, warmstart=(np.zeros(3), np.zeros(4)), log=True),
    "sinkhorn2": _call(_a, _b, _M, np.array([0.5, 0.6]), log=True),
    "sinkhorn_barycenter": _call(_weights(2, 5), np.square(np.arange(5.0)[:, None] - np.arange(5.0)), 0.5),
    "sinkhorn_divergence": _call(_X, _X[:4] + 1.0, 0.5, a=_weights(7), b=_weights(4)),
    "smooth_abs": _call(_x, scale=_positive),
    "smooth_ceil": _call(_x, scale=_positive),
    "smooth_clip": _call(_x, -_positive, _positive),
    "smooth_floor": _call(_x, scale=_positive),
    "smooth_leaky_relu": _call(_x, _positive / 10),
    "smooth_maximum": _call(_x, _positive),
    "smooth_relu": _call(_x, scale=_positive),
    "smooth_round": _call(_x, scale=_positive),
    "smooth_sign": _call(_x, scale=_positive),
    "smooth_step": _call(_x, scale=_positive),
    "smoothed_argmax_gradient": _call(_rows, _other_rows),
    "smoothness_step_size": _call(_positive, 2.0),
    "softmax_closed_form": _call(_X, np.array([0, 1, 2, 0, 1, 2, 2]), priors=np.array([0.2, 0.3, 0.5])),
    "softmax_loss": _call(_rows, np.array([0, 2, 1, 5]), return_grad=True),
    "softmax_policy_gradient": _call(_rows, _other_rows, return_value=True),
    "softmax_symmetric_kl": _call(_rows, _other_rows, return_grad=True),
    "solve": _call(_M, _a, _b),
    "spearman": _call(_rows, _other_rows),
    "spectral_norm": _call(_normal(4, 3), _normal(4), n_iter=4),
    "talking_heads_attention": _call(_Q, _K, _V, _normal(2, 2), _normal(2, 2)),
    "talking_heads_attention_vjp": _call(_Q, _K, _V, _normal(2, 2), _normal(2, 2), _normal(2, 5, 4)),
    "taylor_features": _call(_X, 2),
    "taylor_remainder_bound": _call(_x, 4),
    "taylor_softmax": _call(_rows, 4),
    "taylor_softmax_loss": _call(_rows, np.array([0, 2, 1, 5]), 4, return_grad=True),
    "taylor_softmax_vjp": _call(_rows, _other_rows, 4),
    "temperature_for_entropy": _call(_rows, np.array([1.0, 1.1, 1.2, 1.3])),
    "topk_entropy": _call(_P, 3),
    "transformer_layer_macs": _call(np.array([128, 512]), np.array([8, 8]), np.array([64, 64])),
    "transport_lower_bound": _call(_a, _b, _M, log=True),
    "truncated_normal_mean": _call(-_positive, _positive * 2),
    "truncated_normal_variance": _call(-_positive, _positive * 2),
    "uniform_limits": _call(_x, _positive),
    "update_dropout": _call(_x, 0.5, 0),
    "vat_loss": _call(_rows, _other_rows, return_grad=True),
    "vat_perturbation": _call(lambda x: x * _positive, _x, rng=0, start=_positive),
    "wcd": _call(_X, _X[:4].copy(), _weights(7), _weights(4)),
    "weighted_metric": _call(_x, _positive),
    "wmd": _call(_X, _X[:4].copy(), _weights(7), _weights(4)),
    "wrd": _call(_X, _X[:4].copy(), _weights(7), _weights(4)),
    "xavier_std": _call(np.array([64, 128]), np.array([64, 64])),
    "zeroth_order_gradient": _call(
        lambda x: float(x @ x), np.ones(2), epsilon=0.01, n_samples=4, rng=0, return_std=True
    ),
    "zlpr_loss": _call(_rows, _targets, return_grad=True),
    "zlpr_predict": _call(_rows),
    "zlpr_probability": _call(_rows),
    "zlpr_sparse_loss": _call(_rows, [[0, 3], [], [1], [2, 4, 5]], return_grad=True),
    "zlpr_symmetric_kl": _call(_rows, _other_rows, return_grad=True),
}

CALLS = UFUNCS | FUNCTIONS


def mapped(change, value):
    """The value with another thing in place of each NumPy array."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(change, item) for item in value)
    if isinstance(value, dict):
        return {key: mapped(change, item) for key, item in value.items()}
    return value


def places_of_arrays(value, place=()):
    """The keys that lead to each NumPy array in a value: of a call, (0, i, ...) or (1, keyword, ...)."""
    if isinstance(value, np.ndarray):
        yield place
    elif isinstance(value, (list, tuple, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_of_arrays(item, (*place, key))


def at_place(value, place):
    for key in place:
        value = value[key]
    return value


def replaced(value, place, item):
    """The value with another thing in one place."""
    if not place:
        return item
    key, *rest = place
    if isinstance(value, dict):
        return value | {key: replaced(value[key], rest, item)}
    return type(value)(replaced(one, rest, item) if i == key else one for i, one in enumerate(value))


def numbers_in(result, place="the result"):
    """The arrays, numbers and other leaves of a result, each with its name."""
    if dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            yield from numbers_in(getattr(result, field.name), f"{place}.{field.name}")
    elif isinstance(result, (list, tuple, dict)):
        for key, item in result.items() if isinstance(result, dict) else enumerate(result):
            yield from numbers_in(item, f"{place}[{key!r}]")
    else:
        yield place, result


def require_same_bits(found, expected, *, relative=None):
    """The same types, shapes and bits; with `relative`, real numbers within so much of the largest one, or of 1."""
    assert type(found) is type(expected)
    pairs = list(numbers_in(found)), list(numbers_in(expected))
    assert [place for place, _ in pairs[0]] == [place for place, _ in pairs[1]]
    for (place, one), (_, other) in zip(*pairs, strict=True):
        assert type(one) is type(other), place
        if not isinstance(other, (np.ndarray, np.generic, bool, int, float)):
            if isinstance(other, (str, type(None))):
                assert one == other, place
            continue
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype and one.shape == other.shape, place
        if relative is not None and other.dtype.kind == "f":
            size = np.abs(other[np.isfinite(other)]).max(initial=0)
            np.testing.assert_allclose(one, other, rtol=relative, atol=relative * max(size, 1.0), err_msg=place)
        else:
            assert one.tobytes() == other.tobytes(), (place, one, other)
