"""A function owns its arguments: it may change their containers, and nothing else changes.

A body that changes its dicts, lists and records in any drawn way gives what one gives that copies
them first, in each transform and each loop, and the caller's trees stay as they are.
"""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest
from alike import same_bits
from depth import depth
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.types import Array, PyTree

Fn = Callable[[Any], Any]


@attrs.define
class Box:
    value: Any


@attrs.frozen
class Held:
    parts: Any
    more: Any = None


# --- trees, and what becomes of them ------------------------------------------------------


def rebuilt(x: PyTree, leaf: Fn = lambda x: x) -> PyTree:
    """A tree with other leaves in containers of its own."""
    return tg.tree.map(leaf, x)


def nodes(x: Any) -> Iterator[Any]:
    """Everything in a tree, and itself."""
    yield x
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    parts = (x.value,) if isinstance(x, Box) else (x.parts,) if isinstance(x, Held) else parts
    for part in parts:
        yield from nodes(part)


def is_number(x: Any) -> bool:
    return isinstance(x, float | np.ndarray | np.generic | tg.Tensor)


def numbers(x: PyTree) -> list[Any]:
    return [part for part in nodes(x) if is_number(part)]


def scalar(x: PyTree) -> Array | float:
    """A number that depends on each leaf, and on its place."""
    return sum(
        [(i + 1) * np.sum(leaf * leaf * 0.1 + leaf) for i, leaf in enumerate(numbers(x))], 0.0
    )


def change(x: PyTree, script: list[tuple[int, int, int]]) -> None:
    """Change a tree's containers as a script says."""
    for where, how, which in script:
        places = [part for part in nodes(x) if isinstance(part, dict | list | Box)]
        place, known = places[where % len(places)], numbers(x)
        leaf = known[which % len(known)] if known else 1.0
        if isinstance(place, Box):
            place.value = leaf * 2.0 if how % 2 else "gone"
            continue
        keys = list(place) if isinstance(place, dict) else [*range(len(place))]
        if how == 0:
            place.clear()
        elif how == 1:
            add = place.append if isinstance(place, list) else lambda y, d=place: d.update(new=y)
            add(leaf * 3.0)
        elif keys:
            at, other = keys[which % len(keys)], keys[(which + how) % len(keys)]
            if how == 2:
                del place[at]
            elif how == 3:
                place[at], place[other] = place[other], place[at]
            else:
                place[at] = leaf
            if how == 5 and isinstance(place, dict):
                # to the end
                place[other] = place.pop(other)


def assign(x: PyTree, leaf: Fn) -> None:
    """Replace the leaves of a tree where they stand, if they stand where they can be replaced."""
    for part in list(nodes(x)):
        if isinstance(part, Box) and is_number(part.value):
            part.value = leaf(part.value)
        elif isinstance(part, dict | list):
            for key in part if isinstance(part, dict) else range(len(part)):
                part[key] = leaf(part[key]) if is_number(part[key]) else part[key]


leaves = st.sampled_from([0.5, 0.75, 1.0, 1.5])


def within(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(parts, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), parts, min_size=1, max_size=3)
        | st.tuples(parts, parts)
        | parts.map(Box)
        | parts.map(Held)
    )


trees = st.one_of(
    st.lists(st.recursive(leaves, within, max_leaves=5), min_size=1, max_size=2),
    st.dictionaries(
        st.sampled_from("xyz"), st.recursive(leaves, within, max_leaves=5), min_size=1, max_size=2
    ),
)
scripts = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=4
)


# --- transforms ---------------------------------------------------------------------------


def ones(x: Any) -> Any:
    return rebuilt(x, np.ones_like)


def custom(f: Fn) -> Fn:
    """A function whose backward rule changes what it is given."""

    def backward(g: Any, y: Any, x: Any) -> Any:
        gradient = tg.tree.map(lambda leaf: g * leaf, x)
        f(x)
        return (gradient,)

    return tg.custom_vjp(backward)(f)


def root(f: Fn) -> Fn:
    """A solver that changes what it is given, and equations that see whether it is as it was."""
    given: list[Any] = []

    def solve(x: Any) -> Any:
        given.append(tg.tree.flatten(x)[1])
        return np.asarray(f(x))

    def equation(r: Any, x: Any) -> Any:
        assert tg.tree.flatten(x)[1] == given[0]
        return r - f(x)

    return tg.implicit_root(equation, solve)


def again(made: Fn) -> Fn:
    """A function that uses its trees after a call by which they might have changed."""
    return tg.grad(lambda x: made(x) * scalar(x))


def recorded(f: Fn, x: Any) -> Any:
    output, tape = tg.record(f)(x)
    if type(output) is not tg.Tensor:
        return output
    gradients = tg.reverse_sweep(tape, output)
    return output.value, [gradients[p] for p in tape.parameters]


