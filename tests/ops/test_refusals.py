"""Bad arguments: what NumPy refuses is refused here too, recorded or not, in NumPy's terms."""

from collections.abc import Callable, Iterator
from copy import copy
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from depth import examples
from op_calls import sample_calls
from op_cases import CASES, TABLE

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.declare import declaration
from tapegrad.domain import Call
from tapegrad.errors import TraceError
from tapegrad.types import Array

# what is put in the place of each argument in turn: each is right for some
ODD = {
    "0": 0,
    "0.0": 0.0,
    "-1": -1,
    "7": 7,
    "-7": -7,
    "huge": -(10**30),
    "True": True,
    "False": False,
    "1.5": 1.5,
    "text": "a",
    "list": [0],
    "pair": (0, 0),
    "0-d": np.array(2.5),
    "0-d zero": np.array(0.0),
    "1-d": np.arange(3.0),
    "3-d": np.ones((2, 3, 4)),
    "integers": np.array([0, 1]),
    "unordered": np.array([2.0, 0.0, 1.0]),
    "booleans": np.array([True, False]),
}
NO_INTEGER = ("True", "False", "huge", "text", "pair", "1.5", "0.0", "0-d", "0-d zero")
# NumPy's functions by the ops that answer for them; methods of ufuncs have tests of their own
FUNCTIONS = {
    name: function
    for function, ours in ANSWERS.items()
    for name in CASES
    # not the operators of Python
    if ours is TABLE[name] and getattr(function, "__module__", "") != "_operator"
}
# in which the wrong kind of value has no other meaning that could be taken in silence
LENIENT = {
    **dict.fromkeys(product(("norm", "vector_norm"), ["ord=huge"]), "an order may be any number"),
    **dict.fromkeys(product(["ediff1d"], ["to_begin=huge", "to_end=huge"]), "a float in both"),
    **dict.fromkeys(product(("var", "std"), ["ddof=huge", "correction=huge"]), "as a float may be"),
    ("astype", "a"): "takes lists, as other functions do",
    ("clip", "a_min"): "one bound alone is no mistake, as with min and max",
    ("clip", "a_max"): "one bound alone is no mistake, as with min and max",
    ("meshgrid", "copy"): "every result is new anyway",
    ("nan_to_num", "copy"): "every result is new anyway",
} | {
    ("cross", name): "NumPy 2.5 gave up vectors with two components"
    for name in declaration(TABLE["cross"]).signature.names
}


def odd_calls(name: str, call: Call) -> Iterator[tuple[str, Call]]:
    """The call with one argument replaced, added or left out.

    Each has arrays of its own, since some functions of NumPy write to theirs.
    """
    signature = declaration(TABLE[name]).signature
    positional = signature.names[: signature.n_positional]
    for what, odd in ODD.items():
        for i in range(len(call.args)):
            label = positional[i] if i < len(positional) else f"operand {i}"
            if what == "huge" and isinstance(call.args[i], np.ndarray):
                continue  # an array of objects in NumPy
            yield (
                f"{label}={what}",
                Call((*call.args[:i], copy(odd), *call.args[i + 1 :]), call.kwargs),
            )
        for parameter in signature.names:
            if parameter not in positional[: len(call.args)]:
                yield f"{parameter}={what}", Call(call.args, {**call.kwargs, parameter: copy(odd)})
    yield "nonsense", Call(call.args, {**call.kwargs, "nonsense": 1})
    yield "too many", Call((*call.args, *range(9)), call.kwargs)
    yield "none", Call((), call.kwargs)


def refusal(f: Callable[..., Any], call: Call) -> Exception | None:
    """What a call raises."""
    try:
        f(*call.args, **call.kwargs)
    except Exception as error:
        return error
    return None


