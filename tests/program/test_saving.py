"""Programs in files: saved, loaded without the recorded function, and never run as text."""

import contextlib
import copy
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from depth import depth
from hypothesis import given, reject
from hypothesis import strategies as st
from op_cases import CASES

import tapegrad as tg
from tapegrad.core.cotangents import SEED
from tapegrad.core.tensor import Rules
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS
from tapegrad.declare.parts import PART
from tapegrad.ops import scipy_special
from tapegrad.program import checking
from tapegrad.program.naming import name_of_op, op_named
from tapegrad.random import generator
from tapegrad.testing import programs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("programs")
    return path


def bits(x: Any) -> Any:
    return [
        (type(leaf), np.asarray(leaf).dtype, np.shape(leaf), np.asarray(leaf).tobytes())
        for leaf in tg.tree.leaves(x)
    ], tg.tree.flatten(x)[1]


def saved(program: tg.Program, folder: Path, using: Any = ()) -> tg.Program:
    path = folder / "program.npz"
    program.save(path)
    return tg.load_program(path, using)


def assert_same(again: tg.Program, program: tg.Program) -> None:
    assert again == program
    # names and notes, which equality leaves out
    assert str(again) == str(program)


# --- there and back -------------------------------------------------------------------------


@depth("program, saved")
@given(programs())
def test_a_random_program_does_the_same_when_it_is_loaded(folder: Path, written: Any) -> None:
    first, second = written.arguments
    step = tg.compile(written.step)
    again = saved(step.program(*first), folder)
    assert_same(again, step.program(*first))
    for args in (first, second):
        assert bits(again(*args)) == bits(step(*args))


@depth("op, saved")
@given(st.sampled_from(sorted(set(CASES) & set(OPS))).flatmap(CASES.__getitem__))
def test_a_call_of_any_op_does_the_same_when_it_is_loaded(folder: Path, case: Any) -> None:
    step = tg.compile(case.fn)
    with np.errstate(all="ignore"):
        try:
            program = step.program(*case.operands)
        except tg.TraceError:
            # a mask, or a result whose shape depends on values
            reject()
        again = saved(program, folder)
        assert_same(again, program)
        assert bits(again(*case.operands)) == bits(step(*case.operands))


KEY = tg.random.key(0)
DRAWS = [
    lambda k: tg.random.normal(k, (2, 3), dtype=np.float32),
    lambda k: tg.random.uniform(k, (3,), -1.0, 2.0),
    lambda k: tg.random.truncated_normal(k, (3,)),
    lambda k: tg.random.integers(k, 3, np.array([7, 8]), (4, 2)),
    lambda k: tg.random.bernoulli(k, 0.25, (3,)),
    lambda k: tg.random.permutation(k, 5),
    lambda k: tg.random.choice(k, 4, (3,), p=np.array([0.25, 0.5, 0.0, 0.25])),
    lambda k: tg.random.choice(k, np.arange(3.0), (2,), replace=False),
    lambda k: tg.random.split(k, 3),
]
calls_of_ops = st.one_of(
    st.sampled_from(sorted(set(CASES) & set(OPS)))
    .flatmap(CASES.__getitem__)
    .map(lambda case: (case.fn, case.operands)),
    st.sampled_from(DRAWS).map(lambda draw: (draw, (KEY,))),
)
# of an option: classes and sizes that few take
ODD = [
    "O",
    "<f8",
    "",
    None,
    True,
    1e300,
    -7,
    3,
    10**12,
    -(2**63),
    2**70,
    [],
    [2, 2],
    [10**12],
    ["x"],
]
ODD += [
    {"dtype": "<f4"},
    {"dtype": "<U3"},
    {"ellipsis": None},
    {"dict": []},
    {"slice": [0, 9, None]},
]


