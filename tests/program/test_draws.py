"""Random generators within a function's reach: found wherever they are named, in a bounded search."""

import functools
import random
import sys
import types
from collections import deque
from typing import Any

import attrs
import numpy as np
import pytest
from counting import calls_of
from trees import HOLDERS, Holder

import tapegrad as tg
from tapegrad.errors import TraceError
from tapegrad.program.draws import _reader, reachable_objects
from tapegrad.program.static import GENERATORS
from tapegrad.tree.opaque import MOST_ELEMENTS, tensor_inside

X = np.linspace(-1.0, 1.0, 4)


RNG = np.random.default_rng(0)
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def drawing(rng):
    return lambda x: x * rng.normal()


@pytest.mark.parametrize(
    "fn",
    [
        drawing(np.random.default_rng(0)),
        drawing(np.random.RandomState(0)),
        functools.partial(
            lambda bits, x: x * np.random.Generator(bits).random(), np.random.PCG64(0)
        ),
        functools.partial(lambda rng, x: x * rng.random(), random.Random(0)),
        drawing(np.random),
        lambda x: x * random.random(),
        lambda x: tg.scan(lambda c, _: (c * random.random(), None), x, length=2)[0],
        tg.grad(lambda x: tg.sum(x * RNG.random(4))),
        # each call spawns another generator, and leaves the state unchanged
        lambda x: x * RNG.spawn(1)[0].normal(size=4),
        functools.partial(lambda bits, x: x * bits.spawn(1)[0].random_raw(), np.random.MT19937(0)),
        functools.partial(
            lambda seeds, x: x * seeds.spawn(1)[0].generate_state(4), np.random.SeedSequence(0)
        ),
    ],
)
def test_draws_while_compiling_are_refused(fn):
    with pytest.raises(TraceError, match="drew from"):
        tg.compile(fn)(X)


def test_draws_of_a_generator_left_alone_are_no_matter():
    rng = np.random.default_rng(0)
    compiled = tg.compile(lambda x: x * (2.0 if rng else 3.0) + tg.random.uniform(1, (4,)))
    np.testing.assert_array_equal(compiled(X), compiled(X))


@pytest.mark.parametrize(
    "draw",
    [
        *[getattr(np.random, name)(0).random_raw for name in BIT_GENERATORS],
        *[getattr(np.random.RandomState(0), name) for name in ("random", "normal", "binomial")],
        *[getattr(random.Random(0), name) for name in ("random", "gauss", "normalvariate")],
    ],
)
def test_each_draw_changes_what_is_read_of_a_state(draw):
    def read():
        return [
            _reader(x)() for _, x in reachable_objects(lambda: draw) if isinstance(x, GENERATORS)
        ]

    args = (5, 0.5) if draw.__name__ == "binomial" else ()
    for _ in range(20):
        before = read()
        assert before == read()
        draw(*args)
        assert before != read()


def test_a_draw_of_a_number_that_was_kept_is_seen():
    rng = np.random.mtrand._rand
    while not rng.get_state(legacy=False)["has_gauss"]:
        rng.normal()  # makes two numbers and keeps one
    with pytest.raises(TraceError, match="drew from NumPy's"):
        tg.compile(drawing(rng))(X)


def test_another_generator_in_the_place_of_numpys_global_one_is_seen():
    before = np.random.get_bit_generator()

    def fn(x):
        np.random.set_bit_generator(np.random.MT19937(0))
        return x

    try:
        np.random.set_bit_generator(np.random.MT19937(1))
        with pytest.raises(TraceError, match="drew from NumPy's"):
            tg.compile(fn)(X)
    finally:
        np.random.set_bit_generator(before)


# --- where a generator can be named ---------------------------------------------------------


@attrs.frozen
class Field:
    inside: Any


class Words(dict):
    """A subclass of dict."""


def with_class(*bases, **attributes):
    return type("Class", bases, attributes)()


def wrap_value(x):
    @functools.wraps(abs)
    def wrapper():
        return x

    return wrapper


BOXES = {
    **HOLDERS,
    "itself": lambda x: x,
    "list": lambda x: [None, x],
    "dict": lambda x: {"key": x},
    "dict of a class": lambda x: Words(key=x),
    "field": Field,
    "attribute of a class": lambda x: with_class(inside=x),
    "base of a class": lambda x: with_class(type(with_class(inside=x))),
    "class": lambda x: type(with_class(inside=x)),
    "property": lambda x: with_class(inside=property(lambda self: x)),
    "static method": lambda x: with_class(inside=staticmethod(lambda: x)),
    "call": lambda x: with_class(__call__=lambda self: x),
    "wrapped": wrap_value,
    "attribute of a function": lambda x: functools.update_wrapper(lambda: None, Holder(x)),
    "vectorized": lambda x: np.vectorize(lambda y: x * y),
    "op": lambda x: tg.custom_op(vjps=(None,))(lambda y: x),
}


def of_global(x, code="lambda: held", **names):
    return eval(code, {"__name__": "user", "held": x, **names})


