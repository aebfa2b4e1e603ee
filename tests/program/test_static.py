"""Static values: which of them share a program."""

import functools
import operator

import numpy as np
import pytest
from counting import counted
from hypothesis import example, given
from hypothesis import strategies as st
from trees import Level, Loose, Mode, Point, Setting

import tapegrad as tg
from tapegrad.program.static import static_key

X = np.linspace(-1.0, 1.0, 4)


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


@given(STATICS, STATICS)
@example(1, 1.0)
@example(0.0, -0.0)
@example((0, 1), (False, True))
@example(("a", 1), ("a", 1.0))
def test_static_values_share_a_program_exactly_if_they_are_the_same(a, b):
    compiled = tg.compile(lambda x, s: (x * 2.0, s), static_argnums=1)
    for s in (a, b, a):
        assert described(compiled(X, s)[1]) == described(s)
    assert (len(compiled.signatures) == 1) == (described(a) == described(b))


@pytest.mark.parametrize("keys", [(1, True, 1.0, Level.LOW), ("1", np.str_("1"))])
def test_static_keys_that_are_equal_but_not_the_same(keys):
    compiled = tg.compile(lambda d: {key: (x * 2.0, repr(key)) for key, x in d.items()})
    for key in (*keys, *keys):
        ((returned, (_, text)),) = compiled({key: X}).items()
        assert (type(returned), text) == (type(key), repr(key))


def test_static_layers_methods_and_compiled_functions():
    layer = tg.nn.Linear(4, 2)
    params = layer.init(0)
    compiled = tg.compile(lambda f, p, x: f(p, x))
    for f in (layer, tg.nn.Linear(4, 2), layer.__call__, tg.compile(layer)):
        np.testing.assert_allclose(compiled(f, params, X), layer(params, X), rtol=1e-12, atol=1e-12)
    assert len(compiled.signatures) == 3


def test_static_record_with_a_cached_value():
    step = tg.compile(lambda x, r: x * r.doubled)
    record = Loose(3.0)
    assert step(2.0, record) == step(2.0, Loose(3.0)) == 12.0
    assert record.doubled == 6.0
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


def test_static_class_of_any_metaclass():
    class Loud(type):
        def __eq__(cls, other):
            raise AssertionError

        def __hash__(cls):
            raise AssertionError

    class Quiet(metaclass=Loud):
        pass

    assert static_key(Quiet, "it") == static_key(Quiet, "it")
    assert static_key(Quiet, "it") != static_key(int, "it")


def test_static_argnums_make_a_program_for_each_value():
    fn = counted(lambda x, n, scale: sum(x**k for k in range(1, n + 1)) * scale)
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


def test_static_value_that_cannot_be_hashed_is_refused():
    with pytest.raises(TypeError, match="set"):
        tg.compile(lambda x, s: x)(X, {1, 2})
    with pytest.raises(TypeError):
        tg.compile(lambda x, n: x * 2.0, static_argnums=1)(X, X)
