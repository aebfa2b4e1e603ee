"""Names in a program's source: no two values ever share one, whatever a user calls his."""

import ast
import functools
import keyword
import re

import attrs
import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import example, given
from hypothesis import strategies as st
from trees import CHARACTERS

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.program.source_names import Names

WANTED = ["a", "a_2", "a_2_2", "if", "sum", "sigmoid", "fi", "\ufb01", "\u00e9"]
# more than a block, so that programs have loops, and their parts' names
LARGE = np.linspace(0.0, 1.0, (1 << 17) + 3)


@given(st.lists(st.text(CHARACTERS, max_size=6) | st.sampled_from(WANTED)))
@example(WANTED)
def test_names_are_identifiers_and_never_given_twice(wanted):
    names = Names()
    given_ = [names.new(text) for text in wanted]
    given_ += [names.name_of([text], text) for text in wanted]
    assert len({*given_}) == len(given_)
    for name in given_:
        # Python takes some letters for others
        assert name.isascii()
        assert name.isidentifier()
        assert not keyword.iskeyword(name)
        assert name not in OPS
        assert not hasattr(np, name)


def step(p):
    """Blocks, buffers, a sum, views, a concatenation, an option, results of all kinds."""
    a, b = p.values()
    c = np.tanh(a * b + a) * b
    d = np.concatenate([np.sin(a[:3]), np.cos(b[:3])])
    e = np.linalg.norm(np.outer(d, d), ord="fro")
    return {"c": c, "d": d, "e": e, "a": a, "sum": np.sum(c * c), "view": c[1:]}


def names_in_programs():
    """Every name that a program of `step` adds."""
    program = tg.compile(step).program({"a": LARGE, "b": LARGE})
    nodes = [*ast.walk(ast.parse(str(program)))]
    functions = {x.name for x in nodes if isinstance(x, ast.FunctionDef)}
    return sorted(functions | {x.id for x in nodes if isinstance(x, ast.Name)})


def test_arguments_may_have_the_names_that_programs_have_for_what_is_theirs():
    wanted = step({"a": LARGE, "b": LARGE + 5})
    names = names_in_programs()
    assert {"buf0", "run"} < {*names}
    for first in names if THOROUGH else names[::4]:
        second = f"{first}_2"
        got = tg.compile(step)({first: LARGE, second: LARGE + 5})
        for key in wanted:
            np.testing.assert_allclose(got[key], wanted[key], rtol=1e-12, atol=1e-12, err_msg=first)


# --- captured values ----------------------------------------------------------------------

CALLED = ["x", "y", "data", "p", "sum", "w_2", "w", "captured0", "number", "run", "d_p", "tanh"]


def captured_by(program):
    """The names of the captured arrays in a program's header, and their shapes."""
    lines = [line.split(": captured, float64 ") for line in str(program).splitlines()]
    return {line[0].removeprefix("#   "): line[1] for line in lines if len(line) == 2}


def closing_over(names, where):
    """A function of p that adds up arrays, which are in its closure, its module or its defaults."""
    arrays = {name: np.arange(i + 2.0) for i, name in enumerate(names)}
    terms = " + ".join([f"tg.sum(tg.tanh(p) * {name})" for name in names])
    space = {"tg": tg}
    if where == "closure":
        exec(f"def make({', '.join(names)}):\n return lambda p: {terms}", space)
        return space["make"](**arrays), arrays
    taken = "".join([f", {name}={name}" for name in names]) if where == "defaults" else ""
    space |= arrays
    exec(f"def fn(p{taken}):\n return {terms}", space)
    return space["fn"], arrays


@depth("program, as text")
@given(
    st.lists(st.sampled_from([x for x in CALLED if x != "p"]), min_size=1, unique=True),
    st.sampled_from(["closure", "globals", "defaults"]),
)
def test_captured_arrays_are_called_what_the_function_calls_them(names, where):
    fn, arrays = closing_over(names, where)
    program = tg.compile(fn, passes=()).program(1.0)
    found = captured_by(program)
    shapes = {str(x.shape): name for name, x in arrays.items()}
    assert len(found) == len(names)
    for name, shape in found.items():
        wanted = shapes[shape]
        is_taken = hasattr(np, wanted) or wanted in OPS or wanted == "run"
        assert name == wanted or (is_taken and name.startswith(f"{wanted}_"))
    assert tg.compile(fn)(1.0) == pytest.approx(fn(1.0))


