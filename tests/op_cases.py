"""For every op of the package, a strategy for calls of it: the table that test_ops tests."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import (
    DTYPES,
    NONZERO,
    NUMBERS,
    POSITIVE,
    arrays,
    axes,
    broadcastable,
    indices,
    repeated,
    shapes,
)

import tapegrad as tg
from tapegrad.tensor import NUMPY, OPS


@attrs.frozen(eq=False)
class Case:
    """One call of an op.

    Attributes
    ----------
    name
        The op.
    operands
        The arrays it is called on; gradients are taken for the floating ones.
    apply
        Calls a function (the op, or NumPy's) on the operands, with options.
    reference
        What the op should give: NumPy's function of that name by default.
    ulps
        How far the value may be off; 0 where every bit must be the same.
    """

    name: str
    operands: tuple[Any, ...]
    apply: Callable[..., Any] = lambda f, *operands: f(*operands)
    reference: Callable[..., Any] | None = None
    ulps: int = 0

    def fn(self, *operands: Any) -> Any:
        return self.apply(OPS[self.name], *operands)

    def expected(self) -> Any:
        return self.apply(self.reference or getattr(np, self.name), *self.operands)


def elementwise(name: str, *elements: Any, dtype: Any = DTYPES, **rest: Any) -> Any:
    """Calls with one operand for each strategy of elements; shapes broadcast."""

    @st.composite
    def cases(draw: Any) -> Case:
        drawn = draw(broadcastable(len(elements)))
        operands = [draw(arrays(shape, e, dtype)) for shape, e in zip(drawn, elements, strict=True)]
        return Case(name, tuple(operands), **rest)

    return cases()


def on_array(name: str, options: Any, *, shape: Any = None, **rest: Any) -> Any:
    """Calls on one array with options drawn for its shape."""

    @st.composite
    def cases(draw: Any) -> Case:
        x = draw(arrays(shapes() if shape is None else shape))
        drawn = draw(options(x.shape))
        return Case(name, (x,), lambda f, x: f(x, **drawn), **rest)

    return cases()


def options(**strategies: Any) -> Any:
    return st.fixed_dictionaries(strategies)


def reduced(shape: Any) -> Any:
    return options(axis=axes(len(shape)), keepdims=st.booleans())


def one_axis(shape: Any) -> Any:
    return options(axis=st.none() | st.integers(-len(shape), len(shape) - 1))


FULL = shapes(min_dims=1, min_side=1)
WHOLE = st.integers(0, 9)
WHOLE_DTYPES = st.sampled_from([np.int64, np.uint8, np.bool_])
TRUTH = st.sampled_from([0.0, -0.0, 1.0, -2.0])


@st.composite
def where_cases(draw: Any) -> Case:
    condition, x, y = draw(broadcastable(3))
    flat = draw(
        st.lists(st.booleans(), min_size=math.prod(condition), max_size=math.prod(condition))
    )
    mask = np.array(flat, bool).reshape(condition)
    return Case("where", (mask, draw(arrays(x)), draw(arrays(y))))


@st.composite
def matmul_cases(draw: Any) -> Case:
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    left, right = draw(broadcastable(2, max_dims=2, max_side=2))
    first = draw(st.sampled_from([(k,), (*left, n, k), (n, k)]))
    second = draw(st.sampled_from([(k,), (*right, k, m), (k, m)]))
    return Case("matmul", (draw(arrays(first)), draw(arrays(second))), ulps=16)


@st.composite
def transpose_options(draw: Any, shape: Any) -> Any:
    n = len(shape)
    order = draw(st.permutations(range(n)))
    turned = [axis - n if draw(st.booleans()) else axis for axis in order]
    return draw(st.sampled_from([{}, {"axes": None}, {"axes": tuple(turned)}, {"axes": turned}]))


def swap_options(shape: Any) -> Any:
    axis = st.integers(-len(shape), len(shape) - 1)
    return options(axis1=axis, axis2=axis)


@st.composite
def reshape_options(draw: Any, shape: Any) -> Any:
    size = math.prod(shape)
    divisors = [d for d in range(1, size + 1) if size % d == 0] or [0]
    first = draw(st.sampled_from(divisors))
    rest = size // first if first else 3
    return {"shape": draw(st.sampled_from([(first, rest), (first, 1, rest), (size,), size]))} | (
        {"shape": draw(st.sampled_from([-1, (-1,), (first, -1)]))}
        if size and draw(st.booleans())
        else {}
    )


@st.composite
def expand_dims_options(draw: Any, shape: Any) -> Any:
    n = draw(st.integers(1, 2))
    total = len(shape) + n
    places = draw(
        st.lists(
            st.integers(-total, total - 1),
            min_size=n,
            max_size=n,
            unique_by=lambda axis: axis % total,
        )
    )
    return {"axis": tuple(places) if n > 1 or draw(st.booleans()) else places[0]}


@st.composite
def squeeze_options(draw: Any, shape: Any) -> Any:
    ones = [i for i, side in enumerate(shape) if side == 1]
    if not ones or draw(st.booleans()):
        return {}
    chosen = draw(st.lists(st.sampled_from(ones), min_size=1, unique=True))
    turned = [i - len(shape) if draw(st.booleans()) else i for i in chosen]
    return {"axis": tuple(turned) if len(turned) > 1 or draw(st.booleans()) else turned[0]}


@st.composite
def broadcast_options(draw: Any, shape: Any) -> Any:
    sides = [draw(st.integers(0, 3)) if side == 1 else side for side in shape]
    new = draw(st.lists(st.integers(0, 2), max_size=2))
    return {"shape": (*new, *sides)}


def expand_options(shape: Any) -> Any:
    n = len(shape) + 1
    return options(axis=st.integers(-n, n - 1), copies=st.integers(0, 3))


def expand_reference(x: Any, axis: int, copies: int) -> Any:
    return np.repeat(np.expand_dims(x, axis), copies, axis)


@st.composite
def concatenate_cases(draw: Any) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        sides = list(shape)
        sides[axis] = draw(st.integers(0, 3))
        parts.append(draw(arrays(tuple(sides))))
    given = {} if axis == 0 and draw(st.booleans()) else {"axis": axis}
    return Case("concatenate", tuple(parts), lambda f, *parts: f(list(parts), **given))


@st.composite
def keep_cases(draw: Any) -> Case:
    x = draw(arrays(shapes()))
    condition = draw(hnp.arrays(bool, x.shape))
    return Case("keep", (x,), lambda f, x: f(condition, x), lambda c, x: np.where(c, x, 0))


@st.composite
def stack_cases(draw: Any) -> Case:
    shape = draw(shapes(max_dims=2))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    parts = draw(st.lists(arrays(shape), min_size=1, max_size=3))
    return Case("stack", tuple(parts), lambda f, *parts: f(parts, axis=axis))


@st.composite
def getitem_cases(draw: Any) -> Case:
    x = draw(arrays(shapes()))
    index = draw(indices(x.shape))
    return Case("getitem", (x,), lambda f, x: f(x, index), lambda x, index: np.array(x[index]))


@st.composite
def index_select_cases(draw: Any) -> Case:
    x = draw(arrays(shapes(min_dims=1, min_side=1)))
    index = draw(repeated(len(x)))
    index = np.array(index, np.intp) if np.size(index) == 0 else index
    return Case("index_select", (x,), lambda f, x: f(x, index), lambda x, i: x[i])


@st.composite
def scatter_cases(draw: Any) -> Case:
    shape = draw(shapes())
    index = draw(indices(shape))
    values = draw(arrays(np.zeros(shape)[index].shape))
    return Case("scatter", (values,), lambda f, v: f(v, shape, index), scatter_reference, ulps=8)


@st.composite
def segment_sum_cases(draw: Any) -> Case:
    n = draw(st.integers(1, 4))
    index = np.asarray(draw(repeated(n)), np.intp)
    row = draw(shapes(max_dims=2, max_side=2))
    values = draw(arrays((*index.shape, *row)))

    def reference(values: Any, index: Any, n: int) -> Any:
        return scatter_reference(values, (n, *row), index)

    return Case("segment_sum", (values,), lambda f, v: f(v, index, n), reference, ulps=8)


@st.composite
def pick_cases(draw: Any) -> Case:
    shape = draw(shapes(max_dims=2))
    index = draw(classes(shape, 3))
    a = draw(arrays((*shape, 3)))

    def reference(a: Any, index: Any) -> Any:
        return np.take_along_axis(a, index[..., None], axis=-1)[..., 0]

    return Case("pick", (a,), lambda f, a: f(a, index), reference)


@st.composite
def unpick_cases(draw: Any) -> Case:
    shape = draw(shapes(max_dims=2))
    index = draw(classes(shape, 3))
    values = draw(arrays(shape))

    def reference(values: Any, index: Any, n: int) -> Any:
        return np.where(np.arange(n) == index[..., None], values[..., None], 0)

    return Case("unpick", (values,), lambda f, v: f(v, index, 3), reference)


@st.composite
def classes(draw: Any, shape: Any, n: int) -> Any:
    size = math.prod(shape)
    flat = draw(st.lists(st.integers(0, n - 1), min_size=size, max_size=size))
    return np.array(flat, np.intp).reshape(shape)


def scatter_reference(values: Any, shape: Any, index: Any) -> Any:
    y = np.zeros(shape, values.dtype)
    np.add.at(y, index, values)
    return y


def update_cases(name: str, reference: Any) -> Any:
    @st.composite
    def cases(draw: Any) -> Case:
        a = draw(arrays(shapes()))
        index = draw(indices(a.shape))
        shape = a[index].shape
        # values broadcast to the place they go to
        cut = shape[draw(st.integers(0, len(shape))) :]
        shape = tuple(1 if draw(st.integers(0, 3)) == 0 else side for side in cut)
        values = draw(arrays(shape, dtype=a.dtype.type))
        return Case(name, (a, values), lambda f, a, v: f(a, v, index), reference)

    return cases()


def set_reference(a: Any, values: Any, index: Any) -> Any:
    y = np.array(a)
    y[index] = values
    return y


def add_reference(a: Any, values: Any, index: Any) -> Any:
    y = np.array(a)
    # NumPy reads past the end of values that it has to broadcast here
    np.add.at(y, index, np.broadcast_to(values, y[index].shape))
    return y


@st.composite
def last_writes_cases(draw: Any) -> Case:
    shape = draw(shapes())
    index = draw(indices(shape))
    return Case("last_writes", (), lambda f: f(shape, index), last_writes_reference)


def last_writes_reference(shape: Any, index: Any) -> Any:
    places = np.arange(math.prod(shape)).reshape(shape)[index]
    flat = np.ravel(places).tolist()
    return np.array([p not in flat[i + 1 :] for i, p in enumerate(flat)], bool).reshape(
        places.shape
    )


def precise(f: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that computes in long double and rounds once."""

    def rounded(x: Any, **given: Any) -> Any:
        return np.asarray(f(x.astype(np.longdouble), **given)).astype(x.dtype)

    return rounded


@precise
def sigmoid_reference(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@precise
def softplus_reference(x: Any) -> Any:
    return np.logaddexp(0, x)


@precise
def logsumexp_reference(a: Any, **given: Any) -> Any:
    return np.log(np.sum(np.exp(a), **given))


@precise
def softmax_reference(a: Any, axis: int = -1) -> Any:
    return np.exp(a) / np.sum(np.exp(a), axis=axis, keepdims=True)


@precise
def log_softmax_reference(a: Any, axis: int = -1) -> Any:
    return a - np.log(np.sum(np.exp(a), axis=axis, keepdims=True))


def softmax_options(shape: Any) -> Any:
    given = options(axis=st.integers(-len(shape), len(shape) - 1))
    return st.just({}) | given


@st.composite
def astype_cases(draw: Any) -> Case:
    x = draw(arrays(shapes()))
    dtype = draw(st.sampled_from([np.float64, "float32", np.float16, np.int64, np.bool_]))
    return Case("astype", (x,), lambda f, x: f(x, dtype), lambda x, dtype: x.astype(dtype))


def itself(x: Any) -> Any:
    return x


# NumPy's own loops for strided and contiguous arrays may differ in the last digits
LOOSE = {"ulps": 8}

CASES: dict[str, Any] = {
    **{
        name: elementwise(name, NUMBERS)
        for name in ("negative", "positive", "square", "abs", "sign", "logical_not")
    },
    **{name: elementwise(name, NUMBERS, **LOOSE) for name in ("exp", "sin", "cos", "tanh")},
    **{
        name: elementwise(name, NUMBERS, NUMBERS)
        for name in ("add", "subtract", "multiply", "maximum", "minimum")
    },
    **{
        name: elementwise(name, NUMBERS, NUMBERS)
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    },
    **{
        name: elementwise(name, TRUTH, TRUTH)
        for name in ("logical_and", "logical_or", "logical_xor")
    },
    **{
        name: st.one_of(
            elementwise(name, WHOLE, WHOLE, dtype=WHOLE_DTYPES),
            elementwise(name, NUMBERS, NUMBERS, apply=lambda f, a, b: f(a > 0, b > 0)),
            elementwise(
                name, NUMBERS, NUMBERS, apply=lambda f, a, b: f(a.astype(int), b.astype(int))
            ),
        )
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
    },
    **{
        name: elementwise(name, WHOLE, WHOLE, apply=lambda f, a, b: f(a.astype(int), b.astype(int)))
        for name in ("left_shift", "right_shift")
    },
    "invert": st.one_of(
        elementwise("invert", WHOLE, dtype=WHOLE_DTYPES),
        elementwise("invert", NUMBERS, apply=lambda f, x: f(x > 0)),
        elementwise("invert", NUMBERS, apply=lambda f, x: f(x.astype(int))),
    ),
    "divide": elementwise("divide", NUMBERS, NONZERO),
    "reciprocal": elementwise("reciprocal", NONZERO),
    "log1p": elementwise("log1p", POSITIVE | st.sampled_from([0.0, -0.0, -0.5]), **LOOSE),
    # the slope of larger exponents is more than float16 holds
    "power": elementwise("power", POSITIVE, st.integers(-16, 16).map(lambda k: k / 8), **LOOSE),
    "sqrt": elementwise("sqrt", POSITIVE),
    "log": elementwise("log", POSITIVE, **LOOSE),
    "sigmoid": elementwise("sigmoid", NUMBERS, reference=sigmoid_reference, **LOOSE),
    "softplus": elementwise("softplus", NUMBERS, reference=softplus_reference, **LOOSE),
    "relu": elementwise("relu", NUMBERS, reference=lambda x: np.maximum(x, 0)),
    "where": where_cases(),
    "keep": keep_cases(),
    "matmul": matmul_cases(),
    "sum": on_array("sum", reduced, ulps=32),
    "mean": on_array("mean", reduced, shape=shapes(min_side=1), ulps=32),
    "max": on_array("max", reduced, shape=shapes(min_side=1)),
    "min": on_array("min", reduced, shape=shapes(min_side=1)),
    "argmax": on_array("argmax", one_axis, shape=FULL),
    "argmin": on_array("argmin", one_axis, shape=FULL),
    "logsumexp": on_array(
        "logsumexp", reduced, shape=shapes(min_side=1), reference=logsumexp_reference, ulps=32
    ),
    "softmax": on_array(
        "softmax", softmax_options, shape=FULL, reference=softmax_reference, ulps=32
    ),
    "log_softmax": on_array(
        "log_softmax", softmax_options, shape=FULL, reference=log_softmax_reference, ulps=32
    ),
    "transpose": on_array("transpose", transpose_options),
    "swapaxes": on_array("swapaxes", swap_options, shape=shapes(min_dims=1)),
    "reshape": on_array("reshape", reshape_options),
    "expand_dims": on_array("expand_dims", expand_dims_options),
    "squeeze": on_array("squeeze", squeeze_options),
    "broadcast_to": on_array("broadcast_to", broadcast_options, shape=shapes(max_dims=2)),
    "expand": on_array(
        "expand", expand_options, shape=shapes(max_dims=2), reference=expand_reference
    ),
    "concatenate": concatenate_cases(),
    "stack": stack_cases(),
    "getitem": getitem_cases(),
    "index_select": index_select_cases(),
    "scatter": scatter_cases(),
    "segment_sum": segment_sum_cases(),
    "pick": pick_cases(),
    "unpick": unpick_cases(),
    "index_set": update_cases("index_set", set_reference),
    "index_add": update_cases("index_add", add_reference),
    "last_writes": last_writes_cases(),
    "parameter": elementwise("parameter", NUMBERS, reference=itself),
    "asarray": elementwise("asarray", NUMBERS),
    "ascontiguousarray": elementwise("ascontiguousarray", NUMBERS),
    "stopped": elementwise("stopped", NUMBERS, reference=itself),
    "astype": astype_cases(),
}


def integral(f: Callable[[Any], Any]) -> Any:
    """The integral from 0 to 1 of a smooth function of a number."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    return sum(
        w / 2 * f((t + 1) / 2) for t, w in zip(nodes.tolist(), weights.tolist(), strict=True)
    )


def sinc_derivative_reference(x: Any, n: int) -> Any:
    z, turn = np.pi * x.astype(float), n * np.pi / 2
    return (np.pi**n * integral(lambda t: t**n * np.cos(t * z + turn))).astype(x.dtype)


def i0_derivative_reference(x: Any, n: int) -> Any:
    z = x.astype(float)

    def at(t: float) -> Any:
        cosine = math.cos(math.pi * t)
        return cosine**n * np.exp(z * cosine)

    return integral(at).astype(x.dtype)


def piece_reference(x: Any, xp: Any) -> Any:
    return np.maximum((x[..., None] >= xp[1:-1]).sum(axis=-1), 0)


def recurrence_reference(a: Any, b: Any, axis: int) -> Any:
    def line(ab: Any) -> Any:
        a, b = np.split(ab, 2)
        steps = range(len(b))
        return np.array(
            [sum(b[i] * np.prod(a[i + 1 : k + 1]) for i in range(k + 1)) for k in steps]
        )

    y = np.apply_along_axis(line, axis, np.concatenate([a, b], axis)) if b.size else b
    return y.astype(np.result_type(a, b))


def eigh_reference(a: Any, **given: Any) -> Any:
    w, v = np.linalg.eigh(a, **given)
    return np.concatenate([w[..., None], v.mT], axis=-1)


def svd_reference(a: Any) -> Any:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([s[..., None], u.mT, vh], axis=-1)


def qr_reference(a: Any) -> Any:
    q, r = np.linalg.qr(a)
    return np.concatenate([q.mT, r], axis=-1)


def cofactor_reference(arrays: Any) -> Any:
    """Cofactors of up to 3 by 3 matrices, by minors; directions by differences, exact here."""
    a, *directions = [x.astype(np.float64) for x in arrays]
    y = np.zeros_like(a)
    for signs in itertools.product([1, -1], repeat=len(directions)):
        moved = a + sum(s * d for s, d in zip(signs, directions, strict=True))
        for i, j in np.ndindex(a.shape[-2:]):
            minor = np.delete(np.delete(moved, i, axis=-2), j, axis=-1)
            y[..., i, j] += math.prod(signs) * (-1) ** (i + j) * np.linalg.det(minor)
    return (y / 2 ** len(directions)).astype(np.result_type(*arrays))


def put_along_axis_reference(arr: Any, indices: Any, values: Any, axis: Any) -> Any:
    y = np.array(arr)
    np.put_along_axis(y, indices, values, axis)
    return y


def overlap_add_reference(values: Any, shape: Any, axis: Any = None) -> Any:
    """Each window's elements added where it shows them, found by their numbers."""
    numbers = np.arange(math.prod(shape)).reshape(shape)
    y = np.zeros(math.prod(shape), values.dtype)
    window = values.shape[len(shape) :]
    places = np.lib.stride_tricks.sliding_window_view(numbers, window, axis)
    np.add.at(y, places.reshape(-1), values.reshape(-1))
    return y.reshape(shape)


# what ops give that are no NumPy function, as a function of a call's arguments
REFERENCES: dict[str, Callable[..., Any]] = {
    "row_places": lambda i, n: (
        np.ravel_multi_index((np.arange(i.size), i.ravel()), (i.size, n))
        if i.size
        else np.zeros(0, int)
    ),
    "add_at_places": lambda a, values, places: np.add.reduce(
        [a, np.bincount(places, values.ravel(), a.size).reshape(a.shape).astype(a.dtype)]
    ),
    "from_zero": lambda indices: indices,
    "seed": np.ones,
    "clip_both": np.clip,
    "exponent": lambda x: np.frexp(x)[1],
    "i0_derivative": i0_derivative_reference,
    "piece": piece_reference,
    "linear_recurrence": recurrence_reference,
    "sinc_derivative": sinc_derivative_reference,
    "cofactor": cofactor_reference,
    "contract": lambda operands, subscripts, **given: np.einsum(subscripts, *operands, **given),
    "eigh_joined": eigh_reference,
    "qr_joined": qr_reference,
    "slogdet_joined": lambda a: np.stack(np.linalg.slogdet(a), axis=-1),
    "svd_joined": svd_reference,
    "array": np.array,
    "full": np.full,
    "overlap_add": overlap_add_reference,
    "permute_dims": np.permute_dims,
    "put_along_axis": put_along_axis_reference,
}


def case_of(name: str, call: Any) -> Case:
    """A call from an op's domain as a case: its arrays are the operands."""
    leaves, structure = tg.tree.flatten(call.args)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]

    def apply(f: Callable[..., Any], *operands: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(places, operands, strict=True):
            filled[i] = x
        return f(*tg.tree.unflatten(structure, filled), **call.kwargs)

    functions = [f for f, op in NUMPY.items() if op is OPS[name]]
    reference = REFERENCES.get(name) or functions[0]
    return Case(name, tuple(leaves[i] for i in places), apply, reference, ulps=64)


def cases_of(name: str) -> Any:
    return tg.testing.operands_for(name).map(lambda call: case_of(name, call))


CASES |= {name: cases_of(name) for name in OPS if name not in CASES and OPS[name].domain}


def passes(name: str) -> bool:
    """Whether an op passes a gradient to an operand."""
    op = OPS[name]
    if isinstance(op.vjps, tuple):
        return op.is_parts or any(rule is not None for rule in op.vjps)
    return op.vjps.last is None or op.vjps.last >= 0


SMOOTH = sorted(name for name in CASES if passes(name))
