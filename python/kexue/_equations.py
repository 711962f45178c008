"""Equations of word problems as people write them, and the answers that are computed from them."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Literal

from kexue._arrays import check_integer
from kexue._errors import KexueValueError
from kexue._expressions import MAX_DIGITS, check_length, evaluate_expression

__all__ = ["answers_match", "format_answer", "normalize_equation", "normalize_question"]

Number = int | float | Fraction | Decimal

_CHARACTERS = str.maketrans(
    {
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        **dict.fromkeys("×✕✖∙⋅·＊∗﹡", "*"),
        **dict.fromkeys("÷／∕⁄➗", "/"),
        **dict.fromkeys("：∶﹕", ":"),
        **dict.fromkeys("＋﹢➕", "+"),
        **dict.fromkeys("－−﹣–—➖", "-"),
        **dict.fromkeys("（［[｛{【〔﹙", "("),
        **dict.fromkeys("）］]｝}】〕﹚", ")"),
        **dict.fromkeys("％﹪", "%"),
        **dict.fromkeys("＝﹦", "="),
        **dict.fromkeys("ｘＸX", "x"),
        **dict.fromkeys("^＾", "**"),
        "．": ".",
        "²": "**2",
        "³": "**3",
        "½": "(1/2)",
        "⅓": "(1/3)",
        "⅔": "(2/3)",
        "¼": "(1/4)",
        "¾": "(3/4)",
        "⅕": "(1/5)",
        "⅖": "(2/5)",
        "⅗": "(3/5)",
        "⅘": "(4/5)",
        "⅙": "(1/6)",
        "⅚": "(5/6)",
        "⅛": "(1/8)",
        "⅜": "(3/8)",
        "⅝": "(5/8)",
        "⅞": "(7/8)",
        "\u3000": " ",
        "\u00a0": " ",
    }
)
# Blanks that do not keep two numbers apart: all that stand together.
_BLANKS = re.compile(r"(?<![ \t\r\n])(?:(?<![0-9.])[ \t\r\n]++|[ \t\r\n]++(?![0-9.]))")
_MIXED = re.compile(r"(?<![0-9.])([0-9]++)\(([0-9]++/[0-9]++)\)")
_QUESTION_MIXED = re.compile(r"(?<![0-9.])([0-9]++)[(（]([0-9]++/[0-9]++)[)）]")
_QUESTION_FRACTION = re.compile(r"[(（]([0-9]++/[0-9]++)[)）]")
_JUXTAPOSED = re.compile(r"([0-9])\(")
_PERCENT = re.compile(r"(?<![0-9.])([0-9.]++)%")
_UNKNOWN = re.compile(r"^(?:x=)+")


def normalize_equation(equation: str) -> str:
    """An equation as texts have it, rewritten into what `evaluate_expression` reads.

    Parameters
    ----------
    equation : str
        Such as ``x=150*20%÷5%－150``.

    Returns
    -------
    str
        After these steps, in this order: characters that mean the same become ASCII (full-width digits, ``×``, ``÷``,
        ``－``, ``：``, ``％``, all kinds of brackets, ``^`` and ``²`` as powers, ``½`` as a fraction in brackets);
        blanks go, unless they stand between two numbers; a mixed number ``d(a/b)`` becomes ``(d+a/b)``; any other digit
        before a bracket gets a plus, ``d+(``; ``v%`` becomes ``(v/100)``; ``:`` becomes ``/``; a percent sign after
        anything else ``/100``; a leading ``x=`` goes. What has no meaning stays as it is, for `evaluate_expression` to
        name. If the result is an expression, to normalise it again changes nothing.

    Raises
    ------
    KexueValueError
        If `equation` has more than 65536 characters.
    TypeError
        If `equation` is not a str.

    See Also
    --------
    normalize_question, evaluate_expression

    Notes
    -----
    The rules are those of a dataset in which ``3(1/2)`` is three and a half and a product has its sign. A product
    without one is misread: ``2(3+4)`` becomes ``2+(3+4)``, 9 and not 14. A percent sign after a bracket divides what is
    before it as any ``/100`` does: ``6/(1+2)%`` becomes ``6/(1+2)/100``. O(len(equation)).

    References
    ----------
    J. Su, https://kexue.fm/archives/7809 (2020).

    Examples
    --------
    >>> import kexue
    >>> kexue.normalize_equation("x=150*20%/5%-150")
    '150*(20/100)/(5/100)-150'
    >>> kexue.normalize_equation("3(1/2)＋50％")
    '(3+1/2)+(50/100)'
    """
    check_length("equation", equation)
    text = _BLANKS.sub("", equation.translate(_CHARACTERS))
    text = _MIXED.sub(r"(\1+\2)", text)
    text = _JUXTAPOSED.sub(r"\1+(", text)
    text = _PERCENT.sub(r"(\1/100)", text)
    return _UNKNOWN.sub("", text.replace(":", "/").replace("%", "/100"))


def normalize_question(question: str) -> str:
    """The text of a word problem, with its fractions as the equations have them.

    Parameters
    ----------
    question : str

    Returns
    -------
    str
        A mixed number ``d(a/b)`` becomes ``(d+a/b)``, any other ``(a/b)`` of two numbers ``a/b``. The rest of the text
        stays.

    Raises
    ------
    TypeError
        If `question` is not a str.

    See Also
    --------
    normalize_equation

    Notes
    -----
    O(len(question)).

    References
    ----------
    J. Su, https://kexue.fm/archives/7809 (2020).

    Examples
    --------
    >>> import kexue
    >>> kexue.normalize_question("用去了(3/4)，还剩1(1/2)千克")
    '用去了3/4，还剩(1+1/2)千克'
    """
    if not isinstance(question, str):
        raise TypeError(f"question must be a str, got {type(question).__name__}")
    return _QUESTION_FRACTION.sub(r"\1", _QUESTION_MIXED.sub(r"(\1+\2)", question))


# ---- answers ----


def _value(name: str, value: Number | str) -> Fraction | float:
    """The number as a fraction, or as a float if it is one."""
    if isinstance(value, str):
        return evaluate_expression(normalize_equation(value))
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        raise TypeError(f"{name} must be a real number or a str, got {type(value).__name__}")
    if isinstance(value, Integral):
        return Fraction(int(value))
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, Decimal):
        if not value.is_finite():
            return float("nan")
        if value and abs(value.adjusted()) > 2 * MAX_DIGITS:
            raise KexueValueError(
                f"{name} has a decimal exponent of {value.adjusted()}; at most {2 * MAX_DIGITS} is taken"
            )
        # Before a fraction of them is reduced, which would take minutes for a million.
        if len(value.as_tuple().digits) > 2 * MAX_DIGITS:
            raise KexueValueError(f"{name} has more than {2 * MAX_DIGITS} digits")
        return Fraction(value)
    return float(value)


def _rounded(value: Fraction, digits: int) -> Fraction:
    """To `digits` decimals, halves away from zero."""
    scale = 10**digits
    size = (2 * abs(value.numerator) * scale + value.denominator) // (2 * value.denominator)
    return Fraction(size if value > 0 else -size, scale)


def answers_match(a: Number | str, b: Number | str, digits: int = 6, *, strict: bool = False) -> bool:
    """Whether two answers are equal after each is rounded to `digits` decimals.

    Parameters
    ----------
    a, b : int, float, Fraction, Decimal or str
        A text goes through `normalize_equation` and `evaluate_expression`, so "15%", "3(1/2)" and "7/2" are answers.
    digits : int
        From 0 to 1000.
    strict : bool
        True raises for a text that has no value. By default it matches nothing: the prediction of a model is right or
        it is not.

    Returns
    -------
    bool
        False for NaN and infinities, even among themselves.

    Raises
    ------
    KexueValueError
        If `digits` is out of range; with `strict`, whatever `evaluate_expression` says.
    TypeError
        If `a` or `b` is neither a real number nor a str (booleans are not numbers here), or `digits` no integer.

    See Also
    --------
    format_answer, evaluate_expression

    Notes
    -----
    Halves round to the even side, as Python's round does. Two exact values are rounded exactly. If one is a float both
    are rounded as floats, so that 0.1 + 0.2 and "3/10" match. Values that are close may still fall on different sides
    of a boundary: 1.5 and 1.4999999 differ with 0 digits.

    References
    ----------
    J. Su, https://kexue.fm/archives/7809 (2020).

    Examples
    --------
    >>> import kexue
    >>> kexue.answers_match("x=150*20%/5%-150", 450)
    True
    >>> kexue.answers_match(0.3333333, "1/3")
    True
    >>> kexue.answers_match("1/0", "1/0")
    False
    """
    digits = check_integer("digits", digits, 0, MAX_DIGITS)
    try:
        x, y = _value("a", a), _value("b", b)
    except KexueValueError:
        if strict:
            raise
        return False
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y or (abs(x - y) * 10**digits < 1 and round(x, digits) == round(y, digits))
    try:
        x, y = float(x), float(y)
    except OverflowError:
        return False
    return round(x, digits) == round(y, digits) and x - x == 0 == y - y


def _text(value: int) -> str:
    """str(value) within any limit that sys.set_int_max_str_digits may have been given."""
    sign, value, parts = ("-" if value < 0 else ""), abs(value), []
    while value >= 10**500:
        value, low = divmod(value, 10**500)
        parts.append(f"{low:0500d}")
    return sign + str(value) + "".join(reversed(parts))


def _decimal(value: Fraction, digits: int | None, what: str, most: int = MAX_DIGITS) -> str:
    """Without trailing zeros; with digits None as many decimals as the value has. `most` digits can be read again."""
    if digits is None:
        rest, twos, fives = value.denominator, 0, 0
        twos = (rest & -rest).bit_length() - 1
        rest >>= twos
        while rest % 5 == 0:
            rest, fives = rest // 5, fives + 1
        if rest > 1:
            raise KexueValueError(f"value has no finite number of decimals as {what}: round it with digits")
        digits = max(twos, fives)
    scaled = _rounded(value, digits) * 10**digits
    sign, figures = ("-" if scaled < 0 else ""), _text(abs(scaled.numerator)).rjust(digits + 1, "0")
    whole, decimals = figures[: len(figures) - digits], figures[len(figures) - digits :].rstrip("0")
    if len(whole) + len(decimals) > most:
        raise KexueValueError(f"value has more than {most} digits as {what}")
    return f"{sign}{whole}.{decimals}" if decimals else sign + whole


def format_answer(
    value: Number | str,
    kind: Literal["integer", "decimal", "fraction", "mixed", "percent"],
    *,
    digits: int | None = 6,
) -> str:
    """An answer as a person writes it: "450", "3.14", "3/4", "3(1/2)", "15%".

    Parameters
    ----------
    value : int, float, Fraction, Decimal or str
        A text goes through `normalize_equation` and `evaluate_expression`.
    kind : {"integer", "decimal", "fraction", "mixed", "percent"}
    digits : int, optional
        Decimals, from 0 to 1000, to which "integer", "decimal" and "percent" are rounded (a percentage after it is
        multiplied by 100), halves away from zero; trailing zeros do not appear. An "integer" must be one after it is
        rounded so. "fraction" and "mixed" write fractions in full, and of a float, which has no simple one, the nearest
        whose denominator is at most ``10**digits``. None rounds nothing: the text has exactly the value.

    Returns
    -------
    str
        What `normalize_equation` and `evaluate_expression` turn into the (rounded) value again.

    Raises
    ------
    KexueValueError
        If `value` is not finite or a text without a value; if it, or what would be written, has more than 1000 digits;
        if `kind` is none of these; if an "integer" is not one; with ``digits=None`` if the decimals do not end.
    TypeError
        If `value` is neither a real number nor a str, or `digits` no integer.

    See Also
    --------
    answers_match, evaluate_expression

    References
    ----------
    J. Su, https://kexue.fm/archives/7809 (2020).

    Examples
    --------
    >>> import kexue
    >>> kexue.format_answer(0.1 + 0.2, "decimal")
    '0.3'
    >>> kexue.format_answer("7/2", "mixed")
    '3(1/2)'
    >>> kexue.format_answer("3/20", "percent")
    '15%'
    """
    if kind not in ("integer", "decimal", "fraction", "mixed", "percent"):
        raise KexueValueError(f'kind must be "integer", "decimal", "fraction", "mixed" or "percent", got {kind!r}')
    if digits is not None:
        digits = check_integer("digits", digits, 0, MAX_DIGITS)
    number = _value("value", value)
    if not isinstance(number, Fraction):
        if number - number != 0:
            raise KexueValueError(f"value is {number}, which cannot be written as an answer")
        number = Fraction(number)
        if digits is not None and kind in ("fraction", "mixed"):
            number = number.limit_denominator(10**digits)
    if abs(number.numerator) >= 10**MAX_DIGITS or number.denominator >= 10**MAX_DIGITS:
        raise KexueValueError(f"value has more than {MAX_DIGITS} digits")
    if kind == "percent":
        return _decimal(number * 100, digits, "a percentage", MAX_DIGITS - 2) + "%"
    if kind == "decimal":
        return _decimal(number, digits, "a decimal")
    if kind == "integer":
        if digits is not None:
            number = _rounded(number, digits)
        if number.denominator != 1:
            raise KexueValueError("value is not an integer: write it as a decimal or a fraction")
        return _text(number.numerator)
    whole, rest = divmod(abs(number.numerator), number.denominator)
    sign = "-" if number < 0 else ""
    if not rest:
        return sign + _text(whole)
    if kind == "mixed" and whole:
        return f"{sign}{_text(whole)}({_text(rest)}/{_text(number.denominator)})"
    return f"{_text(number.numerator)}/{_text(number.denominator)}"