def recorded(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its floating arrays on a tape, at any depth."""
    return lambda *args, **kwargs: tg.record(lambda args: f(*args, **kwargs))(args)


def is_floating(x: Array | float | str) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its floating arrays as inputs of a program, whose values are not known."""

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tg.tree.flatten(args)

        def program(inputs: list[Any]) -> Any:
            rest = iter(inputs)
            args = tg.tree.unflatten(
                structure, [next(rest) if is_floating(x) else x for x in leaves]
            )
            return f(*args, **kwargs)

        return tg.compile(program)([x for x in leaves if is_floating(x)])

    return call


def is_wrong_whatever_the_values(f: Callable[..., Any], call: Call) -> bool:
    """Whether a call is refused for more than the values of its arrays."""
    args = tg.tree.map(lambda x: np.ones_like(x) if is_floating(x) else x, call.args)
    return refusal(f, Call(args, call.kwargs)) is not None


def fits(error: Exception | None, theirs: Exception, label: str) -> bool:
    """Whether an error is what NumPy's error promises those who catch it."""
    if isinstance(error, TraceError):
        return True  # an input of a program as an option
    if isinstance(theirs, ArithmeticError) and isinstance(error, ArithmeticError):
        return True
    for kind in (np.exceptions.AxisError, np.linalg.LinAlgError, ZeroDivisionError):
        # text, an axis given twice and one that is no whole number are wrong in more than one way
        if isinstance(theirs, kind) and not label.endswith(NO_INTEGER):
            return isinstance(error, kind)
    # NumPy now says TypeError, now ValueError for the same mistake
    return isinstance(error, TypeError | ValueError | IndexError | OverflowError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_numpy_refuses_is_refused(name: str) -> None:
    numpys = FUNCTIONS[name]
    wrong = set()
    for i, drawn in enumerate(sample_calls(name, examples("op, called wrongly"))):
        if refusal(numpys, drawn) is not None:
            continue  # that of an older NumPy, which has less
        # one way in four, and other ones of the next call: more combinations in the same time
        for label, call in islice(odd_calls(name, drawn), i % 4, None, 4):
            theirs = refusal(numpys, call)
            # NumPy fails at an attribute where it did not think of a mistake
            if theirs is None or isinstance(theirs, AttributeError | KeyError):
                continue
            if {(name, label), (name, label.partition("=")[0])} & LENIENT.keys():
                continue
            ways = {"called": TABLE[name], "recorded": recorded(TABLE[name])}
            if i % 5 == 0 and is_wrong_whatever_the_values(numpys, call):
                ways["compiled"] = compiled(TABLE[name])
            for way, f in ways.items():
                ours = refusal(f, call)
                if not fits(ours, theirs, label):
                    wrong.add(f"{way} {call} with {label}: {ours!r} for {theirs!r}")
    assert not wrong, "\n".join(sorted(wrong))


class Quantity(np.ndarray[Any, Any]):
    """An array with more than its numbers."""

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        return NotImplemented


# arrays that hold more than real numbers, or other things
UNREAL: dict[str, Any] = {
    "masked": lambda x: np.ma.array(x, mask=x > 0),
    "matrix": np.asmatrix,
    "complex": lambda x: x * 1j,
    "object": lambda x: x.astype(object),
    "quantity": lambda x: x.view(Quantity),
    "structured": lambda x: x.astype([("a", float)]),
    "times": lambda x: np.asarray(x * 8).astype("m8[s]"),
    "text": lambda x: x.astype("U8"),
    "a complex number": lambda x: x.flat[0] * 1j,
    "a list of it": lambda x: [x.flat[0] * 1j],
    # NumPy would make arrays of objects of these
    "a dict": lambda x: {"a": x},
    "a set": lambda x: {x.flat[0]},
    "a generator": lambda x: (part for part in x.flat),
    "a list with None": lambda x: [x.flat[0], None],
}


COMPLEX = {"complex", "a complex number", "a list of it"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TABLE)
def test_what_a_tape_refuses_is_refused_without_one(name: str) -> None:
    for call in sample_calls(name, examples("op, called wrongly") // 10):
        leaves, structure = tg.tree.flatten((call.args, dict(call.kwargs)))
        for i, (kind, make) in product(range(len(leaves)), UNREAL.items()):
            x = leaves[i]
            if not is_floating(x) or (kind == "matrix" and x.ndim != 2) or not x.size:
                continue
            if kind in COMPLEX and declaration(TABLE[name]).complex:
                continue
            args, kwargs = tg.tree.unflatten(structure, [*leaves[:i], make(x), *leaves[i + 1 :]])
            for f in (TABLE[name], recorded(TABLE[name])):
                with pytest.raises(TypeError, match=r"real numbers|not supported|is needed"):
                    f(*args, **kwargs)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like", "full_like"])
@pytest.mark.parametrize("x", [{"a": np.ones(2)}, {1}, None, [1.0, None], object(), np.array([{}])])
def test_no_array_is_like_an_object(name: str, x: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: an operand is .*(is needed|real numbers)"):
        getattr(tg, name)(x, *([1.0] if name == "full_like" else []))


def test_arrays_of_other_classes_that_are_arrays_are_taken(tmp_path: Path) -> None:
    class Array(np.ndarray[Any, Any]):
        pass

    on_disk = np.memmap(tmp_path / "x", float, "w+", shape=(2,))
    on_disk[:] = [1.0, 2.0]
    for x in (np.ones(2).view(Array), on_disk, np.array([1.0, 2.0], ">f8"), np.array([1, 2], "i1")):
        assert tg.sum(x) == x.sum() == tg.vector_norm(x, ord=1)
    assert tg.add(np.float32(1), np.uint8(2)) == 3


def test_an_option_that_is_an_argument_of_a_compiled_function_is_told_what_compiling_knows():
    with pytest.raises(
        TraceError, match=r"axis of sum, an option, while compiling.*static_argnums"
    ):
        tg.compile(lambda x, axis: tg.sum(x, axis=axis))(np.ones((2, 3)), 1)


M = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
NO_NUMBERS: dict[str, Any] = {
    "cotangent": lambda x: tg.vjp(lambda t: t * 2, np.ones(3))[1](x),
    "cotangent in a sweep": lambda x: tg.reverse_sweep(
        *tg.Tape().parameter(np.ones(3)), cotangent=x
    ),
    "tangent": lambda x: tg.jvp(lambda t: t * 2, (np.ones(3),), (x,)),
    "tangent of a line": lambda x: tg.linearize(lambda t: t * 2, np.ones(3))[1](x),
    "tangent of a gradient": lambda x: tg.hvp(lambda t: tg.sum(t**3), (np.ones(3),), (x,)),
    "primal": lambda x: tg.jvp(lambda t: t * 2, (x,), (np.ones(3),)),
    "parameter": lambda x: tg.grad(tg.sum)(x),
    "rows of a scan": lambda x: tg.scan(lambda c, row: (c + row, c), 0.0, x),
    "leaf of a vector": lambda x: tg.tree.ravel({"w": x}),
    "vector": lambda x: tg.tree.ravel({"w": np.ones(3)})[1](x),
    "batch of a map": lambda x: tg.vmap(lambda t: t * 2)(x),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
@pytest.mark.parametrize("x", [M, np.ones(3) * 1j, np.ones(3).astype(object)])
def test_what_is_given_to_a_transform_is_real(name: str, x: Any) -> None:
    NO_NUMBERS[name](np.ones(3))
    taking = ("primal", "leaf of a vector", "batch of a map", "rows of a scan")
    if x.dtype.kind == "c" and name in taking:
        NO_NUMBERS[name](x)
        return
    with pytest.raises(TypeError, match=r"masked|real numbers|complex|object"):
        NO_NUMBERS[name](x)


def first(g: Any, y: Any, x: Any) -> tuple[Any, ...]:
    return (g,)


# each of a function of one array that returns `x`, beside a Tensor where there may be more results
RESULTS: dict[str, Any] = {
    "compile": lambda x: tg.compile(lambda w: {"w": w, "x": x})(1.0),
    "record": lambda x: tg.record(lambda w: (w, x))(1.0),
    "aux": lambda x: tg.value_and_grad(lambda w: (w * 2, {"x": x}), has_aux=True)(1.0),
    "vjp": lambda x: tg.vjp(lambda w: (w, x), 1.0),
    "jvp": lambda x: tg.jvp(lambda w: (w, x), (1.0,), (1.0,)),
    "linearize": lambda x: tg.linearize(lambda w: (w, x), 1.0),
    "inside": lambda x: tg.grad(lambda w: w * tg.vjp(lambda v: (v, x), w)[0][0])(1.0),
    "vmap": lambda x: tg.vmap(lambda w: (w, x))(np.ones(2)),
    "branch": lambda x: tg.cond(True, lambda w: x, lambda w: w, 1.0),
    "recorded branch": lambda x: tg.grad(
        lambda w: tg.sum(tg.cond(w > 0, lambda w: x, lambda w: x, w))
    )(1.0),
    "checkpoint": lambda x: tg.checkpoint(lambda w: (w, x))(1.0),
    "recorded checkpoint": lambda x: tg.record(tg.checkpoint(lambda w: (w, x)))(1.0),
    "rows of a scan": lambda x: tg.scan(lambda c, row: (c, x), 0.0, np.ones(2)),
    "recorded rows": lambda x: tg.record(lambda w: tg.scan(lambda c, _: (c, x), w, length=2))(1.0),
    "carry": lambda x: tg.fori_loop(0, 2, lambda i, c: x, np.ones((1, 3))),
    "while": lambda x: tg.while_loop(lambda c: np.sum(c) > 3, lambda c: x, np.full((1, 3), 2.0)),
    "custom_vjp": lambda x: tg.custom_vjp(first)(lambda w: x)(1.0),
    "recorded custom_vjp": lambda x: tg.record(tg.custom_vjp(first)(lambda w: (w, x)))(1.0),
    "its cotangent": lambda x: tg.vjp(
        tg.custom_vjp(lambda g, y, w: (x,))(lambda w: w * 1), np.ones((1, 3))
    )[1](np.ones((1, 3))),
    "custom_op": lambda x: tg.custom_op(vjps=(None,))(lambda w: x)(1.0),
    "its rule": lambda x: tg.vjp(
        tg.custom_op(vjps=(lambda g, y, w: x,))(lambda w: w * 1), np.ones((1, 3))
    )[1](np.ones((1, 3))),
    "root": lambda x: tg.implicit_root(lambda r, w: r - w, lambda w: x)(np.ones((1, 3))),
}


# each of an index of one axis or more
INDEXED: dict[str, Any] = {
    "taken": lambda i: tg.record(lambda w: w[i])(np.ones((3, 3))),
    "among others": lambda i: tg.record(lambda w: w[:, i])(np.ones((3, 3))),
    "in a list": lambda i: tg.record(lambda w: w[[i]])(np.ones((3, 3))),
    "end": lambda i: tg.record(lambda w: w[: i.reshape(())])(np.ones(3)),
    "added": lambda i: tg.at(np.ones((3, 3)))[i].add(1.0),
    "set": lambda i: tg.record(lambda w: tg.at(w)[i].set(1.0))(np.ones((3, 3))),
    "compiled": lambda i: tg.compile(lambda w: w[i])(np.ones((3, 3))),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RESULTS | INDEXED)
def test_a_result_and_an_index_lose_no_mask_and_no_unit(name: str) -> None:
    call = (RESULTS | INDEXED)[name]
    ones = np.ones((1, 1), int) if name in INDEXED else np.ones((1, 3))
    call(ones)
    for kind in ("masked", "matrix", "quantity"):
        with pytest.raises(TypeError, match=r"not supported|is needed|tree of floating"):
            call(UNREAL[kind](ones))


def test_masks_are_no_rows_and_texts_are_no_truth() -> None:
    with pytest.raises(TypeError, match=r"arrays.x is masked"):
        tg.data.batches(0, {"x": M}, 2)
    for pred in ("False", None, 1j):
        with pytest.raises(TypeError, match="truth value"):
            tg.cond(pred, lambda x: x, lambda x: -x, 1.0)
