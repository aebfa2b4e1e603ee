"""Map ops and classes to their names in files, and back."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.op import Op
from tapegrad.core.primitive import Primitive
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS, declared_key
from tapegrad.declare.custom import CUSTOM_VJP
from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.errors import FileError
from tapegrad.ops.product import transpose_matrices
from tapegrad.ops.rows import sum_segments
from tapegrad.program.control.ops import COND, LOOPS, SCAN
from tapegrad.random import generator
from tapegrad.transforms.replay import EACH, EACH_DRAWN
from tapegrad.transforms.reverse import SEED
from tapegrad.tree.structure import is_named_tuple

_SCIPY = "tapegrad.ops.scipy_special"
# the suffix of an op's form for complex operands, if it has other rules for these
COMPLEX = ".complex"
DRAWS = tuple([x for x in vars(generator).values() if isinstance(x, Op)])


def _older_form(op: Any) -> Primitive:
    """Return the primitive of older files for an op of several results: it joins them in an array.

    The array has vectors first, as columns, and then matrices, the first of them transposed.
    """

    def join_parts(a: Any, **options: Any) -> Any:
        parts = op.forward(a, **options).values
        columns = [x[..., None] for x in parts if x.ndim < a.ndim]
        matrices = [x for x in parts if x.ndim == a.ndim]
        return np.concatenate(
            [*columns, *map(transpose_matrices, matrices[:1]), *matrices[1:]], axis=-1
        )

    return Primitive(op.name, join_parts, (None,), jvp=lambda *args: None, complex=True)


# ops that are not declared under a name
_OTHERS = {
    # names in older files
    "segment_sum": sum_segments,
    "control.loop": SCAN,
    **{
        f"{op.name}_joined": _older_form(op) for op in OPS.values() if isinstance(op, MultiOutputOp)
    },
    "seed": SEED,
    "as_array": ASARRAY,
    **{f"random.{op.declared.__name__}": op for op in DRAWS},
    "random.seeded": generator.make_key,
    "random.folded_in": generator.fold_in,
    **{f"control.{op.name}": op for op in (*LOOPS, COND)},
    "control.part": PART,
}
# the newest name of each op
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
    """Return the name of an op in files. A user's op has its module and a colon in front.

    Raises
    ------
    TypeError
        For a `custom_vjp`, whose op each call makes anew, and for an op that vmap calls for each
        example.
    """
    if op in _UNNAMED:
        raise TypeError(_UNNAMED[op])
    is_of_scipy = getattr(op, "__module__", "").startswith(_SCIPY)
    name = (
        declared_key(op) or _NAMES.get(op) or (f"scipy.{op.name}" if is_of_scipy else full_name(op))
    )
    return f"{name}{COMPLEX}" if "__real__" in vars(op) else name


def op_named(name: str, using: Iterable[Any]) -> Primitive:
    """Return the op with a name in a file.

    Raises
    ------
    FileError
        If there is no such op. The message says what to do.
    """
    real = name.removesuffix(COMPLEX)
    # SciPy's ops are imported when a program needs one
    known = f"{_SCIPY}:{real[6:]}" if real.startswith("scipy.") else real
    if real not in OPS and ":" not in known:
        # a few ops are declared among the functions composed of ops, which few programs need
        importlib.import_module("tapegrad.functions")
    op: Any = OPS.get(real) or _OTHERS.get(real)
    op = op or _find_object(known, "op", lambda x: isinstance(x, Op), using)
    return op.complex if real != name and isinstance(op.complex, Op) else op


def class_named(name: str, using: Iterable[Any]) -> Any:
    """Return the class with a name in a file.

    Raises
    ------
    FileError
        If the class neither belongs to the package nor is in `using`.
    """
    if name.startswith("tapegrad."):
        # the class of an op's results may have moved from the module in the name
        using = [*using, *[op.results for op in OPS.values() if isinstance(op, MultiOutputOp)]]
    return _find_object(name, "class", _is_node, using)


def _is_node(x: Any) -> bool:
    return isinstance(x, type) and (is_named_tuple(x) or tree.init_fields(x) is not None)


def full_name(thing: Any) -> str:
    """Return the name in files of an object outside of tapegrad: its module and its name."""
    return f"{thing.__module__}:{thing.__qualname__}"


def _find_object(
    name: str, kind: str, is_right: Callable[[Any], bool], using: Iterable[Any]
) -> Any:
    """Return the package's object of a name, or one of `using`.

    A module of the package is imported; no other module is. An object in `using` may belong to
    another module than its name says.
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
