"""The error for a missing name of a module suggests the package's name for it."""

import copy
import inspect
import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors.names import _MODULES as MODULES
from tapegrad.errors.remedies import ATTRIBUTES, NAMES, PARAMETERS, TREE_FUNCTIONS
from tapegrad.types import Array


def message_for(module: str, name: str) -> str:
    """Return the message for a name, without Python's own part."""
    with pytest.raises(AttributeError) as caught:
        attrgetter(f"{module}.{name}".lstrip("."))(tg)
    head = f"module '{'.'.join(filter(None, ['tapegrad', module]))}' has no attribute {name!r}"
    assert str(caught.value).startswith(head)
    return str(caught.value).removeprefix(head)


def test_error_for_name_of_another_library_names_equivalent() -> None:
    for name, code in NAMES.items():
        assert message_for("", name) == message_for("optim", name) == f": write {code}"
        for path in re.findall(r"\btg\.([\w.]*\w)", code):
            attrgetter(path)(tg)
    assert message_for("", "Linear") == ": write tg.nn.Linear"
    assert message_for("nn", "argmax") == ": write tg.argmax"
    assert message_for("nn", "relu") == ": write tg.relu"  # the function, not the layer
    assert message_for("", "zeros") == ": write np.zeros"
    assert message_for("", "qwxyz") == message_for("nn", "_lacking_") == ""


# arguments for the expressions in messages
WEIGHTS = {"w": np.array([3.0, 0.0]), "b": [np.array([4.0, 0.0])]}
ARGUMENTS = {
    "tg": tg,
    "np": np,
    "fn": np.square,
    "f": np.negative,
    "args": (np.array([0.5, 0.25]),),
    "x": np.array([0.5, 0.25, 0.75]),
    "p": np.array([0.25, 0.5, 0.25]),
    "g": np.ones(3),
    "t": np.array([0.5, 0.25, 0.75]),
    "key": tg.random.key(0),
    "seed": 0,
    "shape": (2,),
    "low": 0,
    "high": 3,
    "ids": np.array([0, 1, 0]),
    "n": 3,
    "size": 1,
    "index": 0,
    "values": np.array(2.0),
    "array": np.array([0.5, 0.25, 0.75]),
    "arrays": (np.array([0.5, 0.25]), np.array([1.0, 2.0])),
    "logits": np.array([0.5, -0.25]),
    "targets": np.array([1.0, 0.0]),
    "value": 2.0,
    "tree": WEIGHTS,
    "trees": (WEIGHTS, WEIGHTS),
}


def test_expression_in_message_runs(tmp_path: Path) -> None:
    expressions = {}
    for code in [*NAMES.values(), *TREE_FUNCTIONS.values()]:
        try:
            expressions[code] = compile(code, "answer", "eval")
        except SyntaxError:
            continue  # a sentence
    # these are decorators, which take rules
    del expressions["tg.custom_op(vjps=..., jvp=...)"], expressions["tg.custom_vjp(rule)"]
    # its targets are classes, but truth values in other losses
    del expressions["tg.nn.cross_entropy_loss(logits, targets)"]
    arguments = ARGUMENTS | {"path": f"{tmp_path}/program"}
    for compiled in expressions.values():
        eval(compiled, arguments)
    assert len(expressions) > 40
    np.testing.assert_array_equal(
        tg.load_program(arguments["path"])(*ARGUMENTS["args"]), [0.25, 0.0625]
    )


def test_expression_for_tree_function_returns_a_tree() -> None:
    for name, code in TREE_FUNCTIONS.items():
        assert message_for("tree", name) == f": write {code}"
    results = {name: eval(code, ARGUMENTS) for name, code in TREE_FUNCTIONS.items()}
    for name, number in [("zeros", 0), ("ones_like", 1), ("full_like", 2)]:
        assert tg.tree.flatten(results[name])[1] == tg.tree.flatten(WEIGHTS)[1]
        assert [x.tolist() for x in tg.tree.leaves(results[name])] == [[number] * 2] * 2
    assert results["norm"] == 5
    assert results["sum"] == 7
    assert results["stack"]["w"].shape == (2, 2)
    assert results["concatenate"]["b"][0].shape == (4,)


