"""Evaluate programs on JAX, with pytrees of JAX."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

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
from tapegrad.types import Array, DType, DTypeLike, Shape, Tangent

if TYPE_CHECKING:
    from jax import Array as JaxArray

Value: TypeAlias = "JaxArray | tuple[JaxArray, ...]"
"""The value of an op; a tuple for an op of several results."""


def register_nodes(jax: ModuleType, structure: tree.Structure) -> None:
    """Register the classes of a tree's nodes as JAX pytrees."""
    if structure.node is not None and structure.keys and structure.node is not dict:
        _register_class(jax, structure.node)
    for child in structure.children:
        register_nodes(jax, child)


def register_records(jax: ModuleType, records: Iterable[type]) -> None:
    """Register classes, and tapegrad's classes of parameters and states, as JAX pytrees.

    Raises
    ------
    TypeError
        If a class is not a class of records.
    """
    for node in records:
        if not isinstance(node, type) or tree.init_fields(node) is None:
            raise TypeError(
                f"{node!r} is neither an attrs class nor a dataclass, but a record's is"
            )
        _register_class(jax, node)
    from tapegrad import nn, optim

    packages = nn.__name__, optim.__name__
    for module in [module for name, module in sys.modules.items() if name.startswith(packages)]:
        for node in vars(module).values():
            if isinstance(node, type) and attrs.has(node) and tree.init_fields(node) is not None:
                _register_class(jax, node)


def _register_class(jax: ModuleType, node: type) -> None:
    util = jax.tree_util

    def flatten(record: object) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        _, keys, children = open_node(record)
        return [(util.GetAttrKey(key), x) for key, x in zip(keys, children, strict=False)], keys

    def unflatten(keys: tuple[str, ...], children: Iterable[Any]) -> object:
        return build_node(node, keys, [*children])

    try:
        util.register_pytree_with_keys(node, flatten, unflatten)
    except ValueError:
        # it is registered already
        return


_CONTROL_OPS = (*LOOPS, COND, PART)
UserOps = Mapping[Any, Callable[..., Any]]


def run(program: Code, values: Iterable[Any], ops: UserOps, jax: ModuleType) -> list[Any]:
    """Evaluate a program on JAX, and return its outputs.

    Parameters
    ----------
    program
        The program.
    values
        The program's inputs, arrays of JAX and Python numbers.
    ops
        Functions of JAX for ops that are not in the table.
    jax
        The module ``jax``.
    """
    inputs = [
        x if input.number else jax.numpy.asarray(x, canonical_dtype(jax, input.dtype))
        for x, input in zip(values, program.inputs, strict=True)
    ]

    def apply(instruction: Instruction, operands: list[Any]) -> Value | tuple[JaxArray | None, ...]:
        return _InstructionEvaluator(program, instruction, ops, jax).evaluate(operands)

    results = make_interpreter(program, apply)(inputs)
    pairs = zip(program.outputs, results, strict=True)
    return [jax.numpy.asarray(result) if type(x) is Ref else x for x, result in pairs]


# JAX differentiates these ops differently, or not at all at ties
_OWN_DERIVATIVE = (
    *(cholesky, complement, eig, eigh, thin_svd, thin_qr, slogdet),
    *(cofactor, clip_both, sinc, sinc_derivative, i0, i0_derivative, nextafter),
    sign.complex,
)
# JAX has the same derivatives of these ops, or their own rules call them with a tangent and rely on
# JAX to know that they are linear
_JAX_DERIVATIVE = (where, updates.index_set, entr, kl_div, rel_entr, xlog1py, xlogy)


def _has_own_derivative(op: Primitive) -> bool:
    """Whether tapegrad's rule, with its conventions at kinks, replaces JAX's derivative."""
    declared = declaration(op)
    if op in _JAX_DERIVATIVE or op.jvp is linear_jvp or declared is None:
        return False
    return op in _OWN_DERIVATIVE or bool(declared.kink)


