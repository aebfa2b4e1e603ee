"""What every function of `tapegrad.scipy` is held to."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from alike import same
from depth import THOROUGH

import tapegrad as tg
from tapegrad import tree
from tapegrad.testing import check_batched, check_grads, check_properties
from tapegrad.types import Array

# what `prove` leaves out where another case has it: higher orders, programs and batches
FIRST: dict[str, Any] = {"order": 1, "compiled": False, "batched": False}


def prove(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    args: Sequence[Any],
    rtol: float = 1e-13,
    order: int = 2,
    modes: Sequence[str] = ("reverse", "forward"),
    compiled: bool = True,
    batched: bool = True,
    single: bool = True,
    proved: bool = True,
) -> None:
    """Check values against SciPy's, and derivatives as `tapegrad.testing` does.

    `ours` and `theirs` are the function by arguments that are trees, with SciPy's options bound.
    Values are compared on plain arrays, on Tensors and in float32 (`single`); passes if `proved`.
    """
    same(ours(*args), theirs(*args), rtol)
    same(tg.record(ours)(*args)[0], theirs(*args), rtol)
    if single:
        narrow = tree.map(_single, tuple(args))
        same(tg.record(ours)(*narrow)[0], theirs(*narrow), 1e-5)
    check_grads(ours, args, order=order, modes=modes)
    check_properties(ours, args, compiled=compiled)
    if compiled:
        saved_and_loaded(ours, args)
    if batched:
        check_batched(ours, args)
    if compiled and proved and THOROUGH:
        # the check of the passes finds no fault
        tg.compile(lambda *args: tg.vjp(ours, *args)[1](ours(*args)), check=True)(*args)


def prove_call(modules: Sequence[Any], call: tuple[Any, ...], whole: bool, rtol: float) -> None:
    """Prove a row of a table of calls: a name, options and arrays.

    A function of a module and of the arrays may stand for the name. A row that is not `whole` leaves
    some checks to other rows.
    """
    name, options, *args = call

    def bind_options(module: ModuleType) -> Callable[..., Any]:
        fn = partial(name, module) if callable(name) else getattr(module, name)
        return partial(fn, **options)

    whole = whole or THOROUGH
    checks: dict[str, Any] = {"order": 1 + whole, "compiled": whole, "batched": whole}
    prove(*map(bind_options, modules), args, rtol=rtol, **checks)


def saved_and_loaded(fn: Callable[..., Any], args: Sequence[Any]) -> None:
    """Check that the program of a function, read from a file, computes the same.

    A program that holds an object, such as the pattern of a sparse array, is refused by name.
    """
    step = tg.compile(fn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.npz"
        try:
            step.program(*args).save(path)
        except TypeError as error:
            if "which a program's file cannot hold" not in str(error):
                raise
            return
        loaded = tg.load_program(path)
    same(loaded(*args), step(*args), 1e-15)


def _single(x: Array | float) -> Array | float:
    kinds = {"f": np.float32, "c": np.complex64}
    return x.astype(kinds[x.dtype.kind]) if getattr(x, "dtype", np.dtype(int)).kind in kinds else x


def refuses_alike(ours: Callable[..., Any], theirs: Callable[..., Any], *args: Any) -> None:
    """Check that arguments which SciPy refuses raise an error of its class, or of a base of that."""
    got, wanted = (_error(fn, args) for fn in (ours, theirs))
    assert wanted is not None
    bases = [x for x in type(wanted).__mro__ if x not in (Exception, BaseException, object)]
    assert isinstance(got, type(wanted)) or type(got) in bases, (got, wanted)


def _error(fn: Callable[..., Any], args: Sequence[Any]) -> Exception | None:
    try:
        fn(*args)
    except Exception as error:
        return error
    return None
