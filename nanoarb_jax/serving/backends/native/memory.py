"""Memory for numba code that reads and writes by address, single numbers or `simd` vectors.

Everything is for use inside `@njit` code. A *pointer* is numba's `CPointer`; indices and offsets count elements of what
it points to. Nothing is checked: a pointer does not know where its array ends.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.np.arrayobj import make_array

from nanoarb_jax.serving.backends.native.simd import FLOATS, INT, INTS, F32x16, f32x16, instruction, ints

_POINTED_AT = (types.float32, types.uint8, types.int64)


def _pointer_to(kind: ir.Type, builder: ir.IRBuilder, pointer: ir.Value, index: ir.Value) -> ir.Value:
    """Pointer to a value of LLVM type `kind` that begins at an element of another type."""
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


@instruction
def address(typingctx: Any, array: types.Array) -> Any:
    """Pointer to the first element of an array without gaps, which must outlive it."""
    if not isinstance(array, types.Array) or array.layout != "C" or array.dtype not in _POINTED_AT:
        raise TypingError(
            f"{array}: expected a C-contiguous array of float32 (features, state, probabilities), uint8 (weights) or "
            "int64; copy it with numpy.ascontiguousarray(array, dtype)"
        )

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@instruction
def cast(typingctx: Any, pointer: types.CPointer, example: types.Number) -> Any:
    """The same address as a pointer to the type of `example`."""
    target = types.CPointer(example)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(pointer, example), codegen


@instruction
def offset(typingctx: Any, pointer: types.CPointer, count: types.Integer) -> Any:
    """The pointer moved on by `count` elements."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


@instruction
def load(typingctx: Any, pointer: types.CPointer, index: types.Integer) -> Any:
    """The vector that begins at an element."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(_pointer_to(FLOATS, builder, args[0], args[1]), align=4)

    return f32x16(pointer, types.intp), codegen


@instruction
def store(typingctx: Any, pointer: types.CPointer, index: types.Integer, value: F32x16) -> Any:
    """Write a vector from an element on."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        builder.store(args[2], _pointer_to(FLOATS, builder, args[0], args[1]), align=4)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, f32x16), codegen


@instruction
def get(typingctx: Any, pointer: types.CPointer, index: types.Integer) -> Any:
    """One element."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(builder.gep(args[0], [args[1]]))

    return pointer.dtype(pointer, types.intp), codegen


@instruction
def put(typingctx: Any, pointer: types.CPointer, index: types.Integer, value: types.Float) -> Any:
    """Write one element."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.intp, pointer.dtype), codegen


@instruction
def load_rows(typingctx: Any, pointer: types.CPointer, cell: types.Integer) -> Any:
    """Four rows of a matrix's cell (`matrices`), widened to float32. The type of the pointer says how they are stored.

    float32: row by row. uint16, bfloat16s: 16 words of rows 0 (lower half) and 1, then of rows 2 and 3. int8: 16 words
    with row 0 in the lowest byte; a row comes out in units of 2**-24, with the rows below it in its word as its
    fraction. One load serves several rows, and shifts are cheap: widening each row by itself took half as long again.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = signature.args[0].dtype

        def words(vector: int, as_type: ir.Type) -> ir.Value:
            """The vector-th 64 bytes of the cell."""
            first = builder.mul(args[1], ir.Constant(args[1].type, 64))
            start = _pointer_to(as_type, builder, args[0], first)
            return builder.load(builder.gep(start, [ir.Constant(INT, vector)]), align=4)

        if kind == types.float32:
            rows = [words(row, FLOATS) for row in range(4)]
        elif kind == types.uint16:
            pairs = [words(0, INTS), words(1, INTS)]
            halves = [h for w in pairs for h in (builder.shl(w, ints(16)), builder.and_(w, ints(0xFFFF0000)))]
            rows = [builder.bitcast(half, FLOATS) for half in halves]
        else:
            word = words(0, INTS)
            rows = [builder.sitofp(builder.shl(word, ints(shift)), FLOATS) for shift in (24, 16, 8, 0)]
        return context.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(f32x16, 4)(pointer, types.intp), codegen
