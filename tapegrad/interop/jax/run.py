"""Evaluation of a program on JAX, with trees as JAX has them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.forward import linear_jvp
from tapegrad.core.primitive import Parts, Primitive
from tapegrad.declare import declaration, facts
from tapegrad.declare.abstract import call_silently
from tapegrad.declare.custom import CUSTOM_VJP
from tapegrad.declare.parts import PART, MultiOutputOp, parts_of
from tapegrad.interop.jax.table import TABLE, Lowering
from tapegrad.ops import updates
from tapegrad.ops.arithmetic import power, sign
from tapegrad.ops.decompositions import cholesky, complement, eig, eigh, thin_qr, thin_svd
from tapegrad.ops.floating_point import nextafter
from tapegrad.ops.indexing import getitem, scatter
from tapegrad.ops.inverses import cofactor, slogdet
from tapegrad.ops.logic import where
from tapegrad.ops.order import clip_both
from tapegrad.ops.scipy_special import entr, kl_div, rel_entr, xlog1py, xlogy
from tapegrad.ops.special import i0, i0_derivative, sinc, sinc_derivative
from tapegrad.program.compiled import trace
from tapegrad.program.control.loop import Branch, Loop, bodies_in
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.entry import read
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.saved_names import COMPLEX, name_of_op
from tapegrad.tree.structure import build_node, open_node, replace_leaves


def register(jax: Any, structure: tree.Structure) -> None:
    """Register the classes of a tree's nodes as pytrees."""
    if structure.node is not None and structure.keys and structure.node is not dict:
        _register(jax, structure.node)
    for child in structure.children:
        register(jax, child)


def register_records(jax: Any, records: Iterable[type]) -> None:
    """Register classes as pytrees, with tapegrad's classes of parameters and states.

    Raises
    ------
    TypeError
        If one of them is not a class of records.
    """
    for node in records:
        if not isinstance(node, type) or tree.init_fields(node) is None:
            raise TypeError(
                f"{node!r} is neither an attrs class nor a dataclass, but a record's is"
            )
        _register(jax, node)
    from tapegrad import nn, optim

    packages = nn.__name__, optim.__name__
    for module in [module for name, module in sys.modules.items() if name.startswith(packages)]:
        for node in vars(module).values():
            if isinstance(node, type) and attrs.has(node) and tree.init_fields(node) is not None:
                _register(jax, node)


def _register(jax: Any, node: type) -> None:
    util = jax.tree_util

    def flatten(record: Any) -> Any:
        _, keys, children = open_node(record)
        return [(util.GetAttrKey(key), x) for key, x in zip(keys, children, strict=False)], keys

    def unflatten(keys: Any, children: Any) -> Any:
        return build_node(node, keys, [*children])

    try:
        util.register_pytree_with_keys(node, flatten, unflatten)
    except ValueError:
        # it is one already
        return


_CONTROL = (*LOOPS, COND, PART)
Handed = Mapping[Any, Callable[..., Any]]


def run(program: Code, values: Iterable[Any], ops: Handed, jax: Any) -> list[Any]:
    """A program's outputs.

    Parameters
    ----------
    program
        The program.
    values
        Its inputs, arrays of JAX and Python numbers.
    ops
        Functions of JAX for ops that are not in the table.
    jax
        The module.
    """
    inputs = [
        x if input.number else jax.numpy.asarray(x, held(jax, input.dtype))
        for x, input in zip(values, program.inputs, strict=True)
    ]

    def apply(instruction: Instruction, operands: list[Any]) -> Any:
        return _Step(program, instruction, ops, jax).result(operands)

    results = make_interpreter(program, apply)(inputs)
    pairs = zip(program.outputs, results, strict=True)
    return [jax.numpy.asarray(result) if type(x) is Ref else x for x, result in pairs]