@attrs.frozen(eq=False)
class _InstructionEvaluator:
    """The evaluation of an instruction by JAX."""

    program: Code
    instruction: Instruction
    ops: UserOps
    jax: ModuleType

    def evaluate(self, operands: list[Any]) -> Value | tuple[JaxArray | None, ...]:
        """Compute the instruction's value, with tapegrad's derivative where it differs."""
        op, jax = self.instruction.op, self.jax
        if op in LOOPS:
            return run_loop(jax, self._run, operands, **self.instruction.options)
        if op is COND:
            return run_branch(jax, self._run, operands, **self.instruction.options)
        if op is PART:
            return get_part(*operands, **self.instruction.options)
        rules = op.vjps_for(len(operands))
        for i, x in enumerate(operands):
            # JAX may pass a gradient where tapegrad passes none
            if isinstance(x, jax.Array) and (i >= len(rules) or rules[i] is None):
                operands[i] = jax.lax.stop_gradient(x)
        if not _has_own_derivative(op):
            return self._primal(operands)
        places = [i for i, x in enumerate(operands) if isinstance(x, jax.Array)]

        @jax.custom_jvp  # type: ignore[untyped-decorator]
        def f(*xs: JaxArray) -> Value:
            return self._primal(replace_leaves(operands, places, xs))

        def jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Value, Value]:
            y = f(*primals)
            zero = jax.custom_derivatives.SymbolicZero
            nonzero = {i: t for i, t in zip(places, tangents, strict=True) if type(t) is not zero}
            return y, self._tangent(nonzero, y, replace_leaves(operands, places, primals))

        f.defjvp(jvp, symbolic_zeros=True)
        return f(*[operands[i] for i in places])

    def _run(self, code: Code, values: list[Any]) -> list[Any]:
        return run(code, values, self.ops, self.jax)

    def _tangent(self, tangents: dict[int, JaxArray], y: Value, operands: list[Any]) -> Value:
        """Record the op's own rule for the tangent of its value, and evaluate it on JAX."""
        jax, op, instruction = self.jax, self.instruction.op, self.instruction
        is_tuple = isinstance(y, tuple)
        ys = list(y) if isinstance(y, tuple) else [y]
        tangents = {i: t for i, t in tangents.items() if t.dtype.kind in "fc"}

        def apply_jvp(
            tangents: dict[int, Tangent], ys: list[Array], operands: list[Array]
        ) -> Tangent | list[Tangent]:
            y = Parts(tuple(ys)) if is_tuple else ys[0]
            t = op.jvp(op, tangents, y, *operands, **instruction.options)
            return parts_of(t) if is_tuple else t

        def match_primal(t: JaxArray | None, y: JaxArray) -> JaxArray:
            if t is None:
                return jax.numpy.zeros(y.shape, y.dtype)
            t = t if y.dtype.kind == "c" else jax.numpy.real(t)
            return jax.numpy.broadcast_to(jax.numpy.asarray(t, y.dtype), y.shape)

        outputs: list[Any] = []
        if tangents and any(y.dtype.kind in "fc" for y in ys):
            examples = (
                {i: _example_array(t) for i, t in tangents.items()},
                [*map(_example_array, ys)],
                [*map(self._example, instruction.operands, operands)],
            )
            program = call_silently(trace, apply_jvp, read(examples, {}, ()), stops=True)
            values = [*tangents.values(), *ys, *[x for x in operands if type(x) is not bool]]
            outputs = run(program, values, self.ops, jax)
        ts = tuple(map(match_primal, outputs or [None] * len(ys), ys))
        return ts if is_tuple else ts[0]

    def _example(self, x: object, value: Any) -> object:
        if type(x) is not Ref:
            return x
        if getattr(self.program.definition(x), "number", None):
            return value.dtype.type(1).item() if hasattr(value, "dtype") else value
        return _example_array(value)

    def _primal(self, operands: list[Any]) -> Value:
        """Compute the instruction's value, with NumPy's promotion."""
        program, instruction, ops, jax = self.program, self.instruction, self.ops, self.jax
        op, options = instruction.op, instruction.options
        out = jax.ShapeDtypeStruct(instruction.shape, canonical_dtype(jax, instruction.dtype))
        forward, lowering = op.forward, None if op in ops else _find_lowering(op)
        if op in ops:
            y = ops[op](*map(jax.numpy.asarray, operands), **options)
        elif isinstance(forward, np.ufunc):
            if forward.signature is None:
                kinds = [
                    program.spec(x).dtype if type(x) is Ref else type(x)
                    for x in instruction.operands
                ]
                dtypes = forward.resolve_dtypes((*kinds, None))
            else:
                dtypes = (instruction.dtype,) * len(operands)
            cast = [
                jax.numpy.asarray(x, canonical_dtype(jax, dtype))
                for x, dtype in zip(operands, dtypes, strict=False)
            ]
            ufunc = getattr(jax.numpy, forward.__name__)
            y = ufunc(*cast) if lowering is None else lowering(jax, out, *cast)
        elif lowering is None:
            # a composite op: record its forward function
            examples = tuple(map(_example_array, operands))
            call = read(examples, {}, ())
            composite = trace(lambda *xs: op.forward(*xs, **options), call, stops=True)
            (y,) = run(composite, operands, ops, jax)
        else:
            arrays = [x if _stays_in_numpy(op, x) else jax.numpy.asarray(x) for x in operands]
            y = lowering(jax, out, *arrays, **options)
        if type(op) is MultiOutputOp:
            return tuple(y)
        y = jax.numpy.asarray(y, out.dtype)
        assert y.shape == out.shape, f"{op.name} gives {y.shape} on JAX, not {out.shape}"
        return y


