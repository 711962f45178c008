"""Equations and expressions beside ast with fractions, SymPy and the source's code."""

import pytest
import workloads_expressions as workloads
from cases import sides


@sides("kexue", "ast and Fraction", "eval", "sympify", "parse_expr")
def bench_evaluate_expression(measure, side):
    measure(workloads.evaluate_expression(), side)


@sides("kexue", "ast and Fraction")
def bench_evaluate_expression_long_sum(measure, side):
    measure(workloads.long_sum(300), side)


@sides("kexue", "the source's")
@pytest.mark.parametrize("function", ["normalize_equation", "normalize_question", "strip_redundant_parentheses"])
def bench_texts(measure, function, side):
    measure(workloads.texts(function), side)


@sides("kexue", "ast.unparse")
def bench_strip_redundant_parentheses_by_precedence(measure, side):
    measure(workloads.by_precedence(400), side)


@sides("kexue", "ast and Fraction")
def bench_answers_match(measure, side):
    measure(workloads.answers_match(), side)


@sides("kexue", "round")
def bench_format_answer(measure, side):
    measure(workloads.format_answer(), side)
