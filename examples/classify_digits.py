"""Train a small convolutional network to read handwritten digits, 8 by 8 pixels each.

    pip install '.[examples]'
    python examples/classify_digits.py
"""

import argparse
import time

import numpy as np

import tapegrad as tg

try:
    from sklearn.datasets import load_digits
except ImportError:
    raise SystemExit("the digits come with scikit-learn: pip install 'tapegrad[examples]'") from None

BATCH = 64

model = tg.nn.Sequential(
    tg.nn.Conv2d(1, 16, 3, padding=1),
    tg.nn.Relu(),
    tg.nn.Conv2d(16, 32, 3, padding=1),
    tg.nn.Relu(),
    tg.nn.MaxPool2d(2),
    tg.nn.Flatten(),
    tg.nn.Dropout(0.3),
    tg.nn.Linear(32 * 4 * 4, 64),
    tg.nn.Relu(),
    tg.nn.Dropout(0.3),
    tg.nn.Linear(64, 10),
)


def load(key):
    """The images and labels to train on, and a fifth of all that is held out."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)  # (images, channels, height, width)
    order = tg.random.permutation(key, len(images))
    held_out, training = np.split(order, [len(order) // 5])
    return tuple({"x": images[i], "y": digits.target[i]} for i in (training, held_out))


def loss(params, batch, key):
    """The cross entropy of a batch, and how many of its images are read right."""
    logits = model(params, batch["x"], key=key)
    return tg.nn.cross_entropy_loss(logits, batch["y"]), tg.nn.accuracy(logits, batch["y"])


def train(data, epochs, key):
    """The parameters after some epochs."""
    init_key, batch_key, dropout_key = tg.random.split(key, 3)
    steps = epochs * (len(data["y"]) // BATCH)
    optimizer = tg.optim.Adam(tg.optim.warmup_cosine(peak=3e-3, warmup=steps // 10, total=steps))
    params = model.init(init_key, np.float32)
    state = optimizer.init(params)

    @tg.compile
    def step(params, state, batch):
        key = tg.random.fold_in(dropout_key, state.step)
        value_and_grad = tg.value_and_grad(loss, has_aux=True)
        (value, accuracy), grads = value_and_grad(params, batch, key)
        params, state = optimizer.update(params, grads, state)
        return value, accuracy, params, state

    for epoch in range(epochs):
        key = tg.random.fold_in(batch_key, epoch)
        figures = []
        for batch in tg.data.batches(key, data, BATCH, drop_last=True):
            value, accuracy, params, state = step(params, state, batch)
            figures.append((value, accuracy))
        value, accuracy = np.mean(figures, axis=0)
        print(f"epoch {epoch + 1:2d}  loss {value:.4f}  accuracy {accuracy:.3f}", flush=True)
    return params


def main(seed=0, epochs=15):
    """Train, and print how many of the held-out images are read right."""
    split_key, key = tg.random.split(seed)
    training, held_out = load(split_key)
    since = time.perf_counter()
    params = train(training, epochs, key)
    print(f"trained {tg.tree.size(params)} parameters in {time.perf_counter() - since:.1f} s")
    accuracy = tg.nn.accuracy(model(params, held_out["x"]), held_out["y"])
    print(f"held out: accuracy {accuracy:.3f}  ({len(held_out['y'])} images)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15)
    main(**vars(parser.parse_args()))