@pytest.mark.parametrize("small", [1 << 12, 4])
@depth("op, saved")
@given(calls_of_ops, st.data())
def test_an_option_that_an_op_cannot_take_is_refused_when_it_is_loaded(
    folder: Path, small: int, call: Any, data: Any
) -> None:
    fn, args = call
    path = folder / "option.npz"
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        # as if larger arrays than these were large
        patch.setattr(checking, "_SMALL", small)
        try:
            program = tg.compile(fn).program(*args)
        except tg.TraceError:
            # a mask, or a result whose shape depends on values
            reject()
        assert_same(saved(program, folder), program)
        program.save(path)
        text = content(path)
        inside = [
            ("code", "instructions", i, 2, option)
            for i, made in enumerate(text["code"]["instructions"])
            for option in made[2]
        ]
        if not inside:
            return
        where = data.draw(st.sampled_from(inside))
        odd = data.draw(st.sampled_from(ODD))
        new = changed(path, folder / "odd.npz", json.dumps(replaced(text, where, lambda _: odd)))
        again = loaded_or_refused(new)
        if again is not None:
            # of what is large, an option may not fit the sizes; indices may be drawn
            sizes = (ValueError, IndexError, MemoryError) if small == 4 else ()
            drawn = (IndexError,) if fn in DRAWS else ()
            with contextlib.suppress(*sizes, *drawn):
                again(*args)


def test_every_op_of_the_package_has_one_name() -> None:
    ops = [*OPS.values(), SEED, ASARRAY, *vars(tg.random).values(), *vars(scipy_special).values()]
    ops = list(dict.fromkeys(x for x in ops if isinstance(x, Rules)))
    names = [name_of_op(op) for op in ops]
    assert len(set(names)) == len(ops) > 170
    assert not any(":" in name for name in names)
    assert [op_named(name, ()) for name in names] == ops


def test_files_keep_the_names_that_ops_had_when_tapes_called_them_otherwise() -> None:
    keys = {op.name: key for key, op in OPS.items() if op.name != key}
    assert keys == {
        "stop_gradient": "stopped",
        "clip": "clip_both",
        "einsum": "contract",
        "take_along_axis": "pick",
        "put_along_axis": "unpick",
        "scatter_add": "add_at_places",
        "flat_indices": "row_places",
        "check_indices": "from_zero",
        **{name: f"{name}_joined" for name in ("eig", "eigh", "qr", "slogdet", "svd")},
    }
    for name, key in keys.items():
        assert name_of_op(OPS[key]) == key
        assert op_named(key, ()).name == name
    assert name_of_op(PART) == "control.part"
    assert (generator.seeded.name, name_of_op(generator.seeded)) == ("key", "random.seeded")
    assert (generator.folded_in.name, name_of_op(generator.folded_in)) == (
        "fold_in",
        "random.folded_in",
    )


def training() -> Any:
    model = tg.nn.Sequential(tg.nn.Linear(3, 8), tg.nn.Dropout(0.5), np.tanh, tg.nn.Linear(8, 2))
    optimizer = tg.optim.AdamW(tg.optim.warmup_cosine(0.1, 2, 9))

    def loss(params: Any, x: Any, y: Any, key: Any) -> Any:
        return tg.nn.cross_entropy_loss(model(params, x, key=key), y)

    def step(params: Any, state: Any, x: Any, y: Any, key: Any) -> Any:
        value, gradients = tg.value_and_grad(loss)(params, x, y, key)
        return value, *optimizer.update(params, gradients, state)

    params = model.init(0)
    x, y = tg.random.normal(1, (6, 3)), np.arange(6) % 2
    return step, (params, optimizer.init(params), x, y, tg.random.key(2))


