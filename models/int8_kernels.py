"""What an int8 encoder does between its matrix products, each step one pass over the tokens (no torch).

Of each row of numbers the few largest are kept as they are, and the others as int8 levels with one scale: an
outlier then costs the others no precision. A product of levels is int32; the scales of its row (the token's)
and of its column (the weight's) make numbers of it again, and what was kept is added. No text depends on
another.

Largest magnitudes are sought among the bits of the numbers: compilers take the maximum of integers many at a
time, that of floats one by one.

Source: T. Dettmers et al., "LLM.int8(): 8-bit matrix multiplication for transformers at scale", 2022; there a
threshold finds the outliers, here their number is fixed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
Levels = NDArray[np.int8]
Places = NDArray[np.int64]

KEPT = 4
"""Entries kept of each row: with none, logits are 8 times as far from float32 as bfloat16's are, with 4
less than twice, and with 8 hardly nearer."""

WIDEST = 1 << 13  # of a row: magnitudes are compared by their upper bits, with the place in the lower ones

_PLACE = np.int32(WIDEST - 1)
_COMPARED = np.int32(0x7FFF_FFFF) & ~_PLACE
_MAGNITUDE = np.int32(0x7FFF_FFFF)
_SIGN = np.int32(31)
_ROOM = np.float32(1 + 2.0**-9)  # the largest may be larger by as much than the one found by its upper bits
_LEVELS = np.float32(127)
_TINY = np.float32(1e-30)

_EDGE = 4.5  # beyond it the tail of a normal distribution holds 3e-6
_DEGREE = 10
_HALVINGS = 6  # exp(x) is the 64th power of exp(x / 64), whose series is short
_LEAST = np.float32(-40)
_SEARCHED = 64  # numbers of a row that are searched together
_DOWN, _ACROSS = 4, 16  # of a product that is held in registers

_loop = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
# Part of the loop that calls it: on its own it would be compiled once more, and a process that compiles would
# run one of the two and a process that finds them compiled the other, with other last bits
_part = njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)


class Rows(NamedTuple):
    """Rows of numbers (T, n): `levels` * `scales` (T,), and at places `at` (T, KEPT) the numbers `kept`.

    The levels at these places are 0.
    """

    levels: Levels
    scales: Floats
    at: Integers
    kept: Floats


class Linear(NamedTuple):
    """A linear layer: weights `levels` (in, out) * `scale` (out,), and a bias (out,)."""

    levels: Levels
    scale: Floats
    bias: Floats


class Product(NamedTuple):
    """What `linear` makes of rows: their levels' products `sums` (T, out), to be read with the rest."""

    sums: Integers
    rows: Rows
    linear: Linear


class Norm(NamedTuple):
    """Gain and shift (hidden,) of a layer norm, and what keeps its divisor from 0."""

    gain: Floats
    shift: Floats
    epsilon: np.float32


class Head(NamedTuple):
    """The last linear layer, in float32: `weight` (out, hidden) and `bias` (out,)."""

    weight: Floats
    bias: Floats


def _shares() -> tuple[np.float32, ...]:
    """Coefficients c of Phi(x) = 1/2 + x * sum_i c_i u^i, the normal CDF, for |x| <= 4.5.

    u is 2 (x / 4.5)^2 - 1.
    """
    u = chebyshev.chebpts1(_DEGREE + 1)
    x = _EDGE * np.sqrt((u + 1) / 2)
    fitted = chebyshev.cheb2poly(chebyshev.chebfit(u, (ndtr(x) - 0.5) / x, _DEGREE))
    return tuple(np.float32(value) for value in fitted)


_SHARES = _shares()


@_loop  # type: ignore[untyped-decorator]
def write_rows(values: Floats, rows: Rows) -> None:
    """Writes numbers (T, n) as rows."""
    row, tops = np.empty(values.shape[1], np.float32), _room_for_tops(values.shape[1])
    for t in range(len(values)):
        row[:] = values[t]
        _write_row(row, tops, rows, t)


@_loop  # type: ignore[untyped-decorator]
def add_norm(product: Product, norm: Norm, hidden: Floats, rows: Rows) -> None:
    """Adds a product to the hidden states (T, hidden), normalises them in place, and writes them as rows."""
    n = hidden.shape[1]
    row, tops = np.empty(n, np.float32), _room_for_tops(n)
    for t in range(len(hidden)):
        _read_row(product, t, row)
        state = hidden[t]
        total, squares = np.float32(0), np.float32(0)
        for j in range(n):
            row[j] += state[j]
            total += row[j]
        mean = total / np.float32(n)
        for j in range(n):
            squares += (row[j] - mean) ** 2
        per = np.float32(1) / np.sqrt(squares / np.float32(n) + norm.epsilon)
        for j in range(n):
            row[j] = (row[j] - mean) * per * norm.gain[j] + norm.shift[j]
            state[j] = row[j]
        _write_row(row, tops, rows, t)


