"""Train a small convolutional network to read handwritten digits of 8 by 8 pixels.

The digits are those of scikit-learn: pip install '.[examples]'
"""

import argparse
import time
from typing import Any

import numpy as np

import tapegrad as tg

try:
    from sklearn.datasets import load_digits
except ImportError:
    raise SystemExit("scikit-learn is missing: pip install 'tapegrad[examples]'") from None

BATCH = 32
EPOCHS = 15

model = tg.nn.Sequential(
    tg.nn.Conv2d(1, 32, 3, padding=1),
    tg.nn.Relu(),
    tg.nn.MaxPool2d(2),
    tg.nn.Conv2d(32, 64, 3, padding=1),
    tg.nn.Relu(),
    tg.nn.Flatten(),
    tg.nn.Dropout(0.5),
    tg.nn.Linear(64 * 4 * 4, 10),
)


def load(key: Any) -> tuple[Any, Any]:
    """Images and labels to train on, and a held-out fifth of them."""
    digits = load_digits()
    x = (digits.images[:, None] / 16).astype(np.float32)  # images, channels, height, width
    y = digits.target
    held_out, training = np.split(tg.random.permutation(key, len(y)), [len(y) // 5])
    return {"x": x[training], "y": y[training]}, {"x": x[held_out], "y": y[held_out]}


def loss(params: Any, batch: Any, key: Any) -> tuple[Any, Any]:
    """The cross entropy of a batch, and the share of its images that are classified correctly."""
    logits = model(params, batch["x"], key=key)
    return tg.nn.cross_entropy_loss(logits, batch["y"]), tg.nn.accuracy(logits, batch["y"])


def train(data: Any, epochs: int, key: Any) -> Any:
    """The parameters after some epochs."""
    init_key, batch_key, dropout_key = tg.random.split(key, 3)
    steps = epochs * (len(data["y"]) // BATCH)
    optimizer = tg.optim.Adam(tg.optim.warmup_cosine(peak=3e-3, warmup=steps // 10, total=steps))
    params = model.init(init_key, np.float32)
    state = optimizer.init(params)

    @tg.compile
    def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any, Any, Any]:
        key = tg.random.fold_in(dropout_key, state.step)
        value_and_grad = tg.value_and_grad(loss, has_aux=True)
        (value, accuracy), grads = value_and_grad(params, batch, key)
        params, state = optimizer.update(params, grads, state)
        return value, accuracy, params, state

    for epoch in range(epochs):
        figures = []
        key = tg.random.fold_in(batch_key, epoch)
        for batch in tg.data.batches(key, data, BATCH, drop_last=True):
            value, accuracy, params, state = step(params, state, batch)
            figures.append((value, accuracy))
        value, accuracy = np.mean(figures, axis=0)
        print(f"epoch {epoch + 1:2d}  loss {value:.4f}  accuracy {accuracy:.3f}", flush=True)
    return params


def main(seed: int, epochs: int) -> None:
    """Train, and print the share of held-out images that are classified correctly."""
    load_key, train_key = tg.random.split(seed)
    training, held_out = load(load_key)
    began = time.perf_counter()
    params = train(training, epochs, train_key)
    print(f"{tg.tree.size(params)} parameters, trained in {time.perf_counter() - began:.1f} s")
    accuracy = tg.nn.accuracy(model(params, held_out["x"]), held_out["y"])
    print(f"held out: accuracy {accuracy:.3f}  ({len(held_out['y'])} images)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Read handwritten digits.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    main(options.seed, options.epochs)
