"""Complex operands: every op that takes them as on real ones, and every other refuses them."""

import warnings
from typing import Any

import numpy as np
import pytest
from depth import examples
from op_cases import CASES, TABLE, Case, case_of, floating_operands

import tapegrad as tg
from tapegrad.declare import declaration
from tapegrad.testing import check_batched, check_grads, check_properties, sample_calls

TAKING = sorted(name for name in CASES if declaration(TABLE[name]).complex)
# a gradient that is not the derivative is their purpose
DERIVED = sorted({*TAKING} - {"stopped"})
REFUSING = sorted(set(CASES) - set(TAKING))
# what is real of complex numbers
REAL = {"abs", "angle", "imag", "real"}
# cotangents, tangents and values are compared in float64
WIDE = (np.float64, np.complex128)

every_taking_op = pytest.mark.parametrize("name", TAKING)


def complex_cases(name: str, check: Any) -> list[Case]:
    """Calls of an op on complex operands, others for each check."""
    seed = sum(check.__name__.encode())
    calls = sample_calls(name, examples("op, of complex numbers"), seed, complex=True)
    return [case_of(name, call) for call in calls]


def is_complex(x: Any) -> bool:
    return np.asarray(x).dtype.kind == "c"


def takes_complex(case: Case) -> bool:
    return any(map(is_complex, case.operands))


@every_taking_op
def test_values_are_numpys(name: str) -> None:
    for case in complex_cases(name, test_values_are_numpys):
        with np.errstate(all="ignore"):
            with warnings.catch_warnings(record=True) as dropping:
                warnings.simplefilter("always", np.exceptions.ComplexWarning)
                want = tg.tree.leaves(case.expected())
            if dropping and case.operands[1].size:
                # an imaginary part would be lost
                with pytest.raises(TypeError, match="complex"):
                    case.fn(*case.operands)
                continue
            output, _ = tg.record(case.fn)(*case.operands)
            plain = tg.tree.leaves(case.fn(*case.operands))
        for y, x, w in zip(tg.tree.leaves(output), plain, want, strict=True):
            y, w = np.asarray(y.value if isinstance(y, tg.Tensor) else y), np.asarray(w)
            assert (y.shape, y.dtype) == (w.shape, w.dtype), case
            assert np.asarray(x).dtype == w.dtype
            eps = 64 * float(np.finfo(w.dtype).eps) if w.dtype.kind in "fc" else 0
            size = np.max(np.abs(w), initial=1.0) if eps else 0
            np.testing.assert_allclose(y, w, rtol=eps, atol=eps * size)


@pytest.mark.parametrize("name", DERIVED)
def test_derivatives_are_those_of_differences(name: str) -> None:
    for case in complex_cases(name, test_derivatives_are_those_of_differences):
        fn, operands = floating_operands(case)
        if passes_complex(case):
            check_grads(fn, operands, order=2)


@every_taking_op
def test_properties_hold(name: str) -> None:
    for case in complex_cases(name, test_properties_hold):
        fn, operands = floating_operands(case)
        if passes_complex(case):
            check_properties(fn, operands)


@every_taking_op
def test_batches_are_loops(name: str) -> None:
    for case in complex_cases(name, test_batches_are_loops):
        fn, operands = floating_operands(case)
        if passes_complex(case):
            check_batched(fn, operands)


def passes_complex(case: Case) -> bool:
    """Whether the result has a derivative."""
    return any(np.asarray(y).dtype.kind in "fc" for y in tg.tree.leaves(case.fn(*case.operands)))


@every_taking_op
def test_gradients_and_tangents_have_the_dtypes_of_their_primals(name: str) -> None:
    for case in complex_cases(name, test_gradients_and_tangents_have_the_dtypes_of_their_primals):
        fn, operands = floating_operands(case)
        if not passes_complex(case):
            continue
        output, pullback = tg.vjp(fn, *operands)
        cotangents = pullback(tg.tree.map(lambda y: np.ones(np.shape(y), y.dtype), output))
        for c, x in zip(cotangents, operands, strict=True):
            assert (c.dtype, c.shape) == (x.dtype, x.shape)
        _, tangents = tg.jvp(fn, operands, [np.ones_like(x) for x in operands])
        for t, y in zip(tg.tree.leaves(tangents), tg.tree.leaves(output), strict=True):
            assert t.dtype == y.dtype or np.asarray(y).dtype.kind not in "fc"


@pytest.mark.parametrize("name", REFUSING)
def test_other_ops_refuse_complex_operands_by_name(name: str) -> None:
    for case in complex_cases(name, test_other_ops_refuse_complex_operands_by_name)[:3]:
        if not takes_complex(case):
            continue
        for call in (case.fn, tg.record(case.fn)):
            with pytest.raises(TypeError, match="complex"):
                call(*case.operands)
