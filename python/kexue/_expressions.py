"""Arithmetic expressions: a parser of its own that evaluates them exactly, and the brackets that they do not need."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd
from typing import Any, Literal

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


# A numerator and a denominator, or a float and 0.
Value = tuple[int | float, int]


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


def _combine(kind: int, a: Any, c: int, b: Any, d: int, place: int) -> tuple[int | float, int]:
    """Powers, and whatever has a float in it: a / c and b / d, where a denominator of 0 marks a float."""
    if kind == _POWER and c and d:
        common = gcd(b, d)
        if common == d:
            common = gcd(a, c)
            return _power(a // common, c // common, b // d, place)
        if a < 0:
            raise _Trouble(place, "a negative number has no real power of an exponent that is not whole")
    return _float_result(kind, _as_float(a, c, place), _as_float(b, d, place), place), 0


def _evaluate(tokens: Sequence[str | Value], record: list[Value] | None = None) -> Value:
    """The value as a numerator and a denominator, or as a float and 0. The last token is "".

    `record` gets the values of brackets, in the order in which they close. A token may be a value.

    One pass with a stack of operators that wait for their right side, so no input exhausts the interpreter's stack.
    """
    kinds, floors = _KINDS, _FLOORS
    pending = [_END]
    numerators: list[Any] = []  # int, or float where the denominator is 0
    denominators: list[int] = []
    n: Any = 0
    d = 1
    token: Any
    nesting = 0
    operand_expected = True
    for place, token in enumerate(tokens):
        kind = kinds.get(token)
        if operand_expected:
            if kind is None or kind == _END:
                if type(token) is tuple:
                    n, d = token
                elif token.isdecimal() and token.isascii() and len(token) < 500:
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
                if record is not None:
                    record.append((n, d))
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
    n: Any
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


@dataclass(slots=True)
class _Frame:
    """An open bracket, or the whole. What is closed in it and stays is there by its value, a pair of integers."""

    opened: int
    before: int  # the operator to its left
    value: Value = (0, 1)  # of its content, once it has closed
    tokens: list[str | Value] = field(default_factory=list)
    term: int = 0  # where the last term of its content starts in tokens, at its operator
    loosest: int = _ATOM  # the loosest operator of its content
    faithful: bool = False  # another value of its content is another value of the whole


def _scan(tokens: list[str], frames: list[_Frame], judge: Callable[[_Frame, int, list[int]], bool] | None) -> list[int]:
    """The places of the brackets that can go, in the order in which the pairs close.

    A pair goes if precedence gives the same tree without it, or else if `judge` says so, who gets the frame that
    closes, the place, and what is gone already; `frames` holds the others, the whole at first.
    """
    gone: list[int] = []
    operand_expected, left = True, _END
    for place, token in enumerate(tokens):
        kind = _KINDS.get(token)
        frame = frames[-1]
        if operand_expected:
            if kind is None or kind == _END:
                _number(token, place)
                operand_expected = False
            elif kind == _OPEN:
                if len(frames) > MAX_NESTING:
                    raise _Trouble(place, _TOO_DEEP)
                frames.append(_Frame(place, left))
                left = _OPEN
                continue
            elif kind in (_PLUS, _MINUS):
                left, frame.loosest = _NEGATE, min(frame.loosest, _TIGHT)
            else:
                raise _Trouble(place, _OPERAND_EXPECTED)
            frame.tokens.append(token)
        elif kind is None or kind == _OPEN:
            raise _Trouble(place, _OPERATOR_EXPECTED if kind or token[-1] in ".0123456789" else _stranger(token))
        elif kind == _CLOSE:
            if len(frames) == 1:
                raise _Trouble(place, '")" has no "("')
            frames.pop()
            outer = frames[-1]
            after = _KINDS.get(tokens[place + 1], _END)
            same_tree = frame.loosest >= max(_AFTER.get(frame.before, _SUM), _BEFORE.get(after, _SUM))
            if same_tree or (judge and judge(frame, place, gone)):
                gone += frame.opened, place
                if frame.term:
                    outer.term = len(outer.tokens) + frame.term
                if outer.tokens:
                    outer.tokens += frame.tokens
                else:
                    outer.tokens = frame.tokens
                outer.loosest = min(outer.loosest, frame.loosest)
            else:
                outer.tokens.append(frame.value)
        elif kind != _END:
            if kind in (_PLUS, _MINUS):
                frame.term = len(frame.tokens)
            frame.tokens.append(token)
            left, frame.loosest, operand_expected = kind, min(frame.loosest, _LOOSENESS[kind]), True
    if len(frames) > 1:
        raise _Trouble(frames[-1].opened, '"(" is never closed')
    return gone


class _FloatAppears(Exception):
    """Values of terms no longer tell the value of their sum."""


class _Judge:
    """Whether a pair can go because the value of the whole stays the same without it.

    While a pair closes, all around it are still there. So it can only change its term in the bracket around it; if that
    changes, the term with that bracket in the next one, and so on. In exact arithmetic a term of another value makes a
    sum of another value, and nothing but terms is evaluated. Where floats round, it is the whole that is.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.target: Value | None = None
        self.work = 0

    def scan(self, tokens: list[str]) -> list[int]:
        self.tokens = tokens
        self.frames = [_Frame(-1, _END, faithful=True)]
        self.closes: dict[int, int] = {}
        self.values: dict[int, Value] = {}
        record: list[Value] = []
        value = self.value_of(tokens, record)
        if self.target is None:
            self.target = value
            self.exact &= value[1] > 0
        if not record:
            return []
        opened: list[int] = []
        closed = iter(record)
        for place, token in enumerate(tokens):
            if token == "(":
                opened.append(place)
            elif token == ")":
                self.closes[opened[-1]] = place
                self.values[opened.pop()] = next(closed)
        return _scan(tokens, self.frames, self.judge)

    def value_of(self, tokens: Sequence[str | Value], record: list[Value] | None = None) -> Value:
        self.work += len(tokens)
        if self.work > MAX_WORK:
            raise KexueValueError(
                f'expression takes more than {MAX_WORK} steps by="value", which tries its brackets; '
                'by="precedence" can do it'
            )
        return _evaluate(tokens, record)

    def judge(self, frame: _Frame, place: int, gone: list[int]) -> bool:
        frame.value = self.values[frame.opened]
        try:
            if self.exact:
                return self._term_stays(frame, place)
            fewer = {*gone, frame.opened, place}
            assert self.target is not None
            return _equal(self.value_of([token for p, token in enumerate(self.tokens) if p not in fewer]), self.target)
        except _Trouble:
            return False

    def _term_stays(self, frame: _Frame, place: int) -> bool:
        instead: list[str | Value] = frame.tokens
        value = frame.value
        changed: list[tuple[_Frame, Value]] = []
        # Whether the bracket around is a linear or a reciprocal function of each of these, and not a constant.
        linked: list[bool] = []
        for outer in reversed(self.frames):
            left = ["0", *outer.tokens[outer.term :]] if outer.term else outer.tokens
            right = self._rest_of_term(place)
            before = self.value_of([*left, value, *right])
            after = self.value_of([*left, *instead, *right])
            if not after[1]:
                raise _FloatAppears
            if _equal(after, before):
                for inner, value in changed:
                    self.values[inner.opened] = value
                return True
            if changed:
                linked.append("**" not in left and "**" not in right)
            if outer.faithful:
                for (inner, _), link in zip(reversed(changed), reversed(linked), strict=True):
                    if not link:
                        break
                    inner.faithful = True
                return False
            value = self.values[outer.opened]
            moved = _exactly(value) + _exactly(after) - _exactly(before)
            without: Value = (moved.numerator, moved.denominator)
            instead = [without]
            changed.append((outer, without))
            place = self.closes[outer.opened]
        return False

    def _rest_of_term(self, place: int) -> list[str | Value]:
        """What follows the bracket that closes at a place, up to the next term."""
        rest: list[str | Value] = []
        operand_expected = False
        while True:
            place += 1
            token = self.tokens[place]
            kind = _KINDS.get(token)
            if kind in (_END, _CLOSE) or (kind in (_PLUS, _MINUS) and not operand_expected):
                rest.append("")
                return rest
            if kind == _OPEN:
                rest.append(self.values[place])
                place = self.closes[place]
            else:
                rest.append(token)
            operand_expected = kind is not None and kind != _OPEN


