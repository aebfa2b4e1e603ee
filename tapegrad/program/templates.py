"""How a program writes ops other than by calling their forward function.

A template is a format string: ``{0}`` is the first operand, ``{axis}`` an option,
``{shape}`` and ``{dtype}`` the result's, ``{all}`` a tuple of the operands and ``{out}`` a
buffer for the result. A ufunc is called by its name, and any other op through its forward
function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tapegrad.core.cotangents import SEED
from tapegrad.core.tensor import Rules
from tapegrad.core.writing import ASARRAY
from tapegrad.ops.activation import relu, sigmoid, softplus
from tapegrad.ops.arithmetic import (
    abs,
    add,
    divide,
    multiply,
    negative,
    positive,
    power,
    real,
    square,
    subtract,
)
from tapegrad.ops.extremes import clip_both, maximum, minimum
from tapegrad.ops.indexing import from_zero, getitem, index_select
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.logic import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    invert,
    keep,
    left_shift,
    right_shift,
    where,
)
from tapegrad.ops.normalisation import log_softmax, logsumexp, softmax
from tapegrad.ops.picking import add_at_places
from tapegrad.ops.product import matmul
from tapegrad.ops.record import asarray, ascontiguousarray, astype, copy, stopped
from tapegrad.ops.reduction import argmax, argmin, max, mean, min, prod, sum
from tapegrad.ops.rounding import floor_divide, remainder
from tapegrad.ops.shape import (
    broadcast_to,
    expand_dims,
    flip,
    reshape,
    squeeze,
    swapaxes,
    transpose,
)
from tapegrad.ops.window import sliding_window_view


def _matmul(x1: Any, x2: Any) -> str:
    """The method ``dot``, which starts in a third of the time, where it gives the same.

    It takes a matrix of one element for a number: it adds nothing where that is 0.
    """
    alone = math.prod(x1.shape) == 1 or math.prod(x2.shape) == 1
    like = x1.dtype == x2.dtype and x1.dtype.kind == "f"
    if like and not alone and x1.ndim <= 2 and x2.ndim <= 2:
        return "{0}.dot({1})" if x1.ndim == x2.ndim == 1 else "{0}.dot({1}, {out})"
    return "matmul({0}, {1}, {out})"


def _keep(condition: Any, x: Any) -> str:
    """`keep` into a buffer, which is for floating arrays and masks of their shape."""
    floating = isinstance(x.dtype, np.dtype) and x.dtype.kind == "f"
    fits = floating and condition.dtype == bool and x.shape == condition.shape
    return "keep({0}, {1}, {out})" if fits else "where({0}, {1}, 0)"


# A template, or a function that makes one from the operands' shapes and dtypes.
TEMPLATES: Mapping[Any, str | Callable[..., str]] = {
    power: "power({0}, {1}, {out})",
    clip_both: "clip({0}, {1}, {2}, {out})",
    real: "asarray({0})",
    getitem: "{0}[{index}]",
    index_select: "{0}.take({1}, 0)",
    add_at_places: "add_at_places({0}, {1}, {2}, {out})",
    where: "where({0}, {1}, {2})",
    keep: _keep,
    matmul: _matmul,
    SEED: "ones({shape}, {dtype})",
    ASARRAY: "asarray({0})",
    stopped: "{0}",
    asarray: "asarray({0})",
    ascontiguousarray: "ascontiguousarray({0})",
    copy: "in_order({0}, {out})",
    astype: "{0}.astype({dtype})",
    sum: "add.reduce({0}, {axis}, None, {out}, {keepdims})",
    prod: "multiply.reduce({0}, {axis}, None, {out}, {keepdims})",
    max: "maximum.reduce({0}, {axis}, None, {out}, {keepdims})",
    min: "minimum.reduce({0}, {axis}, None, {out}, {keepdims})",
    argmax: "{0}.argmax({axis}, None, keepdims={keepdims})",
    argmin: "{0}.argmin({axis}, None, keepdims={keepdims})",
    transpose: "{0}.transpose({axes})",
    reshape: "{0}.reshape({shape})",
    broadcast_to: "broadcast_to({0}, {shape})",
    concatenate: "concatenate({all}, {axis}, {out})",
    stack: "stack({all}, {axis}, {out})",
}

# Ops on Python ints alone, which stay ints of any size.
WHOLE: Mapping[Any, str] = {
    add: "{0} + {1}",
    subtract: "{0} - {1}",
    multiply: "{0} * {1}",
    divide: "{0} / {1}",
    floor_divide: "{0} // {1}",
    remainder: "{0} % {1}",
    power: "whole_power({0}, {1})",
    negative: "-{0}",
    positive: "+{0}",
    abs: "abs({0})",
    square: "{0} * {0}",
    maximum: "max({0}, {1})",
    minimum: "min({0}, {1})",
    left_shift: "{0} << {1}",
    right_shift: "{0} >> {1}",
    bitwise_and: "{0} & {1}",
    bitwise_or: "{0} | {1}",
    bitwise_xor: "{0} ^ {1}",
    invert: "~{0}",
}

# Ops whose result may share the first operand's memory.
VIEWS = frozenset(
    {
        *(
            real,
            stopped,
            getitem,
            from_zero,
            ASARRAY,
            asarray,
            ascontiguousarray,
            transpose,
            swapaxes,
        ),
        *(reshape, expand_dims, squeeze),
        *(broadcast_to, flip, sliding_window_view),
    }
)

# Ops whose forward function is written with ops, so that a program may contain its parts.
COMPOSITES: frozenset[Rules] = frozenset(
    {sigmoid, softplus, relu, mean, logsumexp, softmax, log_softmax}
)
