"""Bridged functions have tapegrad's gradients in PyTorch and JAX, with their shapes and dtypes."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from alike import same
from trees import Params

import tapegrad as tg
from tapegrad.types import Array, ArrayLike


def halve_until_small(x: Array, scale: ArrayLike) -> dict[str, Array]:
    """Halve until the sum of squares is small: control flow by values, which no program has."""
    y = np.sinc(x) * scale
    while np.sum(y * y) > 1:
        y = y / 2
    return {"y": y, "steps": np.arange(2)}


def affine(params: Params, x: Array, *, power: int) -> tuple[Array, Array]:
    return (np.tanh(x @ params.weight + params.bias) ** power, np.argmax(params.bias))


# --- PyTorch --------------------------------------------------------------------------------


def test_gradients_in_pytorch_match_differences() -> None:
    torch = pytest.importorskip("torch")
    f = tg.bridges.torch(lambda x, scale: halve_until_small(x, scale)["y"])
    x = torch.tensor([[0.3, -2.0]], dtype=torch.float64, requires_grad=True)
    for scale in (0.5, 3.0):
        assert torch.autograd.gradcheck(f, (x, torch.tensor(scale, dtype=torch.float64)))
        scale_tensor = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(f, (x.detach().T, scale_tensor))
    assert torch.autograd.gradgradcheck(f, (x, scale_tensor))


def test_pytorch_bridge_keeps_trees_shapes_and_dtypes() -> None:
    torch = pytest.importorskip("torch")
    f = tg.bridges.torch(affine)
    for dtype, numpy_dtype in ((torch.float32, np.float32), (torch.float64, np.float64)):
        w = torch.ones((3, 2), dtype=dtype, requires_grad=True)
        params = Params(w, torch.arange(2, dtype=dtype))
        x = torch.full((4, 3), 0.1, dtype=dtype, requires_grad=True)
        y, place = f(params, x, power=2)
        assert (y.dtype, tuple(y.shape), place.dtype) == (dtype, (4, 2), torch.int64)
        assert not place.requires_grad
        (y * 2).sum().backward()
        arrays = Params(np.ones((3, 2), numpy_dtype), np.arange(2).astype(numpy_dtype))
        x_array = np.full((4, 3), 0.1, numpy_dtype)

        def loss(params: Params, x: Array) -> Array:
            return tg.sum(affine(params, x, power=2)[0] * 2)

        wanted = tg.grad(loss, (0, 1))(arrays, x_array)
        np.testing.assert_allclose(w.grad, wanted[0].weight, rtol=1e-5)
        np.testing.assert_allclose(x.grad, wanted[1], rtol=1e-5)
        assert (w.grad.dtype, params.bias.grad) == (dtype, None)
    # results are writeable copies
    y = tg.bridges.torch(lambda x: x)(torch.ones(3))
    y += 1
    assert f.__name__ == "torch_affine"


def test_function_cannot_write_to_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")

    def write_to_argument(x: Array, moving: Array) -> Array:
        x[...] = 7.0
        return x * moving

    for requires_grad in (False, True):
        x, moving = torch.ones(3), torch.ones(3, requires_grad=requires_grad)
        with pytest.raises(ValueError, match="read-only"):
            tg.bridges.torch(write_to_argument)(x, moving)
        assert x.tolist() == [1.0] * 3


def complex_signal(z: Array, x: Array) -> tuple[Array, Array]:
    return np.exp(z * x) * np.conj(z), np.abs(z) + x


Z, REAL = np.array([0.5 - 1j, -0.25 + 0.5j]), np.array([0.5, -1.0])


def test_complex_gradients_match_pytorch() -> None:
    torch = pytest.importorskip("torch")
    f = tg.bridges.torch(complex_signal)
    z, x = (torch.tensor(value, requires_grad=True) for value in (Z, REAL))
    assert torch.autograd.gradcheck(f, (z, x))
    assert torch.autograd.gradcheck(lambda z, x: f(z.conj(), x), (z, x))
    assert torch.autograd.gradgradcheck(f, (z, x))
    y, size = f(z, x)
    (y.abs().square().sum() + size.sum()).backward()
    want = tg.grad(
        lambda z, x: np.sum(np.abs(complex_signal(z, x)[0]) ** 2) + np.sum(complex_signal(z, x)[1]),
        (0, 1),
    )(Z, REAL)
    for got, wanted in zip((z.grad, x.grad), want, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted)


def test_unsupported_results_and_dtypes_of_pytorch_raise() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="returned a str"):
        tg.bridges.torch(lambda x: "a")(torch.ones(2))
    with pytest.raises(TypeError, match="BFloat16"):
        tg.bridges.torch(lambda x: x)(torch.ones(2, dtype=torch.bfloat16))


# --- JAX ------------------------------------------------------------------------------------


@pytest.fixture
def jax() -> Iterator[ModuleType]:
    found = pytest.importorskip("jax")
    before = found.config.jax_enable_x64
    found.config.update("jax_enable_x64", True)
    yield found
    found.config.update("jax_enable_x64", before)


def test_values_and_gradients_in_jax_match_tapegrad(jax: ModuleType) -> None:
    like = {"y": jax.ShapeDtypeStruct((2,), np.float64), "steps": np.arange(2)}
    x, scale = np.array([0.3, 1.2]), np.float64(3.0)

    def loss(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, scale: (f(x, scale)["y"] * np.array([1.0, 2.0])).sum()

    for output_shapes in (None, like, lambda x, scale: like):
        f = tg.bridges.jax(halve_until_small, like=output_shapes)
        for call in (f, jax.jit(f)):
            got = call(x, scale)
            np.testing.assert_allclose(got["y"], halve_until_small(x, scale)["y"], 1e-12)
            assert (got["y"].dtype, got["steps"].dtype) == (np.float64, np.int64)
    wanted = tg.grad(loss(halve_until_small), (0, 1))(x, scale)
    same(jax.jit(jax.grad(loss(f), (0, 1)))(x, scale), wanted, 1e-12)
    rows = jax.vmap(jax.grad(loss(f)), (0, None))(np.stack([x, -x]), scale)
    np.testing.assert_allclose(rows, np.stack([wanted[0], -wanted[0]]), 1e-12)


def test_jax_bridge_keeps_trees_shapes_and_dtypes(jax: ModuleType) -> None:
    f = tg.bridges.jax(affine)
    params = Params(np.ones((3, 2), np.float32), np.arange(2, dtype=np.float32))
    x = np.full((4, 3), 0.1, np.float32)
    y, place = f(params, x, power=2)
    assert (y.dtype, y.shape, place.dtype) == (np.float32, (4, 2), np.int64)

    def loss(params: Params) -> Array:
        return f(params, x, power=2)[0].sum()

    got = jax.grad(loss)(params)
    wanted = tg.grad(lambda params: tg.sum(affine(params, x, power=2)[0]))(params)
    assert type(got) is Params
    same(got, wanted, 1e-5)
    assert f.__name__ == "jax_affine"


def test_narrowed_dtype_or_wrong_shape_in_jax_raises(jax: ModuleType) -> None:
    f = tg.bridges.jax(lambda x: np.asarray(x, float) * 2)
    with jax.enable_x64(False), pytest.raises(TypeError, match="returns float64"):
        f(np.float32([1, 2]))
    wrong_shape = tg.bridges.jax(lambda x: x, like=np.ones(3))
    with pytest.raises(Exception, match="returned the shape"):
        wrong_shape(np.ones(2)).block_until_ready()


def test_complex_gradients_match_jax(jax: ModuleType) -> None:
    jnp = jax.numpy

    def loss(f: Callable[..., Any], np: ModuleType = np) -> Callable[..., Any]:
        return lambda z, x: np.sum(np.abs(f(z, x)[0]) ** 2) + np.sum(f(z, x)[1] * 2)

    jax_gradients = jax.grad(
        loss(lambda z, x: (jnp.exp(z * x) * jnp.conj(z), jnp.abs(z) + x), jnp), (0, 1)
    )(Z, REAL)
    for f in (tg.bridges.jax(complex_signal), tg.to_jax(complex_signal)):
        same(
            jax.grad(loss(f, jnp), (0, 1))(jnp.asarray(Z), jnp.asarray(REAL)), jax_gradients, 1e-12
        )
    want = tg.grad(loss(complex_signal), (0, 1))
    np.testing.assert_allclose(np.conj(jax_gradients[0]), want(Z, REAL)[0])
    # a gradient taken by tapegrad keeps tapegrad's convention in JAX
    np.testing.assert_allclose(tg.to_jax(want)(Z, REAL)[0], want(Z, REAL)[0], rtol=1e-12)
