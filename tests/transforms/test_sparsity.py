"""Sparse Jacobians and Hessians: patterns that hold for all inputs, few colors, dense values.

A pattern must have every place where a derivative is not zero at any point, whatever the function
is made of; of elementwise ops, selections, sums and products it must have no other. The elements
must be those of the dense matrix.
"""

import copy
import pickle

import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import given
from hypothesis import strategies as st
from op_calls import sample_calls
from random_programs import programs

import tapegrad as tg
from tapegrad import tree
from tapegrad.declare import OPS
from tapegrad.transforms.coloring import color_columns, color_symmetric
from tapegrad.transforms.sparsity import find_pattern

sparse = pytest.importorskip("scipy.sparse", reason="sparse arrays need SciPy")

X = np.array([0.5, 1.25, 0.75, 1.5, 0.625, 1.125, 0.875, 1.375])


def blocks(x):
    """The leaves of a tree of sparse arrays or patterns."""
    if isinstance(x, dict):
        return [z for y in x.values() for z in blocks(y)]
    return [z for y in x for z in blocks(y)] if isinstance(x, tuple | list) else [x]


def mask(pattern):
    places = np.zeros(pattern.shape, bool)
    places[pattern.rows, pattern.cols] = True
    assert places.sum() == pattern.nnz  # each once
    keys = pattern.rows * pattern.shape[1] + pattern.cols
    assert (np.diff(keys) > 0).all()  # sorted by rows, then by columns
    return places


def misses(pattern, dense):
    return (~mask(pattern) & (np.reshape(dense, pattern.shape) != 0)).any()


# --- patterns ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_the_pattern_of_each_op_covers_its_derivatives():
    missed = []
    for name, op in OPS.items():
        for call in sample_calls(name, 8 if THOROUGH else 2):
            leaves, structure = tree.flatten(call.args)
            at = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray)]
            at = [i for i in at if leaves[i].dtype.kind == "f"]

            def of(xs, op=op, call=call, leaves=leaves, structure=structure, at=at):
                known = dict(zip(at, xs, strict=True))
                args = [known.get(i, x) for i, x in enumerate(leaves)]
                return op(*tree.unflatten(structure, args), **call.kwargs)

            xs = [leaves[i] for i in at]
            try:
                dense = tg.jacobian(of)(xs)
            except (TypeError, ValueError, tg.errors.TapegradError):
                continue  # no floating result
            pairs = zip(blocks(tg.sparsity(of)(xs)), tree.leaves(dense), strict=False)
            missed += [(name, call) for s, x in pairs if hasattr(s, "rows") and misses(s, x)]
    assert not missed


@pytest.mark.filterwarnings("ignore:.* is dense")
@depth("batch")
@given(programs(max_steps=12))
def test_sparse_is_dense_at_every_point(program):
    transforms = tg.sparsity, tg.jacobian
    pattern, dense = (of(program.fn, program.argnums) for of in transforms)
    elements = tg.jacobian(program.fn, program.argnums, sparse=True)
    for args in program.arguments:
        # for all values of what is differentiated, not of indices
        pairs = enumerate(zip(program.arguments[0], args, strict=True))
        first = blocks(pattern(*[a if k in program.argnums else b for k, (a, b) in pairs]))
        with np.errstate(all="ignore"):
            want, found = tree.leaves(dense(*args)), blocks(elements(*args))
        for s, x, y in zip(first, want, found, strict=True):
            assert not misses(s, x)
            assert (y.shape, y.dtype) == (s.shape, x.dtype)
            size = np.max(np.abs(x[np.isfinite(x)]), initial=1.0)
            near = 2.0**10 * float(np.finfo(program.narrowest).eps)
            x = np.reshape(x, s.shape)
            np.testing.assert_allclose(y.toarray(), x, rtol=near, atol=near * size)


