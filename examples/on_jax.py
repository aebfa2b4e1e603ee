"""Train one net with NumPy or with JAX; one line of the script makes the difference.

    python examples/on_jax.py
    python examples/on_jax.py --on jax
    python examples/on_jax.py --on jax --devices 8

All three print the same losses up to rounding: the same keys draw the same numbers. On JAX the
step is compiled for the devices that JAX finds, such as a GPU; with ``--devices`` each batch is
divided among that number of devices, here parts of one CPU. JAX comes with: pip install '.[jax]'
"""

import argparse
import importlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad as tg

BATCH = 64

model = tg.nn.Sequential(
    tg.nn.Linear(2, 64), tg.nn.Tanh(), tg.nn.Dropout(0.1), tg.nn.Linear(64, 64), tg.nn.Tanh(),
    tg.nn.Linear(64, 2),
)  # fmt: skip
optimizer = tg.optim.AdamW(tg.optim.warmup_cosine(peak=0.01, warmup=20, total=400))


def load(key: Any) -> Any:
    """Points in a square, labelled by which side of a sine they lie on."""
    x = tg.random.uniform(key, (1024, 2), low=-3.0, high=3.0)
    return {"x": x, "y": (x[:, 1] > np.sin(2 * x[:, 0])).astype(int)}


def loss(params: Any, batch: Any, key: Any) -> Any:
    """The cross entropy of a batch."""
    return tg.nn.cross_entropy_loss(model(params, batch["x"], key=key), batch["y"])


def step(params: Any, state: Any, batch: Any, key: Any) -> tuple[Any, Any, Any]:
    """One step of the optimizer: NumPy code that knows nothing of JAX."""
    value, gradients = tg.value_and_grad(loss)(params, batch, tg.random.fold_in(key, state.step))
    return value, *optimizer.update(params, gradients, state)


def on_numpy() -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """The compiled step, and a function to apply to each batch."""
    return tg.compile(step), lambda batch: batch


def on_jax(devices: int) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """The same with JAX, and batches divided among devices."""
    if devices > 1:
        # read when JAX is imported
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    try:
        jax: Any = importlib.import_module("jax")
    except ImportError:
        raise SystemExit("JAX is missing: pip install 'tapegrad[jax]'") from None
    jax.config.update("jax_enable_x64", True)
    mesh = jax.sharding.Mesh(jax.devices()[:devices], ("rows",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    return jax.jit(tg.to_jax(step)), lambda batch: jax.device_put(batch, rows)


def main(on: str, devices: int, epochs: int) -> list[float]:
    """Train, and print and return the mean loss of each epoch."""
    run, placed = on_numpy() if on == "numpy" else on_jax(devices)
    data_key, init_key, batch_key, dropout_key = tg.random.split(0, 4)
    data = load(data_key)
    params = model.init(init_key)
    state = optimizer.init(params)
    began, means = time.perf_counter(), []
    for epoch in range(epochs):
        values = []
        for batch in tg.data.batches(tg.random.fold_in(batch_key, epoch), data, BATCH):
            value, params, state = run(params, state, placed(batch), dropout_key)
            values.append(value)
        means.append(float(np.mean(values)))
        print(f"epoch {epoch + 1:2d}  loss {means[-1]:.10f}", flush=True)
    print(f"{epochs} epochs in {time.perf_counter() - began:.1f} s")
    return means


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train with NumPy or with JAX.")
    parser.add_argument("--on", choices=["numpy", "jax"], default="numpy")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    main(options.on, options.devices, options.epochs)
