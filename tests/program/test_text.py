"""The source of a program: Python that a person reads, and that is what runs."""

import ast
import contextlib
import gc
import itertools
import sys
import weakref

import attrs
import numpy as np
import pytest
from depth import depth
from hypothesis import given
from programs import assert_runs
from random_programs import programs

import tapegrad as tg
from tapegrad.ops.updates import index_set
from tapegrad.program.reuse import RowUpdates
from tapegrad.program.source_names import Names
from tapegrad.program.text import source, source_to_run, write_program


@depth("program, as text")
@given(programs())
def test_the_source_is_what_runs(drawn):
    compiled = tg.compile(drawn.step)
    program = compiled.program(*drawn.arguments[0])
    assert str(program) == source(program)
    namespace = dict(write_program(program, Names(literal=True)).names.namespace)
    exec(compile(str(program), "<test>", "exec"), namespace)
    run = namespace["run"]
    for args in drawn.arguments:
        got, wanted = tg.tree.leaves(run(*args)), tg.tree.leaves(compiled(*args))
        assert [np.asarray(a).tobytes() for a in got] == [np.asarray(b).tobytes() for b in wanted]
    # a line has the same number in both
    printed = targets(str(program).partition("\n# made once")[0])
    running = targets(source_to_run(write_program(program, Names())))[: len(printed)]
    above = 1 + printed.index(next(x for x in running if x))
    assert printed[above:] == running[above:]


def targets(text):
    return [line.partition("  # ")[0].partition(" = ")[0].rstrip() for line in text.splitlines()]


@depth("program, as text")
@given(programs())
def test_what_is_made_once_is_what_its_lines_say(drawn):
    frame = write_program(tg.compile(drawn.step).program(*drawn.arguments[0]), Names())
    names = frame.names.setup.run(frame.names.namespace)
    for line in frame.names.setup.lines:
        got, wanted = names[line.target], eval(line.expression, names)
        if isinstance(got, RowUpdates):
            assert isinstance(wanted, RowUpdates)
        elif line.base == line.target:
            # a constant that is at hand
            assert (got.dtype, got.tolist()) == (wanted.dtype, wanted.tolist())
        elif isinstance(got, list):
            interfaces = [[x.__array_interface__ for x in rows] for rows in (got, wanted)]
            assert interfaces[0] == interfaces[1]
        else:
            assert got.__array_interface__ == wanted.__array_interface__
            # NumPy takes the same array for input and output sooner than a view of it
            assert (got is names[line.base]) == (wanted is names[line.base])


@depth("program, as text")
@given(programs())
def test_the_source_is_straight_line_python_that_says_what_it_takes_and_gives(drawn):
    program = tg.compile(drawn.step).program(*drawn.arguments[0])
    text = str(program)
    run, *once = ast.parse(text).body
    assert isinstance(run, ast.FunctionDef)
    # buffers and views of them, which a reader can skip
    assert all(isinstance(node, ast.Assign) for node in once)
    for taken in program.inputs:
        kind = f"a Python {taken.number}" if taken.number else f"{taken.dtype} {taken.shape}"
        assert f": {taken.path}, {kind}" in text
    branching = (ast.If, ast.While, ast.Lambda, ast.Import, ast.Try)
    assert not any(isinstance(node, branching) for node in ast.walk(run))
    # each line ends with the shape of its result, also the lines of views that are made once
    ends = [line.rpartition("  # ")[2].partition(": ")[0] for line in text.splitlines()]
    results = [x for x in program.instructions if not x.number]
    assert sorted(x for x in ends if x.startswith("(")) == sorted(str(x.shape) for x in results)


# that do not suit Python
KEYS = [
    *("class", "a b", "b0", "", "é", "²", "\n", "#", "'", '"', "\\", "{0}", "x\n1/0", "__debug__"),
    *(3, -1, 1.5, True, (1, 2), 10**5000),
]


