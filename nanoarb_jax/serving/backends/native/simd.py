"""A vector of 16 float32 for numba that stays in registers, with the arithmetic that a model's step needs.

numba vectorises loops by itself, but decides anew at every loop whether to: short loops (a nano model's 32 channels)
stay scalar, and a matrix product spills its sums. Here the code says what is a vector. LLVM splits 16 lanes into what
the machine has: one AVX-512, two AVX, four SSE or NEON registers.

Everything is for use inside `@njit` code. `memory` loads and stores these vectors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16


class F32x16(types.Type):
    """The type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="f32x16")


f32x16 = F32x16()
INT, FLOAT = ir.IntType(32), ir.FloatType()
INTS, FLOATS = ir.VectorType(INT, LANES), ir.VectorType(FLOAT, LANES)
_FIRST_LANE = ir.Constant(INTS, [0] * LANES)
# LLVM may fuse a product and a sum into one instruction; it may change nothing else about rounding
_CONTRACT = ("contract",)


@register_model(F32x16)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: F32x16) -> None:
        super().__init__(dmm, fe_type, FLOATS)


def instruction(typing: Callable[..., Any]) -> Any:
    """numba's `intrinsic`. The result is untyped, since callers do not pass the first argument (`typingctx`)."""
    return intrinsic(typing)


def ints(value: int) -> ir.Constant:
    """A 32-bit integer in all lanes."""
    return ir.Constant(INTS, [value] * LANES)


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [a.type for a in args])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, args)


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    undefined = ir.Constant(FLOATS, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undefined, value, ir.Constant(INT, 0)), undefined, _FIRST_LANE)


@instruction
def splat(typingctx: Any, value: types.Float) -> Any:
    """A number in all lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _splat(builder, args[0])

    return f32x16(types.float32), codegen


@instruction
def fma(typingctx: Any, a: F32x16, b: F32x16, c: F32x16) -> Any:
    """a·b + c, rounded once."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _call(builder, "llvm.fma.v16f32", FLOATS, *args)

    return f32x16(f32x16, f32x16, f32x16), codegen


def _llvm_function(name: str, arguments: int, doc: str) -> Any:
    """A function that LLVM has for vectors, by its name there."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _call(builder, f"llvm.{name}.v16f32", FLOATS, *args)

    if arguments == 1:

        def typing(typingctx: Any, a: Any) -> Any:
            return f32x16(f32x16), codegen
    else:

        def typing(typingctx: Any, a: Any, b: Any) -> Any:  # type: ignore[misc]
            return f32x16(f32x16, f32x16), codegen

    typing.__doc__, typing.__name__ = doc, name
    return instruction(typing)


minimum = _llvm_function("minnum", 2, "The smaller number of each lane.")
maximum = _llvm_function("maxnum", 2, "The larger number of each lane.")
absolute = _llvm_function("fabs", 1, "The absolute value of each lane.")
copysign = _llvm_function("copysign", 2, "The absolute value of the first with the sign of the second, lane by lane.")


@instruction
def scale_by_power(typingctx: Any, value: F32x16, magic: F32x16) -> Any:
    """value · 2**k, where k is the integer in the low bits of `magic` = 1.5·2**23 + k; the result must not overflow."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        value, magic = (builder.bitcast(a, INTS) for a in args)
        return builder.bitcast(builder.add(value, builder.shl(magic, ints(23))), FLOATS)

    return f32x16(f32x16, f32x16), codegen


@instruction
def split_power(typingctx: Any, value: F32x16) -> Any:
    """(m, e) with value = m · 2**e and m in [√½, √2); `value` must be positive and normal."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        root = 0x3F3504F3  # bits of √½
        bits = builder.sub(builder.bitcast(args[0], INTS), ints(root))
        exponent = builder.ashr(bits, ints(23))
        mantissa = builder.add(builder.and_(bits, ints(0x7FFFFF)), ints(root))
        pair = builder.bitcast(mantissa, FLOATS), builder.sitofp(exponent, FLOATS)
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(f32x16, 2)(f32x16), codegen


@instruction
def flush_denormals(typingctx: Any, value: F32x16, least: types.Float) -> Any:
    """Set lanes whose absolute value is below `least` to 0: many machines are slow with denormal numbers."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        size = _call(builder, "llvm.fabs.v16f32", FLOATS, args[0])
        zero = ir.Constant(FLOATS, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered("<", size, _splat(builder, args[1])), zero, args[0])

    return f32x16(f32x16, types.float32), codegen


@instruction
def horizontal_sum(typingctx: Any, value: F32x16) -> Any:
    """Sum of the lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(FLOAT, [FLOAT, FLOATS])
        name = "llvm.vector.reduce.fadd.v16f32"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(FLOAT, 0.0), args[0]], fastmath=("reassoc",))

    return types.float32(f32x16), codegen


def _operator(symbol: Callable[..., Any], instruction: str) -> None:
    """Let a Python operator work on two vectors."""

    class Vectors(ConcreteTemplate):
        cases: ClassVar = [f32x16(f32x16, f32x16)]

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return getattr(builder, instruction)(*args, flags=_CONTRACT)

    infer_global(symbol)(Vectors)
    lower_builtin(symbol, f32x16, f32x16)(lower)


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operator(_symbol, _name)
