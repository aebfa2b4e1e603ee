"""For every op of the package, a strategy for calls of it, and their expected results."""

import itertools
import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy as np
from depth import THOROUGH, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from op_calls import declared_domain, operands_for, sample_calls

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.declare import FUNCTIONS, OPS, declaration
from tapegrad.domain import Call
from tapegrad.testing.choices import RandomChoices
from tapegrad.tree.numbers import is_floating
from tapegrad.types import Array, PyTree, Scalar


def precise(f: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that computes in long double and rounds once."""

    def rounded(x: Array, *args: Any, **options: Any) -> Array:
        wide = x.astype(np.result_type(x, np.longdouble))
        return np.asarray(f(wide, *args, **options)).astype(x.dtype)

    return rounded


def softmax(a: Array, axis: Any = -1) -> Array:
    return np.exp(a) / np.sum(np.exp(a), axis=axis, keepdims=True)


def standardize(a: Array, axis: Any = -1, epsilon: float = 1e-5, center: bool = True) -> Array:
    c = a - center * np.mean(a, axis=axis, keepdims=True)
    return c / np.sqrt(np.mean(c * c, axis=axis, keepdims=True) + epsilon)


def gelu(x: Array, approximate: bool = False) -> Array:
    if approximate:
        return x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x / 2 * of_each(lambda v: math.erfc(-v / 2**0.5))(x)


def of_each(f: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda x: np.reshape([f(v) for v in x.ravel().tolist()], x.shape)


def patches_reference(x: Array, size: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    """Windows that slide over the last axes, with a stride."""
    axes = tuple(range(-len(size), 0))
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axes)
    taken = windows[(..., *[slice(None, None, s) for s in stride], *[slice(None)] * len(size))]
    return np.moveaxis(taken, axes, [i - len(size) for i in axes])


def scatter_add(values: Array, shape: tuple[Scalar, ...], taken: Callable[[Any], Any]) -> Array:
    """Add values to zeros of this shape at the elements that a function takes of an array."""
    y = np.zeros(math.prod(shape), values.dtype)
    places = taken(np.arange(y.size).reshape(shape))
    np.add.at(y, places.reshape(-1), np.reshape(values, -1))
    return y.reshape(shape)


def add_patches_reference(values: Array, sides: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    before, size = np.split(np.array(values.shape[: -len(sides)]), [values.ndim - 2 * len(sides)])
    shape = (*before.tolist(), *sides)
    return scatter_add(values, shape, lambda x: patches_reference(x, tuple(size.tolist()), stride))


def scatter(values: Array, shape: tuple[Scalar, ...], index: Any) -> Array:
    return scatter_add(values, shape, lambda x: x[index])


def segment_sum(values: Array, indices: Array, n: int | None = None) -> Array:
    n = np.max(indices, initial=-1) + 1 if n is None else n
    return scatter(values, (n, *values.shape[indices.ndim :]), indices)


def segment_max(values: Array, indices: Array, n: int | None = None) -> Array:
    n = np.max(indices, initial=-1) + 1 if n is None else n
    y = [np.max(values[indices == i], axis=0) for i in range(n)]
    return np.array(y, values.dtype).reshape(n, *values.shape[indices.ndim :])


def pick(a: Array, indices: Array) -> Array:
    return np.take_along_axis(a, indices[..., None], axis=-1)[..., 0]


def unpick(values: Array, indices: Array, n: int) -> Array:
    return np.where(np.arange(n) == indices[..., None], values[..., None], 0)


def index_set(a: Array | float, values: Array, index: PyTree) -> Array:
    y = np.array(a)
    y[index] = values
    return y


def add_scaled_rows(
    table: Array | float, values: Array, indices: Array, factor: float, subtract: bool = False
) -> Array:
    summed = np.zeros_like(table)
    np.add.at(summed, indices, values)
    return table - factor * summed if subtract else table + factor * summed


def index_combined(
    ufunc: np.ufunc, a: Array | float, values: Array | float, index: PyTree
) -> Array:
    y = np.array(a)
    # NumPy reads past the end of values that it has to broadcast here
    ufunc.at(y, index, np.broadcast_to(values, y[index].shape))
    return y


index_add = partial(index_combined, np.add)


def last_writes(shape: tuple[int, ...], index: PyTree) -> Array:
    places = np.arange(math.prod(shape)).reshape(shape)[index]
    flat = np.ravel(places).tolist()
    stays = [place not in flat[i + 1 :] for i, place in enumerate(flat)]
    return np.array(stays, bool).reshape(places.shape)


def integral(f: Callable[[Any], Any]) -> Array:
    """The integral from 0 to 1 of a smooth function of a number."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    return sum(
        w / 2 * f((t + 1) / 2) for t, w in zip(nodes.tolist(), weights.tolist(), strict=True)
    )


