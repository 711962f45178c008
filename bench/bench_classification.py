"""Alternating normalisation, closed forms, adversarial validation, next sentences beside NumPy and scikit-learn."""

import pytest
import workloads_classification as workloads
from cases import DTYPES, sides


@sides("kexue", "NumPy loop", "NumPy", "a copy")
@DTYPES
@pytest.mark.parametrize("uncertain", ["half", "a sixth"])
def bench_can(measure, uncertain, dtype, side):
    measure(workloads.can(100_000, 100, dtype, uncertain), side)


@sides("kexue", *workloads.CAN_PEERS)
def bench_can_few_rows(measure, side):
    measure(workloads.can(2000, 100, "float64", "half", tuple(workloads.CAN_PEERS)), side)


@sides("kexue", "NumPy loop")
def bench_can_iterations(measure, side):
    measure(workloads.can_iterations(2000, 100, 3), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_topk_entropy(measure, dtype, side):
    measure(workloads.topk_entropy(100_000, 100, dtype), side)


@sides("kexue", "scikit-learn's LDA", "scikit-learn's LogisticRegression")
@pytest.mark.parametrize("count", [2, 10], ids="{} classes".format)
def bench_AnalyticLogisticRegression(measure, count, side):
    measure(workloads.analytic_logistic_regression(20_000, 64, count), side)


@sides("kexue", "scikit-learn's LDA", "NumPy")
def bench_ClassStatistics(measure, side):
    measure(workloads.class_statistics(20_000, 64, 10), side)


@sides("kexue", "SciPy")
def bench_SoftmaxRule(measure, side):
    measure(workloads.softmax_rule(20_000, 64, 10), side)


@sides("kexue", "scikit-learn's LDA")
@pytest.mark.parametrize("function", ["softmax_closed_form", "logistic_closed_form"])
def bench_closed_form(measure, function, side):
    measure(workloads.closed_form(function, 20_000, 64), side)


@sides("kexue", "scikit-learn", "NumPy's lstsq")
def bench_linear_regression_closed_form(measure, side):
    measure(workloads.closed_form("linear_regression_closed_form", 20_000, 64), side)


@sides("kexue", "scikit-learn's LogisticRegression")
def bench_AdversarialSplit(measure, side):
    measure(workloads.adversarial_split(20_000, 30), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("function", ["discriminator_weights", "weighted_metric", "resample_validation"])
def bench_importance(measure, function, side):
    measure(workloads.importance(function, 1_000_000), side)


@sides("kexue", "scikit-learn")
def bench_area_under_curve(measure, side):
    measure(workloads.importance("area_under_curve", 1_000_000), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("function", ["candidates_contrast", "samples_contrast", "apply_thresholds"])
def bench_next_sentence(measure, function, side):
    measure(workloads.next_sentence(function, 1_000_000), side)


@sides("kexue", "SciPy's softmax")
def bench_nsp_scores(measure, side):
    measure(workloads.next_sentence("nsp_scores", 1_000_000), side)


@sides("kexue", "NumPy", "a loop")
def bench_grouped_argmax(measure, side):
    measure(workloads.next_sentence("grouped_argmax", 1_000_000), side)