def test_a_training_step_is_loaded_elsewhere_and_goes_on(tmp_path: Path) -> None:
    step, args = training()
    compiled = tg.compile(step)
    compiled.program(*args).save(tmp_path / "step.npz")
    tg.save(tmp_path / "args.npz", args)
    params, state, *rest = args
    for _ in range(3):
        wanted, params, state = compiled(params, state, *rest)
    code = f"""
import numpy as np, tapegrad as tg
step = tg.load_program({str(tmp_path / "step.npz")!r})
model = tg.nn.Sequential(tg.nn.Linear(3, 8), tg.nn.Dropout(0.5), np.tanh, tg.nn.Linear(8, 2))
params = model.init(0)
state = tg.optim.AdamW(tg.optim.warmup_cosine(0.1, 2, 9)).init(params)
like = (params, state, np.zeros((6, 3)), np.zeros(6, int), tg.random.key(0))
params, state, *rest = tg.load({str(tmp_path / "args.npz")!r}, like)
for _ in range(3):
    loss, params, state = step(params, state, *rest)
print(float(loss).hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == float(wanted).hex(), done.stderr


def test_the_same_program_is_the_same_file_and_numpy_reads_it(tmp_path: Path) -> None:
    step = tg.compile(lambda x: x + np.arange(3.0))
    program = step.program(np.zeros(3))
    program.save(tmp_path / "a.npz")
    tg.load_program(tmp_path / "a.npz").save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["0"], np.arange(3.0))


class Two(NamedTuple):
    first: Any
    second: Any


@attrs.frozen
class Rows:
    rows: Any
    rest: Any = None


@tg.custom_op(vjps=(lambda g, y, x, by: g * by,))
def scaled(x: Any, by: float = 1.0) -> Any:
    return x * by


def test_trees_of_any_kind_and_plain_results_come_back(folder: Path) -> None:
    def fn(x: Any, n: int) -> Any:
        return {
            "a": [x, (n + 1, None)],
            1: "text",
            b"k": np.str_("t"),
            True + 1.5: Two(x[0], True),
            "rest": Rows(x[:, None], (1.5, ...)),
            "dtype": np.dtype("f4"),
        }

    step = tg.compile(fn)
    x = np.arange(3.0)
    program = step.program(x, 2)
    program.save(folder / "trees.npz")
    again = tg.load_program(folder / "trees.npz", [Two, Rows])
    assert_same(again, program)
    got, wanted = again(x, 2), step(x, 2)
    assert repr(got) == repr(wanted)
    assert [type(leaf) for leaf in tg.tree.leaves(got)] == [
        type(leaf) for leaf in tg.tree.leaves(wanted)
    ]
    with pytest.raises(tg.FileError, match=r"the class '.*:Rows'; hand it over: .*using=\[Rows\]"):
        tg.load_program(folder / "trees.npz", [Two])

    @attrs.frozen
    class Other:
        rows: Any

    Other.__qualname__ = "Rows"
    with pytest.raises(tg.FileError, match="other fields"):
        tg.load_program(folder / "trees.npz", [Two, Other])


def test_an_op_of_the_users_is_handed_over(folder: Path) -> None:
    program = tg.compile(lambda x: scaled(x, by=3.0)).program(np.ones(1))
    program.save(folder / "op.npz")
    with pytest.raises(tg.FileError, match=r"op.npz: .*:scaled', .*using=\[scaled\]"):
        tg.load_program(folder / "op.npz")
    step = tg.compile(lambda x: tg.sum(scaled(x, by=3.0) * x)).program(np.ones(3))
    again = saved(step, folder, [scaled])
    assert_same(again, step)
    assert again(np.ones(3)) == 9.0


def test_what_a_file_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    @tg.custom_vjp(lambda g, y, x: (g,))
    def f(x: Any) -> Any:
        return x

    path = tmp_path / "p.npz"
    with pytest.raises(TypeError, match=r"custom_vjp .* tg\.custom_op"):
        tg.compile(lambda x: f(x) * 2).program(np.ones(2)).save(path)

    def named(x: Any) -> Any:
        return x, training

    with pytest.raises(TypeError, match="a result of named is a function"):
        tg.compile(named).program(np.ones(2)).save(path)
    assert not path.exists()


def looped(w: Any, xs: Any) -> Any:
    def loss(w: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            carry = np.tanh(w @ carry + x)
            return carry, tg.cond(np.sum(carry) > 0, np.sin, lambda y: y * np.arange(2.0), carry)

        last, rows = tg.scan(step, np.zeros(2), xs, reverse=True)
        return np.sum(last) + np.sum(rows)

    grown = tg.while_loop(lambda s: np.sum(s) < 50.0, lambda s: s * 1.5 + 1.0, w * w)
    return tg.value_and_grad(loss)(w), grown, tg.fori_loop(0, 4, lambda i, s: s * w[0] + i, xs[0])


LOOPED = np.array([[0.5, -0.25], [0.75, 1.0]]), np.linspace(-1, 1, 6).reshape(3, 2)


def test_loops_and_branches_come_back_with_their_bodies(folder: Path) -> None:
    step = tg.compile(looped)
    program = step.program(*LOOPED)
    again = saved(program, folder)
    assert_same(again, program)
    assert bits(again(*LOOPED)) == bits(step(*LOOPED))
    path = folder / "loops.npz"
    program.save(path)
    text = content(path)
    found = 0
    for i, made in enumerate(text["code"]["instructions"]):
        for option in ("loop", "branch"):
            if option in made[2]:
                at = ("code", "instructions", i, 2, option, option, 0)
                for field, hostile in [
                    ("label", "a\nimport os"),
                    ("inputs", []),
                    ("outputs", ["v0"]),
                ]:
                    wrong = replaced(text, (*at, field), lambda x, h=hostile: h)
                    refused(changed(path, folder / "wrong.npz", json.dumps(wrong)))
                    found += 1
    assert found > 8


# --- the call -------------------------------------------------------------------------------


def test_a_program_is_called_as_its_function_is() -> None:
    def fn(x: Any, /, scale: float, mode: str, *, layer: Any) -> Any:
        return {"y": layer(x["x"]) * scale, "mode": mode}

    step = tg.compile(fn, static_argnums=2)
    x = {"x": np.arange(2.0)}
    program = step.program(x, 2.0, "mean", layer=np.tanh)
    for again in (program, pickle.loads(pickle.dumps(program)), copy.copy(program)):
        assert again == program
        assert bits(again(x, 2.0, "mean", layer=np.tanh)) == bits(
            step(x, 2.0, "mean", layer=np.tanh)
        )
        assert again(x, 2.0, ..., layer=...)["mode"] == "mean"
    layer = np.tanh
    for error, match, args, kwargs in [
        (TypeError, "for the arguments 0, 1, 2, layer; got 0, layer", (x,), {"layer": layer}),
        (TypeError, "tree", ([x["x"]], 2.0, "mean"), {"layer": layer}),
        (TypeError, "tree", ({"y": x["x"]}, 2.0, "mean"), {"layer": layer}),
        (TypeError, "x.x is float64; got float32", ({"x": np.float32([1, 2])}, 2.0, "mean"), {"layer": layer}),
        (ValueError, r"x.x has shape \(2,\); got \(3,\)", ({"x": np.zeros(3)}, 2.0, "mean"), {"layer": layer}),
        (TypeError, "x.x is an array; got a str", ({"x": "a"}, 2.0, "mean"), {"layer": layer}),
        (TypeError, "scale is a Python float; got an int", (x, 2, "mean"), {"layer": layer}),
        (TypeError, "holds 'sum' where the program was made for 'mean'", (x, 2.0, "sum"), {"layer": layer}),
        (TypeError, "holds training where the program", (x, 2.0, "mean"), {"layer": training}),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            program(*args, **kwargs)
    with pytest.raises(TypeError, match="call the recorded function"):
        tg.grad(lambda v: tg.sum(program({"x": v}, 2.0, "mean", layer=layer)["y"]))(x["x"])


def test_calls_share_no_memory_and_may_be_nested() -> None:
    program = tg.compile(lambda x: tg.exp(x) * 2 + 1).program(np.ones(3))
    first = program(np.ones(3))
    kept = first.copy()
    program(np.zeros(3))
    np.testing.assert_array_equal(first, kept)
    assert not first.flags.writeable


# --- other files ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "step.npz"
    table = np.arange(12.0).reshape(4, 3)

    def fn(params: Any, i: Any, rate: float) -> Any:
        def loss(params: Any) -> Any:
            rows = tg.index_select(params["w"] * table, i)
            return tg.sum(tg.logsumexp(rows[:, ::2], axis=1)) * rate

        return tg.value_and_grad(loss)(params)

    tg.compile(fn).program({"w": np.ones((4, 3))}, np.array([0, 2]), 0.5).save(path)
    return path


def content(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("program.json"))


def changed(path: Path, new: Path, text: str, drop: str = "") -> Path:
    """A copy of a file with another text."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            if name not in ("program.json", drop):
                archive.writestr(name, old.read(name))
        archive.writestr("program.json", text)
    return new


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(tg.FileError, match=match) as error:
        tg.load_program(path)
    assert str(path) in str(error.value)


