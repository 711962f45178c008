"""Arithmetic expressions: a parser of its own that evaluates them exactly, and the brackets that they do not need."""

from __future__ import annotations

import re
from bisect import bisect_right
from fractions import Fraction
from math import gcd
from typing import Literal

from kexue._errors import KexueValueError

__all__ = ["evaluate_expression", "strip_redundant_parentheses"]

MAX_LENGTH = 65536
MAX_NESTING = 1000
MAX_DIGITS = 1000
# What strip_redundant_parentheses may evaluate, in tokens: below a second, or some seconds where all have 1000 digits.
MAX_WORK = 1_000_000

_LIMIT = 10**MAX_DIGITS
# Below this a fraction is not reduced: the arithmetic of one or two machine words costs less than a gcd.
_SMALL = 1 << 60

_BLANKS = " \t\r\n"
_TOKEN = re.compile(r"[ \t\r\n]*(\*\*|[-+*/()]|[0-9]+(?:\.[0-9]*)?|\.[0-9]+|.)", re.DOTALL)

# The order is the precedence; + and - share one, * and / another. A pending operator is place * 8 + kind.
_END, _OPEN, _PLUS, _MINUS, _TIMES, _DIVIDE, _NEGATE, _POWER, _CLOSE = range(9)
_KINDS = {"": _END, "(": _OPEN, "+": _PLUS, "-": _MINUS, "*": _TIMES, "/": _DIVIDE, "**": _POWER, ")": _CLOSE}
# What is evaluated before an operator becomes pending: all of these kinds and above.
_FLOORS = {_END: _PLUS, _CLOSE: _PLUS, _PLUS: _PLUS, _MINUS: _PLUS, _TIMES: _TIMES, _DIVIDE: _TIMES}
_SYMBOLS = {_PLUS: "+", _MINUS: "-", _TIMES: "*", _DIVIDE: "/", _POWER: "**"}

_OPERAND_EXPECTED = 'a number, a sign or "(" was expected here'
_OPERATOR_EXPECTED = 'an operator or ")" was expected here'
_TOO_LONG = f"a value takes more than {MAX_DIGITS} digits here"
_TOO_DEEP = f"brackets are nested more than {MAX_NESTING} deep"
_BY_ZERO = "division by zero"


class _Trouble(Exception):
    """What is wrong with the token at a place."""

    def __init__(self, place: int, what: str) -> None:
        super().__init__(place, what)
        self.place, self.what = place, what


def error_at(text: str, column: int, what: str) -> KexueValueError:
    """An error that shows where in the text: columns count from 1 in the message."""
    start = max(0, column - 40)
    piece = "".join(letter if letter.isprintable() else "?" for letter in text[start : column + 30])
    before, after = ("..." if start else ""), ("..." if column + 30 < len(text) else "")
    return KexueValueError(
        f"expression, column {column + 1}: {what}\n    {before}{piece}{after}\n"
        f"    {' ' * (len(before) + column - start)}^"
    )


def _error(text: str, trouble: _Trouble) -> KexueValueError:
    columns = [match.start(1) for match in _TOKEN.finditer(text.rstrip(_BLANKS))]
    place = trouble.place
    return error_at(text, columns[place] if place < len(columns) else len(text), trouble.what)


