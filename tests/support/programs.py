"""Shared by tests of programs: passes applied, and how close two results must be."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.ops.indexing import scatter
from tapegrad.program import compiled
from tapegrad.program.entry import read
from tapegrad.program.program import Improvement
from tapegrad.program.text import make_runner
from tapegrad.types import DType, PyTree

# what random programs have beside ops on real numbers, as far as there are libraries for it
ALSO = ("complex", "cells", *(["scipy"] if importlib.util.find_spec("scipy") else []))
SQUARE = np.arange(9.0).reshape(3, 3) / 4 - 1


def assert_close(got: PyTree, wanted: PyTree, dtype: DType, scale: float) -> None:
    """Two results of the same tree, dtypes and shapes, and values close to a scale."""
    assert tg.tree.flatten(got)[1] == tg.tree.flatten(wanted)[1]
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def scale_of(step: Callable[..., Any], args: tuple[Any, ...]) -> float:
    """How large rounding errors of a step may grow, in units of the last place."""
    _, tape = tg.record(step)(*args)
    largest = max(
        [1.0, *[float(np.abs(x.value).max(initial=0)) for x in tape if x.dtype.kind in "fc"]]
    )
    return largest**2


def assert_same(got, wanted, rtol=None):
    """The same tree, types, dtypes, shapes, and values, but for rounding to their dtype."""
    assert tg.tree.flatten(got)[1] == tg.tree.flatten(wanted)[1]
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
        assert type(a) is type(b)
        if isinstance(b, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            near = rtol or (1e-5 if b.dtype in ("f", "F") else 1e-12)
            np.testing.assert_allclose(a, b, rtol=near, atol=near)
        else:
            assert a == b


def assert_runs(fn, *args):
    """Twice, for the second run finds the buffers full."""
    expected = fn(*args)
    compiled = tg.compile(fn)
    assert_same(compiled(*args), expected)
    assert_same(compiled(*args), expected)


def apply_passes(program, passes):
    """Apply some passes to a program in turn."""
    for improve in passes:
        program = improve(program)
    return program


def run(program, args):
    """The results of a program."""
    return make_runner(program)()[0](*args)


def assert_computes(written, program):
    """Assert that a program has the results of the recorded function, on each of its arguments."""
    for args in written.arguments:
        expected = written.step(*args)
        assert_close(run(program, args), expected, written.narrowest, scale_of(written.step, args))


@Improvement
def tidy(builder):
    """A pass that does only the clean-up after each pass."""


def trace(fn, args, kwargs, stops=False):
    """The program of a call, as it was recorded."""
    return compiled.trace(fn, read(args, kwargs, ()), stops)


def ops_of(fn, *args):
    """The ops of a compiled function, by name."""
    return [x.op.name for x in tg.compile(fn).program(*args).instructions]


def kinds(program):
    """The ops of a program, by name."""
    return [x.op.name for x in program.instructions]


def ops_after(improve, fn, *args):
    """The ops that a pass leaves of fn."""
    return kinds(improve(tidy(trace(fn, args, {}))))


def is_untouched(improve, fn, *args):
    """Whether a pass leaves fn as it was recorded."""
    return ops_after(improve, fn, *args) == kinds(tidy(trace(fn, args, {})))


def two_slices(values):
    """Values placed twice in zeros, beside each other."""
    left, right = (slice(None), slice(0, 3)), (slice(None), slice(3, 6))
    return scatter(values, (4, 6), left) + scatter(values, (4, 6), right)


def assert_unshared_and_read_only(results, arguments):
    arrays = [x for x in tg.tree.leaves(results) if isinstance(x, np.ndarray)]
    given = [x for x in tg.tree.leaves(arguments) if isinstance(x, np.ndarray)]
    for i, x in enumerate(arrays):
        assert not x.flags.writeable
        assert x.base is None or not x.base.flags.writeable
        assert not any(np.shares_memory(x, y) for y in (*arrays[:i], *given))
