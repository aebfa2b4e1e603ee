"""What a compiled function takes for an argument, and what it may return."""

import dataclasses
import enum
import functools
import operator
import random
import subprocess
import sys
import threading
import types
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.errors import TraceError
from tapegrad.program.static import static_key

X = np.linspace(-1.0, 1.0, 4)


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    """Text that does something when it is shown."""

    def __repr__(self):
        raise AssertionError("the class of a key is asked to write source")

    __str__ = __format__ = __repr__


class Point(NamedTuple):
    x: object
    y: object


@attrs.frozen
class Setting:
    value: object
    other: object = None
    __tree_leaf__ = True


@attrs.define
class Changeable:
    value: object
    __tree_leaf__ = True


@attrs.frozen(slots=False)
class Loose:
    """A frozen record whose instances have a dict."""

    value: object
    __tree_leaf__ = True

    @functools.cached_property
    def doubled(self):
        return self.value * 2


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


def described(x):
    """Everything that a function could find out about a static value."""
    if isinstance(x, tuple):
        return type(x), [described(part) for part in x]
    if isinstance(x, Setting):
        return Setting, described(x.value), described(x.other)
    if isinstance(x, slice):
        return slice, described(x.start), described(x.stop)
    if isinstance(x, frozenset):
        return frozenset, sorted(repr(described(part)) for part in x)
    if isinstance(x, functools.partial):
        return functools.partial, described(x.args)
    if isinstance(x, np.number | np.ndarray):
        # handed out as an array, as all results are
        return np.ndarray, x.dtype, repr(np.asarray(x))
    return type(x), repr(x)


# --- static values ------------------------------------------------------------------------


@given(STATICS, STATICS)
def test_static_values_share_a_program_exactly_if_they_are_the_same(a, b):
    compiled = tg.compile(lambda x, s: (x * 2.0, s), static_argnums=1)
    for s in (a, b, a):
        assert described(compiled(X, s)[1]) == described(s)
    assert (len(compiled.signatures) == 1) == (described(a) == described(b))


@pytest.mark.parametrize("keys", [(1, True, 1.0, Level.LOW), ("1", np.str_("1"))])
def test_equal_keys_that_are_not_the_same_are_told_apart(keys):
    compiled = tg.compile(lambda d: {key: (x * 2.0, repr(key)) for key, x in d.items()})
    for key in (*keys, *keys):
        ((returned, (_, text)),) = compiled({key: X}).items()
        assert (type(returned), text) == (type(key), repr(key))


@given(st.permutations(["a", "b", 3, Mode.FAST, ("x", 1)]), st.permutations(["p", "q", "r"]))
def test_dicts_and_keyword_arguments_keep_the_order_of_each_call(keys, names):
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
        (Text("a"), "frozen"),
        ({Text("a"): X}, "key"),
        ({Plain(): X}, "key"),
        (np.random.SeedSequence(3), r"key\(seed_sequence\)"),
        (with_more(Loose(1)), "more than its fields: more"),
        (Setting(with_more(Frozen(1))), "more than its fields: more"),
    ],
)
def test_an_argument_that_may_change_is_refused_with_what_to_do(argument, remedy):
    for args in ((argument, X), (X, {"deep": [argument]})):
        with pytest.raises(TypeError, match=remedy) as caught:
            tg.compile(lambda x, y: (x, y)[0])(*args)
        assert "argument" in str(caught.value)


def test_a_layer_a_method_and_a_compiled_function_are_static():
    layer = tg.nn.Linear(4, 2)
    params = layer.init(0)
    compiled = tg.compile(lambda f, p, x: f(p, x))
    for f in (layer, tg.nn.Linear(4, 2), layer.__call__, tg.compile(layer)):
        np.testing.assert_allclose(compiled(f, params, X), layer(params, X), rtol=1e-12, atol=1e-12)
    assert len(compiled.signatures) == 3


def test_what_a_record_computes_of_its_fields_and_keeps_is_no_more_than_its_fields():
    step = tg.compile(lambda x, r: x * r.doubled)
    record = Loose(3.0)
    assert step(2.0, record) == step(2.0, Loose(3.0)) == 12.0
    assert record.doubled == 6.0
    assert step(2.0, record) == 12.0
    assert len(step.signatures) == 1