@_loop  # type: ignore[untyped-decorator]
def gelu(n_rows: int, product: Product, rows: Rows) -> None:
    """Writes x Phi(x) of the numbers x of the first rows of a product as rows."""
    n = product.sums.shape[1]
    row, tops = np.empty(n, np.float32), _room_for_tops(n)
    edge, per = np.float32(_EDGE), np.float32(2 / _EDGE**2)
    for t in range(n_rows):
        _read_row(product, t, row)
        for j in range(len(row)):
            inside = min(max(row[j], -edge), edge)
            u = per * inside * inside - np.float32(1)
            share = _SHARES[_DEGREE]
            for i in range(_DEGREE - 1, -1, -1):
                share = share * u + _SHARES[i]
            row[j] *= np.float32(0.5) + inside * share
        _write_row(row, tops, rows, t)


@_loop  # type: ignore[untyped-decorator]
def attend(product: Product, texts: Places, n_heads: int, rows: Rows) -> None:
    """Writes what the tokens of texts attend to as rows; `texts` (n, 2) has their first tokens and lengths.

    The product is queries, keys and values (T, 3 hidden), the queries already divided by the root of the
    width of a head.
    """
    size = product.sums.shape[1] // 3
    width = size // n_heads
    longest = 0
    for i in range(len(texts)):
        longest = max(longest, texts[i, 1])
    n_queries, n_keys = _whole(longest, _DOWN), _whole(longest, _ACROSS)
    # products are made 4 x 16 at a time, and may read and write as far beyond what is wanted
    numbers = np.zeros((n_queries, 3 * size + _ACROSS), np.float32)
    seen = np.empty((n_queries, size + _ACROSS), np.float32)
    keys, weights = np.zeros((width, n_keys), np.float32), np.zeros((_DOWN, n_keys), np.float32)
    held, tops = np.empty(1, np.int32), _room_for_tops(size)
    for i in range(len(texts)):
        start, length = texts[i]
        for p in range(length):
            _read_row(product, start + p, numbers[p, : 3 * size])
        for h in range(n_heads):
            begin = h * width
            for p in range(length):
                for j in range(width):
                    keys[j, p] = numbers[p, size + begin + j]
            for p in range(0, length, _DOWN):
                for k in range(0, length, _ACROSS):
                    _multiply(numbers, (p, begin), keys, (0, k), width, weights, (0, k))
                for r in range(min(_DOWN, length - p)):
                    _soften(weights[r, :length], held)
                for j in range(begin, begin + width, _ACROSS):
                    _multiply(weights, (0, 0), numbers, (0, 2 * size + j), length, seen, (p, j))
        for p in range(length):
            _write_row(seen[p, :size], tops, rows, start + p)


@_loop  # type: ignore[untyped-decorator]
def read_out(hidden: Floats, texts: Places, head: Head, logits: Floats) -> None:
    """Adds to logits (n, out) what the head makes of the mean state of each text; `texts` as of `attend`."""
    n = hidden.shape[1]
    mean = np.empty(n, np.float32)
    for i in range(len(texts)):
        start, length = texts[i]
        mean[:] = np.float32(0)
        for p in range(start, start + length):
            for j in range(n):
                mean[j] += hidden[p, j]
        for k in range(len(head.bias)):
            total, weight = np.float32(0), head.weight[k]
            for j in range(n):
                total += mean[j] * weight[j]
            logits[i, k] += total / np.float32(length) + head.bias[k]


@_part  # type: ignore[untyped-decorator]
def _read_row(product: Product, t: int, row: Floats) -> None:
    """Writes the numbers of row t of a product into `row`."""
    sums, scale, linear = product.sums[t], product.rows.scales[t], product.linear
    at, kept = product.rows.at[t], product.rows.kept[t]
    w, x, y, z = linear.levels[at[0]], linear.levels[at[1]], linear.levels[at[2]], linear.levels[at[3]]
    a, b, c, d = kept[0], kept[1], kept[2], kept[3]
    for j in range(len(row)):
        whole = np.float32(sums[j]) * scale + a * np.float32(w[j]) + b * np.float32(x[j])
        whole += c * np.float32(y[j]) + d * np.float32(z[j])
        row[j] = whole * linear.scale[j] + linear.bias[j]