@pytest.mark.parametrize("name", ["buf0", "run", "zeros", "type", "_", "args", "number_2_5"])
def test_classes_may_have_any_name(name):
    x = np.linspace(-1, 1, 4)
    node = attrs.make_class(name, ["w"], frozen=True)
    assert_runs(tg.grad(lambda p: tg.sum(tg.tanh(tg.tanh(p.w) + p.w) * 2.0)), node(x))
    # a class of the same name is another
    other = attrs.make_class(name, ["w"], frozen=True)
    both = tg.compile(tg.grad(lambda p, q: tg.sum(p.w * q.w), argnums=(0, 1)))
    assert [type(y) for y in both(node(x), other(x))] == [node, other]


def test_any_key_of_a_dict_will_do():
    fn = tg.grad(lambda p: sum(tg.sum(tg.tanh(x) * x) for x in p.values()))
    assert_runs(fn, {key: np.full(3, 1.0 + i) for i, key in enumerate(KEYS)})


# --- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [np.inf, -np.inf, np.nan, 1e300, -0.0, 5e-324, 10**18, -(10**18), True, 0], ids=repr
)
def test_any_python_number_can_be_an_operand(number):
    def fn(x):
        return (
            tg.where(x > 0, x, number),
            tg.where(x > 0, number, number),
            tg.maximum(x, number),
            x + number,
            index_set(x, number, 0),
            tg.stack([x[0] * 0.0, number]),
        )

    with np.errstate(all="ignore"):
        assert_runs(fn, np.linspace(-1, 1, 4))


# --- for a reader -------------------------------------------------------------------------


def loss(p, x, y):
    hidden = np.tanh(x @ p["w1"])
    error = hidden @ p["w2"] - y
    return np.sum(error * error)


def train(p, x, y):
    gradients = tg.grad(loss)(p, x, y)
    return {name: p[name] - 0.1 * gradients[name] for name in p}


P = {"w1": np.ones((2, 8)), "w2": np.ones((8, 1))}
XY = np.ones((4, 2)), np.ones((4, 1))


def assigned_names(text):
    """The names that run assigns, in order, by section."""
    sections = {"": []}
    for line in text.partition("def run")[2].partition("# made once")[0].splitlines():
        if line.strip() in ("# forward", "# backward", "# update"):
            sections[line.strip()[2:]] = names = []
        elif " = " in line:
            sections.setdefault("", [])
            (names if len(sections) > 1 else sections[""]).append(line.split()[0])
    return sections


def test_a_step_reads_as_forward_backward_and_update():
    sections = assigned_names(str(tg.compile(train).program(P, *XY)))
    assert list(sections) == ["", "forward", "backward", "update"]
    assert sections[""] == []
    assert {"hidden", "error"} <= set(sections["forward"])
    assert {"d_error", "d_hidden", "d_w1", "d_w2"} <= set(sections["backward"])
    assert sections["update"][1::2] == ["new_w1", "new_w2"]
    # a gradient that is returned is no update, and a function without one has no sections
    sections = assigned_names(str(tg.compile(tg.value_and_grad(loss)).program(P, *XY)))
    assert list(sections) == ["", "forward", "backward"]
    assert {"d_w1", "d_w2"} <= set(sections["backward"])
    assert list(assigned_names(str(tg.compile(loss).program(P, *XY)))) == [""]
    assert "new_" not in str(tg.compile(lambda w, b: w - b).program(np.ones(2), np.ones(2)))
    split = tg.compile(lambda w, xs: tg.scan(lambda c, x: (np.tanh(c) + np.sin(x[0]), None), w, xs))
    assert " sin_0 = sin(" in str(split.program(np.ones(3), 2 * (np.ones((4, 3)),)))


