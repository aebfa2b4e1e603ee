"""The steps of random programs: each an expression of the values that a program has so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.testing.strategies import HypothesisChoices

# how far apart two values must be so that comparing them does not depend on the last bits
_MARGIN = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-2}


@attrs.frozen(slots=False)
class Known:
    """A value of the program being drawn, for each of the two sets of arguments.

    Attributes
    ----------
    name
        Its name in the program.
    values
        The two values.
    exact
        Whether it was computed without rounding, so that two ways to compute it cannot differ.
    """

    name: str
    values: tuple[Any, Any]
    exact: bool
    dtype: Any = attrs.field(init=False)
    shape: tuple[int, ...] = attrs.field(init=False)
    ndim: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        first = np.asarray(self.values[0])
        self.__dict__.update(dtype=first.dtype, shape=first.shape, ndim=first.ndim)

    def __str__(self) -> str:
        return self.name

    def clear_of(self, other: Known | None = None) -> bool:
        """Whether a comparison, with 0 by default, does not depend on the last bits."""
        others = other.values if isinstance(other, Known) else (0, 0)
        if self.exact and (other is None or other.exact):
            return True
        narrowest = min([self.dtype, *([other.dtype] if other else [])], key=lambda d: d.itemsize)
        margin = _MARGIN.get(narrowest, 0)
        return all(
            bool((np.abs(np.subtract(a, b)) > margin).all())
            for a, b in zip(self.values, others, strict=True)
        )

    def has_clear_extremes(self, axis: int | None) -> bool:
        """Whether the largest and the smallest along an axis are well apart from the others."""
        if self.exact:
            return True
        for value in self.values:
            ordered = np.sort(np.asarray(value), axis=axis)
            gaps = np.diff(ordered, axis=-1 if axis is None else axis)
            if gaps.size and not (gaps > _MARGIN.get(self.dtype, 0)).all():
                return False
        return True


@attrs.frozen
class Drawing(HypothesisChoices):
    """The source of a step: Hypothesis's draw, and the values so far."""

    known: list[Known]

    def pick(self, wanted: Callable[..., Any] = lambda x: True) -> Known:
        """One of the values, more likely a late one."""
        fitting = [x for x in self.known if wanted(x)]
        if not fitting:
            raise NothingFitsError
        return self.among(self.among([fitting, fitting[-4:]]))

    def floating(self, wanted: Callable[..., Any] = lambda x: True) -> Known:
        """A floating value."""
        return self.pick(lambda x: x.dtype.kind == "f" and wanted(x))

    def numeric(self, wanted: Callable[..., Any] = lambda x: True, kinds: str = "fc") -> Known:
        """A floating or complex array, or a NumPy scalar."""
        return self.pick(
            lambda x: (
                isinstance(x.values[0], np.ndarray | np.generic)
                and x.dtype.kind in kinds
                and wanted(x)
            )
        )

    def reals(self, wanted: Callable[..., Any] = lambda x: True) -> Known:
        """A floating array, or a NumPy scalar."""
        return self.numeric(wanted, "f")

    def non_empty(self) -> Known:
        """An array with axes, none of them empty."""
        return self.numeric(lambda x: x.ndim > 0 and 0 not in x.shape)

    def axis(self, ndim: int) -> int:
        """An axis of a value."""
        if not ndim:
            raise NothingFitsError
        return super().axis(ndim)

    def sample(self, *choices: Any) -> Any:
        """One of these."""
        return self.among(choices)


class NothingFitsError(Exception):
    """No value of the program fits a step."""


# --- the steps: each returns an expression, and whether it keeps exact values exact ---------

