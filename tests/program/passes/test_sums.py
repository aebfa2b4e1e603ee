"""contract_sums, sums_as_products and outer_products: products of matrices and stacks."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import SQUARE, apply_passes, is_untouched, ops_after, run, trace

import tapegrad as tg
from tapegrad.program.passes import (
    contract_sums,
    fold,
    outer_products,
    sums_as_products,
)


def test_sums_as_products_is_as_precise_as_recorded():
    x = np.full((2, 1 << 20), 0.1, np.float32)
    for laid in (x, np.ones_like(x).T * np.float32(0.1)):
        axis = int(laid.shape[0] == 2)
        got = tg.compile(lambda x: tg.sum(x, axis=axis))(laid)  # noqa: B023
        np.testing.assert_allclose(got, tg.sum(laid, axis=axis), rtol=1e-6)


@st.composite
def products_to_sum(draw):
    """Two arrays that broadcast, the axes to sum over, and whether these are kept."""
    # whether the first is long along an axis, whether the second is, whether it is summed over
    kinds = {"inner": "fs+", "row": "f", "column": "s", "stack": "fs", "alone": "f+"}
    further = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=3))
    axes = [kinds[name] for name in draw(st.permutations(["inner", *further]))]
    lengths = draw(st.permutations((2, 3, 4, 5, 128)))
    shapes = [
        tuple(n if which in axis else 1 for n, axis in zip(lengths, axes, strict=False))
        for which in "fs"
    ]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    factors = [rng.normal(size=shape) for shape in shapes]
    if draw(st.booleans()) and shapes[1][0] == 1:
        factors[1] = factors[1][0]
    summed = tuple(k for k, axis in enumerate(axes, -len(axes)) if "+" in axis)
    return *draw(st.permutations(factors)), summed, draw(st.booleans())


@given(products_to_sum())
def test_contract_sums_computes_the_same(given_):
    a, b, axes, keepdims = given_

    def fn(a, b):
        return tg.sum(a * b, axes, keepdims=keepdims)

    program = trace(fn, (a, b), {})
    expected = np.sum(a * b, axes, keepdims=keepdims)
    for passes in ((contract_sums,), (fold, contract_sums, fold)):
        for terms in (8, 1 << 16):
            with mock.patch("tapegrad.program.cost.PRODUCT_TERMS", terms):
                made = run(apply_passes(program, passes), (a, b))
            assert np.shape(made) == np.shape(expected)
            np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-14)


A, B, WHOLE = np.ones((7, 3)), np.ones((7, 4)), np.ones((3, 3), int)
# sums of products that are products of matrices, and the arguments
CONTRACTED = [
    (lambda a, b: tg.sum(a[:, :, None] * b[:, None, :], 0), A, B),
    (lambda a, b: tg.sum(a[..., None] * b[:, :, None], 0), np.ones((7, 5, 3)), np.ones((7, 5, 4))),
    (lambda a, b: tg.sum(a * b, -1), A, np.ones(3)),
    (lambda a, b: tg.sum(a[:, :, None] * b, 1), A, np.ones((7, 3, 2))),
    (lambda a, b: tg.sum(a * b), A, A),
    (lambda a: tg.sum(tg.square(a)), A),
    (lambda a: tg.sum(a * a), np.ones((1, 1))),
    (lambda a, b: tg.sum(a.reshape(7, 3, 1) * b[:, None], 0), np.ones(21), B),
    (lambda a, b: tg.sum(a @ b, 0), np.ones((700, 2, 100)), np.ones((700, 100, 2))),
]
# what stays: rows by rows, by a number, and whole numbers; all elements and inner axes
KEPT = [
    (contract_sums, lambda a, b: tg.sum(a * b, 1), A, A),
    (contract_sums, lambda a: tg.sum(a * 2.0, 1), A),
    (contract_sums, lambda a, b: tg.sum(a[:, :, None] * b[:, None], 0), np.ones((7, 0)), B),
    (contract_sums, lambda a: tg.sum(a[:, :, None] * a[:, None], 0), np.ones((1 << 17, 2))),
    (contract_sums, lambda a, b: tg.sum(a @ b, 0), A.T, B),
    (contract_sums, lambda a, b: tg.sum(a @ b, 0), np.ones((2, 4, 3)), SQUARE),
    (contract_sums, lambda a: tg.sum(a @ a, 1), np.ones((4, 3, 3))),
    (contract_sums, lambda a, b: tg.sum(a[:, None] * b, 1), WHOLE, WHOLE),
    (sums_as_products, tg.sum, SQUARE),
    (contract_sums, lambda x: tg.sum(x * x), np.array(2.0)),
    (contract_sums, lambda x: tg.sum(x * x, keepdims=True), SQUARE),
    (contract_sums, lambda x: tg.sum(x * x[:1]), SQUARE),
    (contract_sums, lambda x, y: tg.sum(x * y), SQUARE, SQUARE.astype("f4")),
    (contract_sums, lambda x: tg.sum(x.T * x.T), np.ones((300, 300))),
    (sums_as_products, lambda x: tg.sum(x, 0), np.ones((0, 3))),
    (sums_as_products, lambda x: tg.sum(x, 0), np.ones((2, 3, 2))),
    (sums_as_products, lambda x: tg.sum(x, 0), WHOLE),
    (sums_as_products, lambda x: tg.sum(x, 1), np.ones((2, 3, 2))),
]


def test_sums_become_products_without_an_array_of_all_products():
    for fn, *args in CONTRACTED:
        ops = set(ops_after(contract_sums, fn, *args))
        assert not {"multiply", "square", "sum"} & ops
        assert "matmul" in ops
    for fn in (lambda x: tg.sum(x, 0), lambda x: tg.sum(x, -1)):
        assert ops_after(sums_as_products, fn, SQUARE)[-1] == "matmul"
    for improve, fn, *args in KEPT:
        assert is_untouched(improve, fn, *args)


@pytest.mark.parametrize("shapes", [((40, 8, 1), (40, 1, 32)), ((40, 1, 32), (40, 8, 1)), ((1, 300, 1), (30, 1, 2)), ((8, 5, 1, 1), (8, 1, 9, 30))])  # fmt: skip
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_outer_products_of_stacks_are_one_einsum(shapes, dtype):
    rng = np.random.default_rng(0)
    x, y = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    x[0, 0], y[0, 0] = np.inf, np.nan
    kinds = ops_after(outer_products, np.multiply, x, y)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(tg.compile(np.multiply)(x, y), x * y)
        inside = tg.compile(lambda x, y: np.tanh(x * y) * 2.0)
        np.testing.assert_allclose(inside(x, y), np.tanh(x * y) * 2.0, rtol=1e-6)
    assert kinds.count("einsum") == 1
    assert is_untouched(outer_products, np.multiply, x[:1], y[:1])
    assert is_untouched(outer_products, np.add, x, y)
    assert is_untouched(outer_products, np.multiply, np.ones((128, 1)), np.ones((1, 128)))
    assert is_untouched(outer_products, np.multiply, np.ones((40, 1, 32)), np.ones((1, 8, 32)))
    assert is_untouched(outer_products, np.multiply, np.ones((4, 2, 1)), np.ones((4, 1, 1 << 13)))
    assert is_untouched(outer_products, lambda x, y: (x + y * 0) * y, x, y)