def _example_array(x: JaxArray) -> Array:
    return make_placeholder(x.shape, np.dtype(x.dtype))


def make_placeholder(shape: Shape, dtype: DType) -> Array:
    """Make a value to record with, in the domain of most ops."""
    if dtype.kind not in "fc":
        return np.zeros(shape, dtype)
    # numbers from 0.25 to 0.75, so that products of matrices are invertible
    x = 0.25 + 0.5 * np.modf(np.abs(np.sin(np.arange(math.prod(shape)) * 12.9898)) * 43758.5)[0]
    # in increasing order, like the edges of bins
    x = np.sort(x) if len(shape) == 1 else x.reshape(shape)
    if len(shape) > 1 and shape[-1] == shape[-2] != 0:
        # an invertible matrix with distinct eigenvalues and a Cholesky factor
        n = shape[-1]
        x = np.diag(1 + np.arange(n) / n) + (x + np.swapaxes(x, -1, -2)) / (10 * n)
    return x.astype(dtype)


_INDEXING_OPS = (
    *(getitem, scatter, updates.last_writes, updates.index_set, updates.index_add),
    *(updates.index_multiply, updates.index_max, updates.index_min),
)


def _stays_in_numpy(op: Primitive, x: object) -> bool:
    """Whether an operand stays a NumPy value: an integer exponent or a known mask."""
    if op is power:
        return type(x) is int
    return isinstance(x, np.ndarray) and x.dtype == np.bool and op in _INDEXING_OPS


def _find_lowering(op: Primitive) -> Lowering | None:
    if op is CUSTOM_VJP:
        return None
    name = name_of_op(op)
    return TABLE.get(name) or TABLE.get(name.removesuffix(COMPLEX))


def has_lowering(op: Primitive) -> bool:
    """Whether JAX can compute an op."""
    return isinstance(op.forward, np.ufunc) or facts(op).composite or _find_lowering(op) is not None


