"""JAX, where it is installed, as a second opinion on values and gradients of programs."""

from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from depth import depth
from hypothesis import given

import tapegrad as tg
from tapegrad.testing import programs

jax = pytest.importorskip("jax")
jnp = jax.numpy


@pytest.fixture(autouse=True, scope="module")
def _float64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def cross_entropy_loss(logits: Any, targets: Any) -> Any:
    return -jnp.mean(pick(jax.nn.log_softmax(logits), targets))


def pick(a: Any, indices: Any) -> Any:
    return jnp.take_along_axis(a, indices[..., None], axis=-1)[..., 0]


class Theirs:
    """What a program calls tg: JAX's functions under our names."""

    nn = SimpleNamespace(cross_entropy_loss=cross_entropy_loss)
    at = staticmethod(lambda x: x.at)
    astype = staticmethod(lambda x, dtype: x.astype(dtype))
    expand = staticmethod(lambda x, axis, copies: jnp.repeat(x[None], copies, 0))
    index_select = staticmethod(lambda x, indices: jnp.take(x, indices, axis=0))
    log_softmax = staticmethod(jax.nn.log_softmax)
    logsumexp = staticmethod(jax.nn.logsumexp)
    pick = staticmethod(pick)
    relu = staticmethod(jax.nn.relu)
    sigmoid = staticmethod(jax.nn.sigmoid)
    softmax = staticmethod(jax.nn.softmax)
    softplus = staticmethod(jax.nn.softplus)
    stop_gradient = staticmethod(jax.lax.stop_gradient)

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)


def widened(program: Any) -> Any:
    """The program in float64 throughout."""

    def wide(x: Any) -> Any:
        return x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x

    return attrs.evolve(
        program,
        lines=tuple([line.replace("float32", "float64") for line in program.lines]),
        arguments=tuple([tuple(map(wide, args)) for args in program.arguments]),
    )


def weight(y: Any) -> Any:
    return np.cos(np.arange(1.0, np.size(y) + 1)).reshape(np.shape(y))


@depth("program against JAX")
@given(programs(max_steps=20))
def test_values_and_gradients_of_programs_are_those_of_jax(program: Any) -> None:
    program = widened(program)
    namespace: dict[str, Any] = {"np": jnp, "tg": Theirs()}
    exec(program.source, namespace)
    theirs = namespace["fn"]
    args, argnums = program.arguments[0], program.argnums

    def ours_loss(*args: Any) -> Any:
        results = program.fn(*args)
        return sum([tg.sum(y * weight(y)) for y in results], 0.0 * tg.sum(args[0])), results

    def their_loss(*args: Any) -> Any:
        results = theirs(*args)
        return sum([jnp.sum(y * weight(y)) for y in results], 0.0 * jnp.sum(args[0])), results

    (_, values), gradients = tg.value_and_grad(ours_loss, argnums, has_aux=True)(*args)
    # one compilation takes less time than one for each of the operations
    differentiated = jax.jit(jax.value_and_grad(their_loss, argnums, has_aux=True))
    (_, their_values), their_gradients = differentiated(*[jnp.asarray(x) for x in args])
    size = max(1.0, *[float(np.abs(g).max(initial=0)) for g in gradients])
    for got, want in zip([*values, *gradients], [*their_values, *their_gradients], strict=True):
        assert np.shape(got) == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * size)
