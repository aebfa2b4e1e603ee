# ruff: noqa: E731
"""Splines have SciPy's values, with derivatives by their data and by the places looked up."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import FIRST, prove, prove_call, refuses_alike

import tapegrad as tg
from tapegrad.testing import check_batched
from tapegrad.types import Array, ArrayLike

theirs: Any = pytest.importorskip("scipy.interpolate")
ours: Any = pytest.importorskip("tapegrad.scipy.interpolate")

KNOTS = np.array([0.0, 0.5, 1.25, 2.0, 3.5, 4.0])
Y = np.array([1.0, -0.5, 2.0, 0.25, 1.5, -1.0])
# inside, at a knot and beyond each end
AT = np.array([[0.3, 1.7], [-0.4, 4.3]])
CONDITIONS = [
    "not-a-knot",
    "natural",
    "clamped",
    ((1, 0.5), (2, -1.0)),
    ("not-a-knot", (1, 2.0)),
]


def both(make: Callable[..., Any], **options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def looked_up(s: ModuleType) -> Callable[..., Any]:
        return lambda y, at: make(s)(y)(at, **options)

    return looked_up(ours), looked_up(theirs)


@pytest.mark.parametrize("bc_type", CONDITIONS, ids=str)
@pytest.mark.parametrize("nu", [0, 1])
def test_cubic_splines(bc_type: Any, nu: int) -> None:
    spline = lambda s, y, at: s.CubicSpline(KNOTS, y, bc_type=bc_type)(at, nu)
    whole = bc_type == "not-a-knot" and nu == 0
    prove_call((ours, theirs), (spline, {}, Y, AT), whole, 1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_splines_of_any_degree(k: int) -> None:
    make = lambda s: lambda y: s.make_interp_spline(KNOTS, y, k)
    prove(*both(make), (Y, AT), rtol=1e-11, order=2 if k == 5 else 1)
    prove(*both(make, nu=1), (Y, AT), rtol=1e-11, **FIRST)


ENDS = ([(1, 0.5)], [(2, -1.0)])
MADE: dict[str, Any] = {
    "conditions": lambda s, y: s.make_interp_spline(KNOTS, y, bc_type=ENDS),
    "knots": lambda s, y: s.make_interp_spline(KNOTS, y, t=OF_DATA + 0.01 * (OF_DATA % 4 > 0)),
    "derivative": lambda s, y: s.CubicSpline(KNOTS, y).derivative(2),
    "antiderivative": lambda s, y: s.CubicSpline(KNOTS, y).antiderivative(1),
    "two points": lambda s, y: s.CubicSpline(KNOTS[:2], y[:2]),
    "three points": lambda s, y: s.CubicSpline(KNOTS[:3], y[:3]),
    "three points, natural": lambda s, y: s.CubicSpline(KNOTS[:3], y[:3], bc_type="natural"),
    "a period": lambda s, y: s.CubicSpline(KNOTS, closed(y), bc_type="periodic"),
    "a period of degree 3": lambda s, y: s.make_interp_spline(KNOTS, closed(y), bc_type="periodic"),
}
MADE |= {
    "coefficients": lambda s, y: s.BSpline(OF_DATA, y, 3),
    "coefficients, a derivative": lambda s, y: s.BSpline(OF_DATA, y, 3).derivative(),
    "more coefficients": lambda s, y: s.BSpline(OF_DATA[:-1], y, 3, extrapolate=True),
    "a monotonic derivative": lambda s, y: s.PchipInterpolator(KNOTS, y).derivative(),
    "an antiderivative": lambda s, y: s.PchipInterpolator(KNOTS, np.cumsum(y)).antiderivative(),
    "two points, monotonic": lambda s, y: s.PchipInterpolator(KNOTS[:2], y[:2]),
    "three points, monotonic": lambda s, y: s.PchipInterpolator(KNOTS[:3], y[:3]),
    "three points, Akima": lambda s, y: s.Akima1DInterpolator(KNOTS[:3], y[:3], extrapolate=True),
}
OF_DATA = theirs.make_interp_spline(KNOTS, Y).t


def closed(y: Array) -> Array:
    return np.concatenate([y[:-1], y[:1]])


@pytest.mark.parametrize("kind", MADE)
def test_splines_of_every_kind(kind: str) -> None:
    fns = both(lambda s: lambda y: MADE[kind](s, y))
    prove(*fns, (Y, AT), rtol=1e-11, **FIRST)
    at = np.array([np.nan, 0.3])
    for args in ((0, 1), 0, 1):
        same(tg.value_and_jacobian(fns[0], args)(Y, at)[0], fns[1](Y, at), 1e-11)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_data_have_an_axis(axis: int) -> None:
    y = np.moveaxis(np.stack([Y, Y[::-1], np.sin(Y)])[:, None], -1, axis)
    make = lambda s: lambda y: s.CubicSpline(KNOTS, y, axis)
    prove(*both(make), (y, AT), rtol=1e-11, **FIRST)
    prove(*both(make), (y + 1j * y**2, AT), rtol=1e-11, **FIRST)


@pytest.mark.parametrize("name", ["CubicSpline", "make_interp_spline"])
def test_a_period_that_does_not_close_is_refused_as_by_scipy(name: str) -> None:
    refuses_alike(
        *[lambda s=s: getattr(s, name)(KNOTS, KNOTS**2, bc_type="periodic") for s in (ours, theirs)]
    )


SHAPED: dict[str, Any] = {
    "pchip": lambda s: lambda y: s.PchipInterpolator(KNOTS, y),
    "akima": lambda s: lambda y: s.Akima1DInterpolator(KNOTS, y, extrapolate=True),
    "makima": lambda s: (
        lambda y: s.Akima1DInterpolator(KNOTS, y, method="makima", extrapolate=True)
    ),
}
# monotonic; with a steep end; with peaks
SHAPES = [np.array([0.0, 0.5, 1.5, 1.75, 2.25, 4.0]), np.array([0.1, 0.0, 3.0, 2.5, 2.0, 0.5]), Y]


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("i", range(3))
def test_splines_that_keep_the_shape_of_their_data(name: str, i: int) -> None:
    make, y = SHAPED[name], SHAPES[i]
    prove(
        *both(make),
        (y, AT),
        rtol=1e-12,
        **({} if (name == "pchip" and i == 0) or THOROUGH else FIRST),
    )
    prove(*both(make, nu=1), (y, AT), rtol=1e-12, **FIRST)
    # several at once, of which one is flat in parts, along another axis
    flat = np.array([[1.0, 1.0, 1.0, 2.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], y])
    axis = {"axis": -1, "extrapolate": True}
    kind, method = ("Pchip", {}) if name == "pchip" else ("Akima1D", {"method": name})
    fns = [
        lambda y, s=s: getattr(s, f"{kind}Interpolator")(KNOTS, y, **method, **axis)(AT)
        for s in (ours, theirs)
    ]
    for wrap in (lambda fn: fn, lambda fn: lambda y: tg.record(fn)(y)[0], tg.compile):
        same(wrap(fns[0])(flat), fns[1](flat), 1e-12)
    check_batched(fns[0], (y,))
    with pytest.raises(NotImplementedError, match="no derivative by the knots x"):
        tg.grad(
            lambda x: SHAPED[name](ours)(y)(x[0]) + getattr(ours, f"{kind}Interpolator")(x, y)(1.0)
        )(KNOTS)
    for wrong in ({"y": y + 1j}, {"y": y[1:]}, {"x": KNOTS[::-1]}):
        call = {"x": KNOTS, "y": y, **wrong}
        refuses_alike(*[partial(getattr(s, f"{kind}Interpolator"), **call) for s in (ours, theirs)])


def test_the_slopes_of_monotonic_data_at_their_kinks() -> None:
    """At a peak or beside flat data a slope is 0, and moves with no number."""
    spline = lambda y, at=1.25: ours.PchipInterpolator(KNOTS, y)(at, 1)
    for y in ([0.0, 1.0, 2.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 1.0, 0.0, -1.0]):
        value, gradient = tg.value_and_grad(spline)(np.array(y))
        assert value == 0.0
        np.testing.assert_allclose(gradient, 0.0, atol=1e-13)
    # SciPy 1.15 has another curve through two points
    two = ours.Akima1DInterpolator(KNOTS[:2], Y[:2], extrapolate=True)
    np.testing.assert_allclose(tg.grad(two)(0.25), np.diff(Y[:2])[0] / np.diff(KNOTS[:2])[0])
    # of equal slopes, the means have no kink, and weights of 0 a derivative of 0
    line = np.linspace(0.0, 1.0, 6)
    fn = lambda y: ours.Akima1DInterpolator(np.arange(6.0), y)(2.25)
    np.testing.assert_allclose(tg.grad(fn)(line) @ line, fn(line))


def test_beyond_the_ends() -> None:
    for extrapolate in (False, True, "periodic"):
        make = lambda s, e=extrapolate: lambda y: s.CubicSpline(KNOTS, y, extrapolate=e)
        at_call = partial(
            both, lambda s: lambda y: s.CubicSpline(KNOTS, y), extrapolate=extrapolate
        )
        for fns in (both(make), at_call()):
            inside = AT if extrapolate else AT[:1]
            prove(*fns, (Y, inside), rtol=1e-12, **FIRST)
            found = [fn(Y, AT) for fn in fns]
            np.testing.assert_array_equal(*map(np.isnan, found))
    fn = both(lambda s: lambda y: s.CubicSpline(KNOTS, y, extrapolate=False))[0]
    # a place outside gives nan, and leaves the gradients of others alone
    gradient = tg.grad(lambda y: np.nansum(fn(y, AT)))(Y)
    np.testing.assert_allclose(gradient, tg.grad(lambda y: np.sum(fn(y, AT[0])))(Y))
    assert np.isnan(tg.record(fn)(Y, AT)[0].value[1]).all()


def test_a_spline_is_a_tree_of_its_data() -> None:
    spline = ours.CubicSpline(KNOTS, Y)
    assert tg.tree.paths(spline) == ["y"]
    gradient = tg.grad(lambda s: np.sum(s(AT)))(spline)
    assert type(gradient) is ours.Spline
    np.testing.assert_allclose(
        gradient.y, tg.grad(lambda y: np.sum(ours.CubicSpline(KNOTS, y)(AT)))(Y)
    )
    compiled = tg.compile(lambda s, at: s(at))
    np.testing.assert_allclose(compiled(spline, AT), spline(AT), rtol=1e-12)
    # another one through the same knots is of the same structure
    again = ours.CubicSpline(KNOTS.copy(), 2 * Y)
    np.testing.assert_allclose(compiled(again, AT), 2 * spline(AT), rtol=1e-12)
    assert tg.tree.flatten(again)[1] == tg.tree.flatten(spline)[1]
    other = ours.CubicSpline(KNOTS, Y, bc_type="natural")
    assert tg.tree.flatten(other)[1] != tg.tree.flatten(spline)[1]
    assert (spline.axis, spline.extrapolate) == (0, True)


def test_what_has_no_gradient_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="no derivative by the knots x"):
        tg.grad(lambda x: ours.CubicSpline(x, Y)(1.0))(KNOTS)
    with pytest.raises(NotImplementedError, match="no derivative by the places x"):
        tg.grad(lambda x: ours.make_interp_spline(x, Y)(1.0))(KNOTS)
    with pytest.raises(NotImplementedError, match="no derivative by bc_type"):
        tg.grad(lambda v: ours.CubicSpline(KNOTS, Y, bc_type=((1, v), (2, v)))(1.0))(1.0)


GRID = (np.array([0.0, 0.5, 2.0]), np.array([3.0, 1.0, 0.5, -1.0]))
TABLE = np.sin(np.arange(12.0)).reshape(3, 4)
INSIDE = np.array([[0.25, 0.75], [0.6, 2.5], [1.9, -0.5]])


def looked_up(
    grid: tuple[ArrayLike, ...] = GRID, **options: Any
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def fn(s: ModuleType) -> Callable[..., Any]:
        return lambda values, at: s.RegularGridInterpolator(grid, values, **options)(at)

    return fn(ours), fn(theirs)


def test_data_on_a_grid_are_scipys() -> None:
    prove(*looked_up(), (TABLE, INSIDE))
    more = np.stack([TABLE, TABLE**2], -1) + 1j
    prove(*looked_up(), (more, INSIDE[None]), single=False, **FIRST)
    outside = np.concatenate([INSIDE, [[-1.0, 0.0], [0.1, 4.0], [3.0, -2.0]]])
    prove(*looked_up(bounds_error=False, fill_value=None), (TABLE, outside), **FIRST)
    for options in ({"fill_value": 1.5}, {}):
        fns = looked_up(bounds_error=False, **options)
        for way in (lambda fn: fn, tg.compile):
            same(way(fns[0])(TABLE, outside), fns[1](TABLE, outside))
    # on the lines of the grid, and of one axis
    corners = np.stack(np.meshgrid(*GRID, indexing="ij"), -1)
    same(looked_up()[0](TABLE, corners), TABLE)
    prove(*looked_up(GRID[:1]), (TABLE[:, 0], np.array([0.25, 1.0])), **FIRST)
    single = looked_up((GRID[0], [2.0]))
    same(single[0](TABLE[:, :1], [[0.25, 2.0]]), single[1](TABLE[:, :1], [[0.25, 2.0]]))
    for at in ((0.25, GRID[1]), (0.25, 0.75), INSIDE[0]):
        same(*[fn(TABLE, at) for fn in looked_up()])
    # the cell after a line, and before the last one
    slope = tg.grad(lambda x: looked_up((GRID[0],))[0](TABLE[:, 0], x[None])[0])
    cells = np.diff(TABLE[:, 0]) / np.diff(GRID[0])
    np.testing.assert_allclose([slope(x) for x in GRID[0]], cells[[0, 1, 1]])


def test_a_grid_is_a_tree_of_its_data_and_refuses_as_scipy() -> None:
    grid = ours.RegularGridInterpolator(GRID, TABLE)
    assert tg.tree.paths(grid) == ["values"]
    assert repr(grid) == "<RegularGridInterpolator of 3 x 4 points>"
    compiled = tg.compile(lambda grid, at: grid(at))
    for values in (TABLE, TABLE**2):
        again = ours.RegularGridInterpolator([x.copy() for x in GRID], values)
        same(compiled(again, INSIDE), again(INSIDE))
        assert tg.tree.flatten(again)[1] == tg.tree.flatten(grid)[1]
    at = {"values": TABLE, "at": INSIDE}
    for more in ({"at": INSIDE + 9}, {"at": INSIDE[:, :1]}, {"values": TABLE.T}):
        refuses_alike(*[lambda fn=fn, m=more: fn(**at | m) for fn in looked_up()])
    refuses_alike(
        *[lambda fn=fn: fn(TABLE, INSIDE) for fn in looked_up((GRID[0], [0.0, 0.0, 1.0, 2.0]))]
    )
    with pytest.raises(NotImplementedError, match="takes no method but 'linear'"):
        looked_up(method="cubic")[0](TABLE, INSIDE)
    with pytest.raises(NotImplementedError, match="no derivative by the points of the grid"):
        tg.grad(lambda x: looked_up((x,))[0](TABLE[:, 0], [0.25])[0])(GRID[0])


@pytest.mark.parametrize(
    "wrong", [{"x": KNOTS[::-1]}, {"x": KNOTS[1:]}, {"y": Y[:0]}, {"bc_type": "free"}]
)
def test_wrong_data_are_refused_as_by_scipy(wrong: dict[str, Array | str]) -> None:
    call = {"x": KNOTS, "y": Y, **wrong}
    y = call.pop("y")
    for name in ("CubicSpline", "make_interp_spline"):
        here, there = (partial(getattr(s, name), **call) for s in (ours, theirs))
        for way in (tg.record, tg.compile):
            refuses_alike(way(lambda y, here=here: here(y=y)(1.0)), lambda y, f=there: f(y=y), y)
