"""A million random and mutated texts through the functions of equations and expressions.

    python tests/fuzz_expressions.py [--count 1000000] [--seed 0] [--seconds 1] [--megabytes 512]

Each text ends as a value or as a KexueValueError, within a time limit, in a process whose memory is limited; values are
compared with an oracle that shares nothing with the parser: Python's own syntax trees and fractions.Fraction.
"""

from __future__ import annotations

import argparse
import ast
import math
import random
import re
import resource
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager
from fractions import Fraction

import kexue

LIMIT = 10**1000

CORPUS = [
    "x=150*20%/5%-150",
    "x=(3.14*(4+1)**2)-(3.14*4**2)",
    "3(1/2)+50%",
    "1:4",
    "x=(1+2)/4",
    "((2+3))*4",
    "x=2-(3-1)",
    "(8/(4))/2",
    "2**3**2",
    "-2**2",
    "x=(24-1.5*8)/(1+(1/3))",
    "x=5(2/3)*(1-25%)+7.5",
    "x=3.14*(6/2)**2*10/3",
    "（12＋8）×3÷（7－2）",
    "x=1/((1/10)+(1/15))",
    "x=(460-40)/(3+4)*(4-3)",
    "2(3+4)",
    "[(5+7)*2-{3/4}]:8",
    "x=12½²×５０％",
    "2**(1/2)+3**-1",
    "100/(1+15%)-(0.5)",
    "9**9**9**9",
    "1-(2-(3-(4-(5-6))))",
    "(-8)**(1/3)",
    "x=36/(5/(5+4)-1/2)",
    "0*(5-0)",
    "1/(2-2)",
    "(10**500)*(10**499)*9",
]
SYMBOLS = ["+", "-", "*", "/", "**", "(", ")", "%", ":", "=", "x", ".", " ", "**", "(", ")", "1", "2", "0", "37", "3.5"]
STRANGE = "×÷－＋（）％：．１２½²³^[]{}eE_,;#\\'\"\n\t\r\0\x7f\u3000\u00a0\u200b٣Ⅷ〇三\ud800😀abcxyzÆ&|<>!~@"


class NoValue(Exception):
    """The oracle has shown that there is an error to raise."""


class Undecided(Exception):
    """The oracle cannot tell."""


def _oracle_power(base, exponent):
    if isinstance(base, float) or isinstance(exponent, float) or exponent.denominator != 1:
        if base == 0 and exponent < 0:
            raise NoValue
        if base < 0 and isinstance(base, Fraction) and isinstance(exponent, Fraction):
            raise NoValue  # though the float that is nearest to the exponent may be whole
        value = _to_float(base) ** _to_float(exponent)
        if isinstance(value, complex):
            raise NoValue
        return value
    if base == 0 and exponent < 0:
        raise NoValue
    largest = max(abs(base.numerator), base.denominator)
    if largest > 1 and abs(exponent) > 3400 / math.log2(largest):
        raise NoValue
    if largest == 1:
        exponent = Fraction(exponent.numerator % 2 + 2 * (exponent != 0))
    return Fraction(base**exponent)


def _to_float(value):
    result = float(value)
    if value != 0 and result == 0:
        raise Undecided
    return result


def _oracle(node, text):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        token = text[node.col_offset : node.end_col_offset]
        if sum(letter.isdigit() for letter in token) > 1000:
            raise NoValue
        return Fraction(token)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _oracle(node.operand, text)
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
        raise NoValue
    a, b = _oracle(node.left, text), _oracle(node.right, text)
    if isinstance(node.op, ast.Pow):
        value = _oracle_power(a, b)
    else:
        if isinstance(a, float) != isinstance(b, float):
            a, b = _to_float(a), _to_float(b)
        if isinstance(node.op, ast.Add):
            value = a + b
        elif isinstance(node.op, ast.Sub):
            value = a - b
        elif isinstance(node.op, ast.Mult):
            value = a * b
        elif b == 0:
            raise NoValue
        else:
            value = a / b
        if isinstance(value, float) and value == 0 and a != 0 and not isinstance(node.op, (ast.Add, ast.Sub)):
            raise Undecided
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoValue
        if value == 0 and isinstance(node.op, ast.Pow) and a != 0:
            raise Undecided
    elif abs(value.numerator) >= LIMIT or value.denominator >= LIMIT:
        raise NoValue
    return value


