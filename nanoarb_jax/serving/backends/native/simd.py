"""Vectors of 16 float32 for numba: values that stay in registers, with the few operations that a model's step needs.

numba vectorises loops by itself, but decides anew at every loop whether to: short loops (a nano model's 32 channels)
stay scalar, and a matrix product spills its sums. Here the code says what is a vector. LLVM splits 16 lanes into what
the machine has: one AVX-512, two AVX, four SSE or NEON registers.

Everything is for use inside `@njit` code. A *pointer* is numba's `CPointer`; indices count elements of what it points
to.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import make_array

LANES = 16


class F32x16(types.Type):
    """The type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="f32x16")


f32x16 = F32x16()
_INT, _FLOAT = ir.IntType(32), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_INT, LANES), ir.VectorType(_FLOAT, LANES)
_FIRST_ONLY = ir.Constant(_INTS, [0] * LANES)
_POINTED_AT = (types.float32, types.uint8, types.int64)
FUSED = ("contract",)  # a product and a sum may become one instruction; nothing else about rounding is given up


@register_model(F32x16)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: F32x16) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


def _instruction(typing: Callable[..., Any]) -> Any:
    """numba's intrinsic, whose first argument callers do not pass; untyped, since type checkers cannot know that."""
    return intrinsic(typing)


def _at(builder: ir.IRBuilder, pointer: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    """Where a value of another kind begins at an element."""
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [a.type for a in args])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, args)


def _all(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    nothing = ir.Constant(_FLOATS, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, value, ir.Constant(_INT, 0)), nothing, _FIRST_ONLY)


@_instruction
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


@_instruction
def cast(typingctx: Any, pointer: types.CPointer, example: types.Number) -> Any:
    """The same place as a pointer to the type of `example`."""
    target = types.CPointer(example)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(pointer, example), codegen


@_instruction
def ahead(typingctx: Any, pointer: types.CPointer, count: types.Integer) -> Any:
    """The pointer moved on by `count` elements."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


@_instruction
def behind(typingctx: Any, pointer: types.CPointer, count: types.Integer) -> Any:
    """The next multiple of 64 bytes behind `count` elements, as a pointer to bytes; `pointer` is at such a multiple."""
    result = types.CPointer(types.uint8)
    width = pointer.dtype.bitwidth // 8

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        def number(value: int) -> ir.Constant:
            return ir.Constant(args[1].type, value)

        size = builder.add(builder.mul(args[1], number(width)), number(63))
        start = builder.bitcast(args[0], context.get_value_type(result))
        return builder.gep(start, [builder.and_(size, number(-64))])

    return result(pointer, types.intp), codegen


@_instruction
def load(typingctx: Any, pointer: types.CPointer, index: types.Integer) -> Any:
    """16 floats from an element on."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(_at(builder, args[0], args[1], _FLOATS), align=4)

    return f32x16(pointer, types.intp), codegen


@_instruction
def store(typingctx: Any, pointer: types.CPointer, index: types.Integer, value: F32x16) -> Any:
    """Write 16 floats from an element on."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        builder.store(args[2], _at(builder, args[0], args[1], _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, f32x16), codegen


@_instruction
def get(typingctx: Any, pointer: types.CPointer, index: types.Integer) -> Any:
    """One element."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(builder.gep(args[0], [args[1]]))

    return pointer.dtype(pointer, types.intp), codegen


@_instruction
def put(typingctx: Any, pointer: types.CPointer, index: types.Integer, value: types.Float) -> Any:
    """Write one element."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.intp, pointer.dtype), codegen


@_instruction
def load_rows(typingctx: Any, pointer: types.CPointer, cell: types.Integer) -> Any:
    """Four vectors of a matrix, widened to float32: the cell-th 64 numbers, stored as the pointer's type says.

    float32: row by row. uint16, bfloat16s: 16 words of rows 0 (lower half) and 1, then of rows 2 and 3. int8: 16 words
    with row 0 in the lowest byte; a row comes out in units of 2**-24, with the rows below it in its word as its
    fraction. One load serves several rows, and shifts are cheap: widening each row by itself took half as long again.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = signature.args[0].dtype

        def ints(value: int) -> ir.Constant:
            return ir.Constant(_INTS, [value] * LANES)

        def words(vector: int, as_type: ir.Type) -> ir.Value:
            """The vector-th 64 bytes of the cell."""
            start = builder.gep(args[0], [builder.mul(args[1], ir.Constant(args[1].type, 64))])
            start = builder.bitcast(start, as_type.as_pointer())
            return builder.load(builder.gep(start, [ir.Constant(_INT, vector)]), align=4)

        if kind == types.float32:
            rows = [words(row, _FLOATS) for row in range(4)]
        elif kind == types.uint16:
            pairs = [words(0, _INTS), words(1, _INTS)]
            halves = [h for w in pairs for h in (builder.shl(w, ints(16)), builder.and_(w, ints(0xFFFF0000)))]
            rows = [builder.bitcast(half, _FLOATS) for half in halves]
        else:
            word = words(0, _INTS)
            rows = [builder.sitofp(builder.shl(word, ints(shift)), _FLOATS) for shift in (24, 16, 8, 0)]
        return context.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(f32x16, 4)(pointer, types.intp), codegen


