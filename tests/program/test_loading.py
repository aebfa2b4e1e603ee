"""Loading a corrupt or altered program file raises an error, and runs none of its text."""

import contextlib
import json
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from depth import depth
from hypothesis import given, reject
from hypothesis import strategies as st
from op_cases import CASES
from program_files import (
    LOOPED,
    assert_load_fails,
    assert_same,
    content,
    loop_with_branch,
    loops_of_each_kind,
    replace_at,
    save_and_load,
    write_changed_copy,
)
from scripts import print_of_script

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.program.saved_names import name_of_op, op_named
from tapegrad.types import Array, DTypeLike, PyTree


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("programs")
    return path


KEY = tg.random.key(0)


DRAWS = [
    lambda k: tg.random.normal(k, (2, 3), dtype=np.float32),
    lambda k: tg.random.integers(k, 3, np.array([7, 8]), (4, 2)),
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
    *("O", "<f8", "", None, True, 1e300, -7, 3, 10**12, -(2**63), 2**70),
    *([], [2, 2], [10**12], ["x"], {"dtype": "<f4"}, {"dtype": "<U3"}, {"ellipsis": None}),
    *({"dict": []}, {"slice": [0, 9, None]}),
]


@depth("op, saved")
@given(calls_of_ops, st.data())
def test_load_refuses_an_option_that_an_op_cannot_take(
    folder: Path, call: tuple[Any, ...], data: st.DataObject
) -> None:
    fn, args = call
    path = folder / "option.npz"
    with np.errstate(all="ignore"):
        try:
            program = tg.compile(fn).program(*args)
        except tg.TraceError:
            # a mask, or a result whose shape depends on values
            reject()
        assert_same(save_and_load(program, folder), program)
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
        new = write_changed_copy(
            path, folder / "odd.npz", json.dumps(replace_at(text, where, lambda _: odd))
        )
        again = loaded_or_refused(new)
        if again is not None:
            # an option may not fit the memory, and indices may be drawn
            drawn = (IndexError,) if fn in DRAWS else ()
            with contextlib.suppress(MemoryError, *drawn):
                again(*args)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "step.npz"
    table = np.arange(12.0).reshape(4, 3)

    def fn(params: dict[str, Array], i: Array, rate: float) -> tuple[PyTree, PyTree]:
        def loss(params: dict[str, Array]) -> Array:
            rows = tg.index_select(params["w"] * table, i)
            return tg.sum(tg.logsumexp(rows[:, ::2], axis=1)) * rate

        return tg.value_and_grad(loss)(params)

    tg.compile(fn).program({"w": np.ones((4, 3))}, np.array([0, 2]), 0.5).save(path)
    return path


def loaded_or_refused(path: Path) -> tg.Program | None:
    """The program of a file; None where that is refused with an error that names it."""
    with pytest.raises((tg.FileError, StopIteration)) as error:
        raise StopIteration(tg.load_program(path))
    if isinstance(error.value, StopIteration):
        found: tg.Program = error.value.value
        return found
    assert str(path) in str(error.value)
    return None


