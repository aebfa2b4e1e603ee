"""Recorded functions on JAX have the same values and slopes, for every op and for training."""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest
from complex_losses import LOSSES
from depth import depth
from hypothesis import given, reject
from hypothesis import strategies as st
from op_calls import sample_calls
from op_cases import CASES, Case, case_of
from programs import trace
from random_programs import Written, programs
from scripts import print_of_script

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.types import Array, ArrayLike, Key, PyTree

jax = pytest.importorskip("jax")
jnp = jax.numpy

from tapegrad.core.writing import ASARRAY  # noqa: E402
from tapegrad.interop.jax.run import has_lowering  # noqa: E402
from tapegrad.interop.jax.table import TABLE  # noqa: E402
from tapegrad.program.saved_names import DRAWS  # noqa: E402
from tapegrad.transforms.reverse import SEED  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def enable_float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def assert_close(got: PyTree, wanted: PyTree, tolerance: float = 1e-10) -> None:
    """Check that two trees have equal structures and dtypes, and close values."""
    assert tg.tree.flatten(got)[1] == tg.tree.flatten(wanted)[1]
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        wide = np.result_type(b, np.float64)
        a, b = a.astype(wide), b.astype(wide)
        size = max(1.0, float(np.abs(b).max(initial=0, where=np.isfinite(b))))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * size)


# --- every op -------------------------------------------------------------------------------

# no program has these ops: the shapes of their results depend on values
WITHOUT_LOWERING = {"argwhere"}
# the order of equal elements and of elements beside a partition depends on the library; LAPACK
# decides the order of the eigenvalues of a general matrix, and the signs of its eigenvectors
ARBITRARY_ORDER = {"argpartition", "partition", "eig", "eigvals"}


def test_every_op_has_a_lowering() -> None:
    ops = [*OPS.values(), SEED, ASARRAY, *DRAWS]
    missing = {op.name for op in ops if not has_lowering(op)}
    assert missing == WITHOUT_LOWERING, (
        "add a lowering to tapegrad/interop/jax/table.py, or list it above"
    )


def weighted_loss(case: Case) -> Callable[..., Any]:
    """Return a loss of a call's operands: a weighted sum of its floating results."""

    def loss(*args: Array) -> Array:
        results = [y for y in tg.tree.leaves(case.fn(*args)) if y.dtype.kind == "f"]
        if case.name in ARBITRARY_ORDER:
            return sum((tg.sum(np.cos(y)) for y in results), np.zeros(()))
        return sum((tg.sum(y * weights(y)) for y in results), np.zeros(()))

    return loss


