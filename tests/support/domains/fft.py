"""Calls to test Fourier transforms on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domains import words as w
from tapegrad.domain import Call, Choices, Domain
from tapegrad.types import Array

_NORMS = [None, "backward", "ortho", "forward"]


def _along_one(axis: int | Callable[..., Any] = w.axis, halves: bool = False) -> Domain:
    """Calls along this axis, or any; `halves` if it holds half of the bins."""
    x = w.array(1, 3, 2 if halves else 1, 4)
    return w.calls(x, n=[None, w.whole(1, 6)], axis=axis, norm=_NORMS)


_ALONG = _along_one()


def _halves(choose: Choices) -> Call:
    """Calls on the first half of the bins, which stand for one number at least."""
    call = _ALONG(choose)
    one = call.kwargs["n"] is None and call.args[0].shape[call.kwargs["axis"]] == 1
    return Call(call.args, {**call.kwargs, "n": 1}, needed=("n", "axis")) if one else call


def _of_axes(axes: tuple[int, ...] = (), halves: bool = False, *, lengths: bool = False) -> Domain:
    """Calls along these axes, or any; `halves` if the last one holds half of the bins.

    With `lengths` all have lengths and axes, which are counted from 0.
    """

    def call(choose: Choices) -> Call:
        shape = choose.shape(max(len(axes), 1), 3, 2 if halves else 1, 4)
        chosen = axes or tuple(choose.permutation(len(shape))[: choose.integer(1, len(shape))])
        options: dict[str, Any] = {"norm": choose.among(_NORMS)}
        kinds = ["axes", "lengths", "all"][1 if axes else 0 :]
        kind = "lengths" if lengths else choose.among(kinds)
        if kind == "lengths":
            own = [shape[i] if lengths else -1 for i in chosen]
            options["s"] = tuple(choose.among([n, choose.integer(1, 5)]) for n in own)
        if kind != "all":
            options["axes"] = chosen
        needed = ("s", "axes") if lengths else ("axes",) if kind == "lengths" else ()
        return Call((choose.array(shape, dtypes="df"),), options, needed)

    return call


def _shifted_axes(choose: Choices, x: Array) -> Any:
    return choose.among([None, choose.axis(x.ndim), tuple(choose.permutation(x.ndim))])


_ANY, _LAST_TWO, _SHIFTED = _of_axes(), _of_axes((-2, -1)), w.calls(w.array(1), axes=_shifted_axes)
_LENGTHS = _of_axes(lengths=True)

# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("fft", "ifft", "rfft"), _ALONG),
    "irfft": _halves,
    "hfft": _along_one(-1, halves=True),
    "ihfft": _along_one(-1),
    **dict.fromkeys(("fft_axes", "ifft_axes"), _LENGTHS),
    "rfft_axes": w.more(_LENGTHS, transposed=w.FLAG),
    "irfft_axes": w.more(_of_axes(halves=True, lengths=True), transposed=w.FLAG),
    **dict.fromkeys(("fftshift", "ifftshift"), _SHIFTED),
    **dict.fromkeys(("fftn", "ifftn", "rfftn"), _ANY),
    "irfftn": _of_axes(halves=True),
    **dict.fromkeys(("fft2", "ifft2", "rfft2"), _LAST_TWO),
    "irfft2": _of_axes((-2, -1), halves=True),
}
