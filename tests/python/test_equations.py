"""normalize_equation, normalize_question, answers_match, format_answer."""

import itertools
import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue

F = Fraction

# ---- normal forms ----


@pytest.mark.parametrize(
    ("equation", "normal", "value"),
    [
        ("x=150*20%/5%-150", "150*(20/100)/(5/100)-150", F(450)),
        ("x=(3.14*(4+1)**2)-(3.14*4**2)", "(3.14*(4+1)**2)-(3.14*4**2)", F(1413, 50)),
        ("3(1/2)+50%", "(3+1/2)+(50/100)", F(4)),
        ("1:4", "1/4", F(1, 4)),
        ("x=12.5%", "(12.5/100)", F(1, 8)),
        ("(1+2)%", "(1+2)/100", F(3, 100)),
        ("2(3+4)", "2+(3+4)", F(9)),
        ("1.5(1/2)", "1.5+(1/2)", F(2)),
        ("12(3/4)*2", "(12+3/4)*2", F(51, 2)),
        ("2*3(1/3)", "2*(3+1/3)", F(20, 3)),
        ("-3(1/2)", "-(3+1/2)", F(-7, 2)),
        ("3(1:2)", "3+(1/2)", F(7, 2)),
        ("x=x=1", "1", F(1)),
        ("X＝1", "1", F(1)),
        ("ｘ = 1 + 2", "1+2", F(3)),
        ("（12＋8）×3÷（7－2）", "(12+8)*3/(7-2)", F(12)),
        ("[{1+2}*3]÷【4】", "((1+2)*3)/(4)", F(9, 4)),
        ("１２．５％", "(12.5/100)", F(1, 8)),
        ("3½", "(3+1/2)", F(7, 2)),
        ("¾×８", "(3/4)*8", F(6)),
        ("3²+2^3", "3**2+2**3", F(17)),
        ("10∶4", "10/4", F(5, 2)),
        ("7 − 2 – 1", "7-2-1", F(4)),
        ("2·3⋅4", "2*3*4", F(24)),
        ("2 (1/2)", "(2+1/2)", F(5, 2)),
        ("1\u30002+\t3", "1 2+3", None),
        ("1  2 +\r\n 3", "1  2+3", None),
        ("5%%", "(5/100)/100", F(1, 2000)),
        ("1+x", "1+x", None),
        ("", "", None),
        ("约5元", "约5元", None),
    ],
)
def test_equations(equation, normal, value):
    assert kexue.normalize_equation(equation) == normal
    assert kexue.normalize_equation(normal) == normal
    if value is None:
        with pytest.raises(kexue.KexueValueError):
            kexue.evaluate_expression(normal)
    else:
        assert kexue.evaluate_expression(normal) == value


def test_equations_follow_the_source_in_ascii():
    # The source's substitutions, for mixed numbers whose whole part has no decimals.
    def source(equation):
        equation = re.sub(r"(\d+)\((\d+/\d+)\)", "(\\1+\\2)", equation)
        equation = re.sub(r"(\d+)\(", "\\1+(", equation)
        equation = re.sub(r"([\.\d]+)%", "(\\1/100)", equation)
        equation = equation.replace(":", "/").replace("%", "/100")
        return equation[2:] if equation[:2] == "x=" else equation

    pieces = ["12", "3.5", "(", ")", "1/2", "(3/4)", "%", ":", "+", "*"]
    for chosen in itertools.product(pieces, repeat=4):
        equation = "x=" + "".join(chosen)
        if not re.search(r"\.\d+\(\d+/\d+\)", equation):
            assert kexue.normalize_equation(equation) == source(equation)


@pytest.mark.parametrize(
    ("question", "normal"),
    [
        ("用去了(3/4)，还剩1(1/2)千克", "用去了3/4，还剩(1+1/2)千克"),
        ("甲（1/3）乙2（2/5）", "甲1/3乙(2+2/5)"),
        ("小明（10岁）有(1/2+3)个", "小明（10岁）有(1/2+3)个"),
        ("每千克1.5(3/4)元，20%", "每千克1.53/4元，20%"),
        ("", ""),
    ],
)
def test_questions(question, normal):
    assert kexue.normalize_question(question) == normal


