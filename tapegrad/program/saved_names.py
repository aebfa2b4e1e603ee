"""The names of ops and of classes in files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.op import Op
from tapegrad.core.primitive import Primitive
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS, key_of
from tapegrad.declare.custom import CUSTOM_VJP
from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.errors import FileError
from tapegrad.ops.product import turned
from tapegrad.ops.rows import sum_segments
from tapegrad.program.control.ops import COND, LOOPS, SCAN
from tapegrad.random import generator
from tapegrad.transforms.replay import EACH, EACH_DRAWN
from tapegrad.transforms.reverse import SEED
from tapegrad.tree.structure import is_named_tuple

_SCIPY = "tapegrad.ops.scipy_special"
# an op that has other rules for complex operands, as it is for these
COMPLEX = ".complex"
DRAWS = tuple([x for x in vars(generator).values() if isinstance(x, Op)])


def _older_form(op: Any) -> Primitive:
    """The form that older files have for an op of several results: one array of all of them.

    It has vectors first, as columns, and then matrices, the first of them turned.
    """

    def join_parts(a: Any, **options: Any) -> Any:
        parts = op.forward(a, **options).values
        columns = [x[..., None] for x in parts if x.ndim < a.ndim]
        matrices = [x for x in parts if x.ndim == a.ndim]
        return np.concatenate([*columns, *map(turned, matrices[:1]), *matrices[1:]], axis=-1)

    return Primitive(op.name, join_parts, (None,), jvp=lambda *args: None, complex=True)


# ops that are not declared under a name
_OTHERS = {
    # of older files
    "segment_sum": sum_segments,
    "control.loop": SCAN,
    **{
        f"{op.name}_joined": _older_form(op) for op in OPS.values() if isinstance(op, MultiOutputOp)
    },
    "seed": SEED,
    "as_array": ASARRAY,
    **{f"random.{op.declared.__name__}": op for op in DRAWS},
    **{f"control.{op.name}": op for op in (*LOOPS, COND)},
    "control.part": PART,
}
# the last name of each
_NAMES = {op: name for name, op in _OTHERS.items()}
_UNNAMED = {
    CUSTOM_VJP: "a program that calls a custom_vjp function cannot be saved, since the function "
    "would have to be saved with it; declare it with tg.custom_op",
    **dict.fromkeys(
        (EACH, EACH_DRAWN),
        "a program has a draw, or an op of your own, that vmap calls for each example of a batch; "
        "no file holds that, and JAX cannot do it: call the function for each example",
    ),
}


def name_of_op(op: Primitive) -> str:
    """The name of an op in files; that of a user's op begins with its module and a colon.

    Raises
    ------
    TypeError
        For a `custom_vjp`, which each call makes anew, and for calls example by example.
    """
    if op in _UNNAMED:
        raise TypeError(_UNNAMED[op])
    is_of_scipy = getattr(op, "__module__", "").startswith(_SCIPY)
    name = key_of(op) or _NAMES.get(op) or (f"scipy.{op.name}" if is_of_scipy else full_name(op))
    return f"{name}{COMPLEX}" if "__real__" in vars(op) else name


def op_named(name: str, using: Iterable[Any]) -> Primitive:
    """The op with this name in a file.

    Raises
    ------
    FileError
        If there is none; the message says what to do.
    """
    real = name.removesuffix(COMPLEX)
    # not every program needs SciPy's
    known = f"{_SCIPY}:{real[6:]}" if real.startswith("scipy.") else real
    op: Any = OPS.get(real) or _OTHERS.get(real)
    op = op or _find_object(known, "op", lambda x: isinstance(x, Op), using)
    return op.complex if real != name and isinstance(op.complex, Op) else op


def class_named(name: str, using: Iterable[Any]) -> Any:
    """The class with this name in a file.

    Raises
    ------
    FileError
        If it neither belongs to the package nor was handed over.
    """
    if name.startswith("tapegrad."):
        # that of an op's results, which may be named by a module where it no longer is
        using = [*using, *[op.results for op in OPS.values() if isinstance(op, MultiOutputOp)]]
    return _find_object(name, "class", _is_node, using)


def _is_node(x: Any) -> bool:
    return isinstance(x, type) and (is_named_tuple(x) or tree.init_fields(x) is not None)


def full_name(thing: Any) -> str:
    """The name in files of what is not tapegrad's: its module and its name."""
    return f"{thing.__module__}:{thing.__qualname__}"


def _find_object(
    name: str, kind: str, is_right: Callable[[Any], bool], using: Iterable[Any]
) -> Any:
    """The package's own object of this name, or one that was handed over.

    A module of the package is imported, since few programs need it; a name of anything else imports
    nothing. What was handed over may belong to another module than the file says.
    """
    module, _, last = name.rpartition(":")
    known = [x for x in using if getattr(x, "__qualname__", "") == last]
    if module.startswith("tapegrad.") and "__" not in module:
        try:
            known = [getattr(importlib.import_module(module), last, None), *known]
        except ImportError as error:
            if not module.startswith(str(error.name)):
                raise FileError(f"it needs {name!r}: {error}") from None
    fitting = [x for x in known if is_right(x)]
    if fitting:
        return min(fitting, key=lambda x: full_name(x) != name)
    fault = f"is not tapegrad's; hand it over: tg.load_program(path, using=[{last}])"
    if not module or name.startswith("tapegrad."):
        fault = "this version of tapegrad does not know"
    raise FileError(f"it has the {kind} {name!r}, which {fault}")