def test_load_refuses_a_file_of_another_version_or_kind(whole: Path, tmp_path: Path) -> None:
    new, text = tmp_path / "new.npz", content(whole)
    assert_load_fails(
        write_changed_copy(whole, new, json.dumps(text | {"version": 2})),
        "version 2.*reads version 1",
    )
    assert_load_fails(
        write_changed_copy(whole, new, json.dumps(text | {"format": "other"})),
        "does not hold a program",
    )
    assert_load_fails(write_changed_copy(whole, new, "[1"), "damaged")
    assert_load_fails(write_changed_copy(whole, new, "[" * 100_000), "damaged")
    assert_load_fails(write_changed_copy(whole, new, json.dumps(text), drop="0.npy"), "KeyError")
    tg.save(new, {"w": np.ones(2)})
    assert_load_fails(new, r"damaged, or was not written by Program\.save")
    new.write_bytes(b"")
    assert_load_fails(new, "damaged")
    with zipfile.ZipFile(new, "w") as archive:
        pickled = np.array([print], object)
        with archive.open("0.npy", "w") as member:
            np.lib.format.write_array(member, pickled, allow_pickle=True)
        archive.writestr("program.json", json.dumps(text))
    assert_load_fails(new)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Any, bool]]:
    """Files of programs with loops and branches in them, as recorded and improved."""
    folder, found = tmp_path_factory.mktemp("originals"), []
    mask = np.array([True, False])

    def sum_selected(x: Array, n: int) -> tuple[Array, Array, int]:
        return tg.grad(lambda x: tg.sum(x[mask] ** 2) * n)(x), np.append(x, x[mask]), n * 2

    for fn, args in [
        (loops_of_each_kind, LOOPED),
        (loop_with_branch, LOOPED),
        (sum_selected, (np.arange(2.0), 3)),
    ]:
        for passes in ((), None):
            path = folder / f"{len(found)}.npz"
            tg.compile(fn, passes=passes).program(*args).save(path)
            # one that a value ends might not, if it is changed
            found.append((path, args, fn is not loops_of_each_kind))
    return found


def codes(x: dict[str, Any], path: tuple[Any, ...] = ("code",)) -> Iterator[tuple[Any, ...]]:
    """The path of each program in a text, those in its instructions included."""
    yield path
    for i, made in enumerate(x["instructions"]):
        for option in ("loop", "branch"):
            for j, part in enumerate(made[2].get(option, {option: ()})[option]):
                if isinstance(part, dict):
                    yield from codes(part, (*path, "instructions", i, 2, option, option, j))


def item_at(x: Any, path: tuple[Any, ...]) -> Any:
    return item_at(x[path[0]], path[1:]) if path else x


def wholes(code: dict[str, Any]) -> list[str]:
    return [f"v{i}" for i, x in enumerate(code["instructions"]) if x[0] in CONTROL]


CONTROL = "control.scan", "control.fori_loop", "control.while_loop", "control.cond"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("scipy._matrix_equations:_factored", "scipy._matrix_equations:_cho_factor"),
        ("scipy._matrix_equations:_banded", "scipy._matrix_equations:_solve_banded"),
        ("scipy.linalg:_factored", "scipy._matrix_equations:_cho_factor"),
        ("scipy.linalg:_banded", "scipy._matrix_equations:_solve_banded"),
        ("scipy.signal:_convolved", "scipy.signal:_convolve"),
        ("scipy.signal:_filtered", "scipy.signal:_lfilter"),
    ],
)
def test_ops_of_scipy_have_their_names_in_older_files(older: str, newer: str) -> None:
    pytest.importorskip("scipy")
    op = op_named(f"tapegrad.{older}", ())
    assert name_of_op(op) == f"tapegrad.{newer}"
    # a pickle names the module and the function that held it
    module, name = f"tapegrad.{older}".split(":")
    assert getattr(import_module(module), name) is pickle.loads(pickle.dumps(op)) is op


@pytest.mark.parametrize("name", ["isreal", "iscomplex", "angle"])
def test_an_op_of_a_module_that_is_not_imported_is_found(name: str) -> None:
    code = f"""
        from tapegrad.program.saved_names import name_of_op, op_named
        print(name_of_op(op_named({name!r}, ())))
        """
    assert print_of_script(code) == f"{name}\n"


def test_load_of_a_loop_of_the_first_files(folder: Path) -> None:
    # which called every loop so
    program = tg.compile(loops_of_each_kind).program(*LOOPED)
    program.save(folder / "now.npz")
    text = json.dumps(content(folder / "now.npz"))
    assert "control.while_loop" in text
    old = re.sub(r"control\.(scan|fori_loop|while_loop)", "control.loop", text)
    assert_same(tg.load_program(folder / "now.npz"), program)
    again = tg.load_program(write_changed_copy(folder / "now.npz", folder / "then.npz", old))
    for x, y in zip(tg.tree.leaves(again(*LOOPED)), tg.tree.leaves(program(*LOOPED)), strict=True):
        np.testing.assert_array_equal(x, y)


