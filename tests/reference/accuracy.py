"""What the accuracy tables are made of: points, functions with their exact values, and errors.

A case is a function over a range of arguments. Its points come in blocks, each of one call, from the raw bits of PCG64
by operations that round in one way everywhere (no logarithm, no normal distribution): the same on all machines. A table
is made from all blocks of its cases; its first blocks are recomputed in the tests.
"""

import csv
import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath
import numpy as np

from reference.ulp import ulp_error

TABLES = Path(__file__).parents[2] / "docs" / "accuracy"
DTYPES = ("float32", "float64")
ISAS = ("baseline", "v3", "v4")
COLUMNS = ("function", "dtype", "isa", "range", "unit", "points", "maximum", "mean", "promised", "arithmetic")
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
DECIMALS = 4

DIGITS = 60


def exactly(function):
    """In so many digits; arrays become (nested) lists of mpf."""

    @functools.wraps(function)
    def evaluate(*arguments):
        with mpmath.workdps(DIGITS):
            return function(*(numbers(a) if isinstance(a, np.ndarray) else a for a in arguments))

    return evaluate


def numbers(array):
    return [numbers(part) if part.ndim else mpmath.mpf(float(part)) for part in map(np.asarray, array)]


def dot(u, v):
    return mpmath.fsum(a * b for a, b in zip(u, v, strict=True))


def with_unit(values, unit):
    return [(value, unit) for value in values]


class Draw:
    """The points of a block: arrays of a dtype."""

    def __init__(self, seed, block, dtype):
        self._bits = np.random.PCG64([zlib.crc32(seed.encode()), block])
        self.dtype = np.dtype(dtype)

    def raw(self, *shape):
        return self._bits.random_raw(math.prod(shape)).reshape(shape)

    def _unit(self, *shape):
        return (self.raw(*shape) >> np.uint64(11)) * 2.0**-53

    def integer(self, low, high):
        return low + int(self.raw(1)[0] % np.uint64(high - low + 1))

    def integers(self, low, high, *shape):
        return (low + (self.raw(*shape) % np.uint64(high - low + 1)).astype(np.int64)).astype(self.dtype)

    def choose(self, probability, *shape):
        return self._unit(*shape) < probability

    def uniform(self, low, high, *shape):
        return (low + (high - low) * self._unit(*shape)).astype(self.dtype)

    def bell(self, size, *shape):
        """Nearly normal, of a standard deviation."""
        total = self._unit(*shape)
        for _ in range(11):
            total = total + self._unit(*shape)
        return (size * (total - 6)).astype(self.dtype)

    def powers(self, low, high, *shape):
        """Positive numbers from 2**low to 2**high, as many in each binade."""
        exponents = low + (self.raw(*shape) % np.uint64(high - low)).astype(np.int64)
        return np.ldexp(1 + self._unit(*shape), exponents).astype(self.dtype)

    def signed_powers(self, low, high, *shape):
        return np.where(self.choose(0.5, *shape), 1, -1).astype(self.dtype) * self.powers(low, high, *shape)

    def finite(self, *shape):
        """Any bits that are a finite number: every magnitude, subnormal numbers too."""
        bits = np.uint32 if self.dtype == np.float32 else np.uint64
        values = self.raw(*shape).astype(bits).view(self.dtype)
        return np.where(np.isfinite(values), values, self.dtype.type(1))


@dataclass(frozen=True)
class Case:
    """A row of a table for each dtype and instruction set.

    `exact` gives, for each entry of what `call` gives, the exact value, whose error is counted in ulps of it, or that
    and the unit of its error, to be multiplied by the eps of the dtype.
    """

    table: str
    function: str
    range: str
    draw: Callable
    call: Callable
    exact: Callable
    unit: str = "ulp"
    promised: tuple = (None, None)
    blocks: int = 12
    short: int = 1
    arithmetic: str = "kexue"
    dtypes: tuple = DTYPES

    @property
    def name(self):
        return f"{self.function}: {self.range}"

    def points(self, dtype, block):
        return self.draw(Draw(f"{self.name} {dtype}", block, dtype))

    def results(self, dtype, blocks):
        """Of the first blocks, in one array."""
        parts = []
        with np.errstate(all="ignore"):
            for block in range(blocks):
                found = self.call(*self.points(dtype, block))
                found = found if isinstance(found, tuple | list) else [found]
                parts += [np.asarray(part).astype(dtype, copy=False).ravel() for part in found]
        return np.concatenate(parts)

    def exact_values(self, dtype, blocks):
        values = []
        for block in range(blocks):
            values += self.exact(*self.points(dtype, block))
        return values

    def errors(self, dtype, results, exact):
        eps = EPS[dtype]
        errors = np.empty(len(results))
        for i, (found, wanted) in enumerate(zip(results, exact, strict=True)):
            if not isinstance(wanted, tuple):
                errors[i] = ulp_error(found, wanted)
                continue
            value, unit = wanted
            error = abs(mpmath.mpf(float(found)) - value)
            errors[i] = float(error / (eps * unit)) if error else 0.0
        return errors

    def row(self, dtype, isa, errors):
        promised = self.promised[DTYPES.index(dtype)]
        return {
            "function": self.function,
            "dtype": dtype,
            "isa": isa,
            "range": self.range,
            "unit": self.unit,
            "points": str(len(errors)),
            "maximum": f"{rounded_up(errors.max()):.{DECIMALS}f}",
            "mean": f"{errors.mean():.{DECIMALS}f}",
            "promised": "" if promised is None else f"{promised:g}",
            "arithmetic": self.arithmetic,
        }


def rounded_up(value):
    return math.ceil(value * 10**DECIMALS) / 10**DECIMALS


def names(cases):
    """Of the tables, in order."""
    return list(dict.fromkeys(case.table for case in cases))


def read(table):
    if not (TABLES / f"{table}.csv").exists():
        return []
    with open(TABLES / f"{table}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(table, rows):
    TABLES.mkdir(exist_ok=True)
    with open(TABLES / f"{table}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
