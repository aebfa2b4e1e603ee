"""Calls to test products and windows on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view as _windows

from domains import words as w
from tapegrad.domain import Call, Choices, Domain
from tapegrad.ops.product import move_axis
from tapegrad.ops.window import patches
from tapegrad.types import Array


def calls_of_shapes(*shapes: str) -> Domain:
    """Calls on arrays, each with one of several shapes, in which letters are lengths.

    ``shaped("nk snk", "k")`` is a matrix, or a stack of them, and a vector that fits.
    """

    def call(choose: Choices) -> Call:
        # shrinks to shapes that are neither empty nor square
        sides = {**{letter: choose.among([2, 3, 1, 0]) for letter in "nkms"}, "1": 1, "3": 3}
        chosen = [choose.among(of_one.split(" ")) for of_one in shapes]
        return Call(tuple(choose.array(tuple(sides[x] for x in shape)) for shape in chosen))

    return call


def _factors(choose: Choices) -> Call:
    n, k, m = (choose.integer(0, 3) for _ in range(3))
    left, right = choose.broadcastable(2, max_side=2)
    first = choose.among([(k,), (n, k), (*left, n, k)])
    second = choose.among([(k,), (k, m), (*right, k, m)])
    return Call((choose.array(first), choose.array(second)))


def _vecdot_calls(choose: Choices) -> Call:
    a, b = calls_of_shapes("k nk snk 1nk", "k nk snk 1nk")(choose).args
    axis = choose.integer(-min(a.ndim, b.ndim), min(a.ndim, b.ndim) - 1)
    return Call((move_axis(a, -1, axis), move_axis(b, -1, axis)), {"axis": axis})


def _contract_calls(choose: Choices) -> Call:
    lengths = [choose.among([2, 3, 1, 0]) for _ in range(3)]
    terms, operands = [], []
    for _ in range(choose.integer(1, 3)):
        term = [choose.integer(0, 2) for _ in range(choose.integer(0, 3))]
        # a length of 1 is broadcast, though not along a diagonal
        narrow = [n for n in range(3) if term.count(n) == 1 and choose.among([False] * 3 + [True])]
        terms.append("".join("ijk"[n] for n in term))
        operands.append(choose.array(tuple(1 if n in narrow else lengths[n] for n in term)))
    used = sorted(set("".join(terms)))
    subscripts = f"{','.join(terms)}->{''.join(choose.subset(used))}"
    optimize = choose.among([False, True, "greedy"])
    return Call((operands, subscripts), {} if optimize is False else {"optimize": optimize})


def _tensordot_calls(choose: Choices) -> Call:
    n = choose.integer(0, 2)
    summed = [choose.among([2, 3, 1, 0]) for _ in range(n)]
    left = choose.shape(max_dims=2, max_side=2)
    right = choose.shape(max_dims=3 - n, max_side=2)
    axes: Any = n
    first, second = (*left, *summed), (*summed, *right)
    if choose.among(w.FLAG):
        # the order of the axes in each array, and the places of those summed over
        order1, order2 = choose.permutation(len(first)), choose.permutation(len(second))
        first, second = tuple(first[i] for i in order1), tuple(second[i] for i in order2)
        of1 = [order1.index(len(left) + i) - choose.among([0, len(first)]) for i in range(n)]
        of2 = [order2.index(i) - choose.among([0, len(second)]) for i in range(n)]
        axes = (of1[0], of2[0]) if n == 1 and choose.among(w.FLAG) else (of1, of2)
    return Call((choose.array(first), choose.array(second)), {"axes": axes})


def _cross_calls(choose: Choices) -> Call:
    a, b = calls_of_shapes("3 n3 sn3", "3 n3 13")(choose).args
    n = max(a.ndim, b.ndim)
    if a.ndim == b.ndim and choose.among(w.FLAG):
        axis = choose.axis(n)
        return Call((move_axis(a, -1, axis), move_axis(b, -1, axis)), {"axis": axis})
    axisa, axisb = choose.axis(a.ndim), choose.axis(b.ndim)
    places = {"axisa": axisa, "axisb": axisb, "axisc": choose.axis(n)}
    return Call((move_axis(a, -1, axisa), move_axis(b, -1, axisb)), places)


def _chain_calls(choose: Choices) -> Call:
    sides = [choose.among([2, 3, 1, 0]) for _ in range(choose.integer(3, 5))]
    chain = [choose.array((n, m)) for n, m in itertools.pairwise(sides)]
    if choose.among(w.FLAG):
        chain[0] = choose.array(chain[0].shape[1:])
    if choose.among(w.FLAG):
        chain[-1] = choose.array(chain[-1].shape[:1])
    return Call((chain,))


def _arguments(choose: Choices, x: Array) -> dict[str, Any]:
    axis = choose.axes(x.ndim)
    sides = [x.shape[i] for i in (range(x.ndim) if axis is None else np.atleast_1d(axis))]
    shape = tuple(choose.integer(0, side) for side in sides)
    return {"window_shape": shape[0] if isinstance(axis, int) else shape, "axis": axis}


def _overlaps(choose: Choices) -> Call:
    x = choose.array(choose.shape(max_dims=2))
    arguments = _arguments(choose, x)
    windows = _windows(x, **arguments)
    return Call((windows.copy(), x.shape), {"axis": arguments["axis"]})


def _patches(choose: Choices) -> Call:
    n = choose.integer(1, 2)
    size, stride = (tuple(choose.integer(1, 3) for _ in range(n)) for _ in range(2))
    sides = tuple(k + choose.integer(0, 3) for k in size)
    return Call((choose.array((*choose.shape(max_dims=1), *sides)), size, stride))


def _adjoint_calls(choose: Choices) -> Call:
    x, size, stride = _patches(choose).args
    return Call((choose.laid_out(patches(x, size, stride)), x.shape[-len(size) :], stride))


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "matmul": _factors,
    "vecdot": _vecdot_calls,
    "matvec": calls_of_shapes("nk snk 1nk", "k sk 1k"),
    "vecmat": calls_of_shapes("n sn 1n", "nk snk 1nk"),
    "inner_product": w.calls(w.array(), w.alike),
    "contract": _contract_calls,
    "tensordot": _tensordot_calls,
    "dot": calls_of_shapes(" k nk snk", " k km skm"),
    "inner": calls_of_shapes(" k nk snk", " k mk"),
    "vdot": calls_of_shapes("nk kn", "nk kn"),
    "outer": calls_of_shapes(" n nk", " k mk"),
    "kron": calls_of_shapes(" n nk 1nk", " m km skm"),
    "cross": _cross_calls,
    "multi_dot": _chain_calls,
    "sliding_window_view": w.calls(w.array(), ways=_arguments),
    "overlap_add": _overlaps,
    "patches": _patches,
    "add_patches": _adjoint_calls,
}
