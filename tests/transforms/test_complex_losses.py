"""Gradients of many real losses of complex numbers: by differences, twice, compiled, by others."""

import functools
import warnings
from typing import Any

import numpy as np
import pytest
from complex_losses import LOSSES, Loss
from depth import THOROUGH

import tapegrad as tg
from tapegrad.testing import check_grads

# all in the thorough run
SOME = list(LOSSES) if THOROUGH else list(LOSSES)[::2]


def of(loss: Loss) -> tuple[Any, Any]:
    """The loss and its gradient by all its arguments, as functions of these."""
    f = functools.partial(loss, np)
    return f, tg.grad(f, argnums=tuple(range(len(loss.args))))


def close(got: Any, want: Any, rtol: float = 1e-9) -> None:
    """Gradients of the arguments' dtypes, in proportion to the largest number."""
    size = max(1.0, *(float(np.max(np.abs(x))) for x in want))
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * size)


@pytest.mark.filterwarnings("error")
def test_gradients_are_those_of_differences() -> None:
    for name, loss in LOSSES.items():
        try:
            check_grads(of(loss)[0], loss.args, order=1)
        except Exception as error:
            error.add_note(name)
            raise


@pytest.mark.parametrize("name", SOME)
def test_both_modes_agree_twice_and_compiled(name: str) -> None:
    (f, gradient), args = of(LOSSES[name]), LOSSES[name].args
    check_grads(f, args, order=2)
    phases = [np.exp(1j * np.arange(x.size)).reshape(x.shape) for x in args]
    tangents = tuple(t if np.iscomplexobj(x) else t.real for t, x in zip(phases, args, strict=True))
    slope = tg.jvp(f, args, tangents)[1]
    np.testing.assert_allclose(tg.linearize(f, *args)[1](*tangents), slope, rtol=1e-8, atol=1e-9)
    step = tg.compile(tg.value_and_grad(f, argnums=tuple(range(len(args)))))
    for _ in range(2):
        value, compiled = step(*args)
        np.testing.assert_allclose(value, f(*args), rtol=1e-10, atol=1e-12)
        close(compiled, gradient(*args))


@pytest.mark.parametrize("name", SOME)
def test_single_precision_stays_and_gives_the_same(name: str) -> None:
    loss = LOSSES[name]
    _, gradient = of(loss)
    args = [x.astype(np.complex64 if x.dtype.kind == "c" else np.float32) for x in loss.args]
    results = tg.tree.leaves(loss.fn(np, *args))
    recorded, _ = tg.record(lambda *args: loss.fn(np, *args))(*args)
    assert [y.dtype for y in tg.tree.leaves(recorded)] == [np.asarray(y).dtype for y in results]
    for g, want, x in zip(gradient(*args), gradient(*loss.args), args, strict=True):
        assert g.dtype == x.dtype
        np.testing.assert_allclose(g, want, rtol=2e-3, atol=2e-3 * max(1, np.max(np.abs(want))))


# --- other libraries, whose gradients are the conjugates, or the same -----------------------


def jax_gradient(loss: Loss) -> Any:
    """JAX's gradient, conjugated; None if it is not JAX's to give."""
    jax = pytest.importorskip("jax")
    x64 = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    g = jax.grad(functools.partial(loss, jax.numpy), tuple(range(len(loss.args))))
    try:
        try:
            # one compilation takes less time than one for each of the operations
            g = jax.jit(g)(*loss.args)
        except TypeError:  # it reads values
            g = g(*loss.args)
    except (NotImplementedError, TypeError):
        return None
    finally:
        jax.config.update("jax_enable_x64", x64)
    return [np.conj(c) for c in g]


def torch_gradient(loss: Loss) -> Any:
    """PyTorch's gradient; None if it has no function of NumPy's name and arguments."""
    torch = pytest.importorskip("torch")
    args = [torch.tensor(x, requires_grad=True) for x in loss.args]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            g = torch.autograd.grad(loss(torch, *args), args)
    except (NotImplementedError, TypeError, AttributeError, RuntimeError, ValueError, IndexError):
        return None
    return [c.resolve_conj().numpy() for c in g]


# and how many losses they know
OTHERS = {"jax": (jax_gradient, 60), "torch": (torch_gradient, 25)}


@pytest.mark.skipif(not THOROUGH, reason="each loss is compiled by the other library")
@pytest.mark.parametrize("library", OTHERS)
def test_others_give_the_same_gradients_in_one_convention(library: str) -> None:
    theirs, least = OTHERS[library]
    known = 0
    for name in LOSSES:
        g = theirs(LOSSES[name])
        if g is not None:
            close(g, of(LOSSES[name])[1](*LOSSES[name].args), 1e-8)
            known += 1
    assert known >= least