def oracle(text):
    """The value by Python's parser, or NoValue, or Undecided where its grammar differs."""
    # It knows other numbers (007 is none, 1_0, 1e5 and 1j are), comments, lines.
    if re.search(r"[^-+*/().0-9 \t\r\n]", text):
        raise NoValue
    if re.search(r"[\t\r\n]", text) or re.search(r"(?<![0-9.])0+[0-9]", text):
        raise Undecided
    text = text.strip(" ")
    try:
        tree = ast.parse(text, mode="eval")
        return _oracle(tree.body, text)
    except SyntaxError as error:
        if "nested" in str(error) or "limit" in str(error):
            raise Undecided from None
        raise NoValue from None
    except (RecursionError, MemoryError):
        raise Undecided from None
    except (OverflowError, ZeroDivisionError):
        raise NoValue from None


def _is_subsequence(short, long):
    letters = iter(long)
    return all(letter in letters for letter in short)


def check(text, tally=None):
    """Everything that must hold for any text."""
    tally = Counter() if tally is None else tally
    try:
        normal = kexue.normalize_equation(text)
    except kexue.KexueValueError:
        assert len(text) > 65536
        normal = text
    values = {}
    for expression in dict.fromkeys([text, normal]):
        try:
            value = kexue.evaluate_expression(expression)
        except kexue.KexueValueError as error:
            value, message = None, str(error)
            assert message.startswith("expression"), message
        values[expression] = value
        assert value is None or type(value) is Fraction or (type(value) is float and math.isfinite(value))
        tally["a fraction" if type(value) is Fraction else "a float" if value is not None else "an error"] += 1
        try:
            expected = oracle(expression)
        except NoValue:
            tally["oracle: an error"] += 1
            assert value is None, f"{value!r} where the oracle has no value"
        except Undecided:
            tally["oracle: cannot tell"] += 1
        else:
            tally["oracle: a value"] += 1
            assert type(value) is type(expected) and value == expected, f"{value!r}, expected {expected!r}"
        for by in ("value", "precedence"):
            try:
                stripped = kexue.strip_redundant_parentheses(expression, by=by)
            except kexue.KexueValueError as error:
                assert value is None or "steps by=" in str(error), error
                continue
            assert by == "precedence" or value is not None
            if stripped == expression:
                continue
            tally[f"stripped by {by}"] += 1
            assert _is_subsequence(stripped, expression)
            assert re.sub("[()]", "", stripped) == re.sub("[()]", "", expression)
            assert kexue.strip_redundant_parentheses(stripped, by=by) == stripped, f"{by} is not stable"
            if value is not None:
                assert kexue.evaluate_expression(stripped) == value, f"{by} changed the value"
    value = values[normal]
    if value is not None:
        assert kexue.normalize_equation(normal) == normal, "normal forms are not stable"
    assert kexue.answers_match(text, normal) is (value is not None)
    if type(value) is Fraction and max(abs(value.numerator), value.denominator) < 10**200:
        for kind in ("fraction", "mixed", "decimal", "percent"):
            try:
                answer = kexue.format_answer(value, kind, digits=None)
            except kexue.KexueValueError:
                assert kind in ("decimal", "percent") and 10**1000 % value.denominator
                continue
            if len(answer) < 900:
                assert kexue.evaluate_expression(kexue.normalize_equation(answer)) == value, f"{kind} {answer}"


# ---- texts ----


def _number(rng):
    kind = rng.random()
    if kind < 0.6:
        return str(rng.choice([0, 1, 2, 3, 4, 5, 10, 12, 100, rng.randrange(1000), rng.randrange(10**12)]))
    if kind < 0.9:
        return f"{rng.randrange(100)}.{rng.randrange(1000)}"
    if kind < 0.98:
        return rng.choice([".5", "7.", "0.25", "3.14", "0.0", "1000000000000000000000"])
    return str(rng.randrange(10 ** rng.randrange(1, 1100)))