FIRST = """
{"format": "tapegrad program", "version": 1, "arguments": [[0, {"list": ["*"]}, [null]]], "code": {
    "label": "f", "inputs": [["x.0", [], "<f8", null]], "constants": [[0, "<f8", true]],
    "instructions": [
        ["control.scan", ["i0", "c0"], {"loop": {"loop": [{
            "label": "step", "inputs": [["c", [], "<f8", null], ["r", [], "<f8", null]],
            "constants": [], "structure": {"tuple": ["*", null]}, "outputs": [{"value": "v0"}],
            "instructions": [["add", ["i0", "i1"], {}, [], "<f8", false, "", "", "forward"]]
        }, null, 1, 1, 0, 2, false, true, [0]]}}, [], "<f8", false, "", "", "forward"],
        ["control.part", ["v0"], {"index": 0}, [], "<f8", false, "a note", "last", "update"]
    ],
    "outputs": [{"value": "v1"}], "structure": {"dict": [["last", "*"]]}
}}
"""


def test_files_stay(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "first.npz", "w") as archive:
        archive.writestr("program.json", FIRST)
        with archive.open("0.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(2.0))
    program = tg.load_program(tmp_path / "first.npz")
    assert program([np.array(1.0)]) == {"last": 2.0}
    program.save(tmp_path / "again.npz")
    # the first files had no names of arrays
    assert content(tmp_path / "again.npz") == json.loads(FIRST.replace("true]]", 'true, ""]]'))


@depth("file, hostile")
@given(st.data())
def test_load_refuses_an_operand_that_cannot_be(
    originals: list[tuple[Any, ...]], folder: Path, data: st.DataObject
) -> None:
    path, _, _ = data.draw(st.sampled_from(originals))
    text = content(path)
    where = data.draw(
        st.sampled_from([x for x in codes(text["code"]) if item_at(text, x)["instructions"]])
    )
    code = item_at(text, where)
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
    new = replace_at(text, (*where, "instructions", i, 1), lambda _: operands)
    assert_load_fails(write_changed_copy(path, folder / "operand.npz", json.dumps(new)))


OLDER: dict[str, Any] = {
    **dict.fromkeys(("eig", "eigh"), lambda w, v: (w[..., None], v.mT)),
    "slogdet": lambda sign, log: (sign[..., None], log[..., None]),
    "qr": lambda q, r: (q.mT, r),
    "svd": lambda u, s, vh: (s[..., None], u.mT, vh),
}


@pytest.mark.parametrize("name", OLDER)
@pytest.mark.parametrize("dtype", [np.float32, complex])
def test_load_takes_several_results_in_one_array(
    tmp_path: Path, name: str, dtype: DTypeLike
) -> None:
    a = np.array([[2, 1, 0.5], [0.25, 3, 1], [0.5, 0.25, 5]]).astype(dtype)
    want = np.concatenate(OLDER[name](*getattr(np.linalg, name)(a)), axis=-1)
    want = want.real if name == "eig" and dtype is not complex else want
    program = tg.compile(lambda a: np.exp(a)).program(a)
    (made,) = program.instructions
    op = op_named(f"{name}_joined", ())
    older = attrs.evolve(made, op=op, shape=want.shape, dtype=want.dtype)
    attrs.evolve(program, instructions=(older,)).save(tmp_path / "new.npz")
    for end in ("", ".complex") if dtype is complex and name != "eig" else ("",):
        text = content(tmp_path / "new.npz")
        assert text["code"]["instructions"][0][0] == f"{name}_joined"
        text["code"]["instructions"][0][0] += end
        path = write_changed_copy(tmp_path / "new.npz", tmp_path / "old.npz", json.dumps(text))
        got = tg.load_program(path)(a)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@depth("file, hostile")
@given(st.data())
def test_load_refuses_or_runs_things_swapped(
    originals: list[tuple[Any, ...]], folder: Path, data: st.DataObject
) -> None:
    path, args, ends = data.draw(st.sampled_from(originals))
    text = content(path)
    where = data.draw(st.sampled_from(list(codes(text["code"]))))
    kinds = ["inputs", "outputs", "instructions", "instructions", "instructions"]
    part = data.draw(st.sampled_from([x for x in kinds if item_at(text, where)[x]]))
    things = item_at(text, (*where, part))
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
    new = replace_at(text, (*where, part), lambda _: things)
    program = loaded_or_refused(write_changed_copy(path, folder / "swapped.npz", json.dumps(new)))
    if program is None:
        return
    if not ends:
        return
    # an index, a mask or a matrix may be wrong by its values alone
    with contextlib.suppress(IndexError, np.linalg.LinAlgError), np.errstate(all="ignore"):
        try:
            program(*args)
        except ValueError as error:
            if "the mask is true" not in str(error):
                raise


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


def places(x: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each part of a JSON value."""
    yield path
    inside = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, part in inside:
        yield from places(part, (*path, key))


@depth("file, hostile")
@given(st.data())
def test_load_refuses_hostile_text(whole: Path, folder: Path, data: st.DataObject) -> None:
    sys.modules.setdefault("test_saving", sys.modules[__name__])
    text = content(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        everywhere = list(places(text))
        path = everywhere[data.draw(st.integers(0, len(everywhere) - 1))]
        hostile = data.draw(st.sampled_from(HOSTILE))
        text = replace_at(text, path, lambda x, h=hostile: h)
        if not isinstance(text, dict):
            break
    new = write_changed_copy(whole, folder / "hostile.npz", json.dumps(text))
    program = loaded_or_refused(new)
    if program is not None:
        compile(str(program), "", "exec")
        # what its file says that it does may fail, but it does nothing else
        if all(np.prod(x.shape) < 1000 for x in (*program.inputs, *program.instructions)):
            errors = (ValueError, TypeError, IndexError, OverflowError)
            with contextlib.suppress(*errors), np.errstate(all="ignore"):
                program({"w": np.ones((4, 3))}, np.array([0, 2]), 0.5)
    assert RAN == []


# places where a file's text goes into the source, or into a comparison of the program
TEXTS: dict[str, tuple[Any, ...]] = {
    "label": ("code", "label"),
    "name": ("code", "instructions", 0, 7),
    "path": ("code", "inputs", 0, 0),
    "key": ("code", "structure"),
    "note": ("code", "instructions", 0, 6),
    "static": ("arguments", 0, 2),
}


@pytest.mark.parametrize("field", TEXTS)
def test_load_keeps_text_that_would_be_code(whole: Path, tmp_path: Path, field: str) -> None:
    hostile: Any = f"\n{CODE}\n"

    def put(old: Any) -> Any:
        return {"key": {"dict": [[hostile, old]]}, "static": [hostile]}.get(field, hostile)

    text = replace_at(content(whole), TEXTS[field], put)
    new = write_changed_copy(whole, tmp_path / "code.npz", json.dumps(text))
    if field in ("label", "note", "static"):
        assert_load_fails(new)
    else:
        program = tg.load_program(new)
        assert not any(line.strip() == CODE for line in str(program).split("\n"))
        program({"w": np.ones((4, 3))}, np.array([0, 2]), 0.5)
    assert RAN == []


def test_load_finds_a_wrong_shape_or_dtype(whole: Path, tmp_path: Path) -> None:
    text = content(whole)
    found = 0
    for i, instruction in enumerate(text["code"]["instructions"]):
        if not instruction[5]:
            wrong = replace_at(text, ("code", "instructions", i, 3), lambda shape: [*shape, 7])
            assert_load_fails(
                write_changed_copy(whole, tmp_path / "wrong.npz", json.dumps(wrong)), "but gives"
            )
            found += 1
    assert found > 5


def inside(i: int, option: str) -> tuple[Any, ...]:
    return ("instructions", i, 2, option, option)


PATTERN = "tapegrad.scipy.sparse.coo:Pattern"
WHILE, SCAN = inside(1, "loop"), inside(3, "loop")
# in the program of `loops_of_each_kind`: a place, what does not fit there, and words of the refusal
MISFITS: list[tuple[tuple[Any, ...], Any, str]] = [
    (("label",), "a\nb", "more than one line"),
    (("inputs", 0, 0), 3, "not of the type str"),
    (("inputs", 0, 1), [2.5, 2], "not of the type int"),
    (("inputs", 0, 2), "O", "not a dtype"),
    (("inputs", 0, 3), "float", "a Python float, has"),
    (("outputs", 0), {"value": "v3"}, "all of several at once"),
    (("outputs", 0), {"value": "v99"}, "not there yet"),
    (("structure",), "*", "do not fill their tree"),
    (("structure",), {"dict": [["a", "*"]] * 5}, "do not fill their tree"),
    (("structure",), {"record": [PATTERN, [], []]}, "other fields|needs SciPy"),
    (("instructions", 1, 2, "loop"), 3, "other options than its bodies"),
    (("instructions", 3, 3), [7], "but gives"),
    (("instructions", 4, 2, "index"), 99, "refuses what it is given"),
    (("instructions", 4, 2, "index"), True, "none of several results"),
    (("instructions", 5, 2, "index"), 0, "taken out twice"),
    (("instructions", 6, 0), "multiply", "takes 2 operands"),
    (("instructions", 6, 1), ["v3"], "all of several results at once"),
    (("instructions", 6, 1), [None], "neither a value nor a number"),
    (("instructions", 6, 1), [[1.0]], "damaged"),
    (("instructions", 6, 2), {"keepdims": 3}, "neither true nor false"),
    (("instructions", 6, 2), {"bias": 3}, "no such operands or options"),
    (("instructions", 6, 5), True, "gives no Python number"),
    (("instructions", 6, 8), "later", "is of no stage"),
    (("instructions", 3, 1), ["i1", "c0", "i1"], "what they take"),
    (("instructions", 3, 1), ["i0", "c0", "i0"], "does not fit its bodies"),
    ((*SCAN, 4), -1, "does not fit its bodies"),
    ((*SCAN, 5), 7, "does not fit its bodies"),
    ((*SCAN, 8), [99], "does not fit its bodies"),
    ((*SCAN, 0, "outputs", 0), {"value": "v4"}, "does not fit its bodies"),
    ((*SCAN, 0, "outputs", 0), 1.5, "returns what is no value"),
    ((*SCAN, 0, "instructions", 5, 1), ["v2", "v2"], "a body in which .* does not fit its bodies"),
    ((*SCAN, 0, *inside(5, "branch"), 0, "outputs"), [], "does not fit its bodies"),
    ((*WHILE, 1, "outputs", 0), {"value": "i0"}, "does not fit its bodies"),
    ((*WHILE, 5), 3, "does not fit its bodies"),
]


@pytest.mark.parametrize(("place", "wrong", "words"), MISFITS)
def test_load_says_what_does_not_fit(
    originals: list[tuple[Any, ...]], tmp_path: Path, place: tuple[Any, ...], wrong: Any, words: str
) -> None:
    path = originals[0][0]
    text = replace_at(content(path), ("code", *place), lambda _: wrong)
    assert_load_fails(write_changed_copy(path, tmp_path / "wrong.npz", json.dumps(text)), words)