@pytest.mark.parametrize(
    "text",
    [
        "9" * 65000,
        "1(" * 32000,
        "1(1" * 20000,
        "%" * 65000,
        "9." * 30000 + "%",
        "1 " * 32000,
        " " * 65000,
        "1" + " " * 65000 + "2",
    ],
)
def test_normal_forms_take_linear_time(text):
    kexue.normalize_equation(text)
    kexue.normalize_question(text * 10)


def test_what_is_no_equation():
    with pytest.raises(TypeError, match="equation must be a str"):
        kexue.normalize_equation(5)
    with pytest.raises(TypeError, match="question must be a str"):
        kexue.normalize_question(b"1")
    with pytest.raises(kexue.KexueValueError, match="equation has 65537 characters"):
        kexue.normalize_equation("1" * 65537)


@given(st.text(alphabet="0123456789.+-*/()%:x= ½²×÷（）％", max_size=25))
def test_normal_forms_are_stable(text):
    normal = kexue.normalize_equation(text)
    try:
        kexue.evaluate_expression(normal)
    except kexue.KexueValueError:
        return
    assert kexue.normalize_equation(normal) == normal


# ---- answers ----


@pytest.mark.parametrize(
    ("a", "b", "digits", "match"),
    [
        ("x=150*20%/5%-150", 450, 6, True),
        ("3(1/2)", 3.5, 6, True),
        ("15%", 0.15, 6, True),
        ("15%", "3/20", 6, True),
        (0.1 + 0.2, "3/10", 6, True),
        (0.1 + 0.2, Decimal("0.3"), 6, True),
        ("1/3", 0.333333, 6, True),
        ("1/3", "0.333333", 6, True),
        ("1/3", "0.33333", 6, False),
        ("1/3", "0.33", 2, True),
        (F(1, 3), 1 / 3, 1000, True),
        (F(1, 3), F(1, 3), 1000, True),
        (1, 1.0000004, 6, True),
        (1, 1.0000006, 6, False),
        (1.5, 1.4999999, 0, False),
        (0.5, 0.4999999, 0, True),
        ("0.5", "0.4999999", 0, True),
        ("0.0000005", 0, 6, True),
        ("0.4", "-0.4", 0, True),
        (10**30, 10**30 + 1, 6, False),
        (10**400, 10**400, 6, True),
        (10**400, 1e300, 6, False),
        (3.5e-6, "0.0000035", 6, True),
        (np.float32(0.5), np.int64(1), 6, False),
        (np.float64(2.0), np.int64(2), 6, True),
        ("2**0.5", 2**0.5, 12, True),
        ("2**0.5", "1.414214", 6, True),
        (math.nan, math.nan, 6, False),
        (math.inf, math.inf, 6, False),
        (-math.inf, 1, 6, False),
        (Decimal("NaN"), Decimal("NaN"), 6, False),
        (Decimal("Infinity"), math.inf, 6, False),
        (Decimal("1e999999999"), 1, 6, False),
        (Decimal("0e999999999"), 0, 6, True),
        ("1/0", "1/0", 6, False),
        ("", "", 6, False),
        ("苹果", "苹果", 6, False),
        ("(" * 10**6, 1, 6, False),
    ],
)
def test_matches(a, b, digits, match):
    assert kexue.answers_match(a, b, digits) is match
    assert kexue.answers_match(b, a, digits=digits) is match


def test_strict():
    assert kexue.answers_match("1/2", 0.5, strict=True)
    with pytest.raises(kexue.KexueValueError, match="division by zero"):
        kexue.answers_match("1/0", 1, strict=True)
    with pytest.raises(kexue.KexueValueError, match="b has a decimal exponent of 5000"):
        kexue.answers_match(1, Decimal("1e5000"), strict=True)