Step = Callable[[Drawing], tuple[str, bool]]
# operands of a step by their names, drawn with those before in view
_OPERANDS: Mapping[str, Callable[..., Any]] = {
    "floating": lambda d, *_: d.floating(),
    "array": lambda d, *_: d.reals(),
    "numeric": lambda d, *_: d.numeric(),
    "complex": lambda d, *_: d.numeric(kinds="c"),
    "0, 1 or floating": lambda d, *_: d.sample("0.0", "1", d.floating()),
    "vectors": lambda d, *_: d.numeric(lambda x: x.ndim > 0),
    "matrices": lambda d, *_: d.numeric(lambda x: x.ndim > 1),
    "filled": lambda d, *_: d.non_empty(),
    "axis": lambda d, x, *_: d.axis(x.ndim),
    "axes": lambda d, x, *_: d.sample(None, d.axis(x.ndim), tuple(range(x.ndim)), d.axis(x.ndim)),
    "order": lambda d, x, *_: tuple(d.permutation(x.ndim)),
    "keepdims": lambda d, *_: d.sample("", ", keepdims=True"),
    "flag": lambda d, *_: d.sample(False, True),
    "comparison": lambda d, *_: d.sample(">", "<=", "<", ">=", "==", "!="),
    "quarters": lambda d, *_: d.integer(-4, 4) / 4,
    # an array of the first operand's shape; one of that, or a number; one of a row, or a number
    "alike": lambda d, x, *_: d.numeric(lambda y: y.shape == x.shape),
    "beside": lambda d, x, *_: d.floating(lambda y: y.shape in (x.shape, ())),
    "row": lambda d, x, *_: d.floating(lambda y: y.shape in ((), x.shape[1:])),
    # clearly not 0; clearly larger or smaller than the first operand
    "clear": lambda d, *_: d.floating(lambda x: x.clear_of()),
    "comparable": lambda d, x, *_: d.floating(
        lambda y: (y.shape == x.shape or () in (x.shape, y.shape)) and (y is x or x.clear_of(y))
    ),
    # a factor of the first operand, transposed or not
    "factor": lambda d, x, *_: d.numeric(
        lambda y: y.ndim > 0 and y.shape[-2 if y.ndim > 1 else 0] == x.shape[-1]
    ),
    "factor.T": lambda d, x, *_: d.numeric(lambda y: y.ndim == 2 and y.shape[1] == x.shape[-1]),
    # the first operand's shape but for the last axis
    "stacked alike": lambda d, x, *_: d.numeric(
        lambda y: y.ndim == x.ndim and y.shape[:-1] == x.shape[:-1]
    ),
    # a layer: a matrix, its weights and its bias
    "matrix": lambda d, *_: d.reals(lambda x: x.ndim == 2),
    "weights": lambda d, x, *_: d.reals(lambda w: w.ndim == 2 and w.shape[0] == x.shape[1]),
    "bias": lambda d, x, w: d.floating(lambda b: b.shape in ((w.shape[1],), ())),
    # a cell: its state, its weights and its input
    "state": lambda d, *_: d.reals(lambda h: h.ndim in (1, 2) and 0 not in h.shape),
    "square of it": lambda d, h: d.reals(lambda w: w.shape == h.shape[-1:] * 2),
    "input": lambda d, h, w: d.floating(lambda x: x.shape in ((), h.shape, h.shape[-1:])),
    "steps": lambda d, *_: d.sample(100, 3),
    # a square matrix, and a right side for it
    "square": lambda d, *_: d.numeric(lambda a: a.ndim == 2 and a.shape[0] == a.shape[1] > 0),
    "right": lambda d, a: d.numeric(lambda b: b.ndim in (1, 2) and b.shape[:1] == a.shape[:1]),
}


def _line(*templates: str, of: Sequence[str], exact: bool = False) -> Step:
    """A step that fills in one of the templates with operands."""

    def step(d: Drawing) -> tuple[str, bool]:
        operands: list[Any] = []
        for name in of:
            operands.append(_OPERANDS[name](d, *operands))
        return d.among(templates).format(*operands), exact

    return step


def _extreme(d: Drawing) -> tuple[str, bool]:
    x = d.reals()
    axis = d.sample(None, d.axis(x.ndim))
    if not x.has_clear_extremes(axis):
        raise NothingFitsError
    return f"tg.{d.sample('max', 'min')}({x}, axis={axis}{d.sample('', ', keepdims=True')})", True


def _split_and_join(d: Drawing) -> tuple[str, bool]:
    """A part of an array, or parts of two, which are views, joined in another order."""
    x = d.non_empty()
    y = d.numeric(lambda y: y.shape == x.shape)
    axis = d.integer(0, x.ndim - 1)
    n, at = x.shape[axis], ":, " * axis
    k = d.integer(0, n - 1)
    parts = f"{k}", f"{k}:", f":{k + 1}", "::-1", "::2", f"{k}:{k + 1}", "None", "-1"
    return d.sample(
        *[f"{x}[{at}{d.among(parts)}{d.sample('', ', ...')}]"] * 6,
        f"tg.concatenate([{x}[{at}{k}:], {y}[{at}:{k}]], axis={axis})",
        f"tg.stack([{x}[{at}{k}], {y}[{at}-1], {y}[{at}{k}]])",
        f"tg.concatenate([{x}.T, {y}.T[::-1]])",
        f"tg.concatenate(np.split({x}, {n}, {axis})[::-1], axis={axis})",
        f"tg.roll({x}, {k}, {axis})",
        f"tg.flip({x}, {axis})",
    ), True


