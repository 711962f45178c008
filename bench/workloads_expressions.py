"""What is measured of equations and expressions."""

from __future__ import annotations

import ast
import operator
import re
from fractions import Fraction
from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent

import kexue as kx

EQUATIONS = [
    "x=150*20%/5%-150",
    "x=(3.14*(4+1)**2)-(3.14*4**2)",
    "x=3(1/2)+50%",
    "x=(24-1.5*8)/(1+(1/3))",
    "x=5(2/3)*(1-25%)+7.5",
    "x=1/((1/10)+(1/15))",
    "x=(460-40)/(3+4)*(4-3)",
    "x=100/(1+15%)-(0.5)",
    "x=36/(5/(5+4)-1/2)",
    "x=(12+8)*3/(7-2)",
]
EXPRESSIONS = [kx.normalize_equation(equation) for equation in EQUATIONS]

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def _walk(node: ast.AST) -> Fraction:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_walk(node.left), _walk(node.right))
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_walk(node.operand))
    if not isinstance(node, ast.Constant):
        raise ValueError(f"{ast.dump(node)} is not part of an expression")
    return Fraction(str(node.value))


def by_ast(text: str) -> Fraction:
    """What a careful user writes: Python's parser, its tree walked with fractions."""
    return _walk(ast.parse(text, mode="eval").body)


def _numbers(values: list[Any]) -> np.ndarray:
    return np.array([float(value) for value in values])


@recent
def evaluate_expression() -> Workload:
    """Ten equations, a time for one. float's eval is what the source does: neither exact nor safe."""
    sides = {
        "kexue": Side(lambda: [kx.evaluate_expression(text) for text in EXPRESSIONS], 10, _numbers),
        "ast and Fraction": Side(lambda: [by_ast(text) for text in EXPRESSIONS], 10, _numbers),
        "eval": Side(lambda: [eval(text) for text in EXPRESSIONS], 10, _numbers),
    }
    sympy: Any = installed("sympy")
    absent = {}
    if sympy is None:
        absent["sympify"] = absent["parse_expr"] = "sympy is not installed"
    else:
        from sympy.parsing.sympy_parser import parse_expr, rationalize, standard_transformations

        exact = (*standard_transformations, rationalize)
        sides["sympify"] = Side(lambda: [sympy.sympify(text, rational=True) for text in EXPRESSIONS], 10, _numbers)
        sides["parse_expr"] = Side(
            lambda: [parse_expr(text, transformations=exact) for text in EXPRESSIONS], 10, _numbers
        )
    return Workload("evaluate_expression, equations", sides, rtol=1e-12, absent=absent)


@recent
def long_sum(terms: int) -> Workload:
    text = "+".join(f"({n}-{n}/8)*2.5" for n in range(terms))
    sides = {
        "kexue": Side(lambda: kx.evaluate_expression(text), comparable=float),
        "ast and Fraction": Side(lambda: by_ast(text), comparable=float),
    }
    return Workload(f"evaluate_expression, a sum of {terms} terms", sides, rtol=1e-12)


def _source_equation(equation: str) -> str:
    equation = re.sub(r"(\d+)\((\d+/\d+)\)", r"(\1+\2)", equation)
    equation = re.sub(r"(\d+)\(", r"\1+(", equation)
    equation = re.sub(r"([\.\d]+)%", r"(\1/100)", equation)
    equation = equation.replace(":", "/").replace("%", "/100")
    return equation[2:] if equation[:2] == "x=" else equation


def _source_question(question: str) -> str:
    return re.sub(r"\((\d+/\d+)\)", r"\1", re.sub(r"(\d+)\((\d+/\d+)\)", r"(\1+\2)", question))


def _source_brackets(equation: str) -> str:
    """The source's loop: eval, and values that agree in 6 decimals."""
    opened, pairs = [], []
    for place, letter in enumerate(equation):
        if letter == "(":
            opened.append(place)
        elif letter == ")":
            pairs.append((opened.pop(), place))
    value = round(eval(equation), 6)
    for left, right in pairs:
        fewer = f"{equation[:left]} {equation[left + 1 : right]} {equation[right + 1 :]}"
        if round(eval(fewer.replace(" ", "")), 6) == value:
            equation = fewer
    return equation.replace(" ", "")


def _codes(texts: list[str]) -> np.ndarray:
    return np.array([ord(letter) for letter in "\n".join(texts)])


@recent
def texts(function: str) -> Workload:
    """Ten texts, a time for one, beside the source's code."""
    questions = [f"甲有(3/4)千克，乙有{n}(1/2)千克，共多少千克？" for n in range(10)]
    call, peer, given = {
        "normalize_equation": (kx.normalize_equation, _source_equation, EQUATIONS),
        "normalize_question": (kx.normalize_question, _source_question, questions),
        "strip_redundant_parentheses": (kx.strip_redundant_parentheses, _source_brackets, EXPRESSIONS),
    }[function]
    sides = {
        "kexue": Side(lambda: [call(text) for text in given], 10, _codes),
        "the source's": Side(lambda: [peer(text) for text in given], 10, _codes),
    }
    return Workload(f"{function}, equations", sides)


@recent
def by_precedence(count: int) -> Workload:
    """An expression with so many pairs; SymPy has nothing that keeps the structure, Python's unparser does."""
    text = "+".join(["((1-2)*(3/4))-(5-6)"] * (count // 4))
    sides = {
        "kexue": Side(lambda: kx.strip_redundant_parentheses(text, by="precedence"), comparable=lambda t: t.count("(")),
        "ast.unparse": Side(lambda: ast.unparse(ast.parse(text, mode="eval")), comparable=lambda t: t.count("(")),
    }
    return Workload(f"strip_redundant_parentheses by precedence, {count} pairs", sides)


@recent
def answers_match() -> Workload:
    values = [float(kx.evaluate_expression(text)) for text in EXPRESSIONS]
    pairs = list(zip(EXPRESSIONS, values, strict=True))
    sides = {
        "kexue": Side(lambda: [kx.answers_match(text, value) for text, value in pairs], 10),
        "ast and Fraction": Side(
            lambda: [round(float(by_ast(_source_equation(text))), 6) == round(value, 6) for text, value in pairs], 10
        ),
    }
    return Workload("answers_match, equations", sides)


@recent
def format_answer() -> Workload:
    values = [Fraction(n, 8) for n in range(1, 11)]
    sides = {
        "kexue": Side(lambda: [kx.format_answer(value, "decimal") for value in values], 10, _numbers),
        "round": Side(lambda: [str(round(float(value), 6)) for value in values], 10, _numbers),
    }
    return Workload("format_answer, decimals", sides)