def test_equal_frozensets_share_a_program_only_where_a_loop_over_them_goes_alike():
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


def test_a_class_is_static_whatever_its_metaclass_says():
    class Loud(type):
        def __eq__(cls, other):
            raise AssertionError

        def __hash__(cls):
            raise AssertionError

    class Quiet(metaclass=Loud):
        pass

    assert static_key(Quiet, "it") == static_key(Quiet, "it")
    assert static_key(Quiet, "it") != static_key(int, "it")


# --- names of arguments -------------------------------------------------------------------


def test_arguments_may_have_the_names_of_the_machinery():
    def fn(self, args, kwargs, fn=1.0):
        return self * args + kwargs * fn

    named = {"self": X, "args": X + 1, "kwargs": X + 2, "fn": 2.0}
    compiled = tg.compile(fn)
    np.testing.assert_allclose(compiled(**named), fn(**named), rtol=1e-12)
    compiled.check(**named)
    assert "self" in str(compiled.program(**named))


def test_the_class_of_a_keyword_has_no_say():
    np.testing.assert_array_equal(tg.compile(lambda a: a * 2.0)(**{Text("a"): X}), X * 2.0)


@pytest.mark.parametrize("name", ["a\0b", "a\nimport os", "\ud800", ""])
def test_a_function_may_have_any_name(name):
    def fn(x):
        return x * 2.0

    fn.__name__ = name
    compiled = tg.compile(fn)
    np.testing.assert_array_equal(compiled(X), X * 2.0)
    str(compiled.program(X)).encode()


# --- results ------------------------------------------------------------------------------


@attrs.frozen
class KeywordFirst:
    first: object = attrs.field(kw_only=True)
    _second: object


def test_an_int_may_have_more_digits_than_python_prints():
    huge = 10**5000
    step = tg.compile(lambda d, n: {huge: n - huge + d[huge]})
    assert step({huge: 2.5}, huge) == {huge: 2.5}
    assert hex(huge) in str(step.program({huge: 2.5}, huge))
    assert hex(huge) in repr(tg.tree.flatten({huge: 1})[1])
    with pytest.raises(ValueError, match="0x"):
        tg.tree.map(lambda x, y: x, {huge: 1.0}, {huge: (1.0, 2.0), 3: 1.0})
    step = tg.compile(lambda x, static: x + static[0], static_argnums=1)
    assert step(1, (huge,)) == huge + 1
    assert step(1, (huge + 1,)) == huge + 2


@pytest.mark.parametrize("base", [0, 2, -1])
@pytest.mark.parametrize("exponent", [-1, -64])
def test_a_negative_power_of_an_int_is_refused_at_any_call(base, exponent):
    power = tg.compile(lambda base, exponent: base**exponent)
    assert power(2, 100) == 2**100
    for refused in (
        lambda: power(base, exponent),
        lambda: tg.compile(lambda n: n**exponent)(base),
        lambda: tg.compile(lambda n: base**n)(exponent),
    ):
        with pytest.raises(ValueError, match="make the base a float"):
            refused()


@pytest.mark.parametrize("keys", [(Mode.FAST, Level.LOW), (np.str_("a"), b"a", ("x", 1), None)])
def test_results_may_have_keys_and_records_of_any_kind(keys):
    compiled = tg.compile(lambda x: (dict.fromkeys(keys, x * 2.0), KeywordFirst(x, first=x * 3.0)))
    for _ in range(2):
        by_key, record = compiled(X)
        assert [*map(type, by_key)] == [*map(type, keys)]
        assert tuple(by_key) == keys
        np.testing.assert_array_equal(record.first, X * 3.0)
        np.testing.assert_array_equal(record._second, X)


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
def test_a_result_that_would_be_stale_is_refused(fn):
    with pytest.raises(TypeError, match=r"what .* returns"):
        tg.compile(fn)(X)


# --- random numbers -----------------------------------------------------------------------

RNG = np.random.default_rng(0)


class Holder:
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def draw(self, x):
        return x * self.rng.random()