def _gather(d: Drawing) -> tuple[str, bool]:
    i = d.pick(lambda x: x.name[0] == "i" and isinstance(x.values[0], np.ndarray))
    reach = max(int(np.abs(value).max(initial=-1)) for value in i.values) + 1
    x = d.reals(lambda x: x.ndim > 0 and x.shape[0] >= reach)
    choices = [f"tg.index_select({x}, {i})", f"{x}[{i}]", f"tg.index_select({x}, {i})"]
    if x.ndim > 1 and x.shape[1] >= reach:
        choices.append(f"{x}[:, {i}]")
    fits_rows = all((value >= 0).all() for value in i.values) and x.shape[-1] >= reach
    if fits_rows and i.shape == x.shape[:-1]:
        choices += [f"tg.nn.cross_entropy_loss({x}, {i})", f"pick({x}, {i})"]
    return d.among(choices), True


def _cast(d: Drawing) -> tuple[str, bool]:
    x = d.reals()
    dtype = d.sample("np.float32", "np.float64")
    # narrowing rounds by more than the margins of float64 allow for
    return f"tg.astype({x}, {dtype if x.dtype.itemsize == 4 else 'np.float64'})", True


STEPS = (
    _line(
        *("tg.tanh({0})", "tg.sin({0})", "tg.sigmoid({0})", "tg.softplus({0})"),
        *("tg.square({0})", "tg.cos({0})"),
        of=["floating"],
    ),
    _line("tg.negative({0})", "tg.positive({0})", of=["floating"], exact=True),
    _line(
        *("{0} + {1}", "{0} * {1}", "{0} - {1}", "{0} / (2.0 + tg.cos({1}))", "0.5 * {0} + {1}"),
        of=["floating", "floating"],
    ),
    _line(
        *("tg.log(1.5 + tg.square({0}))", "tg.log1p(tg.square({0}))", "tg.exp(-tg.square({0}))"),
        *("tg.sqrt(0.5 + tg.square({0}))", "1.0 / (1.0 + tg.square({0}))", "tg.tanh({0}) ** 2"),
        *("tg.reciprocal(1.0 + {0} * {0} * 1.0)", "{0} ** 3 * 0.1", "tg.sigmoid({0}) ** 4"),
        *("(0.5 + tg.sigmoid({0})) ** 1.5", "tg.power(1.5 + tg.tanh({0}), -2)"),
        *("tg.power(1.5 + tg.tanh({0}), 0.5)", "tg.stop_gradient({0})", "({0}) * 1.0 + 0.0"),
        *("-(-{0}) - 0.0", "2.0 * {0} / 1"),
        of=["floating"],
    ),
    _line("{0} @ {1}", of=["vectors", "factor"]),
    _line("{0} @ {1}.T", of=["vectors", "factor.T"]),
    _line("tg.tanh({0} @ {1} + {2})", of=["matrix", "weights", "bias"]),
    _line(
        "tg.sum({0}, axis={1}{2})", "tg.mean({0}, axis={1}{2})", of=["numeric", "axes", "keepdims"]
    ),
    _line("tg.logsumexp({0}, axis={1}{2})", of=["array", "axes", "keepdims"]),
    _extreme,
    _line(
        *("tg.transpose({0})", "tg.reshape({0}, (-1,))", "tg.reshape({0}, (*{0.shape}, 1))"),
        *("tg.expand_dims({0}, 0)", "tg.expand_dims({0}, -1)", "tg.squeeze({0})"),
        *("tg.broadcast_to({0}, (2, *{0.shape}))", "tg.expand({0}, 0, 2)"),
        of=["numeric"],
        exact=True,
    ),
    _line(
        *("tg.swapaxes({0}, 0, {1})", "tg.transpose({0}, {2})"),
        "tg.reshape({0}, ({0.shape[1]}, {0.shape[0]}, *{0.shape}[2:]))",
        of=["matrices", "axis", "order"],
        exact=True,
    ),
    _line(
        *("tg.concatenate([{0}, {1}], axis={3})", "tg.concatenate([{0}, {1}, {2}], axis={3})"),
        *("tg.stack([{0}, {1}], axis={3})", "tg.stack([{0}, {1}, {2}], axis={3})"),
        *("tg.concatenate([{0}], axis={3})", "tg.stack([{0}], axis={3})"),
        of=["vectors", "alike", "alike", "axis"],
        exact=True,
    ),
    _line(
        "tg.where({0} {4} {1}, {2}, {3})",
        of=["floating", "comparable", "floating", "0, 1 or floating", "comparison"],
        exact=True,
    ),
    _line(
        *("tg.maximum({0}, {1})", "tg.minimum({0}, {1})"), of=["floating", "comparable"], exact=True
    ),
    _line(*("tg.abs({0})", "tg.relu({0})", "tg.sign({0})"), of=["clear"], exact=True),
    _line(*("tg.softmax({0}, axis={1})", "tg.log_softmax({0}, axis={1})"), of=["array", "axis"]),
    _gather,
    _line("tg.sum({0} * {1})", of=["numeric", "alike"]),
    _line("{0} + {1} + {2}", of=["array", "beside", "beside"]),
    _line(*("tg.at({0})[0].set({1})", "tg.at({0})[-1].set({1})"), of=["filled", "row"], exact=True),
    _line(*("tg.at({0})[0].add({1})", "tg.at({0})[-1].add({1})"), of=["filled", "row"]),
    _cast,
    _line(
        *(
            "{0} + np.full({0.shape}, {1}, np.{0.dtype})",
            "{0} + np.ones({0.shape}[-1:], np.{0.dtype})",
        ),
        *(
            "{0} * np.full({0.shape}, {1}, np.{0.dtype})",
            "{0} * np.ones({0.shape}[-1:], np.{0.dtype})",
        ),
        *(
            "{0} - np.full({0.shape}, {1}, np.{0.dtype})",
            "{0} - np.ones({0.shape}[-1:], np.{0.dtype})",
        ),
        of=["array", "quarters"],
    ),
    _split_and_join,
    # outer products of stacks of vectors, each by itself or summed over the stacks
    _line("{0}[..., :, None] * {1}[..., None, :]", of=["vectors", "stacked alike"]),
    _line(
        "tg.sum({0}[..., :, None] * {1}[..., None, :], axis=0)",
        "tg.sum({0}[..., :, None] * {1}[..., None, :], axis=tuple(range({0.ndim} - 1)))",
        "tg.mean({0}[..., :, None] * {1}[..., None, :], axis=tuple(range({0.ndim} - 1)))",
        *("tg.einsum('...i,...j->ij', {0}, {1})", "{0}.mT @ {1}"),
        of=["matrices", "stacked alike"],
    ),
)


