"""It works together with what people use beside it; each skipped where that is not installed."""

import copy
import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tapegrad as tg
from tapegrad.testing import parameter_trees

X0 = np.array([-1.2, 1.0, 0.5])


def rosenbrock(x: Any) -> Any:
    return tg.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


# --- scipy.optimize ----------------------------------------------------------------------


def test_scipy_minimises_with_our_gradients() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    found = optimize.minimize(tg.value_and_grad(rosenbrock), X0, jac=True, method="BFGS")
    assert found.success
    np.testing.assert_allclose(found.x, np.ones(3), atol=1e-4)
    # without the gradient it takes several times the evaluations
    assert found.nfev < 60


@pytest.mark.parametrize("method", ["trust-ncg", "Newton-CG", "trust-krylov"])
def test_scipy_minimises_with_our_products_with_the_hessian(method: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    found = optimize.minimize(
        tg.compile(tg.value_and_grad(rosenbrock)),
        X0,
        jac=True,
        hessp=lambda x, p: tg.hvp(rosenbrock, (x,), (p,)),
        method=method,
    )
    assert found.success
    np.testing.assert_allclose(found.x, np.ones(3), atol=1e-4)


def test_scipys_own_check_agrees() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    assert optimize.check_grad(rosenbrock, tg.grad(rosenbrock), X0) < 1e-4


# --- pickle, copy, other processes --------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [tg.grad, tg.value_and_grad, tg.hessian, tg.jacobian, tg.compile],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_functions_of_functions_are_copied_and_pickled(make: Any, through: Any) -> None:
    fn = make(rosenbrock)
    for got, want in zip(tg.tree.leaves(through(fn)(X0)), tg.tree.leaves(fn(X0)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.thorough
def test_gradients_are_taken_in_other_processes() -> None:
    points = [X0, X0 + 1, X0 * 2]
    gradient = tg.grad(rosenbrock)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(gradient, points)
    for got, x in zip(found, points, strict=True):
        np.testing.assert_array_equal(got, gradient(x))


# --- JAX's trees ---------------------------------------------------------------------------


def same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    assert tg.tree.flatten(got)[1].size == tg.tree.flatten(want)[1].size
    for path, x, y in zip(
        tg.tree.paths(want), tg.tree.leaves(got), tg.tree.leaves(want), strict=True
    ):
        assert x is y, path


@given(params=parameter_trees())
def test_trees_go_through_jaxs_and_come_back_unchanged(params: Any) -> None:
    tree_util = pytest.importorskip("jax.tree_util")
    leaves, structure = tree_util.tree_flatten(params)
    same(tree_util.tree_unflatten(structure, leaves), ordered(params))
    same(tree_util.tree_map(lambda x: x, params), ordered(params))


def ordered(tree: Any) -> Any:
    """The tree with the keys of dicts in order, as JAX gives them."""
    if isinstance(tree, dict):
        return {key: ordered(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list):
        return [ordered(child) for child in tree]
    if isinstance(tree, tuple):
        children = [ordered(child) for child in tree]
        return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
    return tree


def test_our_gradients_update_parameters_by_jaxs_tree_map() -> None:
    tree_util = pytest.importorskip("jax.tree_util")
    params = {"w": np.ones((2, 3)), "layers": [(np.zeros(3), np.ones(1)), []]}
    gradients = tg.grad(lambda p: sum(tg.sum(leaf**2) for leaf in tg.tree.leaves(p)))(params)
    moved = tree_util.tree_map(lambda p, g: p - 0.5 * g, params, gradients)
    assert tree_util.tree_structure(moved) == tree_util.tree_structure(params)
    assert all((leaf == 0).all() for leaf in tree_util.tree_leaves(moved))


@pytest.mark.parametrize("read", [float, np.asarray, lambda t: t.item(), lambda t: t.tolist()])
@pytest.mark.parametrize(
    ("made", "loses"),
    [
        (lambda x: x[0], True),  # one rule for any number of operands
        (lambda x: x[0] * 2.0, True),
        (lambda x: np.concatenate([x[:1], x[:1]])[1], True),
        (lambda x: tg.stop_gradient(x)[0], True),
        (lambda x: tg.stop_gradient(x[0]), False),
        (lambda x: x[0] > 1.0, False),
        # of integers, by ops that have rules
        (lambda x: np.argsort(x)[0], False),
        (lambda x: np.argmax(x) + 1, False),
    ],
)
def test_a_tensor_is_read_out_just_where_no_gradient_is_lost(read, made, loses):
    def fn(x):
        if loses:
            with pytest.raises(TypeError, match=r"t\.value"):
                read(made(x))
        else:
            np.testing.assert_array_equal(read(made(x)), np.asarray(made(np.array([3.0, 1.0]))))
        return np.sum(x)

    tg.grad(fn)(np.array([3.0, 1.0]))
