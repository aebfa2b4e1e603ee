"""The package works together with xarray, pandas and Jupyter.

A test is skipped where its library (of the extra "guests") is not installed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.types import Array

ROOT = Path(__file__).parents[1]


# --- xarray -------------------------------------------------------------------------------


def test_xarray_computes_with_tensors_and_keeps_dimension_names() -> None:
    xr = pytest.importorskip("xarray")
    data = xr.DataArray(
        np.arange(6.0).reshape(2, 3), dims=("time", "place"), coords={"time": [10, 20]}
    )
    w = np.array([0.5, -1.0, 2.0])

    def data_array(w: Array) -> Any:
        return xr.DataArray(w, dims="place")

    def gradient_of_sum(f: Callable[..., Any]) -> Array:
        return tg.grad(lambda w: tg.sum(f(w)))(w)

    cases: list[tuple[Any, Any]] = [
        # a Tensor on either side
        (lambda w: w * data, lambda w: w * data.values),
        (lambda w: np.hypot(w, data), lambda w: np.hypot(w, data.values)),
        # a Tensor inside a DataArray
        (
            lambda w: (data_array(w) * data).mean("place"),
            lambda w: np.mean(w * data.values, axis=1),
        ),
        (lambda w: xr.dot(data_array(w), data, dim="place"), lambda w: data.values @ w),
        (
            lambda w: xr.where(data > 1, data_array(w), 0.0),
            lambda w: np.where(data.values > 1, w, 0.0),
        ),
        (lambda w: data_array(w).isel(place=[2, 0]), lambda w: w[[2, 0]]),
    ]
    for on_data_arrays, on_arrays in cases:
        seen = []

        def array_of_result(
            w: Array, f: Callable[..., Any] = on_data_arrays, seen: list[Any] = seen
        ) -> Array:
            seen.append(f(w))
            return seen[-1].data

        np.testing.assert_allclose(
            gradient_of_sum(array_of_result), gradient_of_sum(on_arrays), rtol=1e-12, atol=1e-12
        )
        assert isinstance(seen[0], xr.DataArray)
        assert isinstance(seen[0].data, tg.Tensor)
    # a gradient in a DataArray with the same names
    gradient = data.copy(data=tg.grad(lambda x: tg.sum(x**2))(data.values))
    xr.testing.assert_equal(gradient, 2 * data)

    # no Tensor is converted to an array in silence
    with pytest.raises(TypeError, match=r"returned a DataArray; return the Tensor in it \(.data\)"):
        tg.grad(lambda w: (w * data).sum())(w)
    with pytest.raises(
        TypeError, match=r"w, which is DataArray of float64 \(2, 3\).*np.asarray\(w\)"
    ):
        tg.grad(lambda w: (w**2).sum().data)(data)
    with pytest.raises(TypeError, match="would silently cut the gradient off"):
        tg.grad(lambda w: (w * data).sum().item())(w)


# --- pandas -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "Float64"])
def test_pandas_columns_are_arrays(dtype: str) -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"t": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 0.0, 2.0, 5.0]}).astype(dtype)

    def loss(p: dict[str, Array], t: Array, y: Array) -> Array:
        return np.mean((p["slope"] * t + p["offset"] - y) ** 2)

    p = {"slope": np.array(0.5), "offset": np.array(-0.25)}
    want = tg.grad(loss)(p, np.arange(4.0), np.array([1.0, 0.0, 2.0, 5.0]))
    for step in (tg.grad(loss), tg.compile(tg.grad(loss))):
        got = step(p, table["t"].to_numpy(), table["y"].to_numpy())
        assert tg.tree.all_close(got, want, rtol=1e-6, atol=1e-6)
    # all columns at once, and back into a table with its index
    values = table.to_numpy()
    slopes = tg.grad(lambda x: np.sum(x**2))(values.astype(float))
    back = pd.DataFrame(slopes, index=table.index, columns=table.columns)
    assert (back == 2 * table.astype("float64")).all(axis=None)

    with pytest.raises(TypeError, match=r"write column\.to_numpy"):
        tg.grad(lambda w: tg.sum(w * table["t"]))(np.ones(4))
    with pytest.raises(TypeError, match=r"which is Series of .* pass its numbers"):
        tg.grad(lambda w: tg.sum(w))(table["t"])


# --- Jupyter ------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_course_page_runs_as_notebook_and_converts_to_html(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = ROOT / "examples" / "parts" / "02_backward.py"
    notebook = jupytext.read(script)
    # HTML views that a script does not show: a tape, a record, a program and a page
    further = (
        "tape",
        "x",
        "tg.compile(abs).program(-3.0)",
        "tg.show.html(tape, z, None, np.ones(5))",
    )
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in further]
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 7
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert not any(out.output_type == "error" for cell in code for out in cell.outputs)
    assert all("text/html" in cell.outputs[0].data for cell in code[-4:])
    nbconvert, bs4 = pytest.importorskip("nbconvert"), pytest.importorskip("bs4")
    html = bs4.BeautifulSoup(
        nbconvert.HTMLExporter().from_notebook_node(notebook)[0], "html.parser"
    )
    fixed = html.find_all("pre", style="font-family: monospace")
    assert [x.text[:5] for x in fixed][-2:] == ["Tenso", "# abs"]
    assert html.find("iframe")["srcdoc"].startswith("<!DOCTYPE html>")
