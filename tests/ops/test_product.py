"""Products in the forms that the table's calls do not have: einsum's many, odd vectors, order."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.testing import arrays, check_grads


@st.composite
def einsum_calls(draw: st.DrawFn) -> tuple[Any, ...]:
    """Arguments of einsum: letters that repeat, ellipses, with or without a result's."""
    lengths = {x: draw(st.sampled_from([2, 3, 1, 0])) for x in "izB"}
    hidden = draw(st.lists(st.integers(0, 2), max_size=2))
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        term = draw(st.text("izB", max_size=2))
        shape = [lengths[x] for x in term]
        if draw(st.booleans()):
            place = draw(st.integers(0, len(term)))
            # of an ellipsis an operand may have the last axes alone, and lengths of 1
            axes = hidden[draw(st.integers(0, len(hidden))) :]
            axes = [1 if draw(st.integers(0, 3)) == 0 else n for n in axes]
            term = f"{term[:place]}...{term[place:]}"
            shape[place:place] = axes
        terms.append(term)
        shapes.append(tuple(shape))
    used = sorted(set("".join(terms)) - {"."})
    subscripts = ",".join(terms)
    if draw(st.booleans()):
        output = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
        if "..." in subscripts:
            output.insert(draw(st.integers(0, len(output))), "...")
        subscripts = f"{subscripts} -> {''.join(output)}"
    operands = [draw(arrays(shape, dtypes="d")) for shape in shapes]
    return subscripts, operands


@given(call=einsum_calls(), optimize=st.sampled_from([False, True, "optimal"]))
def test_einsum_is_numpys_with_its_derivatives(call: tuple[Any, ...], optimize: bool | str) -> None:
    subscripts, operands = call
    for f in (tg.einsum, np.einsum):
        y, _ = tg.record(lambda *xs, f=f: f(subscripts, *xs, optimize=optimize))(*operands)
        want = np.einsum(subscripts, *operands, optimize=optimize)
        assert y.shape == np.shape(want)
        np.testing.assert_allclose(y.value, want, rtol=1e-12, atol=1e-12)
    check_grads(lambda *xs: np.einsum(subscripts, *xs, optimize=optimize), operands)


@given(data=st.data())
def test_einsum_of_lists_of_integers_is_numpys(data: st.DataObject) -> None:
    a, b = data.draw(arrays((4, 2, 3))), data.draw(arrays((3, 2)))
    # of one array too the result is new
    assert not np.shares_memory(tg.einsum("ijk->kji", a), a)
    path = np.einsum_path("...ij,ji", a, b)[0]
    check_grads(lambda a, b: tg.einsum("...ij,ji", a, b, optimize=path), (a, b), order=1)
    for call in (
        (a, [..., 1, 0], b, [0, 1]),
        (a, [..., 1, 27], b, [27, 3], [3, ...]),
        (a, [30, 1, 2], b, [2, 1]),
        (a, [0, 1, 2], []),
    ):
        y, _ = tg.record(lambda *xs: np.einsum(*xs))(*call)
        want = np.einsum(*call)
        assert (y.shape, y.dtype) == (np.shape(want), want.dtype)
        np.testing.assert_allclose(y.value, want, rtol=1e-2, atol=1e-1)


def test_einsum_refuses_what_numpy_refuses() -> None:
    for subscripts, *shapes in (
        ("ij,jk->ik", (2, 3)),
        ("ij->i", (2, 3, 4)),
        ("ijk->i", (2, 3)),
        ("i->j", (2,)),
        ("i,i->i", (2,), (3,)),
        ("...i->i", (2, 3)),
        ("i.j->i", (2, 3)),
        ("i->ii", (2,)),
    ):
        operands = [np.ones(shape) for shape in shapes]
        with pytest.raises(ValueError):  # noqa: PT011
            np.einsum(subscripts, *operands)
        with pytest.raises(ValueError, match="einsum"):
            tg.record(lambda *xs, s=subscripts: tg.einsum(s, *xs))(*operands)


@given(data=st.data())
def test_cross_of_two_components_has_a_third_of_zero(data: st.DataObject) -> None:
    sizes = data.draw(st.tuples(st.integers(2, 3), st.integers(2, 3)))
    a, b = (data.draw(arrays((2, n), dtypes="d")) for n in sizes)
    with warnings.catch_warnings():
        # NumPy is about to leave them out
        warnings.simplefilter("ignore", DeprecationWarning)
        wide = [np.concatenate([x, np.zeros((2, 3 - x.shape[1]))], axis=1) for x in (a, b)]
        want = np.cross(*wide)
    np.testing.assert_array_equal(tg.cross(a, b), want[:, 2] if sizes == (2, 2) else want)
    check_grads(tg.cross, (a, b), order=1)


def test_multi_dot_multiplies_in_the_cheapest_order() -> None:
    shapes = [(2, 40), (40, 3), (3, 50), (50, 2)]
    y, tape = tg.record(lambda *xs: tg.multi_dot(xs))(*[np.ones(shape) for shape in shapes])
    assert [r.shape for r in tape if r.op is tg.matmul] == [(2, 3), (3, 2), (2, 2)]
    assert y.value.tolist() == [[40 * 3 * 50] * 2] * 2