def test_arrays_in_trees_in_bodies_and_behind_other_functions_have_their_names():
    data, start = (
        {"rows": np.arange(6.0).reshape(3, 2), "bias": [np.array([0.2, 0.3])]},
        np.arange(2.0),
    )

    def step(c, x):
        return np.tanh(c * c * data["bias"][0] + x) * start, np.sum(c)

    def loss(w):
        c, ys = tg.scan(step, w, data["rows"])
        return np.sum(c * start) + np.sum(ys)

    text = str(tg.compile(functools.partial(tg.value_and_grad(loss))).program(np.ones(2)))
    for name in ("data_rows", "data_bias_0", "start"):
        assert re.search(rf"\b{name}\b", text), name
    assert "captured0" not in text
    # a value that the bodies share is defined once
    assert len(re.findall(r"^#   start: ", text, re.M)) == 1


def test_an_array_in_the_derivative_of_a_loop_has_its_name():
    factors, rows = np.array([0.5, 2.0]), np.full((3, 2), 1j)

    def step(c, row):
        h, total = c
        return (h * row, total + h * row * factors), np.abs(h)

    def loss(z):
        (_, total), ys = tg.scan(step, (z, z * 0), rows)
        return np.sum(np.sin(np.real(total))) + np.sum(ys)

    text = str(tg.compile(tg.grad(loss)).program(np.full(2, 1j)))
    assert re.findall(r"^#   (.*): captured, float64", text, re.M) == ["factors"]


def test_names_change_neither_what_is_equal_nor_what_is_saved(tmp_path):
    def using(x):
        return lambda p: p * x + np.sum(x)

    def calling(y):
        return lambda p: p * y + np.sum(y)

    one, other = [tg.compile(make(np.arange(3.0))).program(1.0) for make in (using, calling)]
    assert captured_by(one) == {"x": "(3,)"}
    assert captured_by(other) == {"y": "(3,)"}
    assert attrs.evolve(one, label="") == attrs.evolve(other, label="")
    one.save(tmp_path / "one.npz")
    loaded = tg.load_program(tmp_path / "one.npz")
    assert str(loaded) == str(one)
    named = [attrs.evolve(x, name='x"\n) import os') for x in one.constants]
    strange = attrs.evolve(one, constants=tuple(named))
    strange.save(tmp_path / "strange.npz")
    loaded = tg.load_program(tmp_path / "strange.npz")
    assert loaded == one
    assert "x____import_os: captured" in str(loaded)
    np.testing.assert_array_equal(loaded(2.0), one(2.0))


def test_arguments_that_a_partial_or_the_rest_takes_are_named():
    def fn(scale, w, *data, key=0):
        return np.sum(scale * w) + np.sum(data[0]) * data[1]

    given = (2.0, np.ones(2), np.ones(3), 1.0)
    wanted = ["scale", "w", "data.0", "data.1"]
    for n in range(4):
        made = functools.partial(fn, *given[:n])
        paths = [x.path for x in tg.compile(made).program(*given[n:]).inputs]
        assert paths == (wanted[n:] if n < 3 else ["arg0"])
    made = tg.value_and_grad(functools.partial(functools.partial(fn, 2.0), key=1))
    assert tg.compile(made).program(*given[1:]).label == "fn"


def test_values_that_are_the_cotangents_of_each_other_have_names():
    """A search for the value that a cotangent belongs to must end."""
    product = tg.custom_op(vjps=(lambda g, y, a, b: b, lambda g, y, a, b: a))(
        lambda a, b: np.asarray(np.sum(a * b))
    )
    gradients = tg.grad(lambda x, z: product(np.tanh(x), np.sin(z)), (0, 1))
    text = str(tg.compile(gradients).program(np.ones(2), np.ones(2)))
    assert " = tanh(x" in text
    assert " = sin(z" in text
