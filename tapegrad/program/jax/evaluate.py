"""to_jax: a recorded function as a function of JAX arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import as_positions, check_callable, keep_names, title
from tapegrad.core.op import Op
from tapegrad.program.compiled import trace
from tapegrad.program.entry import Signature, read
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.jax.pytrees import register
from tapegrad.program.jax.table import TABLE, Lowering
from tapegrad.program.naming import name_of_op
from tapegrad.program.program import Program

P = ParamSpec("P")
R = TypeVar("R")


@attrs.frozen
class Result:
    """What JAX is to make of an instruction: its shape, and its dtype as JAX has it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class OnJax(Generic[P, R]):
    """What `to_jax` returns."""

    def __init__(
        self,
        fn: Callable[P, R],
        static_argnums: tuple[int, ...],
        ops: Mapping[Any, Callable[..., Any]],
        jax: Any,
    ) -> None:
        self.fn = fn
        self.static_argnums = static_argnums
        self.ops = ops
        self._jax = jax
        self._programs: dict[Signature, Program] = {}
        keep_names(self, fn)

    def __repr__(self) -> str:
        return f"<to_jax of {title(self.fn)}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        jax = self._jax
        static = {i % max(len(args), 1) for i in self.static_argnums}
        given = [x for i, x in enumerate(args) if i not in static]
        for part in (*given, *kwargs.values()):
            register(jax, tree.flatten(part)[1])
        taken: list[Any] = []

        def like(x: Any) -> Any:
            made = _like(jax, x)
            if isinstance(made, np.ndarray | np.generic) or type(made) in (float, int):
                taken.append(x)
            return made

        alike = tuple([x if i in static else tree.map(like, x) for i, x in enumerate(args)])
        named = {name: tree.map(like, x) for name, x in kwargs.items()}
        signature = read(alike, named, static).signature
        program = self._programs.get(signature)
        if program is None:
            with np.errstate(all="ignore"):
                program = trace(self.fn, alike, named, static, stops=True)
            _check(program, self.ops, jax)
            register(jax, program.structure)
            self._programs[signature] = program
        results = run(program, taken, self.ops, jax)
        made: R = tree.unflatten(program.structure, results)
        return made


def to_jax(
    fn: Callable[P, R],
    static_argnums: int | Iterable[int] = (),
    *,
    ops: Mapping[Any, Callable[..., Any]] | None = None,
    records: Iterable[type] = (),
) -> OnJax[P, R]:
    """A function as one of JAX arrays: for GPUs and TPUs, and for many machines.

    The function is recorded for each signature, as by `compile`, and what was recorded is
    evaluated with ``jax.numpy``. The result is a pure function: ``jax.jit``, ``jax.vmap``,
    ``jax.grad``, shardings and ``jax.export`` apply to it. Gradients that tapegrad takes,
    steps of its optimizers and draws with its keys are part of what is recorded; ``jax.grad``
    agrees with `grad`.

    Parameters
    ----------
    fn
        A pure function of trees, as `compile` takes it.
    static_argnums
        Positions of arguments whose value the recording is made for; see `compile`.
    ops
        For ops of your own (`custom_op`), the function that does the same with
        ``jax.numpy``, called with the operands and with the options by name.
    records
        Classes of frozen records (attrs classes, dataclasses) that arguments or results
        have for nodes, to be registered as pytrees of JAX. Those of tapegrad are, and those
        that a call outside ``jax.jit`` meets.

    Returns
    -------
    A function of the same arguments: trees of arrays of NumPy or JAX and of Python numbers.
    It returns the same tree, with JAX's arrays for leaves. A key gives the numbers that it
    gives in NumPy. Keys, uniform numbers, truth values and dropout are computed by JAX; for
    the other draws it calls NumPy on the host (``jax.pure_callback``), which an exported
    function cannot do.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        When called: for an op that has no form in JAX, by its name; and for values of
        float64 or uint64 (keys) where JAX would hold them in 32 bits, unless
        ``jax.config.update("jax_enable_x64", True)``. int64 becomes int32 there, as it does
        everywhere in JAX.
    TraceError
        When called: as by `compile`.

    Notes
    -----
    What NumPy refuses as it runs, such as an index out of bounds or a singular matrix, JAX
    does not: see "Sharp bits" in its documentation.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import jax  # doctest: +SKIP
    >>> jax.config.update("jax_enable_x64", True)  # doctest: +SKIP
    >>> step = jax.jit(tg.to_jax(tg.value_and_grad(lambda x: tg.sum(x**2))))  # doctest: +SKIP
    >>> step(np.arange(3.0))  # doctest: +SKIP
    (Array(5., dtype=float64), Array([0., 2., 4.], dtype=float64))
    """
    check_callable(fn)
    try:
        jax = importlib.import_module("jax")
        importlib.import_module("jax.scipy.special")
    except ImportError as error:
        raise ImportError("to_jax needs JAX: pip install 'tapegrad[jax]'") from error
    numbers = as_positions("static_argnums", static_argnums)
    given = dict(ops or {})
    for op in given:
        if not isinstance(op, Op):
            raise TypeError(f"ops maps ops to functions of JAX; {op!r} is no op")
    register(jax, None, records)
    return OnJax(fn, (numbers,) if isinstance(numbers, int) else numbers, given, jax)