STEPS = {
    "elementwise": lambda x, k: np.sin(x) * 2 + np.exp(x),
    "reverse": lambda x, k: x[::-1],
    "gather": lambda x, k: x[(np.arange(len(x)) * k) % len(x)],
    "roll": lambda x, k: np.roll(x, k) + x,
    "pad": lambda x, k: np.pad(x, (k, 1)),
    "stack": lambda x, k: np.stack([x, x[::-1]]).reshape(-1)[::2] + x,
    "sum": lambda x, k: np.repeat(np.sum(x.reshape(2, -1), axis=1) if len(x) % 2 == 0 else x, 2),
    "update": lambda x, k: tg.at(x)[0].set(k),
    "add at": lambda x, k: tg.at(x)[[0, 0]].add(x[-2:]),
    "mask": lambda x, k: np.where(np.arange(len(x)) % k == 0, x, 0),
    "cumsum": lambda x, k: np.cumsum(x),
    "matrix": lambda x, k: np.eye(len(x), k=k) @ x,
    "outer": lambda x, k: np.outer(x[:k] + 2, x[:k] + 3).reshape(-1) + x[0],
    "einsum": lambda x, k: np.einsum("ij,j->j", np.eye(2, len(x)), x),
    "split": lambda x, k: np.concatenate([x[k:], x[:1]]),
    "vmap": lambda x, k: tg.vmap(lambda a: np.exp(a) + a[0])(x.reshape(len(x), 1)).reshape(-1),
    "rows": lambda x, k: tg.scan(lambda c, r: (c, np.exp(r)), 0.0, x)[1],
    "scan": lambda x, k: tg.scan(lambda c, r: (c + np.sin(r), c), 1.0, x)[1],
    "checkpoint": lambda x, k: tg.checkpoint(lambda y: np.exp(y) + x[0])(x),
}


@depth("batch")
@given(st.lists(st.tuples(st.sampled_from([*STEPS]), st.integers(2, 3)), max_size=4))
def test_simple_programs_have_no_other_places(steps):
    def fn(x):
        for name, k in steps:
            x = STEPS[name](x, k)[:24]
        return x

    pattern = mask(tg.sparsity(fn)(X[:6]))
    random = np.random.default_rng(0)
    points = [random.uniform(0.5, 1.5, 6) for _ in range(3)]
    seen = sum(np.abs(np.reshape(tg.jacobian(fn)(x), pattern.shape)) for x in points) > 0
    assert (pattern == seen).all()


@pytest.mark.parametrize(
    ("fn", "rows"),
    {
        "both sides of a condition": (lambda x: np.where(x > 1, x, x[::-1]), [2] * 8),
        "a product with zeros": (lambda x: x * np.zeros(8), [1] * 8),
        "all that a maximum compares": (lambda x: np.max(x.reshape(2, 4), axis=1), [4, 4]),
        "all that is sorted": (lambda x: np.sort(x.reshape(4, 2)).reshape(-1), [2] * 8),
        "all where an index varies": (lambda x: x[np.argsort(x)[:2]], [8, 8]),
        "both branches": (lambda x: tg.cond(x[0] > 1, lambda y: y, lambda y: y[::-1], x), [2] * 8),
        "nothing of places": (lambda x: np.floor(x) + np.argmax(x), [0] * 8),
        "rows of a softmax": (lambda x: tg.softmax(x.reshape(4, 2)).reshape(-1), [2] * 8),
        "matrices of a stack": (lambda x: np.linalg.inv(x.reshape(2, 2, 2)).reshape(-1), [4] * 8),
        "steps that a value counts": (
            lambda x: tg.while_loop(
                lambda c: c[0] < x[0], lambda c: (c[0] + 1, np.roll(c[1], 4)), (0.0, x)
            )[1],
            [8] * 8,
        ),
        "matrices in a loop": (
            lambda x: np.ravel(
                tg.scan(lambda c, r: (c, np.linalg.svd(r.reshape(2, 2))[1]), 0.0, x.reshape(2, 4))[
                    1
                ]
            ),
            [4] * 4,
        ),
        "a custom op": (tg.custom_op(vjps=(lambda g, y, x: g,))(lambda x: x + 0.0), [8] * 8),
        "an elementwise one": (
            tg.custom_op(vjps=(lambda g, y, x: g,), batch="elementwise")(lambda x: x + 0.0),
            [1] * 8,
        ),
    }.values(),
)
def test_no_value_decides(fn, rows):
    pattern = tg.sparsity(fn)(X)
    assert np.bincount(pattern.rows, minlength=len(rows)).tolist() == rows
    assert not any(misses(pattern, tg.jacobian(fn)(x)) for x in (X, 2 * X[::-1] - 1))


# --- colors -----------------------------------------------------------------------------------

