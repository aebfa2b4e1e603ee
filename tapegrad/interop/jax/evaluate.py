"""`to_jax`, which converts a recorded function to a function of JAX arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Generic, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.op import Op
from tapegrad.declare.abstract import call_silently
from tapegrad.errors.functions import check_callable, keep_names, title
from tapegrad.interop.jax.run import (
    canonical_dtype,
    check_lowerings,
    make_placeholder,
    register_nodes,
    register_records,
    run,
)
from tapegrad.program.compiled import trace
from tapegrad.program.entry import CallArguments, Signature, read
from tapegrad.program.passes.loops import improve_bodies, trim_loops
from tapegrad.program.program import Program, run_passes
from tapegrad.transforms.names import as_positions

P = ParamSpec("P")
R = TypeVar("R")


@attrs.define(eq=False, repr=False, slots=False)
class OnJax(Generic[P, R]):
    """The result of `to_jax`."""

    fn: Callable[P, R]
    static_argnums: tuple[int, ...]
    ops: Mapping[Any, Callable[..., Any]]
    _jax: ModuleType
    _programs: dict[Signature, Program] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.fn)

    def __repr__(self) -> str:
        return f"<to_jax of {title(self.fn)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(to_jax, ops=self.ops), (self.fn, self.static_argnums)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        jax = self._jax
        static = {i % max(len(args), 1) for i in self.static_argnums}
        dynamic = [x for i, x in enumerate(args) if i not in static]
        register_nodes(jax, tree.flatten((dynamic, kwargs))[1])
        inputs: list[Any] = []

        def collect_input(x: object) -> object:
            example = _example_leaf(jax, x)
            if isinstance(example, np.ndarray | np.generic) or type(example) in (float, int):
                inputs.append(x)
            return example

        examples = [x if i in static else tree.map(collect_input, x) for i, x in enumerate(args)]
        named_examples = {name: tree.map(collect_input, x) for name, x in kwargs.items()}
        call = read(tuple(examples), named_examples, static)
        program = self._programs.get(call.signature)
        if program is None:
            program = self._programs[call.signature] = self._record(call, inputs)
        results = run(program, inputs, self.ops, jax)
        result: R = tree.unflatten(program.structure, results)
        return result

    def _record(self, call: CallArguments, inputs: list[Any]) -> Program:
        jax = self._jax
        try:
            program = call_silently(trace, self.fn, call, stops=True)
        except (ValueError, ArithmeticError, IndexError) as error:
            if any(isinstance(x, jax.core.Tracer) for x in inputs):
                error.add_note(
                    "to_jax recorded the function where JAX gives no values, with any numbers in "
                    "their place; if these are to blame, call it once outside jax.jit with values "
                    "of the same shapes: that recording is kept"
                )
            raise
        check_lowerings(program, self.ops, jax)
        register_nodes(jax, program.structure)
        # outside jax.jit, JAX also computes values that nothing reads
        return run_passes(program, (trim_loops, improve_bodies))


def to_jax(
    fn: Callable[P, R],
    static_argnums: int | Iterable[int] = (),
    *,
    ops: Mapping[Any, Callable[..., Any]] | None = None,
    records: Iterable[type] = (),
) -> OnJax[P, R]:
    """Convert a function to a function of JAX arrays, for GPUs, TPUs and many machines.

    The function is recorded for each signature, as by `compile`, and the recording is
    evaluated with ``jax.numpy``. The result is a pure function: ``jax.jit``, ``jax.vmap``,
    ``jax.grad``, shardings and ``jax.export`` apply to it. Gradients that tapegrad takes, steps of
    its optimizers and draws with its keys are part of the recording. ``jax.grad`` agrees with
    `grad`; with respect to complex numbers it is the conjugate, as everywhere in JAX, so that ``z -
    rate * jnp.conj(g)`` descends.

    Parameters
    ----------
    fn
        A pure function of trees, as `compile` takes it.
    static_argnums
        Positions of arguments whose values are fixed in the recording; see `compile`.
    ops
        For each op of your own (`custom_op`), a function that computes it with ``jax.numpy``. Its
        arguments are the operands, and the options by name.
    records
        Classes of frozen records (attrs classes, dataclasses) in arguments or results, to register
        as JAX pytrees. tapegrad's own classes are registered, and so are classes in the arguments
        of a call outside ``jax.jit``.

    Returns
    -------
    A function of the same arguments: trees of NumPy or JAX arrays and of Python numbers. It
    returns the same tree, with JAX arrays for leaves. A key draws the same numbers as in NumPy. JAX
    computes keys, uniform numbers, truth values and dropout; other draws call NumPy on the host
    (``jax.pure_callback``), which an exported function cannot do.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        When called: for an op that has no form in JAX, with its name; and for values of float64 or
        uint64 (keys) that JAX would hold in 32 bits, unless ``jax.config.update("jax_enable_x64",
        True)``. int64 becomes int32 without that option, as everywhere in JAX.
    TraceError
        When called: under the conditions of `compile`.

    Notes
    -----
    JAX does not raise where NumPy does at run time, such as for an index out of bounds or a
    singular matrix: see "Sharp bits" in its documentation.

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
        for name in ("linalg", "special", "signal"):
            importlib.import_module(f"jax.scipy.{name}")
    except ImportError as error:
        raise ImportError("to_jax needs JAX: pip install 'tapegrad[jax]'") from error
    numbers = as_positions("static_argnums", static_argnums)
    user_ops = dict(ops or {})
    for op in user_ops:
        if not isinstance(op, Op):
            raise TypeError(f"ops maps ops to functions of JAX; {op!r} is no op")
    register_records(jax, records)
    return OnJax(fn, (numbers,) if isinstance(numbers, int) else numbers, user_ops, jax)


# --- arguments ------------------------------------------------------------------------------


def _example_leaf(jax: ModuleType, x: Any) -> object:
    """Make a leaf to record with: a NumPy array of a JAX array's shape and dtype, or the leaf."""
    if isinstance(x, jax.Array):
        if x.weak_type and x.ndim == 0 and x.dtype.kind in "fi":
            # a Python number that jax.jit took
            return 1.0 if x.dtype.kind == "f" else 1
        if isinstance(x, jax.core.Tracer):
            return make_placeholder(x.shape, np.dtype(x.dtype))
        return np.asarray(x)
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "i":
        return np.asarray(x, canonical_dtype(jax, x.dtype))
    return x