@pytest.mark.parametrize("value", [None, 1j, True, [1], b"1", np.array([1.0])])
def test_answers_that_are_no_numbers(value):
    with pytest.raises(TypeError, match="a must be a real number or a str"):
        kexue.answers_match(value, 1)
    with pytest.raises(TypeError, match="value must be a real number or a str"):
        kexue.format_answer(value, "integer")


def test_decimals_have_limits():
    """Neither takes the time that a fraction of a million digits takes."""
    for value, what in [("1e2001", "a has a decimal exponent of 2001"), ("0." + "1" * 10**6, "a has more than 2000")]:
        assert not kexue.answers_match(Decimal(value), Decimal(value))
        with pytest.raises(kexue.KexueValueError, match=what):
            kexue.answers_match(Decimal(value), 1, strict=True)
    assert kexue.answers_match(Decimal("0." + "1" * 2000), "1/9")


@pytest.mark.parametrize("digits", [-1, 1001])
def test_digits_have_a_range(digits):
    with pytest.raises(kexue.KexueValueError, match="digits must be at (least 0|most 1000)"):
        kexue.answers_match(1, 1, digits)
    with pytest.raises(kexue.KexueValueError, match="digits must be at (least 0|most 1000)"):
        kexue.format_answer(1, "decimal", digits=digits)
    with pytest.raises(TypeError, match="digits must be an integer"):
        kexue.answers_match(1, 1, digits=1.5)
    with pytest.raises(TypeError, match="digits must be an integer"):
        kexue.format_answer(1, "decimal", digits=True)


@given(st.floats(-1e6, 1e6), st.floats(-1e-5, 1e-5), st.integers(0, 8))
def test_floats_match_as_in_the_source(x, change, digits):
    assert kexue.answers_match(x, x + change, digits) is (round(x, digits) == round(x + change, digits))


@given(st.fractions(-10, 10), st.fractions(-1, 1), st.integers(0, 4))
def test_fractions_match_if_their_decimals_do(x, change, digits):
    y = x + change / 1000
    scaled = [value * 10**digits for value in (x, y)]
    same = round(scaled[0]) == round(scaled[1])
    assert kexue.answers_match(x, y, digits) is same
    assert kexue.answers_match(str(x), y, digits) is same


# ---- texts of answers ----


@pytest.mark.parametrize(
    ("value", "kind", "digits", "text"),
    [
        (450, "integer", 6, "450"),
        (450.0, "integer", 6, "450"),
        (449.9999999999, "integer", 6, "450"),
        (F(-8, 2), "integer", None, "-4"),
        (-0.0, "integer", None, "0"),
        (0.1 + 0.2, "decimal", 6, "0.3"),
        (F(1413, 50), "decimal", 6, "28.26"),
        (F(1, 3), "decimal", 6, "0.333333"),
        (F(2, 3), "decimal", 6, "0.666667"),
        (F(2, 3), "decimal", 0, "1"),
        (F(1, 2), "decimal", 0, "1"),
        (F(-1, 2), "decimal", 0, "-1"),
        (F(5, 2), "decimal", 0, "3"),
        ("0.125", "decimal", 2, "0.13"),
        (-1e-9, "decimal", 6, "0"),
        (100, "decimal", 6, "100"),
        (1e22, "decimal", 6, "10000000000000000000000"),
        (0.1, "decimal", None, str(Decimal(0.1))),
        (F(1, 1024), "decimal", None, "0.0009765625"),
        (F(7, 2000), "decimal", None, "0.0035"),
        (Decimal("1.50"), "decimal", 6, "1.5"),
        (F(3, 4), "fraction", 6, "3/4"),
        (F(-7, 2), "fraction", 6, "-7/2"),
        (F(8, 4), "fraction", 6, "2"),
        (0.75, "fraction", 6, "3/4"),
        (1 / 3, "fraction", 6, "1/3"),
        (0.1 + 0.2, "fraction", 6, "3/10"),
        (0.1, "fraction", None, "3602879701896397/36028797018963968"),
        (F(7, 2), "mixed", 6, "3(1/2)"),
        (F(-7, 2), "mixed", 6, "-3(1/2)"),
        (F(-1, 2), "mixed", 6, "-1/2"),
        (F(6, 2), "mixed", 6, "3"),
        (0, "mixed", 6, "0"),
        (F(3, 20), "percent", 6, "15%"),
        (0.15, "percent", 6, "15%"),
        (F(1, 3), "percent", 2, "33.33%"),
        (F(1, 8), "percent", None, "12.5%"),
        ("x=1+50%", "percent", 6, "150%"),
        (np.float32(0.5), "percent", 6, "50%"),
        (np.int32(7), "integer", 6, "7"),
    ],
)
def test_texts(value, kind, digits, text):
    assert kexue.format_answer(value, kind, digits=digits) == text