@_part  # type: ignore[untyped-decorator]
def _room_for_tops(n: int) -> Integers:
    """For the largest of each part of a row of n numbers."""
    return np.empty(-(-n // _SEARCHED), np.int32)


@_part  # type: ignore[untyped-decorator]
def _write_row(row: Floats, tops: Integers, rows: Rows, t: int) -> None:
    """Writes numbers as row t, and 0 in `row` for those that are kept."""
    bits = row.view(np.int32)
    for i in range(len(tops)):
        tops[i] = _top(bits, i)
    for k in range(KEPT):
        place = _place_of_largest(tops)
        rows.at[t, k], rows.kept[t, k] = place, row[place]
        row[place] = np.float32(0)
        tops[place // _SEARCHED] = _top(bits, place // _SEARCHED)
    largest = max(abs(row[_place_of_largest(tops)]) * _ROOM, _TINY)
    rows.scales[t] = largest / _LEVELS
    per = _LEVELS / largest
    levels = rows.levels[t]
    for j in range(len(row)):
        levels[j] = np.int8(np.int32(np.rint(row[j] * per)))


@_part  # type: ignore[untyped-decorator]
def _top(bits: Integers, i: int) -> np.int32:
    """The upper bits of (nearly) the largest magnitude in part i of a row, its place in the lower ones."""
    start = i * _SEARCHED
    part = bits[start : start + _SEARCHED]
    top = np.int32(0)
    for j in range(len(part)):
        top = max(top, (part[j] & _COMPARED) | np.int32(j))
    return np.int32(top + start)


@_part  # type: ignore[untyped-decorator]
def _place_of_largest(tops: Integers) -> np.int32:
    """Where a number of (nearly) the largest magnitude stands."""
    top = np.int32(0)
    for i in range(len(tops)):
        top = max(top, tops[i])
    return top & _PLACE


@_part  # type: ignore[untyped-decorator]
def _whole(n: int, step: int) -> int:
    """The first multiple of a step that is not below n."""
    return -(-n // step) * step


@intrinsic  # type: ignore[untyped-decorator]
def _multiply(
    _context: Any, a: Any, _a_at: Any, b: Any, _b_at: Any, _depth: Any, out: Any, _out_at: Any
) -> Any:
    """Writes the product of 4 rows of `a` and 16 columns of `b`, `depth` deep, into `out`.

    Each begins at the row and column given. All are contiguous float32. The sums stay in registers, which no
    compiler does of loops over arrays: on one machine 4 x 32 by 32 x 16 took a ninth of the time. Each is
    added up in one order, whatever else is multiplied.
    """
    place = types.UniTuple(types.intp, 2)
    signature = types.void(a, place, b, place, types.intp, out, place)
    lanes = ir.VectorType(ir.FloatType(), _ACROSS)
    zero, unset = ir.Constant(lanes, None), ir.Constant(lanes, ir.Undefined)
    same = ir.Constant(ir.VectorType(ir.IntType(32), _ACROSS), None)

    def generate(context: Any, builder: Any, given: Any, arguments: Any) -> Any:
        def row_from(n: int) -> Callable[[Any], Any]:
            array = context.make_array(given.args[n])(context, builder, arguments[n])
            step = cgutils.unpack_tuple(builder, array.shape, 2)[1]
            row, column = cgutils.unpack_tuple(builder, arguments[n + 1], 2)
            start = builder.gep(array.data, [builder.add(builder.mul(row, step), column)])
            return lambda at: builder.gep(start, [builder.mul(at, step)])

        left, right, to = row_from(0), row_from(2), row_from(5)
        size = arguments[4].type
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_DOWN)]
        with cgutils.for_range(builder, arguments[4]) as loop:
            numbers = builder.load(builder.bitcast(right(loop.index), lanes.as_pointer()))
            numbers.align = 4
            for r, total in enumerate(sums):
                one = builder.load(builder.gep(left(size(r)), [loop.index]))
                one = builder.shuffle_vector(
                    builder.insert_element(unset, one, ir.IntType(32)(0)), unset, same
                )
                product = builder.fmul(one, numbers, flags=("fast",))
                builder.store(builder.fadd(builder.load(total), product, flags=("fast",)), total)
        for r, total in enumerate(sums):
            written = builder.store(builder.load(total), builder.bitcast(to(size(r)), lanes.as_pointer()))
            written.align = 4
        return context.get_dummy_value()

    return signature, generate


@_part  # type: ignore[untyped-decorator]
def _soften(weights: Floats, held: Integers) -> None:
    """Turns what queries and keys give (length,) into weights that sum to 1."""
    bits, top = weights.view(np.int32), -_MAGNITUDE
    for p in range(
        len(weights)
    ):  # bits of negative numbers turned, so that integers are in the order of floats
        top = max(top, bits[p] ^ ((bits[p] >> _SIGN) & _MAGNITUDE))
    held[0] = top ^ ((top >> _SIGN) & _MAGNITUDE)
    largest = held.view(np.float32)[0]
    total = np.float32(0)
    for p in range(len(weights)):
        x = max(weights[p] - largest, _LEAST) * np.float32(0.5**_HALVINGS)
        e = np.float32(1 / 24) + x * (np.float32(1 / 120) + x * np.float32(1 / 720))
        e = np.float32(1) + x * (np.float32(1) + x * (np.float32(1 / 2) + x * (np.float32(1 / 6) + x * e)))
        for _ in range(_HALVINGS):
            e *= e
        weights[p] = e
        total += e
    per = np.float32(1) / total
    for p in range(len(weights)):
        weights[p] *= per