PATTERNS = st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.6), st.integers(0, 99)
).map(lambda a: np.random.default_rng(a[3]).random(a[:2]) < a[2])


@given(PATTERNS)
def test_columns_of_a_color_share_no_row(places):
    colors = color_columns(*np.nonzero(places), places.shape[1])
    of_each = np.eye(colors.max() + 1, dtype=int)[colors]
    assert (places.astype(int) @ of_each <= 1).all()


@given(PATTERNS, st.booleans())
def test_of_two_symmetric_elements_one_is_alone(places, diagonal):
    n = min(places.shape)
    places = places[:n, :n] | places[:n, :n].T | (diagonal & np.eye(n, dtype=bool))
    colors = color_symmetric(*np.nonzero(places), n)
    alone = (places.astype(int) @ np.eye(colors.max() + 1, dtype=int)[colors])[:, colors] == 1
    assert (alone | alone.T)[places].all()


def brusselator(v):
    def spread(u):
        return sum(np.roll(u, k, i) for i in (0, 1) for k in (1, -1)) - 4 * u

    u, w = np.moveaxis(v.reshape(8, 8, 2), 2, 0)
    y = [1 + u * u * w - 4.4 * u + spread(u), 3.4 * u - u * u * w + spread(w)]
    return np.stack(y, axis=2).reshape(-1)


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_known_problems_take_few_products():
    def products(fn, n, symmetric=False):
        return tg.sparsity(fn, symmetric=symmetric)(np.linspace(0.5, 1.5, n)).n_colors

    assert products(lambda x: (x[1:] - x[:-1]) ** 2, 1000) == 2
    assert products(lambda x: x * x[0] + x**2, 200) == 2
    assert products(lambda x: np.tanh(x.reshape(-1, 6) @ np.ones((6, 6))), 300) == 6
    assert products(brusselator, 128) <= 8
    assert products(tg.grad(rosenbrock), 400, symmetric=True) == 3
    assert products(tg.grad(lambda x: np.sum(x * x[0] ** 2 + x**3)), 150, symmetric=True) == 2
    by_rows = tg.sparsity(lambda x: np.sum(x.reshape(2, 4) ** 2, axis=1))(X)
    assert (by_rows.mode, by_rows.n_colors) == ("reverse", 1)


# --- elements ---------------------------------------------------------------------------------

LOSS = {
    "rosenbrock": rosenbrock,
    "scan": lambda x: np.sum(tg.scan(lambda c, r: (c * np.sin(r) + r, c**2), x[0], x[1:])[1]),
    "while": lambda x: np.sum(
        tg.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * np.roll(c[1], 1)), (0, x))[1]
    ),
}