def sinc_derivative_reference(x: Array, n: int) -> Array:
    z, turn = np.pi * x.astype(np.result_type(x, float)), n * np.pi / 2
    return (np.pi**n * integral(lambda t: t**n * np.cos(t * z + turn))).astype(x.dtype)


def i0_derivative_reference(x: Array, n: int) -> Array:
    z = x.astype(float)

    def integrand(t: float) -> Array:
        cosine = math.cos(math.pi * t)
        return cosine**n * np.exp(z * cosine)

    return integral(integrand).astype(x.dtype)


def piece_reference(x: Array | float, xp: Array) -> Array:
    return np.maximum((x[..., None] >= xp[1:-1]).sum(axis=-1), 0)


def recurrence_reference(a: Array | float, b: Array, axis: int = 0) -> Array:
    def line(ab: Array) -> Array:
        a, b = np.split(ab, 2)
        steps = range(len(b))
        return np.array(
            [sum(b[i] * np.prod(a[i + 1 : k + 1]) for i in range(k + 1)) for k in steps]
        )

    y = np.apply_along_axis(line, axis, np.concatenate([a, b], axis)) if b.size else b
    return y.astype(np.result_type(a, b))


def complement_reference(a: Array, of: str = "u") -> Array:
    n = a.shape[-1]
    if of == "q":
        return np.linalg.qr(a, "complete").Q[..., n:]
    return (
        np.linalg.svd(a).U[..., n:]
        if of == "u"
        else np.linalg.svd(a.mT.conj()).Vh[..., n:, :].mT.conj()
    )


def cofactor_reference(arrays: list[Array | float]) -> Array:
    """Cofactors of up to 3 by 3 matrices, by minors; directions by differences, exact here."""
    wide = np.result_type(np.float64, *arrays)
    a, *directions = [x.astype(wide) for x in arrays]
    y = np.zeros_like(a)
    for signs in itertools.product([1, -1], repeat=len(directions)):
        moved = a + sum(s * d for s, d in zip(signs, directions, strict=True))
        for i, j in np.ndindex(a.shape[-2:]):
            minor = np.delete(np.delete(moved, i, axis=-2), j, axis=-1)
            y[..., i, j] += math.prod(signs) * (-1) ** (i + j) * np.linalg.det(minor)
    return (y / 2 ** len(directions)).astype(np.result_type(*arrays))


def add_at_places_reference(a: Array | float, values: Array, places: Array) -> Array:
    return (a + scatter_add(values, a.shape, lambda x: x.ravel()[places])).astype(a.dtype)


def put_along_axis_reference(
    arr: Array | float, indices: Array, values: Array, axis: int | None
) -> Array:
    y = np.array(arr, order="C")
    if y.size:
        np.put_along_axis(y, indices, values, axis)
    return y


def rfft_reference(
    a: Array,
    s: tuple[int, ...],
    axes: tuple[int, ...],
    norm: str | None = None,
    transposed: bool = False,
) -> np.ndarray:
    """Half of the bins; or transposed, what each of them gives to the numbers of `irfftn`."""
    y = np.fft.rfftn(a, s, axes, norm)
    return of_halves(y.conj(), s[-1], axes[-1], 2) if transposed else y


def irfft_reference(
    a: Array,
    s: tuple[int, ...],
    axes: tuple[int, ...],
    norm: str | None = None,
    transposed: bool = False,
) -> np.ndarray:
    """Numbers of half of the bins; or transposed, what `rfftn` gives of each of them."""
    a = of_halves(np.conj(a), s[-1], axes[-1], 0.5) if transposed else a
    return np.fft.irfftn(a, s, axes, norm)