def closure():
    rng = np.random.RandomState(0)
    return lambda x: x * rng.rand()


def default(x, *, rng=random.Random(0)):  # noqa: B008
    return x * rng.random()


def helper():
    return RNG.standard_normal(4)


@attrs.frozen
class Slotted:
    inner: Any

    def draw(self, x):
        return x * self.inner["noise"][0].random()


class Shared:
    rng = np.random.default_rng(0)

    def draw(self, x):
        return x * self.rng.random()


class Inheriting(Shared):
    """The generator belongs to the class that it inherits from."""


class Described(Shared):
    """Its objects say their module and the class does not, as it is with classes of Cython."""

    __module__ = property(lambda self: "described")


def of_bits():
    bits = np.random.PCG64(0)
    return lambda x: x * np.random.Generator(bits).random()


LIBRARY = types.ModuleType("library")
LIBRARY.RNG = np.random.default_rng(0)
LIBRARY.part = types.ModuleType("library.part")
LIBRARY.part.library = LIBRARY
LIBRARY.part.generators = [np.random.default_rng(0)]
GENERATORS = {"noise": [np.random.default_rng(0)]}


@pytest.mark.parametrize(
    "fn",
    [
        Shared().draw,
        Inheriting().draw,
        Described().draw,
        lambda x: x * Inheriting.rng.random(),
        of_bits(),
        lambda x: x * GENERATORS["noise"][0].random(),
        lambda x: x * LIBRARY.RNG.random(),
        lambda x: x * LIBRARY.part.generators[0].random(),
        Slotted(GENERATORS).draw,
        Slotted(({1: [Slotted(GENERATORS)]},)).inner[0][1][0].draw,
        functools.partial(lambda held, x: x * held[0][0].random(), [(np.random.default_rng(0),)]),
        lambda x: x * np.random.rand(4),  # noqa: NPY002
        lambda x: x * np.random.normal(),  # noqa: NPY002
        lambda x: x * random.random(),
        lambda x: x * RNG.random(4),
        lambda x: x * helper(),
        tg.grad(lambda x: tg.sum(x * RNG.random(4))),
        functools.partial(lambda rng, x: x * rng.random(), np.random.default_rng(0)),
        Holder().draw,
        closure(),
        default,
    ],
)
def test_a_function_that_draws_while_it_is_compiled_is_refused(fn):
    with pytest.raises(TraceError, match="drew from"):
        tg.compile(fn)(X)


def test_a_generator_that_is_not_drawn_from_is_no_matter():
    rng = np.random.default_rng(0)
    compiled = tg.compile(lambda x: x * (2.0 if rng else 3.0) + tg.random.uniform(1, (4,)))
    np.testing.assert_array_equal(compiled(X), compiled(X))


# --- threads and processes ----------------------------------------------------------------


def test_a_call_waits_for_no_other_thread():
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


FORK = """
import os, threading, numpy as np, tapegrad as tg
entered, released = threading.Event(), threading.Event()
def fn(x):
    if threading.current_thread() is not threading.main_thread():
        entered.set(); released.wait()
    return x * 2.0
compiled = tg.compile(fn)
thread = threading.Thread(target=compiled, args=(np.ones(2),))
thread.start(); entered.wait()
child = os.fork()
if not child:
    os._exit(int(compiled(np.ones(2)).sum()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
released.set(); thread.join()
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_fork_waits_for_no_thread_of_its_parent():
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "4\n"


def test_what_is_shown_of_an_int_of_many_digits():
    huge = 10**5000
    step = tg.compile(lambda x, n: x, static_argnums=1)
    for n in (huge, (huge, "a"), frozenset([huge])):
        step(2.0, n)
    assert hex(huge) in repr(step.signatures)
    assert "a tuple, which has too many digits" in repr(step.signatures)
    keyed = tg.compile(lambda x: x)
    keyed({huge: 1.0})
    assert "too many digits" in repr(keyed.signatures)
    scaled = tg.custom_op(vjps=(None,), name="scaled")(lambda x, *, n=huge: x)
    assert "too many digits" in repr(scaled.signature)
    assert hex(10 * huge) in str(tg.record(lambda x: scaled(x, n=10 * huge))(1.0)[1])
