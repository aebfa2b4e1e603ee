"""Train one net on several processes, each with its part of every batch.

    mpiexec -n 2 python examples/train_parallel.py

Without mpiexec it is one process, and prints the same losses up to rounding.
mpi4py and an MPI come with: pip install '.[mpi]'
"""

import os

# each rank has its own core; NumPy reads this when it is imported
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import time
from typing import Any

import numpy as np

import tapegrad as tg

try:
    from mpi4py import MPI
except ImportError:
    raise SystemExit("mpi4py is missing: pip install 'tapegrad[mpi]'") from None

N_INPUTS, N_HIDDEN, N_CLASSES = 784, 256, 10
BATCHES = 2  # an epoch

model = tg.nn.Sequential(
    tg.nn.Linear(N_INPUTS, N_HIDDEN), tg.nn.Tanh(), tg.nn.Linear(N_HIDDEN, N_CLASSES)
)
optimizer = tg.optim.SGD(0.1, momentum=0.9)


def load(key: Any, n: int, dtype: Any) -> Any:
    """Noise, labelled by a hidden net; the same on each rank."""
    x_key, net_key = tg.random.split(key)
    x = tg.random.normal(x_key, (n, N_INPUTS), dtype)
    return {"x": x, "y": np.argmax(model(model.init(net_key, dtype), x), axis=1)}


def loss(params: Any, batch: Any) -> Any:
    """The cross entropy of a batch."""
    return tg.nn.cross_entropy_loss(model(params, batch["x"]), batch["y"])


@tg.compile
def gradients(params: Any, batch: Any) -> tuple[Any, Any]:
    """The first half of a step, on this rank's rows."""
    value, grads = tg.value_and_grad(loss)(params, batch)
    return value, grads


@tg.compile
def update(params: Any, grads: Any, state: Any) -> tuple[Any, Any]:
    """The second half, the same on each rank."""
    params, state = optimizer.update(params, grads, state)
    return params, state


def train(comm: Any, rows: int, steps: int, dtype: Any, seed: int) -> None:
    """Train for some steps of this number of rows, all ranks together."""
    data_key, init_key, batch_key = tg.random.split(tg.random.key(seed), 3)
    params = model.init(init_key, dtype)
    state = optimizer.init(params)
    tg.parallel.same_everywhere({"params": params, "state": state, "key": batch_key}, comm)
    data = load(data_key, BATCHES * rows, dtype)

    times = []
    for step in range(steps):
        if step % BATCHES == 0:
            epoch_key = tg.random.fold_in(batch_key, step // BATCHES)
            batches = tg.data.batches(epoch_key, np.arange(len(data["y"])), rows)
        began = time.perf_counter()
        # the data stay where they are; each rank takes only its own rows
        mine = tg.parallel.shard(next(batches), comm)
        value, grads = gradients(params, {"x": data["x"][mine], "y": data["y"][mine]})
        value, grads = tg.parallel.mean((value, grads), comm)
        params, state = update(params, grads, state)
        times.append(time.perf_counter() - began)
        if comm.Get_rank() == 0:
            print(f"step {step + 1:3d}  loss {float(value)!r}", flush=True)
    tg.parallel.same_everywhere(params, comm)
    if comm.Get_rank() == 0:
        n_ranks, per_step = comm.Get_size(), 1000 * np.median(times)
        print(
            f"{n_ranks} process{'es' * (n_ranks > 1)}, {rows} rows a step: {per_step:.1f} ms a step"
        )


if __name__ == "__main__":
    with tg.parallel.together(MPI.COMM_WORLD):
        parser = argparse.ArgumentParser(description="Train on several processes.")
        parser.add_argument("--rows", type=int, default=512, help="rows a step, of all processes")
        parser.add_argument("--steps", type=int, default=10)
        parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
        parser.add_argument("--seed", type=int, default=0)
        options = parser.parse_args()
        train(MPI.COMM_WORLD, options.rows, options.steps, np.dtype(options.dtype), options.seed)