def check_length(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, got {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        raise KexueValueError(f"{name} has {len(text)} characters; at most {MAX_LENGTH} are read")


def _tokens(text: str) -> list[str]:
    check_length("expression", text)
    tokens = _TOKEN.findall(text.rstrip(_BLANKS))
    tokens.append("")
    return tokens


def integer(digits: str) -> int:
    """int(digits) within any limit that sys.set_int_max_str_digits may have been given (640 at least)."""
    value = 0
    for start in range(0, len(digits), 500):
        part = digits[start : start + 500]
        value = value * 10 ** len(part) + int(part)
    return value


def _number(token: str, place: int) -> tuple[int, int]:
    whole, point, decimals = token.partition(".")
    if not (whole + decimals).isdecimal() or not token.isascii():
        if token == "":
            raise _Trouble(place, 'the expression ends where a number, a sign or "(" was expected')
        raise _Trouble(place, _stranger(token) if token not in _KINDS else _OPERAND_EXPECTED)
    if len(token) > MAX_DIGITS + len(point):
        raise _Trouble(place, f"a number has more than {MAX_DIGITS} digits")
    return integer(whole + decimals), 10 ** len(decimals)


def _stranger(token: str) -> str:
    if token.isascii():
        return f"{token!r} is not part of an expression"
    name = ascii(token).strip("'")
    return f"{token if token.isprintable() else name!r} ({name}) is not part of an expression: see normalize_equation"


def _as_float(numerator: int | float, denominator: int, place: int) -> float:
    if not denominator:
        return numerator
    try:
        value = numerator / denominator
    except OverflowError:
        raise _Trouble(place, "a value is too large for a float here") from None
    if numerator and not value:
        raise _Trouble(place, "a value is too small for a float here")
    return value


def _float_result(kind: int, x: float, y: float, place: int) -> float:
    try:
        if kind == _PLUS:
            value = x + y
        elif kind == _MINUS:
            value = x - y
        elif kind == _TIMES:
            value = x * y
        elif kind == _DIVIDE:
            value = x / y
        elif x < 0 and not y.is_integer():
            raise _Trouble(place, "a negative number has no real power of an exponent that is not whole")
        else:
            value = x**y
    except ZeroDivisionError:
        raise _Trouble(place, _BY_ZERO) from None
    except OverflowError:
        value = float("inf")
    if value - value != 0:
        raise _Trouble(place, "a value is too large for a float here")
    if value == 0 and x and (kind in (_DIVIDE, _POWER) or (kind == _TIMES and y)):
        raise _Trouble(place, "a value is too small for a float here")
    return value


def _power(n: int, d: int, exponent: int, place: int) -> tuple[int, int]:
    """(n / d)**exponent of a reduced fraction, unless it is surely longer than the limit."""
    if exponent < 0:
        if not n:
            raise _Trouble(place, _BY_ZERO)
        n, d, exponent = (d, n, -exponent) if n > 0 else (-d, -n, -exponent)
    largest = max(n, -n, d)
    if largest == 1:
        return (n if exponent & 1 else n * n if exponent else 1), 1
    if (largest.bit_length() - 1) * exponent > _LIMIT.bit_length():
        raise _Trouble(place, _TOO_LONG)
    return n**exponent, d**exponent


def _combine(kind: int, a: int | float, c: int, b: int | float, d: int, place: int) -> tuple[int | float, int]:
    """Powers, and whatever has a float in it: a / c and b / d, where a denominator of 0 marks a float."""
    if kind == _POWER and c and d:
        common = gcd(b, d)
        if common == d:
            common = gcd(a, c)
            return _power(a // common, c // common, b // d, place)
        if a < 0:
            raise _Trouble(place, "a negative number has no real power of an exponent that is not whole")
    return _float_result(kind, _as_float(a, c, place), _as_float(b, d, place), place), 0


def _evaluate(tokens: list[str]) -> tuple[int | float, int]:
    """The value as a numerator and a denominator, or as a float and 0. The last token is "".

    One pass with a stack of operators that wait for their right side, so no input exhausts the interpreter's stack.
    """
    kinds, floors = _KINDS, _FLOORS
    pending = [_END]
    numerators: list[int | float] = []
    denominators: list[int] = []
    n: int | float = 0
    d = 1
    nesting = 0
    operand_expected = True
    for place, token in enumerate(tokens):
        kind = kinds.get(token)
        if operand_expected:
            if kind is None or kind == _END:
                if token.isdecimal() and token.isascii() and len(token) < 500:
                    n, d = int(token), 1
                else:
                    n, d = _number(token, place)
                operand_expected = False
            elif kind == _OPEN:
                nesting += 1
                if nesting > MAX_NESTING:
                    raise _Trouble(place, _TOO_DEEP)
                pending.append(place << 3 | _OPEN)
            elif kind == _MINUS:
                pending.append(place << 3 | _NEGATE)
            elif kind != _PLUS:
                raise _Trouble(place, _OPERAND_EXPECTED)
            continue
        if kind is None or kind == _OPEN:
            raise _Trouble(place, _OPERATOR_EXPECTED if kind or token[-1] in ".0123456789" else _stranger(token))
        if kind != _POWER:
            floor = floors[kind]
            while (last := pending[-1] & 7) >= floor:
                where = pending.pop() >> 3
                if last == _NEGATE:
                    n = -n
                    continue
                a, c = numerators.pop(), denominators.pop()
                if last == _POWER or not c or not d:
                    n, d = _combine(last, a, c, n, d, where)
                elif last == _TIMES:
                    n, d = a * n, c * d
                elif last == _DIVIDE:
                    if n > 0:
                        n, d = a * d, c * n
                    elif n:
                        n, d = -a * d, -c * n
                    else:
                        raise _Trouble(where, _BY_ZERO)
                elif c == d:
                    n = a + n if last == _PLUS else a - n
                else:
                    n, d = (a * d + n * c if last == _PLUS else a * d - n * c), c * d
                if d >= _SMALL or not -_SMALL < n < _SMALL:
                    if d > 1:
                        common = gcd(n, d)
                        n, d = n // common, d // common
                    if d and (d >= _LIMIT or not -_LIMIT < n < _LIMIT):
                        raise _Trouble(where, _TOO_LONG)
            if kind == _CLOSE:
                if not pending[-1]:
                    raise _Trouble(place, '")" has no "("')
                pending.pop()
                nesting -= 1
                continue
            if kind == _END:
                if pending[-1]:
                    raise _Trouble(pending[-1] >> 3, '"(" is never closed')
                break
        pending.append(place << 3 | kind)
        numerators.append(n)
        denominators.append(d)
        operand_expected = True
    return n, d


def evaluate_expression(expression: str, exact: bool = True) -> Fraction | float:
    """The value of an arithmetic expression, as an exact fraction.

    Parameters
    ----------
    expression : str
        Numbers (``12``, ``3.14``, ``.5``), ``+ - * /``, ``**``, brackets and signs, with the precedence that Python and
        mathematics have: ``**`` groups from the right and binds tighter than a sign on its left, so ``-2**2`` is -4,
        ``2**3**2`` is 512, ``2**-1`` is 1/2. Decimals are exact: ``3.14`` is 157/50. Blanks may stand between tokens. A
        product needs its ``*``: ``2(3+4)`` is an error, and so are names, other digits and operators (``×``, ``％``),
        scientific notation; `normalize_equation` translates what can be translated.
    exact : bool
        False converts the result to the nearest float.

    Returns
    -------
    Fraction or float
        A float only if `exact` is false or where a power has an exponent that is not whole: it is one, and so is
        everything that is computed with it, ``4**(1/2)`` included.

    Raises
    ------
    KexueValueError
        With the column and an excerpt: the text is not an expression; a division by zero (``0**-1`` is one); a negative
        number to a power that is not whole; a value that leaves the range of floats where a float is computed; and the
        limits that bound time and memory for any text: 65536 characters, 1000 nested brackets, 1000 digits of any
        number, and of the numerator and the denominator of every intermediate value.
    TypeError
        If `expression` is not a str.

    See Also
    --------
    normalize_equation, strip_redundant_parentheses, answers_match, format_answer

    Notes
    -----
    O(len(expression)) operations on numbers of at most 1000 digits; nothing of the text is executed. ``0**0`` is 1.

    References
    ----------
    J. Su, https://kexue.fm/archives/7809 (2020), where equations are targets of a model that solves word problems.

    Examples
    --------
    >>> import kexue
    >>> kexue.evaluate_expression("3.14*(4+1)**2-3.14*4**2")
    Fraction(1413, 50)
    >>> kexue.evaluate_expression("1/4+2**-2", exact=False)
    0.5
    >>> kexue.evaluate_expression("2**0.5")
    1.4142135623730951
    """
    tokens = _tokens(expression)
    try:
        n, d = _evaluate(tokens)
        if d and not exact:
            # Rounding a tiny value to 0 is right here, unlike in the middle of a computation.
            return n / d if abs(n) < d else _as_float(n, d, 0)
    except _Trouble as trouble:
        raise _error(expression, trouble) from None
    return Fraction(n, d) if d else n


# ---- brackets ----

_SUM, _PRODUCT, _TIGHT, _ATOM = range(4)
_LOOSENESS = {_PLUS: _SUM, _MINUS: _SUM, _TIMES: _PRODUCT, _DIVIDE: _PRODUCT, _NEGATE: _TIGHT, _POWER: _TIGHT}
# The least that what stands in brackets may be if they go, by the operator to their left and to their right.
_AFTER = {_PLUS: _PRODUCT, _MINUS: _PRODUCT, _TIMES: _TIGHT, _DIVIDE: _TIGHT, _NEGATE: _TIGHT, _POWER: _TIGHT}
_BEFORE = {_PLUS: _SUM, _MINUS: _SUM, _TIMES: _PRODUCT, _DIVIDE: _PRODUCT, _POWER: _ATOM}


def _redundant(tokens: list[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The pairs of brackets that change no tree, and the others, each in the order in which they close."""
    redundant: list[tuple[int, int]] = []
    needed: list[tuple[int, int]] = []
    # Where each open bracket stands, the operator to its left, and the loosest operator in it so far.
    frames = [(-1, _END, _ATOM)]
    operand_expected, left, loosest = True, _END, _ATOM
    for place, token in enumerate(tokens):
        kind = _KINDS.get(token)
        if operand_expected:
            if kind is None or kind == _END:
                _number(token, place)
                operand_expected = False
            elif kind == _OPEN:
                if len(frames) > MAX_NESTING:
                    raise _Trouble(place, _TOO_DEEP)
                frames.append((place, left, loosest))
                left, loosest = _OPEN, _ATOM
            elif kind in (_PLUS, _MINUS):
                left, loosest = _NEGATE, min(loosest, _TIGHT)
            else:
                raise _Trouble(place, _OPERAND_EXPECTED)
        elif kind is None or kind == _OPEN:
            raise _Trouble(place, _OPERATOR_EXPECTED if kind or token[-1] in ".0123456789" else _stranger(token))
        elif kind == _CLOSE:
            if len(frames) == 1:
                raise _Trouble(place, '")" has no "("')
            opened, before, outside = frames.pop()
            after = _KINDS.get(tokens[place + 1], _END)
            if loosest >= _AFTER.get(before, _SUM) and loosest >= _BEFORE.get(after, _SUM):
                redundant.append((opened, place))
                loosest = min(outside, loosest)
            else:
                needed.append((opened, place))
                loosest = outside
        elif kind != _END:
            left, loosest, operand_expected = kind, min(loosest, _LOOSENESS[kind]), True
    if len(frames) > 1:
        raise _Trouble(frames[-1][0], '"(" is never closed')
    return redundant, needed


def _terms(tokens: list[str]) -> list[int]:
    """Where the terms of the sum outside of all brackets start, at their operators."""
    starts, depth, operand_expected = [0], 0, True
    for place, token in enumerate(tokens):
        kind = _KINDS.get(token)
        if kind in (_PLUS, _MINUS) and not operand_expected and not depth:
            starts.append(place)
        depth += (kind == _OPEN) - (kind == _CLOSE)
        operand_expected = kind is not None and kind != _CLOSE
    starts.append(len(tokens) - 1)
    return starts


def _fraction(tokens: list[str]) -> Fraction | float:
    n, d = _evaluate(tokens)
    return Fraction(n, d) if d else n


def _spared_by_value(tokens: list[str], by_terms: bool = True) -> list[int]:
    """The places of the brackets without which the value is the same, the inner ones and the left ones first.

    To drop one pair may free another that was tried before it, so it is repeated until no pair can go by itself. A sum
    of fractions stays the same if and only if the term with the pair does, so that is what is evaluated (`by_terms`).
    """
    target = _fraction(tokens)
    by_terms = by_terms and isinstance(target, Fraction)
    spared: list[int] = []
    kept = list(range(len(tokens)))
    work, changed = 0, True
    while changed:
        changed = False
        left = [tokens[place] for place in kept]
        redundant, needed = _redundant(left)
        dropped = {place for pair in redundant for place in pair}
        starts = _terms(left) if by_terms else [0, len(left) - 1]
        values: dict[int, Fraction | float] = {}
        for pair in needed:
            term = bisect_right(starts, pair[0]) - 1
            zero = ["0"] if term else []
            inside = [place for place in range(starts[term], starts[term + 1]) if place not in dropped]
            work += len(inside)
            if work > MAX_WORK:
                raise KexueValueError(
                    f'expression has {len(tokens) - 1} tokens, too many for the brackets that by="value" has to try; '
                    'by="precedence" can do it'
                )
            try:
                if term not in values:
                    values[term] = _fraction([*zero, *(left[place] for place in inside), ""])
                value = _fraction([*zero, *(left[place] for place in inside if place not in pair), ""])
            except _Trouble:
                continue
            if value == values[term]:
                dropped.update(pair)
                changed = True
        spared += [kept[place] for place in dropped]
        kept = [place for number, place in enumerate(kept) if number not in dropped]
    if by_terms:
        # Not so only where the sum passes through values beyond the limits, or has become one of floats.
        try:
            by_terms = _fraction([tokens[place] for place in kept]) == target
        except _Trouble:
            by_terms = False
        if not by_terms:
            return _spared_by_value(tokens, by_terms=False)
    return spared


def strip_redundant_parentheses(expression: str, by: Literal["value", "precedence"] = "value") -> str:
    """The expression without the brackets that it does not need.

    Parameters
    ----------
    expression : str
        As `evaluate_expression` takes it.
    by : {"value", "precedence"}
        "value" drops a pair if the exact value of the whole expression stays the same, the inner ones and the left ones
        first, until no pair can go. It may change the structure, and it does what the numbers happen to allow:
        ``2*(3*4)`` becomes ``2*3*4``, and ``0*(5-0)`` becomes ``0*5-0``. "precedence" drops a pair if precedence and
        grouping from the left (from the right for ``**``) give the same tree without it, and evaluates nothing.

    Returns
    -------
    str
        A subsequence of the characters of `expression`: only brackets are missing. To strip it again changes nothing.

    Raises
    ------
    KexueValueError
        If the text is not an expression, with the column; by value also for what `evaluate_expression` refuses (a
        division by zero, values of more than 1000 digits), and if more than 1 000 000 tokens would be evaluated.
    TypeError
        If `expression` is not a str.

    See Also
    --------
    evaluate_expression, normalize_equation

    Notes
    -----
    By precedence one pass, O(len(expression)). By value one evaluation, of the term of the outermost sum that has it,
    for every pair that precedence needs. The source rounds values to 6 digits before it compares them; here they are
    compared as fractions.

    References
    ----------
    J. Su, https://kexue.fm/archives/7809 (2020), whose rule is that of values.

    Examples
    --------
    >>> import kexue
    >>> kexue.strip_redundant_parentheses("150*(20/100)/(5/100)-150")
    '150*20/100/(5/100)-150'
    >>> kexue.strip_redundant_parentheses("1+(2*(3*4))", by="precedence")
    '1+2*(3*4)'
    """
    if by not in ("value", "precedence"):
        raise KexueValueError(f'by must be "value" or "precedence", got {by!r}')
    tokens = _tokens(expression)
    try:
        if by == "value":
            places = _spared_by_value(tokens)
        else:
            places = [place for pair in _redundant(tokens)[0] for place in pair]
    except _Trouble as trouble:
        raise _error(expression, trouble) from None
    columns = [match.start(1) for match in _TOKEN.finditer(expression.rstrip(_BLANKS))]
    skipped = {columns[place] for place in places}
    return "".join(letter for column, letter in enumerate(expression) if column not in skipped)