# --- arguments ------------------------------------------------------------------------------


def _like(jax: Any, x: Any) -> Any:
    """A NumPy array of the shape and dtype of one of JAX's, to record with; else the leaf."""
    if isinstance(x, jax.Array):
        if x.weak_type and x.ndim == 0 and x.dtype.kind in "fi":
            # a Python number that jax.jit took
            return 1.0 if x.dtype.kind == "f" else 1
        if isinstance(x, jax.core.Tracer):
            return _stand_in(x.shape, np.dtype(x.dtype))
        return np.asarray(x)
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "i":
        return np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))
    return x


def _stand_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """A value to record with where there is none: one at which most ops are defined."""
    if dtype.kind != "f":
        return np.zeros(shape, dtype)
    x = np.full(shape, 0.5, dtype)
    if len(shape) > 1 and shape[-1] == shape[-2]:
        # a matrix with an inverse, distinct eigenvalues and a Cholesky factor
        x[...] = np.diag(np.arange(1, shape[-1] + 1)).astype(dtype)
    return x


# --- the run --------------------------------------------------------------------------------


def run(
    program: Code, values: Iterable[Any], ops: Mapping[Any, Callable[..., Any]], jax: Any
) -> list[Any]:
    """A program's outputs, for inputs of JAX."""
    known: dict[Ref, Any] = {}
    for i, (x, given) in enumerate(zip(values, program.inputs, strict=True)):
        known[Ref("input", i)] = x if given.number else jax.numpy.asarray(x, _held(jax, given))
    for i, constant in enumerate(program.constants):
        known[Ref("constant", i)] = constant.value

    def of(x: Any) -> Any:
        return known[x] if type(x) is Ref else x

    for i, instruction in enumerate(program.instructions):
        operands = [of(x) for x in instruction.operands]
        known[Ref("instruction", i)] = _made(program, instruction, operands, ops, jax)
    return [jax.numpy.asarray(of(x)) if type(x) is Ref else x for x in program.outputs]


def _made(
    program: Code,
    instruction: Instruction,
    operands: list[Any],
    ops: Mapping[Any, Callable[..., Any]],
    jax: Any,
) -> Any:
    """What an instruction gives, with NumPy's promotion."""
    op, options = instruction.op, instruction.options
    out = Result(instruction.shape, _held(jax, instruction))
    forward = op.forward
    if op in ops:
        y = ops[op](*map(jax.numpy.asarray, operands), **options)
    elif isinstance(forward, np.ufunc):
        if forward.signature is None:
            likes = [
                program.like(x).dtype if type(x) is Ref else type(x) for x in instruction.operands
            ]
            kinds = forward.resolve_dtypes((*likes, None))
        else:
            kinds = (instruction.dtype,) * len(operands)
        cast = [
            jax.numpy.asarray(x, jax.dtypes.canonicalize_dtype(kind))
            for x, kind in zip(operands, kinds, strict=False)
        ]
        y = getattr(jax.numpy, forward.__name__)(*cast)
    else:
        lowered = _lowering(instruction)
        assert lowered is not None
        # Python numbers, and masks that JAX must know, stay what they are
        arrays = [
            x
            if type(x) in (int, float, bool) or getattr(x, "dtype", None) == np.bool
            else jax.numpy.asarray(x)
            for x in operands
        ]
        y = lowered(jax, out, *arrays, **options)
    y = jax.numpy.asarray(y, out.dtype)
    assert y.shape == out.shape, f"{op.name} gives {y.shape} on JAX, not {out.shape}"
    return y


def _lowering(instruction: Instruction) -> Lowering | None:
    try:
        return TABLE.get(name_of_op(instruction.op))
    except TypeError:
        return None


def _held(jax: Any, made: Any) -> np.dtype[Any]:
    """The dtype that JAX has for that of an input or an instruction."""
    return np.dtype(jax.dtypes.canonicalize_dtype(made.dtype))


def _check(program: Code, ops: Mapping[Any, Any], jax: Any) -> None:
    """Raise for an op without a form in JAX, and for a dtype that JAX would narrow."""
    for instruction in program.instructions:
        op = instruction.op
        if op in ops or isinstance(op.forward, np.ufunc) or _lowering(instruction) is not None:
            continue
        raise TypeError(
            f"{program.label} has the op {op.name}, which has no form in JAX; hand one over, "
            "tg.to_jax(fn, ops={op: function}), or call the function through tg.bridges.jax"
        )
    for i, made in enumerate((*program.inputs, *program.constants, *program.instructions)):
        dtype = made.dtype
        if dtype.kind not in "fu" or dtype.itemsize <= 4 or getattr(made, "number", None):
            continue
        if np.dtype(jax.dtypes.canonicalize_dtype(dtype)) != dtype:
            where = [*[x.path for x in program.inputs]][i : i + 1]
            named = where[0] if where else f"a value of {_label_of(made)}"
            raise TypeError(
                f"{program.label}: {named} is {dtype}, which JAX would hold in 32 bits; call "
                'jax.config.update("jax_enable_x64", True) first, or use float32 throughout'
            )


def _label_of(made: Any) -> str:
    """What a message calls a constant or an instruction."""
    return made.op.name if isinstance(made, Instruction) else "a constant"
