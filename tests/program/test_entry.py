"""Calls read: how arguments make a signature, which static values share one, and what may be none."""

import collections
import dataclasses
import functools
import operator
import random
import threading
import warnings
from pathlib import Path

import attrs
import numpy as np
import pytest
from counting import count_calls
from hypothesis import example, given
from hypothesis import strategies as st
from trees import Checked, Level, Loose, Mode, Point, Setting

import tapegrad as tg

X = np.linspace(-1.0, 1.0, 4)


class Text(str):
    """Text that does something when it is shown."""

    def __repr__(self):
        raise AssertionError("the class of a key is asked to write source")

    __str__ = __format__ = __repr__


@attrs.define
class Changeable:
    value: object
    __tree_leaf__ = True


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: object
    __tree_leaf__ = True


def with_more(record):
    """The record with an attribute that is no field of it."""
    record.__dict__["more"] = [1]
    return record


class Plain:
    pass


@given(st.permutations(["a", "b", 3, Mode.FAST, ("x", 1)]), st.permutations(["p", "q", "r"]))
def test_signature_keeps_the_order_of_dicts_and_keywords(keys, names):
    def fn(d, **kwargs):
        return [*d.items(), *kwargs.items()], sum(i * x for i, x in enumerate(d.values()))

    compiled = tg.compile(fn)
    compiled(dict.fromkeys(sorted(keys, key=repr), X), **dict.fromkeys("pqr", X))
    d = {key: X + i for i, key in enumerate(keys)}
    kwargs = {name: X - i for i, name in enumerate(names)}
    (items, total), (wanted, wanted_total) = compiled(d, **kwargs), fn(d, **kwargs)
    assert [key for key, _ in items] == [key for key, _ in wanted]
    for (_, got), (_, want) in zip(items, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(total, wanted_total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        (np.random.default_rng(0), "key"),
        (np.random.RandomState(0), "key"),
        (random.Random(0), "key"),
        (np.random.default_rng(0).normal, "key|frozen"),
        (Plain(), "frozen"),
        (Changeable(1), "frozen"),
        (Setting(Changeable(1)), "frozen"),
        (Setting([1]), "tuple"),
        (Setting(X), "array varies"),
        (functools.partial(len, [1]), "tuple"),
        ([1].append, "tuple"),
        ({1, 2}, "tuple"),
        (collections.OrderedDict(a=X), "pass a dict"),
        (Text("a"), "frozen"),
        ({Text("a"): X}, "key"),
        ({Plain(): X}, "key"),
        (np.random.SeedSequence(3), r"key\(seed_sequence\)"),
        (with_more(Loose(1)), "more than its fields: more"),
        (Setting(with_more(Frozen(1))), "more than its fields: more"),
    ],
)
def test_argument_that_may_change_is_refused(argument, remedy):
    for args in ((argument, X), (X, {"deep": [argument]})):
        with pytest.raises(TypeError, match=remedy) as caught:
            tg.compile(lambda x, y: (x, y)[0])(*args)
        assert "argument" in str(caught.value)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.vjp(tg.sin, x),
        lambda x: tg.record(tg.sin)(x)[1],
        lambda x: (y for y in x),
        lambda x: map(tg.sin, x),
        lambda x: lambda: x,
        lambda x: [{"deep": Setting(x)}],
        lambda x: functools.partial(tg.add, x),
        lambda x: {"a": {x}},
        lambda x: {x: 1},
        lambda x: Plain(),
        lambda x: iter([1]),
        lambda x: np.random.default_rng(0),
        lambda x: {Text("a"): x},
    ],
)
def test_stale_result_is_refused(fn):
    with pytest.raises(TypeError, match=r"what .* returns"):
        tg.compile(fn)(X)


def test_a_signature_is_shown_without_making_what_it_describes():
    compiled = tg.compile(lambda c, **p: c.x * p["p"].x)
    compiled(Checked(X), p=Point(1.0, ["text"]))
    assert repr(compiled.signatures[0]) == "(Checked(x=float64[4]), p=Point(x=float, y=['text']))"


def test_signature_waits_for_no_other_thread():
    entered, released = threading.Event(), threading.Event()

    def fn(x):
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            assert released.wait(300)
        return x * 2.0

    compiled = tg.compile(fn)
    results = []
    thread = threading.Thread(target=lambda: results.append(compiled(X)))
    thread.start()
    assert entered.wait(300)
    # the other thread is recording for this signature
    np.testing.assert_array_equal(compiled(X), X * 2.0)
    released.set()
    thread.join()
    np.testing.assert_array_equal(results[0], X * 2.0)
    assert len(compiled.signatures) == 1


def test_each_signature_is_recorded_once_by_each_compiled_function():
    fn = count_calls(lambda x, y: tg.tanh(x) * y)
    compiled = tg.compile(fn)
    calls = [
        (X, 1.0), (X.astype("f4"), 1.0), (X.reshape(2, 2), 1.0), (X, X), (X, 1),
        (X, np.float64(1.0)), (X, np.array(1.0, "f4")), (np.arange(4), 1.0), (np.arange(3), 1.0),
    ]  # fmt: skip
    for n, (x, y) in enumerate(calls, 1):
        for k in range(3):
            other = x * x.dtype.type(k), y * k
            np.testing.assert_allclose(compiled(*other), np.tanh(other[0]) * other[1], rtol=1e-5)
        assert fn.calls == n
        assert len(compiled.signatures) == n
    for args in calls:
        compiled(*args)
    assert fn.calls == len(calls)
    assert "float64[4]" in repr(compiled.signatures[0])
    second = tg.compile(fn)
    assert second.signatures == ()
    second(X, 1.0)
    assert fn.calls == len(calls) + 1