def test_expression_computes_the_function_of_that_name() -> None:
    x = ARGUMENTS["p"]
    results = {name: eval(message_for("", name)[8:], ARGUMENTS) for name in ("expit", "logit")}
    np.testing.assert_allclose(results["expit"], 1 / (1 + np.exp(-ARGUMENTS["x"])))
    np.testing.assert_allclose(1 / (1 + np.exp(-results["logit"])), x)
    double = eval(message_for("", "vectorize")[8:], ARGUMENTS | {"fn": lambda row: np.sum(row) * 2})
    np.testing.assert_array_equal(double(np.ones((2, 3))), [6, 6])


@pytest.mark.parametrize("module", MODULES)
def test_misspelled_name_is_corrected(module: str) -> None:
    name = max(dir(attrgetter(module)(tg) if module else tg), key=len)
    suggestion = ".".join(filter(None, ["tg", module, name]))
    assert message_for(module, f"{name.swapcase()}_") == f": write {suggestion}"
    assert message_for(module, name[:3] + name[4:]) == f"; did you mean {suggestion}?"


def loss(params: Any) -> Array:
    return np.sum(params.weight) + np.sum(params.bias**2)


def objects_of(kind: str) -> list[Any]:
    """Return objects of the package of a kind of `ATTRIBUTES`."""
    layer = tg.nn.Linear(2, 3)
    params = layer.init(0)
    optimizer = tg.optim.Adam(0.1)
    return {
        "optimizer": [optimizer, tg.optim.SGD(0.1)],
        "layer": [layer, tg.nn.Sequential(layer, tg.nn.Relu()), tg.nn.Relu()],
        "record": [params, optimizer.init(params)],
    }[kind]


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_code_for_stateful_attribute_runs(kind: str, tmp_path: Path) -> None:
    layer, params = tg.nn.Linear(2, 3), tg.nn.Linear(2, 3).init(0)
    optimizer = tg.optim.Adam(0.1)
    arguments = {
        "tg": tg,
        "np": np,
        "layer": layer,
        "params": params,
        "tree": params,
        "loss": loss,
        "x": np.ones((4, 2)),
        "key": 0,
        "learning_rate": 0.1,
        "dtype": np.float32,
        "optimizer": optimizer,
        "grads": tg.grad(loss)(params),
        "state": optimizer.init(params),
        "path": str(tmp_path / "saved"),
    }
    for name, code in ATTRIBUTES[kind].items():
        for x in objects_of(kind):
            with pytest.raises(AttributeError) as caught:
                getattr(x, name)
            head = f"{type(x).__name__!r} object has no attribute {name!r}"
            assert str(caught.value) == f"{head}: write {code}"
        # a clause after the code says when to write it
        takes_key = {"layer": tg.nn.Sequential(layer), "params": (params,)}
        further = takes_key if "key=key" in code else {}
        exec(re.split(r", which| to train", code)[0], arguments | further)
    for x in objects_of(kind):
        assert not hasattr(x, "qwxyz")
        assert repr(copy.deepcopy(x)) == repr(x)


def test_error_for_argument_of_another_library_names_equivalent() -> None:
    found = set()
    for module in (tg.nn, tg.optim):
        for name in module.__all__:
            cls = getattr(module, name)
            parameters = inspect.signature(cls).parameters if isinstance(cls, type) else {}
            is_configurable = hasattr(cls, "init") and cls not in (
                tg.nn.Sequential,
                tg.optim.Optimizer,
            )
            for other, tg_name in PARAMETERS.items() if is_configurable and parameters else ():
                if other in parameters:
                    continue
                with pytest.raises(TypeError) as caught:
                    cls(**{other: 1})
                first = tg_name.split(" and ")[0]
                assert str(caught.value).endswith(f": write {tg_name}") == (first in parameters)
                found |= {other} if first in parameters else set()
    assert found == set(PARAMETERS)
