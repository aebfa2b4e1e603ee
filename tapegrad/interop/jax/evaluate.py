"""to_jax: a recorded function as a function of JAX arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.op import Op
from tapegrad.declare.abstract import call_silently
from tapegrad.errors.functions import check_callable, keep_names, title
from tapegrad.interop.jax.run import check, held, register, register_records, run, stand_in
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
    _jax: Any
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
        register(jax, tree.flatten((dynamic, kwargs))[1])
        taken: list[Any] = []

        def like(x: Any) -> Any:
            result = _like(jax, x)
            if isinstance(result, np.ndarray | np.generic) or type(result) in (float, int):
                taken.append(x)
            return result

        alike = tuple([x if i in static else tree.map(like, x) for i, x in enumerate(args)])
        named = {name: tree.map(like, x) for name, x in kwargs.items()}
        call = read(alike, named, static)
        program = self._programs.get(call.signature)
        if program is None:
            program = self._programs[call.signature] = self._recorded(call, taken)
        results = run(program, taken, self.ops, jax)
        result: R = tree.unflatten(program.structure, results)
        return result

    def _recorded(self, call: CallArguments, taken: list[Any]) -> Program:
        jax = self._jax
        try:
            program = call_silently(trace, self.fn, call, stops=True)
        except (ValueError, ArithmeticError, IndexError) as error:
            if any(isinstance(x, jax.core.Tracer) for x in taken):
                error.add_note(
                    "to_jax recorded the function where JAX gives no values, with any numbers in "
                    "their place; if these are to blame, call it once outside jax.jit with values "
                    "of the same shapes: that recording is kept"
                )
            raise
        check(program, self.ops, jax)
        register(jax, program.structure)
        # outside jax.jit, JAX computes what nobody reads too
        return run_passes(program, (trim_loops, improve_bodies))


def to_jax(
    fn: Callable[P, R],
    static_argnums: int | Iterable[int] = (),
    *,
    ops: Mapping[Any, Callable[..., Any]] | None = None,
    records: Iterable[type] = (),
) -> OnJax[P, R]:
    """Convert a function to one of JAX arrays, for GPUs, TPUs and many machines.

    The function is recorded for each signature, as by `compile`, and the recording is
    evaluated with ``jax.numpy``. The result is a pure function: ``jax.jit``, ``jax.vmap``,
    ``jax.grad``, shardings and ``jax.export`` apply to it. Gradients that tapegrad takes,
    steps of its optimizers and draws with its keys are part of the recording; ``jax.grad``
    agrees with `grad`; by complex numbers it is the conjugate, as everywhere in JAX, so that
    ``z - rate * jnp.conj(g)`` descends.

    Parameters
    ----------
    fn
        A pure function of trees, as `compile` takes it.
    static_argnums
        Positions of arguments whose values are fixed in the recording; see `compile`.
    ops
        For ops of your own (`custom_op`), a function that does the same with ``jax.numpy``. It is
        called with the operands, and with the options by name.
    records
        Classes of frozen records (attrs classes, dataclasses) that are nodes of arguments or
        results, to be registered as JAX pytrees. Those of tapegrad are registered, and those
        in the arguments of a call outside ``jax.jit``.

    Returns
    -------
    A function of the same arguments: trees of NumPy or JAX arrays and of Python numbers. It
    returns the same tree, with JAX arrays for leaves. A key draws the same numbers as in
    NumPy. Keys, uniform numbers, truth values and dropout are computed by JAX; for other draws
    it calls NumPy on the host (``jax.pure_callback``), which an exported function cannot do.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        When called: for an op that has no form in JAX, with its name; and for values of
        float64 or uint64 (keys) where JAX would hold them in 32 bits, unless
        ``jax.config.update("jax_enable_x64", True)``. int64 becomes int32 there, as it does
        everywhere in JAX.
    TraceError
        When called: as by `compile`.

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
    handed = dict(ops or {})
    for op in handed:
        if not isinstance(op, Op):
            raise TypeError(f"ops maps ops to functions of JAX; {op!r} is no op")
    register_records(jax, records)
    return OnJax(fn, (numbers,) if isinstance(numbers, int) else numbers, handed, jax)


# --- arguments ------------------------------------------------------------------------------


def _like(jax: Any, x: Any) -> Any:
    """For a JAX array, a NumPy array of its shape and dtype to record with; else the leaf."""
    if isinstance(x, jax.Array):
        if x.weak_type and x.ndim == 0 and x.dtype.kind in "fi":
            # a Python number that jax.jit took
            return 1.0 if x.dtype.kind == "f" else 1
        if isinstance(x, jax.core.Tracer):
            return stand_in(x.shape, np.dtype(x.dtype))
        return np.asarray(x)
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "i":
        return np.asarray(x, held(jax, x.dtype))
    return x