def of_halves(bins: np.ndarray, n: int, axis: int, factor: float) -> np.ndarray:
    """Multiply the bins that stand for two of n frequencies by a factor."""
    bins = np.moveaxis(bins, axis, -1).copy()
    bins[..., [i for i in range(bins.shape[-1]) if 0 < i < n / 2]] *= factor
    return np.moveaxis(bins, -1, axis)


def overlap_add_reference(values: Array, shape: tuple[int, ...], axis: Any = None) -> Array:
    window = values.shape[len(shape) :]
    return scatter_add(
        values, shape, lambda x: np.lib.stride_tricks.sliding_window_view(x, window, axis)
    )


# --- NumPy's functions where the lowest version that we support falls short of the newest ---


def matrix_rank_reference(A: Array, **options: Any) -> Array | float:  # noqa: N803
    return np.linalg.matrix_rank(A, **options) if A.size else np.zeros(A.shape[:-2], int)


def pad_reference(array: Array, pad_width: Any, **options: Any) -> Array:
    if isinstance(pad_width, dict):
        widths = np.zeros((array.ndim, 2), int)
        for axis, width in pad_width.items():
            widths[axis] = width
        pad_width = widths
    return np.pad(array, pad_width, **options)


def put_reference(a: Array | float, ind: Array, v: Array, mode: str = "raise") -> Array:
    y = np.array(a)
    np.put(y, ind, v, mode)
    return y