def _equal(a: Value, b: Value) -> bool:
    return a[0] * b[1] == b[0] * a[1] if a[1] and b[1] else _exactly(a) == _exactly(b)


def _exactly(value: Value) -> Fraction:
    n: Any
    n, d = value
    return Fraction(n, d) if d else Fraction(n)


def _spared_by_value(tokens: list[str], exact: bool = True) -> list[int]:
    """The places of the brackets without which the value is the same.

    To drop one pair may free another that was tried before it, so it is repeated until no pair can go by itself.
    """
    judge = _Judge(exact)
    kept = list(range(len(tokens)))
    spared: list[int] = []
    try:
        while gone := judge.scan([tokens[place] for place in kept]):
            spared += [kept[place] for place in gone]
            dropped = set(gone)
            kept = [place for number, place in enumerate(kept) if number not in dropped]
    except (_FloatAppears, _Trouble):
        if judge.target is None:
            raise
        # A sum without brackets may also pass through values beyond the limits, which its terms do not tell.
        return _spared_by_value(tokens, exact=False)
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
    By precedence one pass, O(len(expression)). By value, for every pair that precedence needs, the term around it is
    evaluated with and without it, seldom more. The source rounds values to 6 digits before it compares them; here they
    are compared as fractions.

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
            places = _scan(tokens, [_Frame(-1, _END)], None)
    except _Trouble as trouble:
        raise _error(expression, trouble) from None
    columns = [match.start(1) for match in _TOKEN.finditer(expression.rstrip(_BLANKS))]
    skipped = {columns[place] for place in places}
    return "".join(letter for column, letter in enumerate(expression) if column not in skipped)