def values_and_slopes(
    case: Case, transform: Callable[..., Any], differentiate: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function of a call's operands: its values, and the slopes of their sum."""
    loss = weighted_loss(case)
    floating = tuple(i for i, x in enumerate(case.operands) if x.dtype.kind == "f")
    outputs = tg.tree.leaves(case.fn(*case.operands))
    slopes = floating and any(np.asarray(y).dtype.kind == "f" for y in outputs)

    def compute_both(*args: Array) -> tuple[PyTree, PyTree]:
        values = () if case.name in ARBITRARY_ORDER else transform(case.fn)(*args)
        return values, differentiate(loss, floating)(*args) if slopes else ()

    return compute_both


def check_on_jax(cases: list[Case]) -> None:
    """Check values and slopes of calls in one compilation, which is faster than many."""
    jax_functions = [
        values_and_slopes(case, tg.to_jax, lambda f, at: jax.grad(tg.to_jax(f), at))
        for case in cases
    ]
    operands = [case.operands for case in cases]
    got = jax.jit(lambda operands: [f(*x) for f, x in zip(jax_functions, operands, strict=True)])(
        operands
    )
    for case, (values, slopes) in zip(cases, got, strict=True):
        reference = values_and_slopes(case, lambda f: tg.compile(f, passes=()), tg.grad)
        wanted, wanted_slopes = reference(*case.operands)
        widths = [x.dtype.itemsize for x in case.operands if x.dtype.kind == "f"]
        tolerance = {2: 3e-2, 4: 3e-4}.get(min(widths, default=8), 1e-9)
        try:
            assert_close(values, wanted, tolerance)
            assert_close(slopes, wanted_slopes, 10 * tolerance)
        except AssertionError as error:
            error.add_note(f"{case.name} was called with {case.operands}")
            raise


@depth("op on JAX")
@given(
    st.sampled_from(sorted(x for x in set(CASES) & set(OPS) if has_lowering(OPS[x]))).flatmap(
        CASES.__getitem__
    )
)
def test_values_and_slopes_of_an_op_match(case: Case) -> None:
    with np.errstate(all="ignore"):
        try:
            trace(case.fn, case.operands, {})
        except tg.TraceError:
            reject()
        check_on_jax([case])


def find_call(name: str) -> Case | None:
    """Return a fixed call of an op with several numbers, or None if none can be recorded.

    Calls in half precision, which has few digits to compare, are left out.
    """
    for call in sample_calls(name, 8):
        case = case_of(name, call)
        outputs = [np.asarray(y) for y in tg.tree.leaves(case.fn(*case.operands))]
        halves = any(x.dtype == np.float16 for x in (*case.operands, *outputs))
        if sum(y.size for y in outputs) > 1 and not halves:
            with contextlib.suppress(tg.errors.TraceError):
                trace(case.fn, case.operands, {})
                return case
    return None


def test_one_call_of_each_op_in_the_table_matches() -> None:
    with np.errstate(all="ignore"):
        names = sorted(set(CASES) & set(OPS) & set(TABLE) - ARBITRARY_ORDER)
        # NumPy's elementwise functions are alike
        names = [x for x in names if not isinstance(OPS[x].forward, np.ufunc)]
        cases = [case for name in names if (case := find_call(name)) is not None]
        assert len(cases) > 80
        check_on_jax(cases)


@pytest.mark.thorough
@pytest.mark.parametrize("part", [0, 1, 2])
def test_complex_losses_match_and_their_slopes_are_conjugated(part: int) -> None:
    losses = list(LOSSES.items())[part::3]
    fns = [f for _, (f, _) in losses]
    args = [x for _, (_, x) in losses]
    places = [tuple(range(len(x))) for x in args]

    # one compilation is faster than many
    @jax.jit
    def on_jax(args: PyTree) -> PyTree:
        return [
            (tg.to_jax(f)(*x), jax.grad(tg.to_jax(f), at)(*x), tg.to_jax(tg.grad(f, at))(*x))
            for f, at, x in zip(fns, places, args, strict=True)
        ]

    rows = zip(losses, fns, places, args, on_jax(args), strict=True)
    for (name, _), f, at, x, (value, slopes, gradients) in rows:
        try:
            assert_close(value, f(*x))
            for a, b, c in zip(slopes, gradients, tg.grad(f, at)(*x), strict=True):
                for g in (np.conj(a), b):
                    np.testing.assert_allclose(g, c, rtol=1e-8, atol=1e-8 * np.max(np.abs(c)))
        except AssertionError as error:
            error.add_note(name)
            raise


def weights(y: Array) -> Array:
    return np.cos(np.arange(1.0, np.size(y) + 1)).reshape(np.shape(y)).astype(y.dtype)


@depth("program on JAX")
@given(programs(max_steps=15))
def test_random_programs_and_gradients_match(written: Written) -> None:
    args = written.arguments[0]
    tolerance = 1e-9 if written.narrowest == np.float64 else 1e-3
    wanted = tg.compile(written.step, passes=())(*args)
    assert_close(jax.jit(tg.to_jax(written.step))(*args), wanted, tolerance)


def test_derivatives_at_kinks_match_to_second_order_in_both_modes() -> None:
    def f(x: Array) -> Array:
        return tg.sum(tg.abs(x) * tg.maximum(x, 0.0)) + tg.max(x) * tg.prod(x)

    x = np.array([0.0, -1.0, 2.0, 2.0])
    on_jax = tg.to_jax(f)

    @jax.jit
    def slopes(x: Array) -> tuple[Array, ...]:
        # derivatives by tapegrad are part of the program
        hessians = jax.hessian(on_jax)(x), jax.jacrev(tg.to_jax(tg.grad(f)))(x)
        return jax.jacfwd(on_jax)(x), *hessians

    assert_close(slopes(x), (tg.grad(f)(x), *[tg.hessian(f)(x)] * 2))


@pytest.mark.parametrize("checkpoint", [None, 2, "binomial"])
def test_loops_and_branches_match(checkpoint: int | str | None) -> None:
    def loss(w: Array, xs: Array) -> Array:
        def step(carry: Array, x: Array) -> tuple[Array, Array]:
            carry = np.tanh(w @ carry + x)
            return carry, tg.cond(np.sum(carry) > 0, np.sin, lambda y: y * np.arange(2.0), carry)

        last, rows = tg.scan(step, np.zeros(2), xs, reverse=True, checkpoint=checkpoint)
        repeated = tg.fori_loop(0, 5, lambda i, s: s * w[0] + i, xs[0], checkpoint)
        return np.sum(last) + np.sum(rows * repeated)

    def grow(w: Array) -> Array:
        start = w * w
        return tg.while_loop(lambda s: np.sum(s) < 50.0, lambda s: s * 1.5 + 1.0, start, checkpoint)

    w, xs = np.array([[0.5, -0.25], [0.75, 1.0]]), np.linspace(-1, 1, 10).reshape(5, 2)

    @jax.jit
    def on_jax(w: Array, xs: Array) -> PyTree:
        # differentiated by JAX, and by tapegrad as part of the program
        gradients = tg.to_jax(tg.grad(loss, (0, 1)))(w, xs)
        return jax.grad(tg.to_jax(loss), (0, 1))(w, xs), gradients, tg.to_jax(grow)(w)

    wanted = tg.grad(loss, (0, 1))(w, xs)
    assert_close(on_jax(w, xs), (wanted, wanted, grow(w)))
    with pytest.raises(TypeError, match="a gradient through a while_loop"):
        tg.to_jax(tg.grad(lambda w: np.sum(grow(w))))(w)


def test_loop_in_jax_returns_only_results_that_are_read() -> None:
    def loss(w: Array) -> Array:
        return np.sum(tg.scan(lambda c, x: (np.tanh(c * w) + x * x, c), w, np.arange(4.0))[1])

    steps = jax.make_jaxpr(tg.to_jax(tg.grad(loss)))(np.array(1.0)).eqns
    results = [len(x.outvars) for x in steps if x.primitive.name == "scan"]
    # the carry and two values of each step; the cotangents of the carry and of the weight
    assert results == [3, 2]


def test_checkpointed_loop_keeps_few_residuals_in_jax() -> None:
    def residual_bytes(checkpoint: int | str | None) -> int:
        loss = tg.to_jax(lambda x: tg.fori_loop(0, 400, lambda i, s: np.sin(s * s), x, checkpoint))
        pullback = jax.vjp(loss, np.ones(10))[1]
        return sum(x.nbytes for x in jax.tree.leaves(pullback))

    for checkpoint in (20, "binomial"):
        assert 0 < residual_bytes(checkpoint) < residual_bytes(None) / 8


# --- keys -----------------------------------------------------------------------------------


@depth("program on JAX")
@given(st.integers(0, 2**64), st.integers(0, 70), st.integers(0, 2**63 - 1))
def test_keys_and_draws_have_the_same_bits(seed: int, n: int, data: int) -> None:
    def draw_all(key: Key, data: ArrayLike) -> dict[str, Array]:
        return {
            "split": tg.random.split(key, n),
            "folded": tg.random.fold_in(key, data),
            "doubles": tg.random.uniform(key, (n,)),
            "floats": tg.random.uniform(key, (n, 1), dtype=np.float32),
            "truths": tg.random.bernoulli(key, 0.3, (n,)),
        }

    key = tg.random.key(seed)
    data = np.array([data, -1 - data, 2**64 - 1][n % 3] % 2**64, np.uint64)
    for name, got in jax.jit(tg.to_jax(draw_all))(key, data).items():
        np.testing.assert_array_equal(got, draw_all(key, data)[name])


def test_draws_by_numpy_work_under_jit_and_vmap() -> None:
    def draw_all(key: Key) -> tuple[Array, ...]:
        return (
            tg.random.normal(key, (3,)),
            tg.random.truncated_normal(key, (2,)),
            tg.random.integers(key, 0, 9, (4,)),
            tg.random.permutation(key, 5),
            tg.random.choice(key, 7, (2,), replace=False),
            tg.random.uniform(key, (2,), dtype=np.float16),
        )

    keys = tg.random.split(tg.random.key(1), 2)
    for got, first, second in zip(
        jax.jit(jax.vmap(tg.to_jax(draw_all)))(keys),
        draw_all(keys[0]),
        draw_all(keys[1]),
        strict=True,
    ):
        np.testing.assert_array_equal(got, np.stack([first, second]))
        assert got.dtype == first.dtype


# --- trees, arguments, errors ---------------------------------------------------------------


@attrs.frozen
class Pair:
    left: Any
    right: Any = None


def test_trees_are_pytrees_in_jax() -> None:
    def fn(pair: Pair, scale: float, layer: tg.nn.Linear | None = None) -> dict[str, int | Pair]:
        return {"pair": Pair(pair.right * scale, [pair.left["a"], None]), "n": 3}

    on_jax = tg.to_jax(fn, records=[Pair])
    pair = Pair({"a": np.arange(2)}, np.ones(2, np.float32))
    for step in (on_jax, jax.jit(on_jax)):
        got = step(pair, 2.0)
        assert type(got["pair"]) is Pair
        assert got["pair"].left.dtype == np.float32
        np.testing.assert_array_equal(got["pair"].right[0], [0, 1])
        assert got["n"] == 3
    paths = jax.tree_util.tree_flatten_with_path(pair)[0]
    assert [jax.tree_util.keystr(path) for path, _ in paths] == [".left['a']", ".right"]
    with pytest.raises(TypeError, match="neither an attrs class nor a dataclass"):
        tg.to_jax(fn, records=[int])
    params = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.GRUCell(3, 3)).init(0)
    assert len(jax.tree_util.tree_leaves(params)) == len(tg.tree.leaves(params))


