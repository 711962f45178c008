"""From scores to decisions: CAN, closed-form classifiers, adversarial validation, next-sentence rules."""

from typing import TYPE_CHECKING, Any

from kexue._adversarial_validation import (
    AdversarialSplit,
    area_under_curve,
    discriminator_weights,
    resample_validation,
    weighted_metric,
)
from kexue._analytic_classifier import (
    ClassStatistics,
    SoftmaxRule,
    linear_regression_closed_form,
    logistic_closed_form,
    softmax_closed_form,
)
from kexue._can import can, topk_entropy
from kexue._next_sentence import (
    SamplesContrastResult,
    apply_thresholds,
    candidates_contrast,
    grouped_argmax,
    nsp_scores,
    samples_contrast,
)

if TYPE_CHECKING:
    from kexue.sklearn import AnalyticLogisticRegression as AnalyticLogisticRegression

__all__ = [
    "AdversarialSplit",
    "ClassStatistics",
    "SamplesContrastResult",
    "SoftmaxRule",
    "apply_thresholds",
    "area_under_curve",
    "can",
    "candidates_contrast",
    "discriminator_weights",
    "grouped_argmax",
    "linear_regression_closed_form",
    "logistic_closed_form",
    "nsp_scores",
    "resample_validation",
    "samples_contrast",
    "softmax_closed_form",
    "topk_entropy",
    "weighted_metric",
]


def __getattr__(name: str) -> Any:
    # An estimator of scikit-learn, which is loaded when it is asked for.
    if name == "AnalyticLogisticRegression":
        from kexue.sklearn import AnalyticLogisticRegression

        return AnalyticLogisticRegression
    raise AttributeError(f"module 'kexue.classification' has no attribute {name!r}")
