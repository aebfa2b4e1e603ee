"""Calls to test Fourier transforms on."""

from __future__ import annotations

from typing import Any

from tapegrad.domain import Call, Choices, Domain, on_array

NORMS = (None, "backward", "ortho", "forward")


def _along_one(axis: int | None = None, halves: bool = False) -> Domain:
    """Calls along this axis, or any; `halves` if it holds half of the bins."""

    def call(choose: Choices) -> Call:
        a = choose.array(choose.shape(1, 3, 2 if halves else 1, 4))
        chosen = choose.axis(a.ndim) if axis is None else axis
        n = choose.among([None, choose.integer(1, 6)])
        return Call((a,), {"n": n, "axis": chosen, "norm": choose.among(NORMS)})

    return call


_calls = _along_one()


def _halves(choose: Choices) -> Call:
    """Calls on the first half of the bins, which stand for one number at least."""
    call = _calls(choose)
    one = call.kwargs["n"] is None and call.args[0].shape[call.kwargs["axis"]] == 1
    return Call(call.args, {**call.kwargs, "n": 1}, needed=("n", "axis")) if one else call


def _several(halves: bool, flagged: bool = False) -> Domain:
    """Calls with lengths and axes as these ops have them, counted from 0."""

    def call(choose: Choices) -> Call:
        a = choose.array(choose.shape(1, 3, 2 if halves else 1, 4), dtypes="df")
        axes = tuple(choose.permutation(a.ndim)[: choose.integer(1, a.ndim)])
        options: dict[str, Any] = {
            "s": tuple(choose.among([a.shape[i], choose.integer(1, 5)]) for i in axes),
            "axes": axes,
            "norm": choose.among(NORMS),
        }
        if flagged:
            options["transposed"] = choose.among([False, True])
        return Call((a,), options, needed=("s", "axes"))

    return call


_calls_of_fft = on_array(
    lambda c, x: {"axes": c.among([None, c.axis(x.ndim), tuple(c.permutation(x.ndim))])},
    min_dims=1,
)


def _of_axes(axes: tuple[int, ...] | None = None, halves: bool = False) -> Domain:
    """Calls along these axes, or any; `halves` if the last one holds half of the bins."""

    def call(choose: Choices) -> Call:
        a = choose.array(
            choose.shape(max(len(axes or ()), 1), 3, 2 if halves else 1, 4), dtypes="df"
        )
        chosen = axes or tuple(choose.permutation(a.ndim)[: choose.integer(1, a.ndim)])
        options: dict[str, Any] = {"norm": choose.among(NORMS)}
        kind = choose.among(["axes", "lengths", "all"] if axes is None else ["lengths", "all"])
        if kind == "lengths":
            options["s"] = tuple(choose.among([-1, choose.integer(1, 5)]) for _ in chosen)
        if kind != "all":
            options["axes"] = chosen
        return Call((a,), options, needed=("axes",) if kind == "lengths" else ())

    return call


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "fft": _calls,
    "ifft": _calls,
    "rfft": _calls,
    "irfft": _halves,
    "fft_axes": _several(False),
    "ifft_axes": _several(False),
    "rfft_axes": _several(False, True),
    "irfft_axes": _several(True, True),
    "fftshift": _calls_of_fft,
    "ifftshift": _calls_of_fft,
    "fftn": _of_axes(),
    "ifftn": _of_axes(),
    "fft2": _of_axes((-2, -1)),
    "ifft2": _of_axes((-2, -1)),
    "rfftn": _of_axes(),
    "irfftn": _of_axes(halves=True),
    "rfft2": _of_axes((-2, -1)),
    "irfft2": _of_axes((-2, -1), halves=True),
    "hfft": _along_one(-1, halves=True),
    "ihfft": _along_one(-1),
}
