"""Distances have SciPy's values, and those of equal points a slope of 0."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from alike import same
from scipy_kit import prove_call, refuses_alike

import tapegrad as tg

theirs: Any = pytest.importorskip("scipy.spatial.distance")
ours: Any = pytest.importorskip("tapegrad.scipy.spatial.distance")

METRICS = ["euclidean", "sqeuclidean", "cityblock"]
RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(3, 2)), RNG.normal(size=(4, 2))


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_scipys(metric: str) -> None:
    for call in (("cdist", {"metric": metric}, A, B), ("pdist", {"metric": metric}, A)):
        prove_call((ours, theirs), call, metric == "euclidean", 1e-13)
    # no points, no coordinates, integers, and points that are far away
    for a, b in ((A[:0], B), (A[:, :0], B[:, :0]), (A.astype(int), B), (A + 1e8, B + 1e8)):
        fns = [partial(s.cdist, metric=metric) for s in (ours, theirs)]
        same(tg.record(fns[0])(a, b)[0], fns[1](a, b))
        same(tg.record(ours.pdist)(a)[0], theirs.pdist(a))


@pytest.mark.parametrize("metric", METRICS)
def test_the_distance_of_equal_points_has_a_slope_of_0(metric: str) -> None:
    total = lambda x: np.sum(ours.cdist(x, x, metric) ** 2)  # noqa: E731
    same_points = A[[0, 0, 1]]
    for order in range(2):
        assert np.isfinite(tg.jacobian(tg.grad(total))(same_points)).all() or order
    by_a, by_b = tg.grad(lambda a, b: np.sum(ours.cdist(a, b, metric)), (0, 1))(A[:1], A[:1])
    np.testing.assert_array_equal([by_a, by_b], 0)


@pytest.mark.parametrize(
    ("fn", "n"),
    [
        (lambda x: ours.cdist(x, 0 * A), 4 * 3 * 2),
        (lambda x: ours.pdist(x), 6 * 4),
        (lambda x: ours.cdist(x[1:], x), 3 * 4 * 4 - 3 * 2),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is dense")
def test_a_distance_depends_on_the_coordinates_of_its_points(
    fn: Callable[..., Any], n: int
) -> None:
    assert tg.sparsity(fn)(B).nnz == n
    dense = tg.jacobian(fn)(B)
    same(tg.jacobian(fn, sparse=True)(B).toarray().reshape(dense.shape), dense)


@pytest.mark.parametrize(
    "args", [(A, B[0]), (A, B.T), (A, B, "round"), (A, B, 2), (A[0], A), (np.float64(1.0), A)]
)
def test_wrong_points_are_refused_as_by_scipy(args: tuple[Any, ...]) -> None:
    for way in (tg.record, tg.compile):
        refuses_alike(lambda way=way: way(lambda a: ours.cdist(a, *args[1:]))(args[0]), lambda: theirs.cdist(*args))  # fmt: skip


def test_other_distances_are_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="'cosine' is not there, but euclidean, sq"):
        tg.grad(lambda a: np.sum(ours.cdist(a, B, "cosine")))(A)
    with pytest.raises(NotImplementedError, match="cdist takes no w"):
        tg.grad(lambda a: np.sum(ours.cdist(a, B, w=np.ones(2))))(A)
    same(ours.cdist(A, B, "cosine"), theirs.cdist(A, B, "cosine"))
