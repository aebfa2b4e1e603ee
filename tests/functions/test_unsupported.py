"""The errors of calls that the functions on Tensors do not support.

`ops/test_refusals.py` has the calls that NumPy rejects too; here are calls that only NumPy
supports, and errors with tapegrad's own messages.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.scan import linear_recurrence
from tapegrad.types import Array

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
A = np.array([[4.0, 0.5, -0.25], [0.375, -2.0, 0.5], [-0.5, 0.625, 1.0]])
Rows = list[tuple[type[Exception], Callable[[Any], Any], str]]

ORDER: Rows = [
    (TypeError, lambda x: np.ediff1d(np.argsort(x), to_end=x), "cannot be joined"),
    (ValueError, lambda x: np.quantile(x, 0.5, method="nearest"), "'nearest' is not supported"),
    (TypeError, lambda x: np.nanquantile(x, 0.5, method="lower"), "method"),
    (TypeError, lambda x: np.quantile(x, 0.5, weights=x, method="inverted_cdf"), "weights"),
    (ZeroDivisionError, lambda x: np.average(x, weights=np.zeros((2, 3))), "weights .* sum to 0"),
    (ValueError, lambda x: np.convolve(x[0], x[1], mode="s"), "mode must be"),
    (ValueError, lambda x: linear_recurrence(x, x[0]), "same shape"),
    (ValueError, lambda x: np.gradient(x[:, :1]), "points or more along axis 1"),
    (ValueError, lambda x: np.gradient(x, edge_order=3), "edge_order must be 1 or 2"),
    (TypeError, lambda x: np.gradient(x, 1.0, 2.0, 3.0), "one distance"),
    (ValueError, lambda x: np.gradient(x, x[0], x[0]), "axis 0 has 2 points"),
    (TypeError, lambda x: np.prod(x, where=np.ones((2, 3))), "truth values"),
    (ValueError, lambda x: tg.trim_zeros(x), "trim_zeros"),
    (ValueError, lambda x: tg.clip(x, 0, 1, max=2), "clip.*max"),
    (ValueError, lambda x: tg.interp(x, [], []), "interp"),
    (TypeError, lambda x: tg.nan_to_num(x, copy=False), "copy"),
]
SHAPE: Rows = [
    (ValueError, lambda x: np.split(x, 2, axis=1), "split.*3.*2"),
    (ValueError, lambda x: np.vsplit(x[0], 1), "vsplit.*2"),
    (ValueError, lambda x: np.unstack(x[0, 0]), "unstack"),
    (ValueError, lambda x: np.block([[x], x]), "depth"),
    (ValueError, lambda x: np.block([[x], []]), "empty"),
    (TypeError, lambda x: np.pad(x, 1, mode=lambda *args: None), "a function as mode"),
    (ValueError, lambda x: np.pad(x, 1, mode="nonsense"), "pad has the modes"),
    (ValueError, lambda x: np.pad(x, 1, reflect_type="odd"), "takes no reflect_type"),
    (ValueError, lambda x: np.pad(x, 1, mode="reflect", reflect_type="strange"), "reflect_type"),
    (ValueError, lambda x: np.pad(x, 1, mode="edge", stat_length=1), "takes no stat_length"),
    (ValueError, lambda x: np.pad(x, 1, mode="maximum", stat_length=0), "stat_length is 1 or more"),
    (ValueError, lambda x: np.pad(x[:0], 1, mode="edge"), "empty axis"),
    (OverflowError, lambda x: np.take(x, -(10**30), mode="clip"), "too large"),
    (ValueError, lambda x: np.take_along_axis(x, np.zeros(2, int), 1), "axes"),
    (IndexError, lambda x: np.take_along_axis(x, X, 1), "integers"),
    (ValueError, lambda x: np.select([x > 0], [x, x]), "1.*2"),
    (TypeError, lambda x: np.select([np.ones(3, int)], [x]), "booleans"),
    (TypeError, lambda x: tg.meshgrid(x, x, wrong=1), "meshgrid.*'wrong'"),  # type: ignore[call-arg]
    (TypeError, lambda x: tg.insert([1, 2], 0, x[0]), "gradient"),
    (TypeError, lambda x: tg.pad([1, 2], 1, constant_values=x[0, 0]), "gradient"),
    (TypeError, lambda x: tg.full_like([1, 2], x[0, 0]), "gradient"),
    (ValueError, lambda x: tg.array([[x, x], [x]]), "shape"),
    *[
        (ValueError, lambda x, k=k: tg.r_[tuple(x[0] if y is None else y for y in k)], "string|int")
        for k in (("r", None), ("0,1,2,3", None), (None, "0"), ("", None))
    ],
    (TypeError, lambda x: np.c_[x], r"; write tg\.c_\[x"),
]
FUNCTIONS: Rows = [
    (ValueError, lambda x: np.apply_along_axis(np.sum, 0, x[:, :0]), "no line along axis 0"),
    (ValueError, lambda x: np.apply_over_axes(lambda a, axis: np.sum(a), x, [0]), "axis"),
    (ValueError, lambda x: np.piecewise(x, [x > 0], [1.0, 2.0, 3.0]), "as many functions"),
    (ValueError, lambda x: np.polyint(x[0], -1), "order 0 or more"),
    (ValueError, lambda x: np.polyfit(x[0], x[1, :2], 1), "polyfit"),
    (TypeError, lambda x: np.polyfit(x[0], x[1], 1, full=True), "full"),
    (ValueError, lambda x: np.cov(x[None]), "two axes"),
    (ValueError, lambda x: np.cov(x, x[:, :2]), "3 and 2 observations"),
    (ValueError, lambda x: np.cov(x[:1], x[:1], rowvar=False), "1 and 3 observations"),
    (ValueError, lambda x: tg.fft.hfft(x, norm="both"), "norm must be .*, not 'both'"),
    (ValueError, lambda x: np.fft.fftn(x, (2, 2), (0,)), "the same length; got 2 and 1"),
    (TypeError, lambda x: np.fft.rfft(x * 1j), "rfft does not take complex"),
    (TypeError, lambda x: np.fft.rfftn(x * 1j), "rfftn does not take complex"),
    (TypeError, lambda x: np.fft.fft(x, n=np.sum(x)), "n is an option"),
    (ValueError, lambda x: tg.einsum(), "einsum"),
]
LINEAR: Rows = [
    (ValueError, lambda a: np.linalg.qr(a, mode="raw"), "'reduced', 'complete' or 'r'"),
    (ValueError, lambda a: np.linalg.norm(a, "nuc", axis=0), "not an order of a vector"),
    (ValueError, lambda a: np.linalg.norm(a, 3), "not an order of a matrix"),
    (ValueError, lambda a: np.linalg.norm(a[None], 2), "vector_norm takes more"),
    (ValueError, lambda a: np.linalg.norm(a, axis=()), "one axis or two, not 0"),
    (TypeError, lambda a: np.linalg.inv(a.astype(np.float16)), "float16"),
    (ValueError, lambda a: np.linalg.cross(a[:, :2], a[:, :2]), "3 components"),
    *[
        (TypeError, lambda a, f=f: f(A, np.sum(a)), "separate orders")
        for f in (tg.norm, lambda x, p: tg.matrix_norm(x, ord=p), tg.linalg.cond)
    ],
    (TypeError, lambda a: np.linalg.norm(A[0], np.sum(a)), r"NumPy function.*t\.value"),
    (
        TypeError,
        lambda a: np.linalg.vector_norm(A[0], ord=np.sum(a)),
        r"norm of numpy\.linalg.*floating Tensor.*t\.value",
    ),
    (ValueError, lambda a: tg.cross(a[0, :1], a[0, :1]), "2 or 3 components"),
    (ValueError, lambda a: tg.multi_dot([a, a[0], a]), "two or more"),
    (ValueError, lambda a: tg.tensordot(a, a, axes=([0], [0, 1])), "equally long"),
    (ValueError, lambda a: tg.tensordot(a, a[:2], axes=(0, 0)), "equally long"),
]


@pytest.mark.parametrize(
    ("x", "rows"),
    [(X, ORDER), (X, SHAPE), (X, FUNCTIONS), (A, LINEAR)],
    ids=["order", "shape", "functions", "linear algebra"],
)
def test_unsupported_call_raises_with_its_message(x: Array, rows: Rows) -> None:
    wrong = []
    for i, (kind, call, words) in enumerate(rows):
        try:
            with pytest.raises(kind, match=words):
                tg.record(call)(x)
        except (Exception, pytest.fail.Exception) as error:
            wrong.append(f"row {i}, {words!r}: {error!r}")
    assert not wrong, "\n".join(wrong)
