"""One script on NumPy and on JAX: the same losses."""

from typing import Any

import numpy as np
import pytest


@pytest.mark.thorough
def test_both_give_the_same_losses(capsys: Any) -> None:
    jax = pytest.importorskip("jax")
    import on_jax

    before = jax.config.jax_enable_x64
    try:
        got = on_jax.main("jax", 1, 1)
    finally:
        jax.config.update("jax_enable_x64", before)
    wanted = on_jax.main("numpy", 1, 1)
    np.testing.assert_allclose(got, wanted, 1e-12)
    assert capsys.readouterr().out.count(f"epoch  1  loss {wanted[0]:.10f}") == 2