def loaded_or_refused(path: Path) -> tg.Program | None:
    """The program of a file; None where that is refused with an error that names it."""
    with pytest.raises((tg.FileError, StopIteration)) as error:
        raise StopIteration(tg.load_program(path))
    if isinstance(error.value, StopIteration):
        found: tg.Program = error.value.value
        return found
    assert str(path) in str(error.value)
    return None


def test_a_file_of_another_version_or_kind_is_one_error_that_names_it(
    whole: Path, tmp_path: Path
) -> None:
    new, text = tmp_path / "new.npz", content(whole)
    refused(changed(whole, new, json.dumps(text | {"version": 2})), "version 2.*reads version 1")
    refused(changed(whole, new, json.dumps(text | {"format": "other"})), "does not hold a program")
    refused(changed(whole, new, "[1"), "damaged")
    refused(changed(whole, new, "[" * 100_000), "damaged")
    refused(changed(whole, new, json.dumps(text), drop="0.npy"), "KeyError")
    tg.save(new, {"w": np.ones(2)})
    refused(new, r"damaged, or was not written by Program\.save")
    new.write_bytes(b"")
    refused(new, "damaged")
    with zipfile.ZipFile(new, "w") as archive:
        pickled = np.array([print], object)
        with archive.open("0.npy", "w") as member:
            np.lib.format.write_array(member, pickled, allow_pickle=True)
        archive.writestr("program.json", json.dumps(text))
    refused(new)