def test_the_text_is_as_a_person_would_write_it():
    table = np.arange(6, dtype=np.float32).reshape(2, 3)

    def fn(p, q, rate):
        squared = (p["w"] @ table) ** 2
        both = squared + squared
        moved = np.sin(both * rate[1:4] - table) + 1e-05
        return np.sum(moved**2) * q["w"] + p["b"]

    w = np.ones((2, 2), np.float32)
    text = str(tg.compile(tg.grad(fn)).program({"w": w, "b": 0.5}, {"w": 1.5}, np.ones(5)))
    header = text.partition("def run")[0]
    assert "fn" in header
    assert "p.w, float32 (2, 2)" in header
    assert "b: p.b, a Python float" in header
    # the array that is captured is there once, and once turned
    assert header.count("captured, float32 (2, 3)") == header.count("captured, float32") - 1 == 1
    assert "#   table: captured, float32 (2, 3)" in header
    # inputs are called by the shortest end of their path that is theirs
    assert "def run(p_w, b, q_w, rate):" in text
    # values are called as their variables, whatever passes make of them
    assert "squared = square(" in text
    assert "both = add(squared, squared, " in text
    assert "= rate[1:4]  # (3,)\n" in text
    assert ", 1e-05, " in text
    # a cotangent that is passed on is called after the first that had it
    assert "d_moved = " in text


def test_constants_are_numbers_where_they_do_not_widen_the_result():
    x = np.ones(3, np.float32)
    text = str(tg.compile(lambda x: x * np.full(3, np.float32(2.5)) + 1.0).program(x))
    assert "(x, 2.5, " in text
    assert ", 1.0)" in text
    assert "full" not in text
    program = tg.compile(lambda x: np.array(2.5) * x).program(x)
    assert program(x).dtype == np.float64
    assert "multiply(float64(2.5), x)" in str(program)
    stacked = tg.compile(lambda x: np.stack([x, np.full(3, 2.5)])).program(np.ones(3))
    assert "full_3 = full((3,), 2.5, '<f8')" in str(stacked)
    assert not write_program(stacked, Names()).names.namespace["full_3"].flags.writeable


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("number", [2.0, -0.5, -0.0, 0.2, -7.0, 1e-5, 1 / 3, np.inf, 1e30, 709.78])
def test_a_number_is_written_as_the_shortest_that_is_rounded_to_it(number, dtype):
    with np.errstate(over="ignore"):
        number = dtype(number)
    for y in (number, number.item()):
        program = tg.compile(lambda x, y=y: np.arctan2(x, y)).program(np.ones(3, dtype))
        (line,) = [line for line in str(program).splitlines() if "arctan2(" in line]
        text = line.partition("arctan2(x, ")[2].partition(")  #")[0]
        assert text == (f"float('{number}')" if np.isinf(number) else str(number))
        assert dtype(eval(text)).tobytes() == number.tobytes()


def test_names_are_known_under_a_profiler_which_stays():
    named = str(tg.compile(train).program(P, *XY))
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(event))
    try:
        assert str(tg.compile(train).program(P, *XY)) == named
        assert sys.getprofile() is not None
    finally:
        sys.setprofile(None)
    assert calls


@pytest.mark.parametrize("raises", [False, True])
def test_what_a_function_held_is_let_go_when_it_was_compiled(raises):
    held = []

    def fn(x):
        inside = np.zeros(3)
        held.append(weakref.ref(inside))
        y = x * inside
        if raises:
            raise KeyError("x")
        return y

    gc.disable()
    try:
        with contextlib.suppress(KeyError):
            tg.compile(fn)(np.ones(3))
        assert held[0]() is None
    finally:
        gc.enable()


def test_the_lines_that_run_have_the_numbers_of_those_that_are_printed():
    @tg.custom_op(vjps=(lambda g, y, x: g,))
    def fail_unless_zero(x):
        if x.any():
            raise KeyError("here")
        return x

    step = tg.compile(lambda x: np.sum(fail_unless_zero(x * 2.0 + 1.0)))
    text = str(step.program(np.full(3, -0.5)))
    with pytest.raises(KeyError, match="here") as caught:
        step(np.ones(3))
    (at,) = [x.lineno for x in caught.traceback if "program of" in str(x.path)]
    assert "fail_unless_zero(" in text.splitlines()[at]