# ops that JAX differentiates differently, or not at all at ties
_APART = (
    *(cholesky, complement, eig, eigh, thin_svd, thin_qr, slogdet),
    *(cofactor, clip_both, sinc, sinc_derivative, i0, i0_derivative, nextafter),
    sign.complex,
)
# JAX has the same derivatives of these, or their rules call them with a tangent and JAX has to see
# that they are linear
_NO_KINK = (where, updates.index_set, entr, kl_div, rel_entr, xlog1py, xlogy)


def _has_our_slope(op: Primitive) -> bool:
    """Whether an op is differentiated by tapegrad's rule, with its conventions at kinks."""
    declared = declaration(op)
    if op in _NO_KINK or op.jvp is linear_jvp or declared is None:
        return False
    return op in _APART or bool(declared.kink)


@attrs.frozen(eq=False)
class _Step:
    """An instruction for JAX to compute."""

    program: Code
    instruction: Instruction
    ops: Handed
    jax: Any

    def result(self, operands: list[Any]) -> Any:
        """Its result."""
        op, jax = self.instruction.op, self.jax
        if op in LOOPS:
            return loop(jax, self._run, operands, **self.instruction.options)
        if op is COND:
            return branch(jax, self._run, operands, **self.instruction.options)
        if op is PART:
            return part(*operands, **self.instruction.options)
        rules = op.vjps_for(len(operands))
        for i, x in enumerate(operands):
            # JAX may pass a gradient where tapegrad passes none
            if isinstance(x, jax.Array) and (i >= len(rules) or rules[i] is None):
                operands[i] = jax.lax.stop_gradient(x)
        if not _has_our_slope(op):
            return self._value(operands)
        places = [i for i, x in enumerate(operands) if isinstance(x, jax.Array)]

        @jax.custom_jvp  # type: ignore[untyped-decorator]
        def f(*xs: Any) -> Any:
            return self._value(replace_leaves(operands, places, xs))

        def rule(primals: Any, tangents: Any) -> Any:
            y = f(*primals)
            zero = jax.custom_derivatives.SymbolicZero
            moved = {i: t for i, t in zip(places, tangents, strict=True) if type(t) is not zero}
            return y, self._slope(moved, y, replace_leaves(operands, places, primals))

        f.defjvp(rule, symbolic_zeros=True)
        return f(*[operands[i] for i in places])

    def _run(self, code: Code, values: list[Any]) -> list[Any]:
        return run(code, values, self.ops, self.jax)

    def _slope(self, moved: dict[int, Any], y: Any, operands: list[Any]) -> Any:
        """The tangent of the result, by the op's own rule, recorded and computed by JAX."""
        jax, op, instruction = self.jax, self.instruction.op, self.instruction
        several = type(y) is tuple
        ys = list(y) if several else [y]
        moved = {i: t for i, t in moved.items() if t.dtype.kind in "fc"}

        def tangent(moved: Any, ys: Any, operands: Any) -> Any:
            y = Parts(tuple(ys)) if several else ys[0]
            t = op.jvp(op, moved, y, *operands, **instruction.options)
            return parts_of(t) if several else t

        def fitted(t: Any, y: Any) -> Any:
            if t is None:
                return jax.numpy.zeros(y.shape, y.dtype)
            t = t if y.dtype.kind == "c" else jax.numpy.real(t)
            return jax.numpy.broadcast_to(jax.numpy.asarray(t, y.dtype), y.shape)

        slopes: list[Any] = []
        if moved and any(y.dtype.kind in "fc" for y in ys):
            likes = list(map(self._like, instruction.operands, operands))
            example = ({i: _alike(t) for i, t in moved.items()}, [*map(_alike, ys)], likes)
            program = call_silently(trace, tangent, read(example, {}, ()), stops=True)
            values = [*moved.values(), *ys, *[x for x in operands if type(x) is not bool]]
            slopes = run(program, values, self.ops, jax)
        tangents = tuple(map(fitted, slopes or [None] * len(ys), ys))
        return tangents if several else tangents[0]

    def _like(self, x: Any, value: Any) -> Any:
        if type(x) is not Ref:
            return x
        if getattr(self.program.definition(x), "number", None):
            return value.dtype.type(1).item() if hasattr(value, "dtype") else value
        return _alike(value)

    def _value(self, operands: list[Any]) -> Any:
        """The op's result, after NumPy's promotion."""
        program, instruction, ops, jax = self.program, self.instruction, self.ops, self.jax
        op, options = instruction.op, instruction.options
        out = jax.ShapeDtypeStruct(instruction.shape, held(jax, instruction.dtype))
        forward, lowered = op.forward, None if op in ops else _lowering(op)
        if op in ops:
            y = ops[op](*map(jax.numpy.asarray, operands), **options)
        elif isinstance(forward, np.ufunc):
            if forward.signature is None:
                of = instruction.operands
                likes = [program.spec(x).dtype if type(x) is Ref else type(x) for x in of]
                kinds = forward.resolve_dtypes((*likes, None))
            else:
                kinds = (instruction.dtype,) * len(operands)
            cast = [
                jax.numpy.asarray(x, held(jax, kind))
                for x, kind in zip(operands, kinds, strict=False)
            ]
            own = getattr(jax.numpy, forward.__name__)
            y = own(*cast) if lowered is None else lowered(jax, out, *cast)
        elif lowered is None:
            # by its parts
            examples = tuple(map(_alike, operands))
            call = read(examples, {}, ())
            parts = trace(lambda *xs: op.forward(*xs, **options), call, stops=True)
            (y,) = run(parts, operands, ops, jax)
        else:
            arrays = [x if _stays(op, x) else jax.numpy.asarray(x) for x in operands]
            y = lowered(jax, out, *arrays, **options)
        if type(op) is MultiOutputOp:
            return tuple(y)
        y = jax.numpy.asarray(y, out.dtype)
        assert y.shape == out.shape, f"{op.name} gives {y.shape} on JAX, not {out.shape}"
        return y


