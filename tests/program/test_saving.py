"""Programs in files: saved, loaded without the recorded function, and never run as text."""

import copy
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from depth import depth
from hypothesis import given
from package_ops import package_ops
from program_files import assert_load_fails, assert_same, save_and_load
from programs import ALSO, assert_close, scale_of
from random_programs import programs

import tapegrad as tg
from tapegrad.core.writing import ASARRAY
from tapegrad.declare import OPS
from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.errors import FileError
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.saved_names import class_named, name_of_op, op_named
from tapegrad.random import generator
from tapegrad.transforms.reverse import SEED
from tapegrad.types import Array


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("programs")
    return path


def bits(x: Any) -> tuple[Any, ...]:
    return [
        (type(leaf), np.asarray(leaf).dtype, np.shape(leaf), np.asarray(leaf).tobytes())
        for leaf in tg.tree.leaves(x)
    ], tg.tree.flatten(x)[1]


@depth("program, saved")
@given(programs(12, ALSO))
def test_calls_take_turns_with_those_of_a_program_loaded(folder: Path, written: Any) -> None:
    first, second = written.arguments
    step = tg.compile(written.step)
    loaded = save_and_load(step.program(*first), folder)
    results, known = [], []
    for args in (first, second, first, second):
        for fn in (step, loaded):
            results.append(fn(*args))
            known.append(bits(results[-1]))
    # no call changes what an earlier one returned
    assert [bits(x) for x in results] == known
    assert known[0] == known[1] == known[4] == known[5]
    assert known[2] == known[3] == known[6] == known[7]
    for got, args in zip(results[::2], (first, second), strict=False):
        scale = scale_of(written.step, args)
        assert_close(got, written.step(*args), written.narrowest, scale)


@pytest.mark.parametrize("dtype", [">f8", "<f8", ">c8", ">i4"])
def test_an_element_has_the_byte_order_that_numpy_gives_it(folder: Path, dtype: str) -> None:
    def step(x: Array) -> list[Array]:
        parts = x[0, 1], x[0, 1, ...], x[:1, :1][0, 0], x[:1, 0][0, ...], x[0, 0][...]
        return [*parts, *[y.reshape(1) for y in parts]]

    x = np.arange(6).reshape(2, 3).astype(dtype)
    program = tg.compile(step).program(x)
    for run in (program, save_and_load(program, folder)):
        assert bits(run(x)) == bits([*map(np.asarray, step(x))])


def test_op_of_the_package_has_one_name() -> None:
    control = [PART, COND, *LOOPS]
    ops = [SEED, ASARRAY, *control, *[op for op in package_ops() if isinstance(op, tg.Op)]]
    names = [name_of_op(op) for op in ops]
    assert len(set(names)) == len(ops) > 200
    assert [op_named(name, ()) for name in names] == ops


@pytest.mark.parametrize(
    "name",
    [
        "tapegrad.nowhere:op",
        "tapegrad.scipy.nowhere:op",
        "tapegrad.ops.arithmetic:np",
        "tapegrad.testing.__main__:main",
        "tapegrad..ops:add",
        "tapegrad.:add",
        "tapegrad.ops.arithmetic",
    ],
)
def test_what_is_no_op_of_the_package_is_not_loaded(name: str) -> None:
    with pytest.raises(FileError, match=r"this version of tapegrad|needs SciPy"):
        op_named(name, ())


def test_op_names_in_files_stay() -> None:
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
        **{f"{name}n": f"{name}_axes" for name in ("fft", "ifft", "rfft", "irfft")},
        "qr": "thin_qr",
        "svd": "thin_svd",
        "segment_sum": "sum_segments",
        "segment_max": "max_segments",
    }
    assert op_named("segment_sum", ()) is OPS["sum_segments"]
    for name, key in keys.items():
        assert name_of_op(OPS[key]) == key
        assert op_named(key, ()).name == name
    assert name_of_op(PART) == "control.part"
    assert (generator.make_key.name, name_of_op(generator.make_key)) == ("key", "random.seeded")
    assert (generator.fold_in.name, name_of_op(generator.fold_in)) == (
        "fold_in",
        "random.folded_in",
    )