def module_with(x):
    module = types.ModuleType("module")
    module.held = x
    module.part = types.ModuleType("module.part")
    module.part.module = module  # as modules import one another
    return module


def of_module(x, code="lambda: module.held"):
    return of_global(None, code, module=module_with(x))


def of_import(x):
    sys.modules["module_of_draws"] = module_with(x)
    space = {}
    exec("def fn():\n from module_of_draws import held\n return held", space)
    return space["fn"]


PLACES = {
    "closure": lambda x: lambda: x,
    "default": lambda x: lambda y=x: y,
    "global": of_global,
    "within": lambda x: of_global(x, "lambda: [(lambda: held) for i in range(2)]"),
    "module": of_module,
    "part of a module": lambda x: of_module(x, "lambda: module.part.module.held"),
    "module in a closure": lambda x: (lambda module: lambda: module.held)(module_with(x)),
    "imported": of_import,
}


def test_a_generator_is_found_wherever_a_function_can_name_it():
    rng = random.Random(0)
    boxes = {name: box(rng) for name, box in BOXES.items()}
    nested = rng
    for name, box in BOXES.items():
        nested = box(nested) if name != "set" else nested  # which takes nothing that can change
    boxes["all"] = nested
    missed = [
        f"{name} in {place}"
        for place, function in PLACES.items()
        for name, box in boxes.items()
        if all(x is not rng for _, x in reachable_objects(function(box)))
    ]
    del sys.modules["module_of_draws"]
    assert not missed


BOUND = {
    "global": (of_global, lambda fn, x: fn.__globals__.update(held=x)),
    "closure": (PLACES["closure"], lambda fn, x: setattr(fn.__closure__[0], "cell_contents", x)),
    "default": (PLACES["default"], lambda fn, x: setattr(fn, "__defaults__", (x,))),
    "module": (of_module, lambda fn, x: setattr(fn.__globals__["module"], "held", x)),
    "attribute": (
        lambda x: of_global(Holder(x)),
        lambda fn, x: setattr(fn.__globals__["held"], "inside", x),
    ),
}


@pytest.mark.parametrize("name", BOUND)
def test_a_name_bound_anew_between_two_compilations_is_seen(name):
    """Of a function only its code is remembered: what its names stand for may change."""
    make, bind = BOUND[name]
    fn, rng = make(None), random.Random(0)
    reachable_objects(fn)
    bind(fn, rng)
    assert any(x is rng for _, x in reachable_objects(fn))


# --- the bounds of the search ---------------------------------------------------------------

LARGE = {
    "list": lambda n: [str(i) for i in range(n)],
    "dict": lambda n: {i: object() for i in range(n)},
    "deque": lambda n: deque(range(n)),
    "records": lambda n: np.array([(i, i) for i in range(n)], [("a", int), ("b", object)]),
    "attributes": lambda n: types.SimpleNamespace(**{f"a{i}": object() for i in range(n)}),
    "attributes of a class": lambda n: with_class(**{f"a{i}": object() for i in range(n)}),
    "lists of lists": lambda n: [[[object() for _ in range(n // 10)] for _ in range(10)]],
}


def test_what_lies_beside_a_function_does_not_make_its_first_call_longer():
    longer = []
    for name, large in LARGE.items():
        beside = {n: large(n) for n in (1200, 2400)}
        for search in (tensor_inside, lambda x: reachable_objects(of_global(x))):
            search(large(3))  # so that the caches of modules are filled
            counts = [calls_of(functools.partial(search, x)) for x in beside.values()]
            if counts[0] != counts[1]:
                longer.append((name, counts))
    assert not longer


def test_functions_of_numpy_and_passes_lead_nowhere():
    assert len(reachable_objects(of_global(tg.compile(abs)))) < 20
    assert len(reachable_objects(lambda: (np.sum, np.random.default_rng, np.random.normal))) < 20


def test_what_installed_packages_hold_comes_last(monkeypatch):
    rng = random.Random(0)
    module = types.ModuleType("installed")
    module.__file__ = "/lib/site-packages/installed.py"
    monkeypatch.setitem(sys.modules, "installed", module)
    inner = of_global(rng)
    inner.__globals__["__name__"] = inner.__module__ = "installed"
    names = [
        name
        for name, x in reachable_objects(lambda: (inner, [[object()]]))
        if x is rng or x is inner
    ]
    assert names == ["inner", "held"]
    order = [x for _, x in reachable_objects(lambda: (inner, ALONE))]
    assert order.index(ALONE[0]) < order.index(inner)


ALONE = [Holder(None)]


def test_a_generator_that_the_code_names_is_found_among_many():
    rng = np.random.default_rng(0)
    table = {**{f"p{i}": i for i in range(2 * MOST_ELEMENTS)}, "rng": rng}
    holder = types.SimpleNamespace(**table)
    for fn in (lambda x: x * table["rng"].random(), lambda x: x * holder.rng.random()):
        with pytest.raises(TraceError, match="rng"):
            tg.compile(fn)(X)