def _alike(x: Any) -> Any:
    return stand_in(x.shape, np.dtype(x.dtype))


def stand_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """A placeholder value to record with, in the domain of most ops."""
    if dtype.kind not in "fc":
        return np.zeros(shape, dtype)
    # numbers from 0.25 to 0.75, so that products of matrices have an inverse
    x = 0.25 + 0.5 * np.modf(np.abs(np.sin(np.arange(math.prod(shape)) * 12.9898)) * 43758.5)[0]
    # in increasing order, like the edges of bins
    x = np.sort(x) if len(shape) == 1 else x.reshape(shape)
    if len(shape) > 1 and shape[-1] == shape[-2] != 0:
        # a matrix with an inverse, distinct eigenvalues and a Cholesky factor
        n = shape[-1]
        x = np.diag(1 + np.arange(n) / n) + (x + np.swapaxes(x, -1, -2)) / (10 * n)
    return x.astype(dtype)


_INDEXED = (
    *(getitem, scatter, updates.last_writes, updates.index_set, updates.index_add),
    *(updates.index_multiply, updates.index_max, updates.index_min),
)


def _stays(op: Primitive, x: Any) -> bool:
    """Whether an operand stays a NumPy value, as an integer exponent or a known mask does."""
    if op is power:
        return type(x) is int
    return isinstance(x, np.ndarray) and x.dtype == np.bool and op in _INDEXED


def _lowering(op: Primitive) -> Lowering | None:
    if op is CUSTOM_VJP:
        return None
    name = name_of_op(op)
    return TABLE.get(name) or TABLE.get(name.removesuffix(COMPLEX))


def has_form(op: Primitive) -> bool:
    """Whether an op has a form in JAX."""
    return isinstance(op.forward, np.ufunc) or facts(op).composite or _lowering(op) is not None