def test_program_is_the_same_file_and_numpy_reads_it(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("module", ["tapegrad.ops.linalg", "tapegrad.functions.matrices"])
def test_results_of_an_op_are_known_by_a_module_where_they_were(module: str) -> None:
    kinds = [op.results for op in OPS.values() if isinstance(op, MultiOutputOp)]
    assert kinds
    for kind in kinds:
        assert class_named(f"{module}:{kind.__name__}", ()) is kind


@tg.custom_op(vjps=(lambda g, y, x, by: g * by,))
def scale_by(x: Array, by: float = 1.0) -> Array:
    return x * by


def test_save_keeps_trees_of_any_kind(folder: Path) -> None:
    def fn(x: Array, n: int) -> dict[Any, Any]:
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
    with pytest.raises(
        tg.FileError, match=r"the class '.*:Rows', .*hand it over: .*using=\[Rows\]"
    ):
        tg.load_program(folder / "trees.npz", [Two])

    @attrs.frozen
    class Other:
        rows: Any

    Other.__qualname__ = "Rows"
    with pytest.raises(tg.FileError, match="other fields"):
        tg.load_program(folder / "trees.npz", [Two, Other])


def test_load_takes_an_op_of_the_users(folder: Path) -> None:
    program = tg.compile(lambda x: scale_by(x, by=3.0)).program(np.ones(1))
    program.save(folder / "op.npz")
    with pytest.raises(tg.FileError, match=r"op.npz: .*:scale_by', .*using=\[scale_by\]"):
        tg.load_program(folder / "op.npz")
    step = tg.compile(lambda x: tg.sum(scale_by(x, by=3.0) * x)).program(np.ones(3))
    again = save_and_load(step, folder, [scale_by])
    assert_same(again, step)
    assert again(np.ones(3)) == 9.0


def test_save_refuses_by_name_what_a_file_cannot_hold(tmp_path: Path) -> None:
    @tg.custom_vjp(lambda g, y, x: (g,))
    def f(x: Array) -> Array:
        return x

    path = tmp_path / "p.npz"
    with pytest.raises(TypeError, match=r"custom_vjp .* tg\.custom_op"):
        tg.compile(lambda x: f(x) * 2).program(np.ones(2)).save(path)

    step = tg.compile(lambda x, held: (x, held), static_argnums=1)
    own = type("Own", (), {"dtype": "i4"})
    for held, words in ((bits, "<lambda> uses or returns a function"), (own, "Own'> is not a ")):
        with pytest.raises(TypeError, match=words):
            step.program(np.ones(2), held).save(path)
    assert not path.exists()


def test_save_names_what_a_user_made_and_how_to_pass_it(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    from tapegrad.scipy import interpolate, sparse, stats
    from tapegrad.scipy.sparse.linalg import cg, splu

    path, x = tmp_path / "p.npz", np.array([0.5, 1.5, 1.0])
    spline = interpolate.CubicSpline(np.arange(4.0), np.arange(4.0) ** 2)
    grid = interpolate.RegularGridInterpolator((np.arange(3.0),), np.arange(3.0))
    matrix = sparse.coo_array(np.eye(3))
    factors, frozen = splu(matrix), stats.norm(0.0, 2.0)
    for fn, args, words, remedied, arguments in [
        (lambda x: spline(x), (x,), "CubicSpline through 4 points, ", lambda x, s: x * s, (spline(x),)),
        (lambda s, x: s(x), (spline, x), "CubicSpline through 4 points, ", None, ()),
        (lambda g, x: g(x), (grid, x), "RegularGridInterpolator of 3 points, ", lambda x: grid(x), ()),
        (lambda d, x: d.logpdf(x), (frozen, x), "<norm of tapegrad.scipy.stats>, ", lambda x: stats.norm(0.0, x).logpdf(1.0), ()),
        (lambda x: factors.solve(x), (x,), "<LU factors of a coo_array, 3x3 with 3 elements>, ", lambda x, a: splu(a).solve(x), (matrix,)),
        (lambda x: cg(matrix, x)[0], (x,), "the linear function of cg or gmres", lambda x, y: x * y, (x,)),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=f"<lambda> uses or returns .*{words}") as caught:
            tg.compile(fn).program(*args).save(path)
        assert caught.value.args[0].partition(": ")[2]
        if remedied is not None:
            program = tg.compile(remedied).program(x, *arguments)
            program.save(path)
            assert_same(tg.load_program(path), program)


def test_program_is_called_as_its_function_is() -> None:
    def fn(
        x: dict[str, Array], /, scale: float, mode: str, *, layer: np.ufunc
    ) -> dict[str, Array | str]:
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
        (TypeError, r"x.x must be float64\[2\]; got float32\[2\]", ({"x": np.float32([1, 2])}, 2.0, "mean"), {"layer": layer}),
        (ValueError, r"x.x must be float64\[2\]; got float64\[3\]", ({"x": np.zeros(3)}, 2.0, "mean"), {"layer": layer}),
        (TypeError, r"x.x must be float64\[2\]; got a str", ({"x": "a"}, 2.0, "mean"), {"layer": layer}),
        (TypeError, "scale must be a Python float; got an int", (x, 2, "mean"), {"layer": layer}),
        (TypeError, "holds 'sum' where the program was made for 'mean'", (x, 2.0, "sum"), {"layer": layer}),
        (TypeError, "holds bits where the program", (x, 2.0, "mean"), {"layer": bits}),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            program(*args, **kwargs)
    with pytest.raises(TypeError, match="call the recorded function"):
        tg.grad(lambda v: tg.sum(program({"x": v}, 2.0, "mean", layer=layer)["y"]))(x["x"])


SCIPY: dict[str, Any] = {
    "product": lambda s, a: a @ np.ones(4),
    "equations": lambda s, a: s.linalg.spsolve(a, np.ones(4)),
    "eigenvalues": lambda s, a: s.linalg.eigsh(a, 2, v0=np.arange(1.0, 5.0))[0],
    "transpose": lambda s, a: a.T,
}


@pytest.mark.parametrize("name", SCIPY)
def test_program_with_sparse_arrays_is_loaded(folder: Path, name: str) -> None:
    sparse: Any = pytest.importorskip("tapegrad.scipy.sparse", exc_type=ImportError)
    places = np.array([[0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 1, 0]])
    a = sparse.coo_array((np.array([2.0, 3.0, 4.0, 5.0, 0.5, 0.5]), places), (4, 4))
    program = tg.compile(lambda a: SCIPY[name](sparse, a)).program(a)
    again = save_and_load(program, folder)
    assert_same(again, program)
    assert bits(again(a)) == bits(program(a))


@pytest.mark.parametrize("places", [[0, 4], [0, -1]])
def test_positions_outside_of_a_sparse_array_are_refused(folder: Path, places: list[int]) -> None:
    sparse: Any = pytest.importorskip("tapegrad.scipy.sparse", exc_type=ImportError)
    a = sparse.coo_array((np.ones(2), ([0, 3], [0, 3])), (4, 4))
    path = folder / "strays.npz"
    tg.compile(lambda a: a @ np.ones(4)).program(a).save(path)
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    positions, strays = io.BytesIO(), io.BytesIO()
    np.save(positions, np.array([0, 3]))
    np.save(strays, np.array(places))
    (name, *_) = [n for n, content in entries.items() if content == positions.getvalue()]
    with zipfile.ZipFile(path, "w") as new:
        for n, x in (entries | {name: strays.getvalue()}).items():
            new.writestr(n, x)
    assert_load_fails(path, "sparse array")