@pytest.mark.filterwarnings("ignore:.* is dense")
@pytest.mark.parametrize("loss", LOSS.values(), ids=LOSS)
def test_hessians(loss):
    want = tg.hessian(loss)(X)
    for transform in (lambda f: f, tg.compile):
        found = transform(tg.hessian(loss, sparse=True))(X)
        np.testing.assert_allclose(found.toarray(), want, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.* is dense")
@pytest.mark.parametrize("linear", "abx")
def test_a_hessian_of_a_tree_is_one_symmetric_matrix(linear):
    """Leaves whose gradient is constant have rows of it too."""

    def loss(p):
        rest = [np.sum(p[k]) ** 3 + np.sum(p[k] ** 2) for k in p if k != linear]
        return np.sum(p[linear]) + sum(rest) + rest[0] * rest[1]

    p = {"a": X[:2], "b": 2.0, "x": X[2:5]}
    want, found = tg.hessian(loss)(p), tg.hessian(loss, sparse=True)(p)
    pattern = tg.sparsity(tg.grad(loss), symmetric=True)(p)
    for i in p:
        for j in p:
            block = found[i][j]
            np.testing.assert_allclose(block.toarray(), want[i][j].reshape(block.shape))
            assert pattern[i][j].shape == block.shape


def differences(x):
    return (x[1:] - x[:-1]) ** 2


def test_it_is_differentiated_batched_compiled_and_saved(tmp_path):
    elements = tg.jacobian(differences, sparse=True)
    dense = tg.jacobian(differences)
    slope = tg.grad(lambda x: np.sum(elements(x).data ** 2))(X)
    np.testing.assert_allclose(slope, tg.grad(lambda x: np.sum(dense(x) ** 2))(X))
    both = np.stack([X, 2 * X])
    for of in (tg.vmap(elements), tg.compile(tg.vmap(elements))):
        data = of(both).data
        np.testing.assert_allclose(data[1], elements(2 * X).data)
    compiled = tg.compile(elements)
    compiled.program(X).save(tmp_path / "elements.npz")
    for of in (compiled, tg.load_program(tmp_path / "elements.npz")):
        np.testing.assert_allclose(of(3 * X).toarray(), dense(3 * X))


def test_what_is_captured_and_differentiated_outside_counts_as_any_value():
    a = np.zeros(8)
    slope = tg.grad(lambda a: np.sum(tg.jacobian(lambda x: a * x, sparse=True)(X).data))(a)
    np.testing.assert_array_equal(slope, np.ones(8))


def test_complex_results_auxiliary_ones_and_empty_blocks():
    def wave(x):
        return np.exp(1j * x) * x[::-1]

    found = tg.jacobian(wave, sparse=True)(X)
    np.testing.assert_allclose(found.toarray(), tg.jacobian(wave)(X))
    found, aux = tg.jacobian(lambda x: (x**2, "kept"), has_aux=True, sparse=True)(X)
    assert aux == "kept"
    assert found.nnz == 8
    assert tg.jacobian(lambda x: np.ones(3), sparse=True)(X).shape == (3, 8)
    assert tg.jacobian(lambda x: x**2, sparse=True)(np.zeros(0)).shape == (0, 0)
    twice = tg.jacobian(lambda x: [np.sum(x[:3])] * 2, sparse=True)
    for block in (*twice(X), *tg.compile(twice)(X)):
        assert block.toarray().tolist() == [[1.0] * 3 + [0.0] * 5]
    one, other = tg.jacobian(lambda a, b: a[:2] * b, (0, 1), sparse=True)(X, 3.0)
    assert (one.shape, other.shape) == ((2, 8), (2, 1))


def test_a_pattern_is_remembered_as_long_as_the_tape_is_alike(monkeypatch):
    searches = []

    def search(*args):
        searches.append(args)
        return find_pattern(*args)

    monkeypatch.setattr("tapegrad.transforms.sparsity.find_pattern", search)
    elements = tg.jacobian(lambda x, i: x[i] ** 2, sparse=True)
    for i in ([0, 1, 2], [0, 1, 2], [5, 1, 1]):
        index = np.array(i)
        want = tg.jacobian(lambda x, i: x[i] ** 2)(X, index)
        np.testing.assert_array_equal(elements(X, index).toarray(), want)
        np.testing.assert_array_equal(elements(2 * X, index).toarray(), 2 * want)
    assert len(searches) == 2
    second = tg.hessian(rosenbrock, sparse=True)
    for k in (1, 2, 3):
        found = second(k * X).toarray()
        np.testing.assert_allclose(found, tg.hessian(rosenbrock)(k * X), rtol=1e-12)
    assert len(searches) == 3
    # a checkpointed call is like no other, and holds its tape
    held = tg.jacobian(tg.checkpoint(np.sin), sparse=True)
    np.testing.assert_allclose(held(X).data, np.cos(X))
    assert not held.last_pattern


# --- patterns of one's own, and what is refused -----------------------------------------------


def test_a_pattern_of_ones_own():
    want = tg.jacobian(differences)(X)
    ours = tg.jacobian(differences, sparse=True)(X)
    for pattern in (sparse.csr_array(want), tg.sparsity(differences)(X), ours):
        found = tg.jacobian(differences, sparse=pattern)(X)
        np.testing.assert_allclose(found.toarray(), want)
        for mode in ("forward", "reverse"):
            found = tg.jacobian(differences, mode=mode, sparse=pattern)(X)
            np.testing.assert_allclose(found.toarray(), want)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tg.jacobian(differences, sparse="yes"), TypeError, "sparse must be True"),
        (
            lambda: tg.jacobian(differences, sparse=sparse.eye_array(7, 8))(X),
            ValueError,
            "the pattern given by sparse misses a place",
        ),
        (
            lambda: tg.hessian(rosenbrock, sparse=sparse.eye_array(8))(X),
            ValueError,
            "hessian of rosenbrock: the pattern",
        ),
        (
            lambda: tg.jacobian(differences, sparse=sparse.eye_array(3))(X),
            ValueError,
            r"the pattern has shape \(3, 3\), and the matrix \(7, 8\)",
        ),
        (lambda: tg.sparsity(differences, symmetric=True)(X), ValueError, "square, not 7 x 8"),
        (lambda: tg.jacobian(differences, sparse=True)(X + 0j), TypeError, "complex"),
        (lambda: tg.sparsity(differences)(X + 0j), TypeError, "complex"),
        (lambda: tg.sparsity(differences)(np.arange(3)), TypeError, "int64"),
        (
            lambda: tg.jacobian(lambda x: np.sqrt(x - 0.5), check_finite=True, sparse=True)(X),
            tg.errors.NonFiniteError,
            "sqrt",
        ),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