def check_lowerings(program: Code, ops: Mapping[Any, Any], jax: ModuleType) -> None:
    """Raise for an op without a form in JAX, and for a dtype that JAX would narrow."""
    for instruction in program.instructions:
        op = instruction.op
        for body in bodies_in(instruction.options):
            check_lowerings(body, ops, jax)
        if op in ops or op in _CONTROL_OPS or has_lowering(op):
            continue
        raise TypeError(
            f"{program.label} has the op {op.name}, which has no form in JAX; hand one over, "
            "tg.to_jax(fn, ops={op: function}), or call the function through tg.bridges.jax"
        )
    values: list[Any] = [*program.inputs, *program.constants, *program.instructions]
    for i, value in enumerate(values):
        dtype = value.dtype
        if getattr(value, "op", None) in _CONTROL_OPS:
            # the values of a loop or a branch are checked in its bodies
            continue
        if dtype.kind not in "fu" or dtype.itemsize <= 4 or getattr(value, "number", None):
            continue
        if canonical_dtype(jax, dtype) != dtype:
            source = value.op.name if isinstance(value, Instruction) else "a constant"
            name = program.inputs[i].path if i < len(program.inputs) else f"a value of {source}"
            raise TypeError(
                f"{program.label}: {name} is {dtype}, which JAX would hold in 32 bits; call "
                'jax.config.update("jax_enable_x64", True) first, or use float32 throughout'
            )


# --- loops and branches: jax.lax.scan, while_loop and cond --------------------------------

Run: TypeAlias = Callable[[Code, list[Any]], list[Any]]
Arrays: TypeAlias = "tuple[JaxArray, ...]"


def run_loop(
    jax: ModuleType, run: Run, operands: list[Any], loop: Loop
) -> tuple[JaxArray | None, ...]:
    """Run a loop; a result with a row for each step of a ``while`` is None."""
    body, n, n_carry = loop.body, loop.n_captured, loop.n_carry
    captured, xs = operands[:n], operands[n + n_carry :]
    # a loop's carry keeps its dtype, even if it is a Python number
    carry = _canonical_arrays(jax, operands[n : n + n_carry], body.inputs[n : n + n_carry])

    def step(carry: Arrays, rows: Arrays) -> tuple[Arrays, Arrays]:
        results = _run_to_arrays(jax, run, body, [*captured, *carry, *rows])
        return results[:n_carry], results[n_carry:]

    if not loop.remember:
        # JAX also recomputes a step for its derivatives
        step = jax.checkpoint(step)
    if loop.stop is None:
        steps = loop.count_steps(operands)
        last, stacks = jax.lax.scan(step, carry, tuple(xs), length=steps, reverse=loop.reverse)
        return *last, *stacks
    stop = loop.stop

    def continues(carry: Arrays) -> JaxArray:
        return _run_to_arrays(jax, run, stop, [*captured, *carry])[0].reshape(()) != 0

    last = jax.lax.while_loop(continues, lambda carry: step(carry, ())[0], carry)
    return *last, *[None] * (len(body.outputs) - n_carry)


def run_branch(jax: ModuleType, run: Run, operands: list[Any], branch: Branch) -> Arrays:
    """Run the branch that the predicate chooses."""
    pred, *rest = operands

    def make_branch(code: Code) -> Callable[..., Arrays]:
        return lambda *xs: _run_to_arrays(jax, run, code, list(xs))

    is_true = jax.numpy.asarray(pred).reshape(()) != 0
    return jax.lax.cond(is_true, make_branch(branch.on_true), make_branch(branch.on_false), *rest)


def get_part(values: tuple[JaxArray | None, ...], index: int) -> JaxArray:
    """Return one of an instruction's values.

    Raises
    ------
    TypeError
        If the value is known only at the end of a ``while``.
    """
    value = values[index]
    if value is None:
        raise TypeError(
            "a gradient through a while_loop needs a value of each of its steps, and JAX must "
            "know how many there are: repeat with tg.fori_loop or tg.scan"
        )
    return value


def _run_to_arrays(jax: ModuleType, run: Run, code: Code, values: list[Any]) -> Arrays:
    """Run a program, and cast its outputs to the dtypes of the program."""
    return _canonical_arrays(jax, run(code, values), map(code.spec, code.outputs))


def _canonical_arrays(jax: ModuleType, values: Iterable[Any], likes: Iterable[Any]) -> Arrays:
    pairs = zip(values, likes, strict=True)
    return tuple([jax.numpy.asarray(x, canonical_dtype(jax, like.dtype)) for x, like in pairs])


def canonical_dtype(jax: ModuleType, dtype: DTypeLike) -> DType:
    """The dtype in which JAX holds numbers of a dtype."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.dtype(dtype)))