TRANSFORMS: dict[str, Callable[[Fn, Any], Any]] = {
    "grad": lambda f, x: tg.grad(f)(x),
    "value_and_grad, with more": lambda f, x: tg.value_and_grad(
        lambda x: (f(x), 1.0), has_aux=True
    )(x),
    "grad of another argument": lambda f, x: tg.grad(lambda y, x, z: f(x) * f(z) * y)(2.0, x, z=x),
    "grad by name": lambda f, x: tg.grad(lambda y, x: f(x) * y, argnames="x")(2.0, x=x),
    "record": recorded,
    "vjp": lambda f, x: tg.vjp(f, x)[1](1.0),
    "jvp": lambda f, x: tg.jvp(f, (x,), (ones(x),)),
    "linearize": lambda f, x: tg.linearize(f, x)[1](ones(x)),
    "jacobian, forward": lambda f, x: tg.jacobian(f, mode="forward")(x),
    "jacobian, reverse": lambda f, x: tg.jacobian(f, mode="reverse")(x),
    "hessian": lambda f, x: tg.hessian(f)(x),
    "hessian_diag": lambda f, x: tg.hessian_diag(f)(x),
    "hvp": lambda f, x: tg.hvp(f, (x,), (ones(x),)),
    "vmap": lambda f, x: tg.vmap(f)(rebuilt(x, lambda leaf: np.array([leaf, 2.0]))),
    "vmap, of none": lambda f, x: tg.vmap(lambda y, x: f(x) * y, in_axes=(0, None))(np.ones(2), x),
    "vmap of grad": lambda f, x: tg.vmap(tg.grad(f))(
        rebuilt(x, lambda leaf: np.array([leaf, 2.0]))
    ),
    "checkpoint": lambda f, x: (tg.checkpoint(f)(x), again(tg.checkpoint(f))(x)),
    "checkpoint, compiled": lambda f, x: tg.compile(tg.grad(tg.checkpoint(f)))(x),
    "cond": lambda f, x: tg.cond(True, f, f, x),
    "cond on a Tensor": lambda f, x: tg.grad(lambda y: tg.cond(y > 0, f, f, x) * y * scalar(x))(
        1.0
    ),
    "compile": lambda f, x: tg.compile(f)(x),
    "compile of grad": lambda f, x: tg.compile(tg.grad(f))(x),
    "grad of compile": lambda f, x: again(tg.compile(f))(x),
    "check": lambda f, x: tg.compile(f).check(x),
    "custom_vjp": lambda f, x: (custom(f)(x), again(custom(f))(x)),
    "implicit_root": lambda f, x: (root(f)(x), again(root(f))(x)),
    "why_zero": lambda f, x: tg.why_zero(f, x),
    "check_grads": lambda f, x: tg.testing.check_grads(f, (x,), order=1),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", TRANSFORMS)
@depth("own tree")
@given(x=trees, script=scripts)
def test_a_function_that_changes_its_trees_gives_what_one_gives_that_copies_them(
    name: str, x: Any, script: Any
) -> None:
    def changing(x: Any) -> Any:
        change(x, script)
        return scalar(x)

    before = rebuilt(x)
    got = TRANSFORMS[name](changing, x)
    assert same_bits(x, before)
    assert same_bits(got, TRANSFORMS[name](lambda x: changing(rebuilt(x)), before))


# --- loops --------------------------------------------------------------------------------


def scanned(step: Fn, x: PyTree) -> tuple[PyTree, PyTree]:
    def body(carry: PyTree, rows: dict[str, Array]) -> tuple[PyTree, PyTree]:
        after = step(carry)
        return after, (after, rows.pop("row"), rows)

    return tg.scan(body, x, {"row": np.arange(3.0)})


def while_looped(step: Fn, x: PyTree) -> dict[str, Any]:
    def body(carry: dict[str, Any]) -> dict[str, Any]:
        carry["n"], carry["x"] = carry["n"] + 1, step(carry["x"])
        return carry

    return tg.while_loop(lambda carry: carry.pop("n") < 3, body, {"n": 0, "x": x})


LOOPS: dict[str, Callable[[Fn, Any], Any]] = {
    "scan": scanned,
    "scan, checkpointed": lambda step, x: tg.scan(
        tg.checkpoint(lambda carry, _: (step(carry), None)), x, length=2
    ),
    "fori_loop": lambda step, x: tg.fori_loop(0, 3, lambda i, carry: step(carry), x),
    "while_loop": while_looped,
}


def moved(loop: Callable[[Fn, Any], Any]) -> Callable[[Fn, Any], Any]:
    """The gradient of the sum of a loop's results by a factor of its first carry."""
    return lambda step, x: tg.grad(
        lambda by: scalar(loop(step, tg.tree.map(lambda leaf: leaf * by, x)))
    )(1.0)


WAYS: dict[str, Callable[[Any], Any]] = {
    "on numbers": lambda loop: loop,
    "on arrays": lambda loop: lambda step, x: loop(step, rebuilt(x, np.asarray)),
    "recorded": moved,
    "compiled": lambda loop: lambda step, x: tg.compile(lambda x: loop(step, x))(x),
    "recorded and compiled": lambda loop: (
        lambda step, x: tg.compile(lambda x: moved(loop)(step, x))(x)
    ),
    "in a batch": lambda loop: (
        lambda step, x: tg.vmap(lambda x: loop(step, x))(
            rebuilt(x, lambda leaf: np.array([leaf, 2.0]))
        )
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOOPS)
@depth("own tree, in a loop")
@given(x=trees, script=scripts, in_place=st.booleans())
def test_a_step_that_changes_its_carry_gives_what_one_gives_that_copies_it(
    name: str, way: str, x: PyTree, script: list[tuple[int, ...]], in_place: bool
) -> None:
    def step(carry: PyTree) -> PyTree:
        kept = rebuilt(carry)
        if in_place:
            total = scalar(carry)
            assign(carry, lambda leaf: leaf * 0.5 + total * 0.01)
            return carry
        change(carry, script)
        total = scalar(carry)
        return rebuilt(kept, lambda leaf: leaf * 0.5 + total * 0.01)

    before = rebuilt(x)
    run = WAYS[way](LOOPS[name])
    got = run(step, x)
    assert same_bits(x, before)
    assert same_bits(got, run(lambda carry: step(rebuilt(carry)), before))


def add_in_place(carry: Array | float, x: Array) -> tuple[Array, Array]:
    carry += x
    return carry, carry


@pytest.mark.parametrize("start", [0, 0.0, np.float32(0), np.zeros(()), np.zeros(2)])
def test_a_carry_changed_in_place_gives_what_a_new_one_gives_or_raises(
    start: Array | float,
) -> None:
    xs = np.arange(1, 4).astype(np.asarray(start).dtype)
    for run in (tg.scan, tg.compile(tg.scan, static_argnums=0)):
        try:
            got = run(add_in_place, start, xs)
        except (TypeError, ValueError):
            continue
        assert same_bits(got, tg.scan(lambda carry, x: (carry + x,) * 2, start, xs))
    # a number is no array, which would be changed under all its names
    if isinstance(start, int | float):
        assert same_bits(tg.scan(add_in_place, start, xs)[1], np.cumsum(xs))


def test_a_pullback_goes_by_the_output_as_it_was() -> None:
    kept: list[Any] = []

    def fn(x: Array | float) -> list[PyTree]:
        kept[:] = [x * 2.0, {"y": x * 3.0}]
        return kept

    _, pull = tg.vjp(fn, 1.0)
    _, push = tg.linearize(lambda x: [fn(x)][0], 1.0)
    kept.reverse()
    assert pull([1.0, {"y": 10.0}]) == (32.0,)
    assert same_bits(push(1.0), [2.0, {"y": 3.0}])


# --- nothing is left behind ---------------------------------------------------------------


def once(f: Fn, x: Any) -> Any:
    """A compiled function's program, its entry, and a second call by it."""
    g = tg.compile(f)
    return g(x), g(x), g(x)


ENDED: dict[str, Callable[[], Any]] = {
    **{name: lambda t=t: t(scalar, [1.0, {"a": 2.0}]) for name, t in TRANSFORMS.items()},
    **{
        name: lambda t=t: moved(t)(lambda carry: carry, [1.0, {"a": 2.0}])
        for name, t in LOOPS.items()
    },
    "a tree of axes": lambda: tg.vmap(scalar, in_axes=([0, {"a": None}],))(
        [np.ones(3), {"a": 2.0}]
    ),
    "an entry": lambda: once(tg.grad(scalar), [1.0, Held({"a": 2.0})]),
    "multi_dot": lambda: tg.grad(lambda x: np.sum(tg.multi_dot([x, x, x])))(np.eye(2)),
    "block": lambda: tg.grad(lambda x: np.sum(tg.block([[x, x], [x, x]])))(np.eye(2)),
    "update": lambda: tg.grad(lambda x: tg.tree.update([x, 1.0], {"1": x * x})[1])(2.0),
}


@pytest.mark.thorough
def test_no_call_leaves_a_reference_cycle() -> None:
    for call in ENDED.values():
        call()
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    # what there is need not be searched again and again
    gc.freeze()
    try:
        left = {name: (call(), gc.collect())[1] for name, call in ENDED.items()}
    finally:
        if was_enabled:
            gc.enable()
    assert not any(left.values()), left
