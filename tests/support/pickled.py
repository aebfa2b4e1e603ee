"""One object of each kind that pickles or has a file format, for other processes and Pythons.

    python tests/support/pickled.py write FILE
    python tests/support/pickled.py read FILE ...

writes them, and reads what another supported Python, or another NumPy, wrote.
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from layer_kinds import KINDS

import tapegrad as tg
from tapegrad.program.text import make_runner
from tapegrad.types import Array, PyTree

X = np.linspace(-1.0, 1.0, 12).reshape(4, 3)
IMAGES = np.linspace(-1.0, 1.0, 2 * 2 * 6 * 6).reshape(2, 2, 6, 6)
Y = np.array([0, 1, 1, 0])
MODEL = tg.nn.Sequential(
    tg.nn.Linear(3, 4), tg.nn.LayerNorm(4), tg.nn.Tanh(), tg.nn.Dropout(0.5), tg.nn.Linear(4, 2)
)
PARAMS = MODEL.init(0)
KEY = tg.random.key(7)
OPTIMIZER = tg.optim.AdamW(tg.optim.warmup_cosine(0.1, 2, 10), weight_decay=0.01)
STATE = OPTIMIZER.init(PARAMS)


@tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
def cube(x: Array) -> Array:
    """Its third power."""
    return x**3


@tg.custom_vjp(lambda g, y, x: (2 * g,))
def steep(x: Array) -> Array:
    """Itself, with twice its gradient."""
    return x


@tg.checkpoint
def hidden(x: Array) -> Array:
    """A call that is made again in the sweep."""
    return tg.tanh(x) * tg.sin(x)


@tg.vmap
def row_sum(x: Array) -> Array:
    """The sum of a row."""
    return tg.sum(x)


def loss(params: tuple[Any, ...], x: Array, y: Array, key: Array) -> Array:
    """A loss with randomness."""
    return tg.nn.cross_entropy_loss(MODEL(params, x, key=key), y)


def mixture(x: Array, scale: float) -> Array:
    """A function that writes many kinds of records."""
    y = steep(cube(x)) + hidden(x.T).T * scale
    y = np.where(y > 0, y, 0.5 * y)[:, [0, 2, 2]] + np.arange(3.0)
    z = np.concatenate([y, np.cumsum(y, axis=1)], axis=-1).astype(np.float32)
    inner = tg.grad(lambda x: np.sum(np.exp(-(x**2))))(x)
    return np.sum(z @ z.T) + np.einsum("ij,ij->", inner, tg.stop_gradient(x)) + np.max(x)


def scan_step(carry: Array, x: Array) -> tuple[Any, Any]:
    """A step of a loop."""
    return np.tanh(carry + x), carry


def scan_record(x: Array) -> Array:
    """A loop that is one record."""
    return tg.scan(scan_step, x, np.arange(3.0))[0]


@tg.compile
def step(
    params: tuple[Any, ...], state: tg.optim.AdamState, x: Array, y: Array, key: Array
) -> tuple[Any, ...]:
    """A whole step, compiled, and under its own name."""
    value, grads = tg.value_and_grad(loss)(params, x, y, key)
    return value, *OPTIMIZER.update(params, grads, state)


@tg.grad
def gradient(x: Array) -> Array:
    """A gradient under its own name."""
    return mixture(x, 2.0)


def optimizers() -> list[Any]:
    """Optimizers of each kind."""
    return [
        *(tg.optim.SGD(0.1, momentum=0.9, nesterov=True), tg.optim.Adam(0.1), OPTIMIZER),
        *(tg.optim.RMSProp(tg.optim.exponential_decay(0.1, 0.5, 3)), tg.optim.Adagrad(0.1)),
        tg.optim.SGD(tg.optim.piecewise([0.1, 0.2, 0.3], [2, 4])),
    ]


def things() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Each object by name, with a function of it that returns a tree of numbers."""
    output, tape = tg.record(mixture, lines=True)(X, 2.0)
    args = (PARAMS, STATE, X, Y, KEY)
    vector, unravel = tg.tree.ravel(PARAMS)
    grads = tg.grad(loss)(PARAMS, X, Y, KEY)
    found: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "tape": ((output, tape), swept),
        "tensor": (output, lambda x: (x.value, len(tg.Tape(x, x.origin)), x.place.number)),
        "program": (step.program(*args), lambda program: run(program, args)),
        "compiled": (tg.compile(tg.grad(loss)), lambda f: f(PARAMS, X, Y, KEY)),
        "grad by name": (gradient, lambda f: f(X)),
        "value_and_grad": (tg.value_and_grad(loss), lambda f: f(PARAMS, X, Y, KEY)),
        "jacobian": (tg.jacobian(hidden), lambda f: f(X)),
        "vmap": (tg.vmap(hidden_sum), lambda f: f(X)),
        "vmap by name": (row_sum, lambda f: f(X)),
        "pullback": (tg.vjp(hidden_sum, X)[1], lambda f: f(2.0)),
        "linear map": (tg.linearize(hidden_sum, X)[1], lambda f: f(np.ones_like(X))),
        "program of a loop": (
            tg.compile(tg.grad(scan_record)).program(0.5),
            lambda p: run(p, (0.5,)),
        ),
        "file of a program": (in_file(step.program(*args)), lambda text: from_file(text)(*args)),
        "file of a loop": (
            in_file(tg.compile(tg.grad(scan_record)).program(0.5)),
            lambda text: from_file(text)(0.5),
        ),
        "ops": ([cube, np.sin, tg.tanh, tg.sum, tg.relu], lambda ops: [op(X) for op in ops]),
        "custom_vjp and checkpoint": ([steep, hidden], lambda fs: [tg.jacobian(f)(X) for f in fs]),
        "key": (KEY, lambda key: tg.random.normal(key, (5,))),
        "parameters": (PARAMS, lambda params: params),
        "error": (tg.errors.TapeError("where"), lambda error: len(str(error))),
        "structure": (tg.tree.flatten(PARAMS)[1], lambda s: tg.tree.unflatten(s, range(6))),
        "unravel": (unravel, lambda f: f(vector)),
    }
    for name, kind in KINDS.items():
        found[f"layer: {name}"] = (kind.layer, lambda f, k=kind: k.call(f, *k.arguments()))
    for layer, *xs in (
        (tg.nn.Embedding(5, 2), Y),
        (tg.nn.Sequential(tg.nn.Conv2d(2, 3, 3), np.tanh, tg.nn.Flatten()), IMAGES),
    ):
        found[f"layer: {type(layer).__name__}"] = (layer, lambda f, xs=xs: f(f.init(3), *xs))
    found["layer with a key"] = (MODEL, lambda f: f(PARAMS, X, key=KEY))
    for i, optimizer in enumerate(optimizers()):
        pair = optimizer, optimizer.update(PARAMS, grads, optimizer.init(PARAMS))[1]
        found[f"optimizer {i}: {type(optimizer).__name__}"] = (
            pair,
            lambda f: f[0].update(PARAMS, grads, f[1]),
        )
    return found


