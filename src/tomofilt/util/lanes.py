"""What numba's own loops do not reach: sums held in vector registers, and transposed squares.

LLVM keeps a sum over many rows in registers only if the program says so. The two functions here
write LLVM's vector instructions directly, as wide as the machine's (AVX-512, AVX2, NEON, SSE). They
are compiled into the kernels that call them, and numba's cache keeps one version per processor.
On other processors plain loops do the same.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

from tomofilt.util.jit import kernel

__all__ = [
    "SQUARE",
    "cache_lines",
    "plain_taps_adder",
    "plain_transpose",
    "taps_adder",
    "transpose",
]

Array: TypeAlias = NDArray[Any]

#: Edge of what :func:`transpose` transposes at once: a cache line of float32.
SQUARE = 16
_LINE_BYTES = 64
_HAS_VECTORS = platform.machine().lower() in ("x86_64", "amd64", "arm64", "aarch64")


def cache_lines(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Memory that starts on a cache line: vectors that cross two lines are read at half speed."""
    kind = np.dtype(dtype)
    size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
    memory = np.empty(size + _LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    return memory[start : start + size].view(kind).reshape(shape)


def plain_taps_adder(length: int, stretches: int = 1) -> Callable[..., None]:
    """:func:`taps_adder` in plain loops."""

    @kernel
    def add_taps(
        out: Array,
        start: int,
        source: Array,
        step: int,
        taps: Array,
        weights: Array,
        first: int,
        stride: int,
        count: int,
    ) -> None:
        sums, values = out.reshape(-1), source.reshape(-1)
        places, factors = taps.reshape(-1), weights.reshape(-1)
        for tap in range(first, first + count * stride, stride):
            for stretch in range(stretches):
                place, factor = places[tap] + stretch * step, factors[tap + stretch * taps.size]
                for k in range(length):
                    sums[start + k] += factor * values[place + k]

    return add_taps


@kernel
def plain_transpose(
    source: Array, start: int, stride: int, target: Array, to: int, to_stride: int
) -> None:
    """:func:`transpose` in plain loops."""
    values, out = source.reshape(-1), target.reshape(-1)
    for i in range(SQUARE):
        for j in range(SQUARE):
            out[to + j * to_stride + i] = values[start + i * stride + j]


@kernel
def plain_four_by_four(
    source: Array, start: int, stride: int, weights: Array, first: int, step: int
) -> Any:
    """:func:`four_by_four` in plain loops."""
    values, factors = source.reshape(-1), weights.reshape(-1)
    total = source.dtype.type(0)
    for j in range(4):
        column = source.dtype.type(0)
        for i in range(4):
            column += factors[first + (4 + i) * step] * values[start + i * stride + j]
        total += factors[first + j * step] * column
    return total


def _vector_bytes_and_registers(context: Any) -> tuple[int, int]:
    """Width of a vector, and how many of them a sum may take up, beside what they are fed from."""
    triple, _, features = context.codegen().magic_tuple()
    if triple.startswith(("aarch64", "arm64")):
        return 16, 16
    enabled = features.split(",")
    if "+avx512f" in enabled:
        return 64, 16
    return (32, 8) if "+avx2" in enabled else (16, 8)


def _pointers(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> list[Any]:
    """Data pointers of arrays, other arguments as they are."""
    from numba.core import types
    from numba.np.arrayobj import make_array

    make: Any = make_array
    return [
        make(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, args, strict=True)
    ]


class _Vectors:
    """Reads and writes vectors of one length behind a pointer to their elements."""

    def __init__(self, builder: Any, element: Any, lanes: int) -> None:
        from llvmlite import ir

        self._ir, self._builder, self.lanes = ir, builder, lanes
        self.kind = ir.VectorType(element, lanes)

    def at(self, pointer: Any, *steps: Any) -> Any:
        """Pointer to a vector some elements further on."""
        for step in steps:
            is_known = isinstance(step, int)
            elements = self._ir.Constant(self._ir.IntType(64), step) if is_known else step
            pointer = self._builder.gep(pointer, [elements])
        return self._builder.bitcast(pointer, self.kind.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self._builder.load(pointer, align=4)

    def store(self, value: Any, pointer: Any) -> None:
        self._builder.store(value, pointer, align=4)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        """Total + a b, in one rounding where the machine can."""
        product = self._builder.fmul(a, b, flags=("contract",))
        if total is None:
            return product
        return self._builder.fadd(total, product, flags=("contract",))

    def index(self, lane: int) -> Any:
        return self._ir.Constant(self._ir.IntType(32), lane)

    def shuffle(self, first: Any, second: Any, lanes: Sequence[int]) -> Any:
        mask = self._ir.Constant(self._ir.VectorType(self._ir.IntType(32), self.lanes), list(lanes))
        return self._builder.shuffle_vector(first, second, mask)

    def repeated(self, value: Any) -> Any:
        nothing = self._ir.Constant(self.kind, self._ir.Undefined)
        one = self._builder.insert_element(nothing, value, self.index(0))
        return self.shuffle(one, nothing, [0] * self.lanes)


def _vector_taps_adder(length: int, stretches: int) -> Callable[..., None]:
    def typed(
        typingctx: Any,
        out: Any,
        start: Any,
        source: Any,
        step: Any,
        taps: Any,
        weights: Any,
        first: Any,
        stride: Any,
        count: Any,
    ) -> Any:
        from numba.core import types

        n = types.int64
        signature = types.void(out, n, source, n, taps, weights, n, n, n)
        itemsize = out.dtype.bitwidth // 8

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            from numba.core import cgutils
            from numba.np.arrayobj import make_array

            variable: Any = cgutils.alloca_once  # LLVM makes registers of these

            sums, start, values, step, places, factors, first, stride, count = _pointers(
                context, builder, signature, args
            )
            make: Any = make_array
            size = make(taps)(context, builder, args[4]).nitems
            width, registers = _vector_bytes_and_registers(context)
            lanes = min(width // itemsize, length)
            vectors = _Vectors(builder, context.get_value_type(out.dtype), lanes)
            passes = -(-length // (lanes * registers))
            held_at_once = -(-length // (lanes * passes)) * lanes
            for chunk in range(0, length, held_at_once):
                offsets = range(chunk, min(chunk + held_at_once, length), lanes)
                held: list[Any] = [variable(builder, vectors.kind) for _ in offsets]
                for sum_, k in zip(held, offsets, strict=True):
                    builder.store(vectors.load(vectors.at(sums, start, k)), sum_)
                with cgutils.for_range(builder, count, intp=count.type) as loop:
                    tap = builder.add(first, builder.mul(loop.index, stride))
                    place = builder.load(builder.gep(places, [tap]))
                    if place.type.width < tap.type.width:
                        place = builder.sext(place, tap.type)
                    for stretch in range(stretches):
                        if stretch:
                            place, tap = builder.add(place, step), builder.add(tap, size)
                        factor = vectors.repeated(builder.load(builder.gep(factors, [tap])))
                        for sum_, k in zip(held, offsets, strict=True):
                            value = vectors.load(vectors.at(values, place, k))
                            total = vectors.add_product(builder.load(sum_), factor, value)
                            builder.store(total, sum_)
                for sum_, k in zip(held, offsets, strict=True):
                    vectors.store(builder.load(sum_), vectors.at(sums, start, k))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(typed)


def _vector_transpose(
    typingctx: Any, source: Any, start: Any, stride: Any, target: Any, to: Any, to_stride: Any
) -> Any:
    from numba.core import types

    n = types.int64
    signature = types.void(source, n, n, target, n, n)
    itemsize = source.dtype.bitwidth // 8

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, start, stride, out, to, to_stride = _pointers(context, builder, signature, args)
        width, _ = _vector_bytes_and_registers(context)
        vectors = _Vectors(builder, context.get_value_type(source.dtype), width // itemsize)
        lanes = vectors.lanes
        n = start.type

        def row(pointer: Any, first: Any, step: Any, i: int, j: int) -> Any:
            return vectors.at(pointer, first, builder.mul(step, n(i)), j)

        for i in range(0, SQUARE, lanes):
            for j in range(0, SQUARE, lanes):
                rows = [vectors.load(row(values, start, stride, i + k, j)) for k in range(lanes)]
                for k, column in enumerate(_transposed(vectors, rows)):
                    vectors.store(column, row(out, to, to_stride, j + k, i))
        return context.get_dummy_value()

    return signature, generate


def _vector_four_by_four(
    typingctx: Any, source: Any, start: Any, stride: Any, weights: Any, first: Any, step: Any
) -> Any:
    from numba.core import types

    n = types.int64
    signature = source.dtype(source, n, n, weights, n, n)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, start, stride, factors, first, step = _pointers(context, builder, signature, args)
        vectors = _Vectors(builder, context.get_value_type(source.dtype), 4)

        def weight(index: int) -> Any:
            place = builder.add(first, builder.mul(step, step.type(index)))
            return builder.load(builder.gep(factors, [place]))

        columns, total = None, None
        for i in range(4):
            row = vectors.load(vectors.at(values, start, builder.mul(stride, stride.type(i))))
            columns = vectors.add_product(columns, vectors.repeated(weight(4 + i)), row)
        for j in range(4):
            column = builder.extract_element(columns, vectors.index(j))
            total = vectors.add_product(total, weight(j), column)
        return total

    return signature, generate


def _transposed(vectors: _Vectors, rows: list[Any]) -> list[Any]:
    """Swap the off-diagonal squares of edge 1, 2, 4 and so on."""
    lanes, half = len(rows), 1
    while half < lanes:
        upper = [k if not k & half else lanes + k - half for k in range(lanes)]
        lower = [k + half if not k & half else lanes + k for k in range(lanes)]
        for i in range(lanes):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i], rows[i + half] = vectors.shuffle(a, b, upper), vectors.shuffle(a, b, lower)
        half *= 2
    return rows


def taps_adder(length: int, stretches: int = 1) -> Callable[..., None]:
    """Make the function that adds weighted stretches of an array to one stretch of another.

    Parameters
    ----------
    length : int
        Of a stretch.
    stretches : int
        How many belong to a tap, each with its weight.

    Returns
    -------
    add_taps(out, start, source, step, taps, weights, first, stride, count)
        For use in kernels. With all arrays seen as flat, and for tap = ``first``, ``first +
        stride`` and so on, ``count`` times, ``out[start:start + length] += weights[tap] *
        source[taps[tap]:taps[tap] + length]``. The sums stay in registers. Further stretches of a
        tap are ``step`` elements on in the source each, and their weights as many as ``taps`` has.
    """
    if _HAS_VECTORS:
        return _vector_taps_adder(length, stretches)
    return plain_taps_adder(length, stretches)


#: transpose(source, start, stride, target, to, to_stride), for use in kernels: transpose a square
#: of SQUARE x SQUARE elements from flat position ``start``, its rows ``stride`` apart, to ``to``.
transpose: Callable[..., None] = intrinsic(_vector_transpose) if _HAS_VECTORS else plain_transpose
#: four_by_four(source, start, stride, weights, first, step), for use in kernels: the sum over i
#: and j below 4 of ``weights[first + (4 + i) step]``, ``weights[first + j step]`` and
#: ``source[start + i stride + j]`` multiplied, with all arrays seen as flat.
four_by_four: Callable[..., Any] = (
    intrinsic(_vector_four_by_four) if _HAS_VECTORS else plain_four_by_four
)