@_instruction
def splat(typingctx: Any, value: types.Float) -> Any:
    """A number in all lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _splat(builder, args[0])

    return f32x16(types.float32), codegen


@_instruction
def fma(typingctx: Any, a: F32x16, b: F32x16, c: F32x16) -> Any:
    """a·b + c, rounded once."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _call(builder, "llvm.fma.v16f32", _FLOATS, *args)

    return f32x16(f32x16, f32x16, f32x16), codegen


def _named(name: str, arguments: int, doc: str) -> Any:
    """An operation that LLVM has for vectors, by its name."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _call(builder, f"llvm.{name}.v16f32", _FLOATS, *args)

    if arguments == 1:

        def typing(typingctx: Any, a: Any) -> Any:
            return f32x16(f32x16), codegen
    else:

        def typing(typingctx: Any, a: Any, b: Any) -> Any:  # type: ignore[misc]
            return f32x16(f32x16, f32x16), codegen

    typing.__doc__, typing.__name__ = doc, name
    return _instruction(typing)


minimum = _named("minnum", 2, "The smaller of each lane.")
maximum = _named("maxnum", 2, "The larger of each lane.")
absolute = _named("fabs", 1, "The size of each lane.")
copysign = _named("copysign", 2, "The size of the first with the sign of the second, lane by lane.")


@_instruction
def scale_by_power(typingctx: Any, value: F32x16, magic: F32x16) -> Any:
    """value · 2**k, k being the integer in the low bits of `magic` = 1.5·2**23 + k; value near 1, no overflow."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        value, magic = (builder.bitcast(a, _INTS) for a in args)
        power = builder.shl(magic, ir.Constant(_INTS, [23] * LANES))
        return builder.bitcast(builder.add(value, power), _FLOATS)

    return f32x16(f32x16, f32x16), codegen


@_instruction
def split_power(typingctx: Any, value: F32x16) -> Any:
    """(m, e) with value = m · 2**e and m in [√½, √2); value positive and normal."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        def ints(value: int) -> ir.Constant:
            return ir.Constant(_INTS, [value] * LANES)

        root = 0x3F3504F3  # bits of √½
        bits = builder.sub(builder.bitcast(args[0], _INTS), ints(root))
        exponent = builder.ashr(bits, ints(23))
        mantissa = builder.add(builder.and_(bits, ints(0x7FFFFF)), ints(root))
        pair = builder.bitcast(mantissa, _FLOATS), builder.sitofp(exponent, _FLOATS)
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(f32x16, 2)(f32x16), codegen


@_instruction
def without_traces(typingctx: Any, value: F32x16, least: types.Float) -> Any:
    """Lanes smaller in size than `least` become 0: numbers that fade away must not turn denormal, which is slow."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        size = _call(builder, "llvm.fabs.v16f32", _FLOATS, args[0])
        return builder.select(builder.fcmp_ordered("<", size, _splat(builder, args[1])), _all(0.0), args[0])

    return f32x16(f32x16, types.float32), codegen


@_instruction
def total(typingctx: Any, value: F32x16) -> Any:
    """Sum of the lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS])
        name = "llvm.vector.reduce.fadd.v16f32"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(_FLOAT, 0.0), args[0]], fastmath=("reassoc",))

    return types.float32(f32x16), codegen


def _operator(symbol: Callable[..., Any], instruction: str) -> None:
    """Let a Python operator work on two vectors."""

    class Vectors(ConcreteTemplate):
        cases: ClassVar = [f32x16(f32x16, f32x16)]

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return getattr(builder, instruction)(*args, flags=FUSED)

    infer_global(symbol)(Vectors)
    lower_builtin(symbol, f32x16, f32x16)(lower)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operator(_symbol, _name)