@pytest.mark.parametrize(
    ("value", "kind", "digits", "what"),
    [
        (F(7, 2), "integer", 6, "not an integer"),
        (1.000001, "integer", 6, "not an integer"),
        (1.0000000001, "integer", None, "not an integer"),
        (F(1, 3), "decimal", None, "no finite number of decimals as a decimal"),
        (F(1, 3), "percent", None, "no finite number of decimals as a percentage"),
        (math.nan, "decimal", 6, "value is nan"),
        (math.inf, "percent", 6, "value is inf"),
        (10**1000, "integer", 6, "more than 1000 digits"),
        (F(1, 10**1000), "fraction", 6, "more than 1000 digits"),
        (5e-324, "decimal", None, "more than 1000 digits as a decimal"),
        (F(1, 3), "decimal", 1000, "more than 1000 digits as a decimal"),
        (10**997, "percent", 6, "more than 998 digits as a percentage"),
        ("1/0", "fraction", 6, "division by zero"),
        (1, "int", 6, "kind must be"),
        (1, None, 6, "kind must be"),
    ],
)
def test_texts_that_cannot_be(value, kind, digits, what):
    with pytest.raises(kexue.KexueValueError, match=what):
        kexue.format_answer(value, kind, digits=digits)


@given(st.fractions(), st.sampled_from(["fraction", "mixed"]))
def test_fractions_are_read_again(value, kind):
    assert kexue.evaluate_expression(kexue.normalize_equation(kexue.format_answer(value, kind))) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=5), st.sampled_from(["decimal", "percent"]))
def test_decimals_are_read_again(value, kind):
    text = kexue.format_answer(value, kind, digits=None)
    assert kexue.evaluate_expression(kexue.normalize_equation(text)) == F(value)
    assert "e" not in text.lower() and not text.startswith("-0") or "." in text


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (F(1, 2**999), "decimal"),
        (10**1000 - 1, "decimal"),
        (F(1, 2**999), "percent"),
        (F(-(10**996) + 1, 10), "percent"),
        (F(10**1000 - 1, 10**999 + 1), "mixed"),
    ],
)
def test_the_longest_texts_are_read_again(value, kind):
    text = kexue.format_answer(value, kind, digits=None)
    assert kexue.evaluate_expression(kexue.normalize_equation(text)) == value


@given(st.integers(), st.sampled_from(["integer", "decimal", "fraction", "mixed"]))
def test_integers_are_python_s(value, kind):
    assert kexue.format_answer(value, kind) == str(value)


@given(st.floats(-1e15, 1e15), st.integers(0, 12), st.sampled_from(["decimal", "percent"]))
def test_rounded_texts_are_near(value, digits, kind):
    text = kexue.format_answer(value, kind, digits=digits)
    again = kexue.evaluate_expression(kexue.normalize_equation(text))
    unit = F(1, 10**digits) / (100 if kind == "percent" else 1)
    assert abs(again - F(value)) <= unit / 2
    assert (again / unit).denominator == 1