@tg.custom_op(vjps=(lambda g, y, x, axis=0, how="": g,))
def flip_axis(x, axis=0, how=""):
    """An op without a batching rule."""
    return np.flip(x, axis)


OPTIONS = {
    "each(x, of=flip_axis, batched=(True,), options={'axis': 1, 'how': 'a-b'})": tg.vmap(
        lambda x: flip_axis(x, axis=1, how="a-b")
    ),
    "einsum('ijk,imk->jm', x, x)": lambda x: np.einsum("ijk,imk->jm", x, x),
    "shape=(2, 3, 4), index=(slice(None, None, None), 0)": tg.grad(lambda x: np.sum(x[:, 0] ** 2)),
}


@pytest.mark.parametrize("written_as", OPTIONS)
def test_options_are_written_as_literals_and_ops_by_their_names(written_as):
    fn, x = OPTIONS[written_as], np.arange(24.0).reshape(2, 3, 4)
    text = str(tg.compile(fn).program(x))
    assert written_as in text
    assert "option" not in text.replace("options={", "")
    assert_runs(fn, x)


def test_the_backward_pass_names_the_lines_that_it_is_the_gradient_of():
    def step(h, x):
        h = np.sin(h) + x
        return h, None

    def loss(w, x):
        hidden = np.tanh(
            x @ w,
        )
        h, _ = tg.scan(step, np.zeros(2), hidden)
        return np.sum(h * h)

    args = np.ones((3, 2)), np.ones((4, 3))
    lines = [x.strip() for x in str(tg.compile(tg.grad(loss)).program(*args)).split("\n")]
    prefix = "# gradient of: "
    blocks = [x.removeprefix(prefix) for x in lines if x.startswith(prefix)]
    # the slopes of all steps, then the loop and its steps
    slope, loop = "h = np.sin(h) + x", "h, _ = tg.scan(step, np.zeros(2), hidden)"
    # the second line of the statement stands for itself
    hidden = ["hidden = np.tanh(x @ w)", "x @ w,"]
    assert blocks == ["return np.sum(h * h)", slope, loop, slope, *hidden]
    assert lines.index("# backward") == lines.index(prefix + blocks[0]) - 1


@tg.custom_op(vjps=(lambda g, y, x: [slope := 3 * x**2, g * slope][1],))
def cube(x):
    """An op whose rule has a variable."""
    return x**3


@pytest.mark.parametrize(("each", "name"), [(lambda f: f, "slope"), (tg.vmap, "multiply_2")])
def test_rules_of_the_users_have_names_and_gradients_of_examples_lines(each, name):
    def loss(x):
        return np.sum(cube(x) * x)

    text = str(tg.compile(each(tg.grad(loss))).program(np.ones((2, 3))))
    assert "# gradient of: return np.sum(cube(x) * x)\n" in text
    assert f" {name} = multiply(3.0, " in text


def test_headers_count_what_is_in_loops_and_no_heading_stands_above_another():
    def loss(w, xs):
        def step(h, x):
            i, f = np.split(np.tanh(x @ w + h), 2)
            return np.concatenate([f, i * f]), i

        h, ys = tg.scan(step, np.zeros(4), xs)
        first, second = np.split(h, 2)
        return np.sum(first * second) + np.sum(ys)

    text = str(tg.compile(tg.grad(loss)).program(np.ones((3, 4)), np.ones((5, 3))))
    lines = [x.strip() for x in text.splitlines()]
    assert f" {sum('= buffer(' in x for x in lines)} buffers of " in lines[0]
    # those with a line, the two loops, and the three results that are taken from these
    assert f" {sum('  # (' in x for x in lines) + 5} instructions, " in lines[0]
    above = [x.startswith("# gradient of: ") for x in lines]
    assert any(above)
    assert not any(x and y for x, y in itertools.pairwise(above))