# --- steps that are drawn if asked for ---------------------------------------------------------

_FROM_REAL = _line(
    *("{0} + 1j * {1}", "tg.exp(1j * {0})", "{0} * (0.5 - 1j)", "{0} - 2j"), of=["array", "beside"]
)
# values stay away from poles, branch cuts and points where a function is not holomorphic
_OF_COMPLEX = _line(
    *("tg.real({0})", "tg.imag({0})", "np.conj({0})", "-{0}", "1j * {0}", "{0} - 0.0"),
    *("tg.real({0})", "tg.imag({0})", "{0}.real * {0}.imag", "tg.real({0} * np.conj({0}))"),
    *("{0} * np.conj({0})", "tg.square({0}) * 0.2", "{0} ** 2 * 0.1", "tg.exp(0.3 * {0})"),
    *("tg.sin(0.3 * {0})", "tg.tanh(0.1 * {0})", "tg.abs({0} + 8.0)", "1 / ({0} + 8.0)"),
    *("np.angle({0} + 8.0)", "tg.sqrt({0} + 8.0)", "tg.log({0} + 8.0)", "np.conj({0}.T)"),
    of=["complex"],
)
_BESIDE_COMPLEX = _line(
    *("{0} + {1}", "{0} * {1}", "{1} - {0}", "{0} / ({1} + 9.0)", "np.conj({0}) * {1}"),
    *("tg.sum({0} * np.conj({1}), axis=-1)", "np.vdot({0}, {1})"),
    of=["complex", "numeric"],
)
# functions of `scipy.special` and of `scipy.stats`
_SPECIAL = _line(
    *("special.erf({0})", "special.expit({0})", "special.ndtr({0})", "special.j0({0})"),
    *("special.log_ndtr({0})", "special.gammaln(1.5 + tg.square({0}))", "special.i0e({0})"),
    *("special.digamma(1.5 + tg.square({0}))", "special.dawsn({0})", "special.erfcx({0})"),
    "special.xlogy(1.5 + tg.square({0}), 1.5 + tg.tanh({1}))",
    "special.gammainc(1.5 + tg.tanh({0}), 0.5 + tg.square({1}))",
    "special.betainc(1.5 + tg.tanh({0}), 2.0, tg.sigmoid({1}))",
    "special.softmax({0}, axis=-1)",
    "special.logsumexp({0}, axis=-1, b=1.5 + tg.tanh({1}))",
    "stats.norm.logpdf({0}, {1}, 0.5 + tg.sigmoid({0}))",
    "stats.gamma.logcdf(0.5 + tg.square({0}), 1.5 + tg.tanh({1}))",
    of=["array", "array"],
)