def test_static_arguments_and_python_numbers() -> None:
    def fn(x: Array, mode: str, by: float, n: int) -> Array:
        return tg.sum(x * by) + n if mode == "sum" else tg.max(x)

    on_jax = tg.to_jax(fn, static_argnums=1)
    step = jax.jit(on_jax, static_argnums=1)
    x = np.float32([1, 2])
    assert step(x, "sum", 2.0, 1) == 7.0
    # a Python number keeps float32, as in NumPy
    assert step(x, "sum", 2.0, 1).dtype == on_jax(x, "sum", 2.0, 1).dtype == np.float32
    assert on_jax(x, "max", 2.0, 1) == 2.0
    assert repr(on_jax) == "<to_jax of fn>"
    integers = tg.to_jax(lambda i: (i / 2, i * 1.5, i // 2))(np.arange(3))
    assert [y.dtype for y in integers] == [np.float64, np.float64, np.int64]


@tg.custom_op(vjps=(lambda g, y, x, by: g * by,))
def scale(x: Array, by: float = 1.0) -> Array:
    return x * by


def test_op_without_lowering_raises_or_is_given_in_ops() -> None:
    def fn(x: Array) -> Array:
        return scale(x, by=3.0) + 1

    with pytest.raises(TypeError, match=r"fn has the op scale, .* ops=\{op: function\}"):
        tg.to_jax(fn)(np.ones(2))
    on_jax = tg.to_jax(fn, ops={scale: lambda x, by: jnp.asarray(x) * by})
    assert_close(jax.vmap(jax.grad(on_jax))(np.ones(2)), np.full(2, 3.0))
    with pytest.raises(TypeError, match="is no op"):
        tg.to_jax(fn, ops={"scale": np.sin})

    @tg.custom_vjp(lambda g, y, x: (g,))
    def f(x: Array) -> Array:
        return x

    with pytest.raises(TypeError, match=r"has the op custom_vjp, .* tg\.bridges\.jax"):
        tg.to_jax(f)(np.ones(2))


def test_function_that_fails_with_placeholders_is_recorded_with_values() -> None:
    def fn(key: Key, a: Array, p: Array) -> tuple[Array, Array]:
        return np.linalg.inv(a @ a.T), tg.random.choice(key, 3, p=p)

    on_jax = tg.to_jax(fn)
    args = tg.random.key(0), np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), np.array([0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="a probability for each") as error:
        jax.jit(on_jax)(*args[:2], args[2][:2])
    assert "outside jax.jit" in error.value.__notes__[0]
    again = pickle.loads(pickle.dumps(tg.to_jax(np.linalg.inv)))
    assert_close(jax.jit(again)(np.eye(2)), np.eye(2))
    assert_close(on_jax(*args), fn(*args))
    assert_close(jax.jit(on_jax)(*args), fn(*args))


@pytest.mark.parametrize("solver", [tg.linalg.eigvals, tg.linalg.eig])
def test_complex_eigenvalues_of_a_real_matrix_are_nan(solver: Callable[..., Any]) -> None:
    """JAX cannot raise as NumPy does; real parts alone would be wrong."""
    matrices = np.array([[[2.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [-1.0, 0.0]]])
    real, other = zip(*tg.tree.leaves(tg.to_jax(solver)(matrices)), strict=True)
    for got, wanted in zip(real, tg.tree.leaves(solver(matrices[0])), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert all(np.isnan(x).all() for x in other)


@pytest.mark.parametrize("fn", [tg.softmax, tg.log_softmax, tg.logsumexp])
def test_last_axis_of_an_array_without_axes_is_ignored(fn: tg.Op) -> None:
    x = np.array(2.0)
    assert_close(tg.to_jax(lambda x: fn(x, axis=-1))(x), fn(x, axis=-1))


def test_float64_raises_where_jax_would_narrow_it() -> None:
    def fn(x: Array) -> tuple[Array, Array]:
        return x * 2, tg.argmax(x)

    with jax.enable_x64(False):
        for x in (np.ones(2), np.float64(1.0)):
            with pytest.raises(TypeError, match=r"fn: x is float64, which .*jax_enable_x64"):
                tg.to_jax(fn)(x)
        with pytest.raises(TypeError, match="key is uint64"):
            tg.to_jax(lambda key: tg.random.uniform(key))(tg.random.key(0))
        with pytest.raises(TypeError, match="a value of divide is float64"):
            tg.to_jax(lambda i: i / 2)(np.arange(3))
        doubled, place = tg.to_jax(fn)(np.float32([1, 2]))
        assert (doubled.dtype, place.dtype) == (np.float32, np.int32)


# --- training -------------------------------------------------------------------------------


SHARDED = """
import jax, numpy as np, tapegrad as tg
jax.config.update("jax_enable_x64", True)
model = tg.nn.Sequential(tg.nn.Linear(4, 8), np.tanh, tg.nn.Dropout(0.5), tg.nn.Linear(8, 3))

def step(params, x, y, key):
    loss = lambda params: tg.nn.cross_entropy_loss(model(params, x, key=key), y)
    value, grads = tg.value_and_grad(loss)(params)
    return value, tg.tree.map(lambda p, g: p - 0.1 * g, params, grads)

args = model.init(0), tg.random.normal(1, (16, 4)), np.arange(16) % 3, tg.random.key(2)
mesh = jax.sharding.Mesh(jax.devices(), ("rows",))
rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
run = jax.jit(tg.to_jax(step), in_shardings=(whole, rows, rows, whole))
compiled = run.lower(*args).compile()
assert len(jax.devices()) == 8 and "all-reduce" in compiled.as_text()
got, wanted = run(*args), tg.compile(step)(*args)
for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
    assert len(a.sharding.device_set) == 8
    np.testing.assert_allclose(a, b, 1e-12)
exported = jax.export.export(jax.jit(tg.to_jax(step)))(*args)
print("same")
"""


@pytest.mark.thorough
def test_sharded_batch_gives_the_same_step() -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    assert print_of_script(SHARDED, **flags) == "same\n"


@pytest.mark.thorough
def test_script_has_the_same_losses_with_jax_and_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    import on_jax

    got, wanted = on_jax.main("jax", 1, 1), on_jax.main("numpy", 1, 1)
    np.testing.assert_allclose(got, wanted, 1e-12)
    assert capsys.readouterr().out.count(f"epoch  1  loss {wanted[0]:.10f}") == 2