def real_results(f: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function, whose results are complex from 2.5 on, with real ones if it finds these."""

    def real(*args: Any) -> Any:
        real = np.isrealobj(args[0])
        return tg.tree.map(lambda y: y.real if real and not np.any(y.imag) else y, f(*args))

    return real


# the ops that are no NumPy function, as functions of a call's arguments
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sigmoid_derivative": lambda x: 1 / (1 + np.exp(-x)) / (1 + np.exp(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "leaky_relu": lambda x, slope=0.01: np.maximum(x, 0) + slope * np.minimum(x, 0),
    "elu": lambda x, alpha=1.0: np.maximum(x, 0) + alpha * (np.exp(np.minimum(x, 0)) - 1),
    "gelu": gelu,
    "erf": of_each(math.erf),
    "logsumexp": lambda a, **options: np.log(np.sum(np.exp(a), **options)),
    "softmax": softmax,
    "log_softmax": lambda a, axis=-1: np.log(softmax(a, axis)),
    "standardize": standardize,
}

REFERENCES: dict[str, Callable[..., Any]] = {
    "astype": lambda a, dtype: a.astype(dtype),
    "expand": lambda x, axis, copies: np.repeat(np.expand_dims(x, axis), copies, axis),
    "getitem": lambda a, index: np.array(a[index]),
    "index_add": index_add,
    "index_max": partial(index_combined, np.maximum),
    "index_min": partial(index_combined, np.minimum),
    "index_multiply": partial(index_combined, np.multiply),
    "index_select": lambda x, indices: x[indices],
    "index_set": index_set,
    "keep": lambda condition, x: np.where(condition, x, 0),
    "last_writes": last_writes,
    "add_patches": add_patches_reference,
    "patches": patches_reference,
    **{name: precise(f) for name, f in ACTIVATIONS.items()},
    "parameter": lambda x: x,
    "inner_product": lambda a, b: np.sum(a * b),
    "pick": pick,
    "relu": lambda x: np.maximum(x, 0),
    "scatter": scatter,
    **dict.fromkeys(("sum_segments", "segment_sum"), segment_sum),
    **dict.fromkeys(("max_segments", "segment_max"), segment_max),
    "stopped": lambda x: x,
    "unpick": unpick,
    "row_places": lambda i, n: (
        np.ravel_multi_index((np.arange(i.size), i.ravel()), (i.size, n))
        if i.size
        else np.zeros(0, int)
    ),
    "add_at_places": add_at_places_reference,
    "add_scaled_rows": add_scaled_rows,
    "from_zero": lambda indices: indices,
    "seed": np.ones,
    "clip_both": np.clip,
    "exponent": lambda x: np.frexp(x)[1],
    "i0_derivative": i0_derivative_reference,
    "piece": piece_reference,
    "linear_recurrence": recurrence_reference,
    "sinc": precise(np.sinc),
    "sinc_derivative": sinc_derivative_reference,
    "cofactor": cofactor_reference,
    "contract": lambda operands, subscripts, **options: np.einsum(subscripts, *operands, **options),
    "complement": complement_reference,
    "thin_qr": np.linalg.qr,
    "thin_svd": lambda a: np.linalg.svd(a, full_matrices=False),
    "overlap_add": overlap_add_reference,
    "matrix_rank": matrix_rank_reference,
    "pad": pad_reference,
    "even_edges": np.histogram_bin_edges,
    "fft": np.fft.fft,
    "fft_axes": np.fft.fftn,
    "ifft_axes": np.fft.ifftn,
    "rfft_axes": rfft_reference,
    "irfft_axes": irfft_reference,
    "eig": real_results(np.linalg.eig),
    "eigvals": real_results(np.linalg.eigvals),
    "put": put_reference,
    "put_along_axis": put_along_axis_reference,
}

TABLE: dict[str, Any] = OPS | FUNCTIONS

# what moves, selects or rounds once: every bit is as in the reference
EXACT = {
    *("abs", "add", "divide", "multiply", "negative", "positive", "reciprocal", "sqrt", "square"),
    *("subtract", "sign", "maximum", "minimum", "max", "min", "relu", "where", "keep"),
    *("transpose", "swapaxes", "reshape", "expand_dims", "squeeze", "broadcast_to", "expand"),
    *("concatenate", "stack", "getitem", "index_select", "pick", "unpick", "index_set"),
    *("parameter", "asarray", "ascontiguousarray", "stopped", "astype"),
    *("index_max", "index_min", "max_segments", "segment_max"),
}


@attrs.frozen(eq=False)
class Case:
    """One call of an op.

    Attributes
    ----------
    name
        The op.
    operands
        The arrays among the call's arguments.
    apply
        Calls a function (the op, or NumPy's) on arrays in their place.
    """

    name: str
    operands: tuple[Any, ...]
    apply: Callable[..., Any]

    @property
    def op(self) -> Callable[..., Any]:
        return TABLE[self.name]

    @property
    def fn(self) -> Callable[..., Any]:
        # it holds no case: compiling looks for random generators in all that a function reaches
        apply, op = self.apply, self.op
        return lambda *operands: apply(op, *operands)

    @property
    def ulps(self) -> int:
        """How far the value may be off; 0 where every bit must be the same."""
        # the references of the last two are sums that lose some digits
        return 0 if self.name in EXACT else 4096 if self.name.endswith("_derivative") else 64

    def reference_result(self) -> Any:
        functions = [f for f, op in ANSWERS.items() if op is self.op]
        reference = REFERENCES.get(self.name) or getattr(np, self.name, None) or functions[0]
        return self.apply(reference, *self.operands)

    @property
    def recorded_whole(self) -> tuple[bool, ...]:
        """Which operands are whole numbers or truth values that may be Tensors."""
        args, kwargs = self.apply(lambda *args, **kwargs: (args, kwargs), *self.operands)
        op = self.op
        by_parts = not isinstance(op, tg.Op) or (
            op.general and op.signature.has_unknown_arguments(args, kwargs)
        )
        operands = args if by_parts else op.bind(args, kwargs)[0]
        return tuple(x.dtype.kind in "iub" and any(x is y for y in operands) for x in self.operands)


def floating_operands(case: Case, of: Callable[..., Any] | None = None) -> tuple[Any, list[Any]]:
    """The op, or a function, of its floating and complex operands alone, and these."""
    arrays, call = case.operands, of or case.fn
    places = [i for i, x in enumerate(arrays) if is_floating(x)]

    def fn(*xs: Any) -> Any:
        operands = list(arrays)
        for i, x in zip(places, xs, strict=True):
            operands[i] = x
        return call(*operands)

    return fn, [arrays[i] for i in places]


def case_of(name: str, call: Call) -> Case:
    """A call of an op as a case."""
    leaves, structure = tg.tree.flatten(call.args)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]

    def apply(f: Callable[..., Any], *operands: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(places, operands, strict=True):
            filled[i] = x
        return f(*tg.tree.unflatten(structure, filled), **call.kwargs)

    return Case(name, tuple(leaves[i] for i in places), apply)


def cases_of(name: str) -> Any:
    return operands_for(name).map(lambda call: case_of(name, call))


CASES = {name: cases_of(name) for name in TABLE if declared_domain(TABLE[name])}


def passes(name: str) -> bool:
    """Whether an op passes a gradient to an operand."""
    op = TABLE[name]
    if not isinstance(op, tg.Op):
        return True
    if isinstance(op.vjps, tuple):
        return any(rule is not None for rule in op.vjps)
    last = getattr(op.vjps, "last", None)
    return last is None or last >= 0


SMOOTH = sorted(name for name in CASES if passes(name))


# --- complex operands ---------------------------------------------------------------------------

TAKING = sorted(name for name in CASES if declaration(TABLE[name]).complex)


def complex_cases(name: str, n: int = 0) -> list[Case]:
    """Calls of an op, with complex operands; fewer if these are rare in its domain."""
    n = n or examples("op, of complex numbers")
    cases: list[Case] = []
    for seed in range(8 * n):
        cases += [case_of(name, call) for call in sample_calls(name, 1, seed, complex=True)]
        cases = [case for case in cases if any(map(is_complex, case.operands))]
        if len(cases) == n:
            break
    return cases


def is_complex(x: Array) -> bool:
    return np.asarray(x).dtype.kind == "c"


def without_phases(v: Array) -> Array:
    """Columns, each times a number that undoes its phase, which is of LAPACK's choice."""
    return v * np.conj(v[..., :1, :])


def of_svd(y: Any) -> tuple[Array, ...]:
    if isinstance(y, np.ndarray | tg.Tensor):
        return y
    u, s, vh = y
    n = s.shape[-1]
    whole = (u[..., :n] * np.sqrt(1 + s)[..., None, :]) @ vh[..., :n, :]
    return without_phases(u), s, without_phases(vh.mT), whole


# the phases of vectors are LAPACK's choice, and differences show it
PHASELESS: dict[str, Any] = {
    "complement": lambda y, a: y @ np.conj(y).mT,
    **dict.fromkeys(("eig", "eigh"), lambda y, a: (y[0], without_phases(y[1]))),
    **dict.fromkeys(("svd", "thin_svd"), lambda y, a: of_svd(y)),
    "thin_qr": lambda y, a: (without_phases(y[0]), y[1] * y[0][..., :1, :].mT),
}


def floating_of(case: Case, op: Callable[..., Any] | None = None) -> tuple[Any, list[Any]]:
    """The op as a function of its floating and complex operands alone, and these."""

    def fn(*operands: Any) -> Any:
        y = case.apply(op or case.op, *operands)
        return PHASELESS[case.name](y, operands[0]) if case.name in PHASELESS else y

    return floating_operands(case, fn)


def on_calls(family: str) -> Callable[[Callable[..., None]], Callable[[str], None]]:
    """A check of a case as a test of the op that a name stands for.

    A check that takes two arguments is also given a function that chooses one of some options.

    It samples calls, in which the checks take most of the time; were they drawn, Hypothesis would,
    to begin and to record. Of the thorough run it draws a share, and shrinks what fails.
    """

    def decorate(check: Callable[..., None]) -> Callable[[str], None]:
        n = check.__code__.co_argcount
        share = examples(family) // 4 if THOROUGH else 0

        def drawn(name: str, data: st.DataObject) -> None:
            check(
                *[data.draw(CASES[name]), lambda options: data.draw(st.sampled_from(options))][:n]
            )

        def sampled(name: str) -> None:
            # others for each check
            seed = zlib.crc32(check.__name__.encode())
            choices = RandomChoices(np.random.default_rng(seed))
            for call in sample_calls(name, examples(family) - share, seed):
                try:
                    check(*[case_of(name, call), choices.among][:n])
                except Exception as error:
                    error.add_note(f"{name} was called with {call}")
                    raise

        def both(name: str) -> None:
            sampled(name)
            search(name)

        for test in (drawn, sampled, both):
            test.__name__ = test.__qualname__ = check.__name__
            test.__module__ = check.__module__
        if not share:
            return sampled
        search = settings(max_examples=share)(given(data=st.data())(drawn))
        return both

    return decorate