def _transform(d: Drawing) -> tuple[str, bool]:
    """A discrete Fourier transform, cropped, padded or of the same length."""
    x = d.non_empty()
    axis = d.axis(x.ndim)
    n = d.sample(x.shape[axis], x.shape[axis], x.shape[axis] + 1, max(x.shape[axis] - 1, 1))
    norm = d.sample("", ", norm='ortho'", ", norm='forward'")
    name = d.sample("fft", "ifft", "irfft" if x.dtype.kind == "c" else "rfft")
    choices = [f"np.fft.{name}({x}, n={n}, axis={axis}{norm})"] * 3
    choices.append(f"np.fft.{d.sample('fftshift', 'ifftshift')}({x}, axes={axis})")
    choices += [f"np.fft.{name}2({x})"] * (x.ndim > 1)
    return d.among(choices), False


_EYE = "4 * np.eye({0.shape[0]}, dtype=np.{0.dtype})"
_POSITIVE = f"{{0}} @ np.conj({{0}}.T) + {_EYE}"
# 0.1 keeps the diagonal the largest
_TRIANGULAR = f"0.1 * {{0}} + {_EYE}"
# functions of ``scipy.linalg`` of a matrix that is far from singular
_OF_MATRICES = _line(
    *("linalg.expm(0.2 * {0})", f"linalg.sqrtm({_POSITIVE})", "linalg.block_diag({0}, {1})"),
    f"linalg.solve_triangular({_TRIANGULAR}, {{1}}, lower={{2}})",
    f"linalg.cho_solve(linalg.cho_factor({_POSITIVE}), {{1}})",
    f"linalg.solve_sylvester({_TRIANGULAR}, {_TRIANGULAR}, {{0}})",
    "linalg.toeplitz({0}[0], {0}[:, 0])",
    of=["square", "right", "flag"],
)


def _filter(d: Drawing) -> tuple[str, bool]:
    """A function of ``scipy.signal``, or a spline, along an axis."""
    x = d.non_empty()
    y = d.numeric(lambda y: y.ndim == x.ndim and 0 not in y.shape)
    mode = d.sample("full", "same")
    choices = [
        f"signal.convolve({x}, {y}, {mode!r})",
        f"signal.fftconvolve({x}, {y}, {mode!r})",
        f"signal.lfilter([1.0, 0.5], [2.0, 0.25], {x}, axis={d.axis(x.ndim)})",
    ]
    if y.ndim == 1:
        choices.append(f"signal.lfilter({y}, [1.0, 0.5], {x})")
    if x.dtype.kind == "f" and x.shape[0] > 1:
        n = x.shape[0]
        spline = f"interpolate.CubicSpline(np.arange({n}.0), {x})"
        choices.append(f"{spline}(np.linspace(0.5, {n - 1}.0, 3))")
    return d.among(choices), False


_REPEATED = "functools.reduce(lambda h, _: {}, range({{3}}), {{0}})".format
_PRODUCT = "h @ (0.25 * tg.tanh({1}))"
# a recurrent cell, a hundred times or a few; rounding errors do not grow from step to step
_CELL = _line(
    _REPEATED(f"tg.tanh({_PRODUCT} + {{2}})"),
    _REPEATED("0.5 * h + 0.4 * tg.sin(h + {2})"),
    _REPEATED(f"tg.sigmoid({{2}}) * h + (1 - tg.sigmoid({{2}})) * tg.tanh({_PRODUCT})"),
    _REPEATED("tg.concatenate([h[..., 1:], 0.5 * tg.tanh(h[..., :1] * {2})[..., :1]], axis=-1)"),
    of=["state", "square of it", "input", "steps"],
)


# By their names in `programs`.
MORE: Mapping[str, tuple[Step, ...]] = {
    # most other steps are real
    "complex": (_FROM_REAL, _OF_COMPLEX, _BESIDE_COMPLEX, _transform) * 3,
    "scipy": (_SPECIAL, _OF_MATRICES, _filter) * 2,
    "cells": (_CELL,),
}