def hidden_sum(x: Array) -> Array:
    """A scalar."""
    return np.sum(hidden(x))


def in_file(program: tg.Program) -> bytes:
    """The content of the file of a program."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "program.npz"
        program.save(path)
        return path.read_bytes()


def from_file(text: bytes) -> tg.Program:
    """The program of a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "program.npz"
        path.write_bytes(text)
        return tg.load_program(path)


def swept(pair: tuple[Any, ...]) -> tuple[PyTree, PyTree]:
    """The gradients of a tape."""
    output, tape = pair
    gradients = tg.reverse_sweep(tape, output)
    return {p.name: gradients[p] for p in tape.parameters}, [x.value for x in tape]


def run(program: tg.Program, args: tuple[Any, ...]) -> PyTree:
    """The results of a program."""
    return make_runner(program)()[0](*tg.tree.leaves(args))


def read(text: bytes) -> int:
    """Compare pickled objects with this process's; return how many there were."""
    restored = pickle.loads(text)
    known = things()
    assert restored.keys() == known.keys()
    for name, (thing, gives) in known.items():
        got, wanted = gives(restored[name]), gives(thing)
        # the last places of sines and sums differ between versions of NumPy
        assert tg.tree.all_close(got, wanted, rtol=1e-6, atol=1e-6), f"{name}: {got}, not {wanted}"
    return len(known)


def write() -> bytes:
    """Everything, pickled."""
    return pickle.dumps({name: thing for name, (thing, _) in things().items()})


def main(action: str, *files: str) -> None:
    """Write one file or read several."""
    here = f"Python {sys.version.split()[0]}, NumPy {np.__version__}"
    for file in files:
        if action == "write":
            Path(file).write_bytes(write())
            print(f"{here} wrote {file}")
        else:
            print(f"{here} read {read(Path(file).read_bytes())} things of {file}")


if __name__ == "__main__":
    import pickled  # not as __main__, where another process does not look

    pickled.main(*sys.argv[1:])