def test_a_truncated_file_is_refused(whole: Path, tmp_path: Path) -> None:
    data, new = whole.read_bytes(), tmp_path / "cut.npz"
    for n in range(0, len(data), 97):
        new.write_bytes(data[:n])
        refused(new, "damaged")


@depth("file, damaged")
@given(st.data())
def test_a_damaged_byte_is_found_or_changes_nothing(whole: Path, folder: Path, data: Any) -> None:
    program, raw, new = tg.load_program(whole), bytearray(whole.read_bytes()), folder / "flip.npz"
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    new.write_bytes(bytes(raw))
    again = loaded_or_refused(new)
    # the zip has fields that nothing depends on
    assert again is None or again == program


# --- files of which one thing is changed -----------------------------------------------------


@pytest.fixture(scope="module")
def originals(tmp_path_factory: Any) -> list[tuple[Path, Any, bool]]:
    """Files of programs with loops and branches in them, as recorded and improved."""
    folder, found = tmp_path_factory.mktemp("originals"), []
    mask = np.array([True, False])

    def masked(x: Any, n: int) -> Any:
        return tg.grad(lambda x: tg.sum(x[mask] ** 2) * n)(x), np.append(x, x[mask]), n * 2

    def ending(w: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            carry = np.tanh(w @ carry + x)
            return carry, tg.cond(np.sum(carry) > 0, np.sin, lambda y: y * np.arange(2.0), carry)

        def loss(xs: Any) -> Any:
            last, rows = tg.scan(step, np.zeros(2), xs, reverse=True)
            return np.sum(last) + np.sum(rows)

        slope = tg.grad(lambda x: np.sin(tg.fori_loop(0, 3, lambda i, y: y * x, 1.0)) * x)
        return tg.value_and_grad(loss)(xs), slope(w[0, 1])

    for fn, args in [(looped, LOOPED), (ending, LOOPED), (masked, (np.arange(2.0), 3))]:
        for passes in ((), None):
            path = folder / f"{len(found)}.npz"
            tg.compile(fn, passes=passes).program(*args).save(path)
            # one that a value ends might not, if it is changed
            found.append((path, args, fn is not looped))
    return found


def codes(x: Any, path: tuple[Any, ...] = ("code",)) -> Any:
    """The path of each program in a text, those in its instructions included."""
    yield path
    for i, made in enumerate(x["instructions"]):
        for option in ("loop", "branch"):
            for j, part in enumerate(made[2].get(option, {option: ()})[option]):
                if isinstance(part, dict):
                    yield from codes(part, (*path, "instructions", i, 2, option, option, j))


def at(x: Any, path: tuple[Any, ...]) -> Any:
    return at(x[path[0]], path[1:]) if path else x


def wholes(code: Any) -> list[str]:
    return [f"v{i}" for i, x in enumerate(code["instructions"]) if x[0] in CONTROL]


CONTROL = "control.loop", "control.cond"


@depth("file, hostile")
@given(st.data())
def test_an_operand_that_cannot_be_is_refused_in_any_body(
    originals: Any, folder: Path, data: Any
) -> None:
    path, _, _ = data.draw(st.sampled_from(originals))
    text = content(path)
    where = data.draw(
        st.sampled_from([x for x in codes(text["code"]) if at(text, x)["instructions"]])
    )
    code = at(text, where)
    i = data.draw(st.integers(0, len(code["instructions"]) - 1))
    made = code["instructions"][i]
    sizes = {"i": len(code["inputs"]), "c": len(code["constants"]), "v": i}
    wrong = [f"{kind}{n + data.draw(st.integers(0, 3))}" for kind, n in sizes.items()]
    wrong += [None, "v-1", "x0", [], "v1e3"]
    whole = [x for x in wholes(code) if int(x[1:]) < i]
    if made[0] == "control.part":
        wrong += ["i0", 1.5, True]
    elif whole:
        wrong = data.draw(st.sampled_from([wrong, whole]))
    k = data.draw(st.integers(0, len(made[1])))
    operand = data.draw(st.sampled_from(wrong))
    # another, or one more
    operands = [*made[1][:k], operand, *made[1][k + data.draw(st.integers(0, 1)) :]]
    new = replaced(text, (*where, "instructions", i, 1), lambda _: operands)
    refused(changed(path, folder / "operand.npz", json.dumps(new)))


@depth("file, hostile")
@given(st.data())
def test_a_file_with_things_swapped_is_refused_or_runs(
    originals: Any, folder: Path, data: Any
) -> None:
    path, args, ends = data.draw(st.sampled_from(originals))
    text = content(path)
    where = data.draw(st.sampled_from(list(codes(text["code"]))))
    kinds = ["inputs", "outputs", "instructions", "instructions", "instructions"]
    part = data.draw(st.sampled_from([x for x in kinds if at(text, where)[x]]))
    things = at(text, (*where, part))
    i, j = (data.draw(st.integers(0, len(things) - 1)) for _ in range(2))
    how = data.draw(st.sampled_from(["swap", "drop", "repeat", "field", "field", "field"]))
    things = list(things)
    if how == "swap":
        things[i], things[j] = things[j], things[i]
    elif how == "drop":
        del things[i]
    elif how == "repeat":
        things.insert(j, things[i])
    elif isinstance(things[i], list):
        # an op, operands, options, a shape, a dtype or a kind of another one
        k = data.draw(st.integers(0, len(things[i]) - 1))
        things[i] = [*things[i][:k], things[j][k], *things[i][k + 1 :]]
    new = replaced(text, (*where, part), lambda _: things)
    program = loaded_or_refused(changed(path, folder / "swapped.npz", json.dumps(new)))
    if program is None:
        return
    if not ends:
        return
    # an index or a matrix may be wrong by its values alone
    with contextlib.suppress(IndexError, np.linalg.LinAlgError), np.errstate(all="ignore"):
        program(*args)


RAN: list[str] = []
CODE = "__import__('test_saving').RAN.append('ran')"
HOSTILE = [
    *(None, True, -1, 0, 3, 2**70, 1e300, float("nan"), "", "v0", "i0", "c0", "v999", "*"),
    *([], {}, [0], [-1], [10**12], {"a": 1}, [[1]], [None] * 3),
    *(f"0) or {CODE} or (0", f"x\n{CODE}\n", f"\n    {CODE}", f"{{0.__class__}}{CODE}", f"'{CODE}"),
    *("os:system", "tapegrad.nn:Linear", "builtins:eval", "tapegrad.transforms.checkpoint:Checkpoint"),
    *({"record": ["os:system", [], []]}, {"dtype": "O"}, {"dtype": "<f8,<f8"}, {"slice": [CODE] * 3}),
    *({"value": "v1"}, {"dict": [[CODE, CODE]]}, {"number": ["<f8", "00"]}, {"bytes": "zz"}),
    *("sum", "matmul", "reshape", "power", "getitem", "random.uniform", "seed", "backward"),
]  # fmt: skip


def places(x: Any, path: tuple[Any, ...] = ()) -> Any:
    """The path of each part of a JSON value."""
    yield path
    inside = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, part in inside:
        yield from places(part, (*path, key))


def replaced(x: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(x)
    new = copy.copy(x)
    new[path[0]] = replaced(x[path[0]], path[1:], change)
    return new


@depth("file, hostile")
@given(st.data())
def test_a_hostile_text_is_refused_or_harmless(whole: Path, folder: Path, data: Any) -> None:
    sys.modules.setdefault("test_saving", sys.modules[__name__])
    text = content(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        everywhere = list(places(text))
        path = everywhere[data.draw(st.integers(0, len(everywhere) - 1))]
        hostile = data.draw(st.sampled_from(HOSTILE))
        text = replaced(text, path, lambda x, h=hostile: h)
        if not isinstance(text, dict):
            break
    new = changed(whole, folder / "hostile.npz", json.dumps(text))
    program = loaded_or_refused(new)
    if program is not None:
        compile(str(program), "", "exec")
        # what its file says that it does may fail, but it does nothing else
        if all(np.prod(x.shape) < 1000 for x in (*program.inputs, *program.instructions)):
            errors = (ValueError, TypeError, IndexError, OverflowError)
            with contextlib.suppress(*errors), np.errstate(all="ignore"):
                program({"w": np.ones((4, 3))}, np.array([0, 2]), 0.5)
    assert RAN == []


@pytest.mark.parametrize("field", ["label", "note", "name", "path", "option", "key", "static"])
def test_text_that_would_be_code_stays_text(whole: Path, tmp_path: Path, field: str) -> None:
    text = content(whole)
    code, hostile = text["code"], f"\n{CODE}\n"
    sums = [x for x in code["instructions"] if x[0] in ("sum", "max")]
    match field:
        case "label":
            code["label"] = hostile
        case "note":
            code["instructions"][0][6] = hostile
        case "name":
            code["instructions"][0][7] = hostile
        case "path":
            code["inputs"][0][0] = hostile
        case "option":
            sums[0][2]["axis"] = f"0) or {CODE} or (0"
        case "key":
            code["structure"] = {"dict": [[hostile, code["structure"]]]}
        case "static":
            text["arguments"][0][2] = [hostile]
    new = changed(whole, tmp_path / "code.npz", json.dumps(text))
    if field in ("note", "option", "static"):
        refused(new)
    else:
        program = tg.load_program(new)
        assert not any(line.strip() == CODE for line in str(program).split("\n"))
        program({"w": np.ones((4, 3))}, np.array([0, 2]), 0.5)
    assert RAN == []


def test_an_op_that_says_it_gives_what_it_does_not_is_found(whole: Path, tmp_path: Path) -> None:
    text = content(whole)
    found = 0
    for i, instruction in enumerate(text["code"]["instructions"]):
        if not instruction[5]:
            wrong = replaced(text, ("code", "instructions", i, 3), lambda shape: [*shape, 7])
            refused(changed(whole, tmp_path / "wrong.npz", json.dumps(wrong)), "but gives")
            found += 1
    assert found > 5


def test_an_option_of_a_large_array_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    tg.compile(lambda x: tg.max(x, axis=0)).program(np.ones((5000, 2))).save(path)
    text = content(path)
    text["code"]["instructions"][-1][2]["axis"] = f"0) or {CODE} or (0"
    refused(changed(path, tmp_path / "code.npz", json.dumps(text)), "refuses its options")
    assert RAN == []