def grammar_text(rng, depth=5):
    """An expression that the grammar has, with brackets everywhere, without a bound on its value."""
    kind = rng.random()
    if depth == 0 or kind < 0.2:
        return _number(rng)
    if kind < 0.45:
        return f"({grammar_text(rng, depth - 1)})"
    if kind < 0.53:
        return rng.choice("-+") + grammar_text(rng, depth - 1)
    operator = rng.choices(["+", "-", "*", "/", "**"], [5, 5, 5, 5, 1])[0]
    space = " " if rng.random() < 0.05 else ""
    return f"{grammar_text(rng, depth - 1)}{space}{operator}{space}{grammar_text(rng, depth - 1)}"


def token_text(rng):
    return "".join(rng.choices(SYMBOLS, k=rng.randrange(30)))


def strange_text(rng):
    letters = [rng.choice(STRANGE) if rng.random() < 0.3 else rng.choice(SYMBOLS) for _ in range(rng.randrange(20))]
    if rng.random() < 0.1:
        letters += [chr(rng.randrange(0x110000)) for _ in range(rng.randrange(5))]
    return "".join(letters)


def bytes_text(rng):
    return rng.randbytes(rng.randrange(24)).decode("latin-1")


def mutated_text(rng):
    text = rng.choice(CORPUS) if rng.random() < 0.7 else grammar_text(rng, 4)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(text) + 1)
        end = min(len(text), place + rng.randrange(1, 5))
        change = rng.random()
        if change < 0.25:
            text = text[:place] + rng.choice(SYMBOLS) + text[place:]
        elif change < 0.45:
            text = text[:place] + text[end:]
        elif change < 0.65:
            text = text[:place] + rng.choice(SYMBOLS) + text[end:]
        elif change < 0.75:
            text = text[:place] + text[place:end] * rng.randrange(2, 12) + text[end:]
        elif change < 0.85:
            text = f"({text[:place]}){text[place:]}"
        elif change < 0.95:
            text = text[:place] + rng.choice(CORPUS) + text[place:]
        else:
            text = text[:place] + rng.choice(STRANGE) + text[place:]
        text = text[:2000]
    return text


def huge_text(rng):
    """What is long, deep or large on purpose."""
    unit = rng.choice(
        ["(", "1/", "9", "2**", "-", "+", "1-(", "(1-2)*", "1+(2-3)-", "%", "5%", "½", "1 ", "x=", "1/7+", ".", ")"]
    )
    text = unit * int(10 ** rng.uniform(0, 4.8))
    if rng.random() < 0.7:
        text += "1"
        text += ")" * text.count("(") if "(1" not in unit and "(2" not in unit else ""
    return text


SOURCES = [
    (grammar_text, 0.35),
    (token_text, 0.15),
    (strange_text, 0.12),
    (bytes_text, 0.08),
    (mutated_text, 0.2999),
    (huge_text, 0.0001),
]


@contextmanager
def time_limit(seconds):
    def expire(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(count, seed, seconds):
    """Check so many texts; returns what happened and the longest CPU time of one."""
    rng = random.Random(seed)
    makers, weights = zip(*SOURCES, strict=True)
    tally, longest = Counter(), 0.0
    for _ in range(count):
        maker = rng.choices(makers, weights)[0]
        text = maker(rng)
        tally[maker.__name__] += 1
        start = time.process_time()
        try:
            with time_limit(seconds):
                check(text, tally)
        except BaseException as error:
            shown = ascii(text) if len(text) < 300 else f"{ascii(text[:300])}... of {len(text)} characters"
            error.add_note(f"seed {seed}, text {sum(tally[maker.__name__] for maker in makers)}: {shown}")
            raise
        longest = max(longest, time.process_time() - start)
    return tally, longest


def limit_memory(megabytes):
    """Of address space, beyond what the start needed."""
    with open("/proc/self/status") as file:
        used = int(re.search(r"VmSize:\s+(\d+)", file.read()).group(1)) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20,) * 2)


def tell(tally):
    for name, number in sorted(tally.items()):
        print(f"  {name:22} {number:9}")
    print(f"  peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30.0, help="for all checks of one text")
    parser.add_argument("--megabytes", type=int, default=512, help="of address space beyond what the start needs")
    arguments = parser.parse_args()
    limit_memory(arguments.megabytes)
    start = time.perf_counter()
    tally, longest = run(arguments.count, arguments.seed, arguments.seconds)
    print(f"{arguments.count} texts in {time.perf_counter() - start:.0f} s, the longest {longest:.2f} s of CPU")
    tell(tally)


if __name__ == "__main__":
    sys.exit(main())