def test_signatures_above_the_bound_warn_once():
    fn = count_calls(lambda x: tg.sum(x * 2.0))
    fn.__name__ = "growing"
    compiled = tg.compile(fn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(80):
            assert compiled(np.ones(n)) == 2.0 * n
    assert len(compiled.signatures) <= 64
    (warning,) = caught
    assert "growing" in str(warning.message)
    assert Path(warning.filename).name == Path(__file__).name
    assert compiled(np.ones(0)) == 0
    assert compiled(np.ones(79)) == 158


# --- static values ----------------------------------------------------------------------------

ATOMS = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2, 0.0, -0.0, 1.0, 1j, "", "1", b"1", Mode.FAST, Mode.SLOW),
        *(Level.LOW, len, np.sin, tg.sin, int, bool, np.float32(1), np.float64(1), np.str_("1")),
        *(..., range(0), range(1, 1), np.dtype(float), "".join, operator.add),
    ],
)


STATICS = st.recursive(
    ATOMS,
    lambda parts: st.one_of(
        st.lists(parts, max_size=2).map(tuple),
        st.builds(Point, parts, parts),
        st.builds(Setting, parts, parts),
        st.builds(slice, parts, parts),
        st.frozensets(ATOMS, max_size=2),
        st.builds(lambda x: functools.partial(len, x), parts),
    ),
    max_leaves=5,
)


def describe_static(x):
    """Everything that a function could find out about a static value."""
    if isinstance(x, tuple):
        return type(x), [describe_static(part) for part in x]
    if isinstance(x, Setting):
        return Setting, describe_static(x.value), describe_static(x.other)
    if isinstance(x, slice):
        return slice, describe_static(x.start), describe_static(x.stop)
    if isinstance(x, frozenset):
        return frozenset, sorted(repr(describe_static(part)) for part in x)
    if isinstance(x, functools.partial):
        return functools.partial, describe_static(x.args)
    if isinstance(x, np.number | np.ndarray):
        # handed out as an array, as all results are
        return np.ndarray, x.dtype, repr(np.asarray(x))
    return type(x), repr(x)


@given(STATICS, STATICS)
@example(1, 1.0)
@example(0.0, -0.0)
@example((0, 1), (False, True))
@example(("a", 1), ("a", 1.0))
def test_static_values_share_a_program_exactly_if_they_are_the_same(a, b):
    compiled = tg.compile(lambda x, s: (x * 2.0, s), static_argnums=1)
    for s in (a, b, a, b):
        assert describe_static(compiled(X, s)[1]) == describe_static(s)
    assert (len(compiled.signatures) == 1) == (describe_static(a) == describe_static(b))


@pytest.mark.parametrize("keys", [(1, True, 1.0, Level.LOW), ("1", np.str_("1"))])
def test_static_keys_that_are_equal_but_not_the_same(keys):
    compiled = tg.compile(lambda d: {key: (x * 2.0, repr(key)) for key, x in d.items()})
    for key in (*keys, *keys):
        ((returned, (_, text)),) = compiled({key: X}).items()
        assert (type(returned), text) == (type(key), repr(key))


def test_static_transforms():
    compiled = tg.compile(lambda f, x: f(x))
    for make in (tg.grad, tg.value_and_grad, tg.hessian, tg.jacobian, tg.vmap, tg.checkpoint):
        for _ in range(2):
            f = make(np.linalg.norm if make is not tg.vmap else np.sin)
            tg.tree.map(np.testing.assert_allclose, compiled(f, X), f(X))
    assert len(compiled.signatures) == 6


def test_static_layers_methods_and_compiled_functions():
    layer = tg.nn.Linear(4, 2)
    params = layer.init(0)
    compiled = tg.compile(lambda f, p, x: f(p, x))
    for f in (layer, tg.nn.Linear(4, 2), layer.__call__, tg.compile(layer)):
        np.testing.assert_allclose(compiled(f, params, X), layer(params, X), rtol=1e-12, atol=1e-12)
    assert len(compiled.signatures) == 3


def test_static_record_with_a_cached_value():
    step = tg.compile(lambda x, r: x * r.doubled_value)
    record = Loose(3.0)
    assert step(2.0, record) == step(2.0, Loose(3.0)) == 12.0
    assert record.doubled_value == 6.0
    assert step(2.0, record) == 12.0
    assert len(step.signatures) == 1


def test_static_frozensets_that_iterate_alike():
    one, other = frozenset([0, 8]), frozenset([8, 0])
    assert one == other
    assert list(one) != list(other)

    def fn(x, numbers):
        for n in numbers:
            x = x * 2 + n
        return x

    step = tg.compile(fn)
    for numbers in (one, other, one):
        assert step(1.0, numbers) == fn(1.0, numbers)


def test_static_argnums_make_a_program_for_each_value():
    fn = count_calls(lambda x, n, scale: sum(x**k for k in range(1, n + 1)) * scale)
    compiled = tg.compile(fn, static_argnums=1)
    for n in (1, 3, 1, 2):
        expected = sum(X**k for k in range(1, n + 1)) * 0.5
        np.testing.assert_allclose(compiled(X, n, 0.5), expected, rtol=1e-12)
    assert fn.calls == 3
    assert tg.compile(fn, static_argnums=(1, 2)).program(X, 2, 0.5).inputs[1:] == ()
    for first in (0, -2):
        step = tg.compile(lambda n, x: [x] * n, static_argnums=first)
        assert [len(step(n, X)) for n in (1, 3, 1)] == [1, 3, 1]
        assert len(step.signatures) == 2
    # a position that the call leaves out
    for fn in (lambda x, n=2: x * n, lambda x, *rest: x * 2, tg.vmap(lambda x, n=2: x * n)):
        np.testing.assert_array_equal(tg.compile(fn, static_argnums=1)(X), X * 2)
