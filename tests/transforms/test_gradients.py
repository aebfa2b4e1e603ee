"""grad and value_and_grad: the derivative, in trees, shapes and dtypes like the arguments."""

import numpy as np
import pytest
from hypothesis import given
from mappings import FLOATS, close

import tapegrad as tg
from tapegrad.testing import parameter_trees


@pytest.mark.parametrize(
    ("argnums", "want"),
    [
        *((0, 15.0), (1, 10.0), (2, 6.0), (-1, 6.0), (np.int64(1), 10.0)),
        *(((1,), (10.0,)), ((2, 0), (6.0, 15.0)), ([0, np.int64(1), -3], (15.0, 10.0, 15.0))),
    ],
)
def test_argnums_chooses_the_arguments(argnums, want):
    def fn(a, b, c):
        return a * b * c

    assert tg.grad(fn, argnums)(2.0, 3.0, 5.0) == want
    assert tg.jacobian(fn, argnums)(2.0, 3.0, 5.0) == want
    assert tg.value_and_grad(fn, argnums)(2.0, 3.0, 5.0) == (30.0, want)


@given(parameter_trees())
def test_grad_is_a_tree_like_the_argument(params):
    factors = [float(i) for i, _ in enumerate(tg.tree.leaves(params), start=2)]

    def fn(p):
        return sum(map(lambda x, k: tg.sum(x * k), tg.tree.leaves(p), factors))

    gradient = tg.grad(fn)(params)
    assert tg.tree.flatten(gradient)[1] == tg.tree.flatten(params)[1]
    rows = zip(tg.tree.leaves(gradient), tg.tree.leaves(params), factors, strict=True)
    for g, x, k in rows:
        assert g.dtype == x.dtype
        np.testing.assert_array_equal(g, np.full_like(x, k))


@given(FLOATS)
def test_stop_gradient_keeps_the_values_of_a_tree_and_passes_no_gradient(x):
    def fn(x):
        kept = tg.stop_gradient({"square": x * x, "n": 3, "list": [x, None]})
        assert (kept["n"], kept["list"][1]) == (3, None)
        return kept["square"] * x + 0 * kept["list"][0]

    value, g = tg.value_and_grad(fn)(x)
    close((value, g), (x**3, x * x))
    close(tg.jvp(fn, (x,), (1.0,))[1], x * x)
    close(tg.grad(tg.stop_gradient)(x), 0.0)
    # of the inner derivative y x at y = x, all is differentiable from outside but the stopped y
    close(tg.grad(lambda x: tg.grad(lambda y: tg.stop_gradient(y) * y * x)(x))(x), x)
    assert tg.stop_gradient(x) == x