CALLS = {
    "compiled": lambda fn: tg.compile(fn)(X),
    "compiled, of an array inside": lambda fn: tg.compile(lambda x: fn(np.exp(x)).data)(X),
    "differentiated": lambda fn: tg.grad(lambda x: np.sum(fn(x).data))(X),
    "differentiated and compiled": lambda fn: tg.compile(tg.grad(lambda x: np.sum(fn(x).data)))(X),
    "batched": lambda fn: tg.vmap(lambda x: fn(x).data)(np.stack([X, 2 * X])),
    "in a loop": lambda fn: tg.scan(lambda c, x: (c, fn(x).data), 0.0, X[None]),
    "checkpointed": lambda fn: tg.checkpoint(lambda x: fn(x).data)(X),
    "beside a row of nan": lambda fn: fn(np.r_[np.nan, X[1:]]),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_place_that_is_missed_is_told_wherever_it_is_called(kind):
    full, part = tg.sparsity(differences)(X), sparse.eye_array(7, 8)
    CALLS[kind](tg.jacobian(differences, sparse=full))
    with pytest.raises(ValueError, match="misses a place"):
        CALLS[kind](tg.jacobian(differences, sparse=part))


@pytest.mark.parametrize("is_while", [True, False], ids=["while", "fori"])
def test_a_loop_that_a_value_ends_hides_nothing_nor_does_its_derivative(is_while):
    def loop(y):
        def step(c):
            return np.roll(c, 1) * 1.5 + 0.3 * y

        if is_while:
            return tg.while_loop(lambda c: np.sum(c * c) < 9, step, y)
        return tg.fori_loop(0, 2 + (0 * np.sum(y)).astype(int), lambda i, c: step(c), y)

    def tangent(x):
        return tg.jvp(loop, (x,), (x,))[1]

    for fn in (loop, tangent):
        pattern = tg.sparsity(fn)(X[:4])
        assert all(not misses(pattern, tg.jacobian(fn)(k * X[:4])) for k in (0.01, 0.3, 1))


def test_patterns_and_blocks_are_handed_to_scipy():
    pattern, x = tg.sparsity(differences)(X), tg.jacobian(differences, sparse=True)(X)
    assert (pattern.tocsc().toarray() == mask(pattern)).all()
    for matrix in (x.tocsc(), x.tocsr(), x.tocoo()):
        np.testing.assert_array_equal(matrix.toarray(), x.toarray())


def test_a_full_pattern_is_said_to_be_full():
    def full(x):
        return np.sin(np.sum(x)) * x

    with pytest.warns(UserWarning, match="is dense: 8 colors of 8"):
        found = tg.jacobian(full, sparse=True)(X)
    np.testing.assert_allclose(found.toarray(), tg.jacobian(full)(X))


def test_a_pattern_is_a_picture_that_copies_and_pickles():
    pattern = tg.sparsity(differences)(np.ones(100))
    lines = str(pattern).split("\n")
    assert lines[0] == "sparsity of 99 x 100: 198 places, 2 products instead of 100"
    assert len(lines) == 21
    assert {len(line) for line in lines[1:]} == {40}
    assert all("\u2801" <= lines[1 + i][2 * i] <= "\u28ff" for i in range(20))
    assert "<pre" in pattern._repr_html_()
    assert lines[0] in pattern._repr_html_()
    assert copy.deepcopy(pattern) is pattern
    again = pickle.loads(pickle.dumps(pattern))
    assert repr(again) == repr(pattern)
    assert (mask(again) == mask(pattern)).all()
    with pytest.raises(ValueError, match="read-only"):
        pattern.rows[0] = 1