def check(program: Code, ops: Mapping[Any, Any], jax: Any) -> None:
    """Raise for an op without a form in JAX, and for a dtype that JAX would narrow."""
    for instruction in program.instructions:
        op = instruction.op
        for body in bodies_in(instruction.options):
            check(body, ops, jax)
        if op in ops or op in _CONTROL or has_form(op):
            continue
        raise TypeError(
            f"{program.label} has the op {op.name}, which has no form in JAX; hand one over, "
            "tg.to_jax(fn, ops={op: function}), or call the function through tg.bridges.jax"
        )
    values: list[Any] = [*program.inputs, *program.constants, *program.instructions]
    for i, value in enumerate(values):
        dtype = value.dtype
        if getattr(value, "op", None) in _CONTROL:
            # several values, which are checked where they are made
            continue
        if dtype.kind not in "fu" or dtype.itemsize <= 4 or getattr(value, "number", None):
            continue
        if held(jax, dtype) != dtype:
            of = value.op.name if isinstance(value, Instruction) else "a constant"
            named = program.inputs[i].path if i < len(program.inputs) else f"a value of {of}"
            raise TypeError(
                f"{program.label}: {named} is {dtype}, which JAX would hold in 32 bits; call "
                'jax.config.update("jax_enable_x64", True) first, or use float32 throughout'
            )


# --- loops and branches: jax.lax.scan, while_loop and cond --------------------------------

Run = Callable[[Code, list[Any]], list[Any]]


def loop(jax: Any, run: Run, operands: list[Any], loop: Loop) -> tuple[Any, ...]:
    """The results of a loop; None for a result with a row for each step of a ``while``."""
    body, n, n_carry = loop.body, loop.n_captured, loop.n_carry
    captured, xs = operands[:n], operands[n + n_carry :]
    # a loop's carry keeps its dtype, even if it is a Python number
    carry = _held_arrays(jax, operands[n : n + n_carry], body.inputs[n : n + n_carry])

    def step(carry: Any, rows: Any) -> Any:
        results = _outputs(jax, run, body, [*captured, *carry, *rows])
        return results[:n_carry], results[n_carry:]

    if not loop.remember:
        # JAX too repeats a step for its derivatives
        step = jax.checkpoint(step)
    if loop.stop is None:
        steps = loop.count_steps(operands)
        last, stacks = jax.lax.scan(step, carry, tuple(xs), length=steps, reverse=loop.reverse)
        return *last, *stacks
    stop = loop.stop

    def goes_on(carry: Any) -> Any:
        return _outputs(jax, run, stop, [*captured, *carry])[0].reshape(()) != 0

    last = jax.lax.while_loop(goes_on, lambda carry: step(carry, ())[0], carry)
    return *last, *[None] * (len(body.outputs) - n_carry)


def branch(jax: Any, run: Run, operands: list[Any], branch: Branch) -> tuple[Any, ...]:
    """The results of the chosen program."""
    pred, *rest = operands

    def side(code: Code) -> Callable[..., Any]:
        return lambda *xs: _outputs(jax, run, code, list(xs))

    chosen = jax.numpy.asarray(pred).reshape(()) != 0
    results: tuple[Any, ...] = jax.lax.cond(
        chosen, side(branch.on_true), side(branch.on_false), *rest
    )
    return results


def part(whole: tuple[Any, ...], index: int) -> Any:
    """One of the several values.

    Raises
    ------
    TypeError
        If the value is known only at the end of a ``while``.
    """
    if whole[index] is None:
        raise TypeError(
            "a gradient through a while_loop needs a value of each of its steps, and JAX must "
            "know how many there are: repeat with tg.fori_loop or tg.scan"
        )
    return whole[index]


def _outputs(jax: Any, run: Run, code: Code, values: list[Any]) -> tuple[Any, ...]:
    """A program's outputs as arrays of its own dtypes."""
    return _held_arrays(jax, run(code, values), map(code.spec, code.outputs))


def _held_arrays(jax: Any, values: Iterable[Any], likes: Iterable[Any]) -> tuple[Any, ...]:
    pairs = zip(values, likes, strict=True)
    return tuple([jax.numpy.asarray(x, held(jax, like.dtype)) for x, like in pairs])


def held(jax: Any, dtype: Any) -> np.dtype[Any]:
    """The dtype in which JAX holds numbers of another."""
    narrow: np.dtype[Any] = np.dtype(jax.dtypes.canonicalize_dtype(np.dtype(dtype)))
    return narrow
