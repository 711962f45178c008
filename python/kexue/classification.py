"""Classification: closed-form classifiers and adversarial validation."""

from typing import TYPE_CHECKING, Any

from kexue._analytic_classifier import (
    ClassStatistics,
    SoftmaxRule,
    linear_regression_closed_form,
    logistic_closed_form,
    softmax_closed_form,
)

if TYPE_CHECKING:
    from kexue.sklearn import AnalyticLogisticRegression as AnalyticLogisticRegression

__all__ = [
    "ClassStatistics",
    "SoftmaxRule",
    "linear_regression_closed_form",
    "logistic_closed_form",
    "softmax_closed_form",
]


def __getattr__(name: str) -> Any:
    # An estimator of scikit-learn, which is loaded when it is asked for.
    if name == "AnalyticLogisticRegression":
        from kexue.sklearn import AnalyticLogisticRegression

        return AnalyticLogisticRegression
    raise AttributeError(f"module 'kexue.classification' has no attribute {name!r}")
