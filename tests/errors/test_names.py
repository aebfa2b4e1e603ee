"""A name that a module lacks is answered with ours, if there is one that is meant."""

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


def refused(module: str, name: str) -> str:
    """The message for a name, after the part that Python has too."""
    with pytest.raises(AttributeError) as caught:
        attrgetter(f"{module}.{name}".lstrip("."))(tg)
    head = f"module '{'.'.join(filter(None, ['tapegrad', module]))}' has no attribute {name!r}"
    assert str(caught.value).startswith(head)
    return str(caught.value).removeprefix(head)


def test_names_of_other_libraries_lead_to_ours() -> None:
    for name, code in NAMES.items():
        assert refused("", name) == refused("optim", name) == f": write {code}"
        for path in re.findall(r"\btg\.([\w.]*\w)", code):
            attrgetter(path)(tg)
    assert refused("", "Linear") == ": write tg.nn.Linear"
    assert refused("nn", "argmax") == ": write tg.argmax"
    assert refused("nn", "relu") == ": write tg.relu"  # the function, not the layer
    assert refused("", "zeros") == ": write np.zeros"
    assert refused("", "qwxyz") == refused("nn", "_lacking_") == ""


# arguments of the kinds that the answers are given
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


def test_an_answer_that_is_an_expression_runs(tmp_path: Path) -> None:
    expressions = {}
    for code in [*NAMES.values(), *TREE_FUNCTIONS.values()]:
        try:
            expressions[code] = compile(code, "answer", "eval")
        except SyntaxError:
            continue  # a sentence
    # these stand for a decorator that the program calls with rules of its own
    del expressions["tg.custom_op(vjps=..., jvp=...)"], expressions["tg.custom_vjp(rule)"]
    # the targets are classes here, and truth values in the losses beside it
    del expressions["tg.nn.cross_entropy_loss(logits, targets)"]
    arguments = ARGUMENTS | {"path": f"{tmp_path}/program"}
    for compiled in expressions.values():
        eval(compiled, arguments)
    assert len(expressions) > 40
    np.testing.assert_array_equal(
        tg.load_program(arguments["path"])(*ARGUMENTS["args"]), [0.25, 0.0625]
    )


def test_answers_for_functions_of_trees_give_trees_of_their_leaves() -> None:
    for name, code in TREE_FUNCTIONS.items():
        assert refused("tree", name) == f": write {code}"
    run = {name: eval(code, ARGUMENTS) for name, code in TREE_FUNCTIONS.items()}
    for name, number in [("zeros", 0), ("ones_like", 1), ("full_like", 2)]:
        assert tg.tree.flatten(run[name])[1] == tg.tree.flatten(WEIGHTS)[1]
        assert [x.tolist() for x in tg.tree.leaves(run[name])] == [[number] * 2] * 2
    assert run["norm"] == 5
    assert run["sum"] == 7
    assert run["stack"]["w"].shape == (2, 2)
    assert run["concatenate"]["b"][0].shape == (4,)


def test_an_answer_computes_what_the_name_computes_elsewhere() -> None:
    x = ARGUMENTS["p"]
    run = {name: eval(refused("", name)[8:], ARGUMENTS) for name in ("expit", "logit")}
    np.testing.assert_allclose(run["expit"], 1 / (1 + np.exp(-ARGUMENTS["x"])))
    np.testing.assert_allclose(1 / (1 + np.exp(-run["logit"])), x)
    double = eval(refused("", "vectorize")[8:], ARGUMENTS | {"fn": lambda row: np.sum(row) * 2})
    np.testing.assert_array_equal(double(np.ones((2, 3))), [6, 6])


@pytest.mark.parametrize("module", MODULES)
def test_a_name_in_another_case_or_one_letter_off_leads_to_ours(module: str) -> None:
    name = max(dir(attrgetter(module)(tg) if module else tg), key=len)
    ours = ".".join(filter(None, ["tg", module, name]))
    assert refused(module, f"{name.swapcase()}_") == f": write {ours}"
    assert refused(module, name[:3] + name[4:]) == f"; did you mean {ours}?"


def loss(params: Any) -> Array:
    return np.sum(params.weight) + np.sum(params.bias**2)


def objects(kind: str) -> list[Any]:
    """The package's objects of a kind of `ATTRIBUTES`."""
    layer = tg.nn.Linear(2, 3)
    params = layer.init(0)
    optimizer = tg.optim.Adam(0.1)
    return {
        "optimizer": [optimizer, tg.optim.SGD(0.1)],
        "layer": [layer, tg.nn.Sequential(layer, tg.nn.Relu()), tg.nn.Relu()],
        "record": [params, optimizer.init(params)],
    }[kind]


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_of_stateful_objects_lead_to_code_that_runs(kind: str, tmp_path: Path) -> None:
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
        for x in objects(kind):
            with pytest.raises(AttributeError) as caught:
                getattr(x, name)
            head = f"{type(x).__name__!r} object has no attribute {name!r}"
            assert str(caught.value) == f"{head}: write {code}"
        # a clause behind the code says when to write it
        takes_key = {"layer": tg.nn.Sequential(layer), "params": (params,)}
        more = takes_key if "key=key" in code else {}
        exec(re.split(r", which| to train", code)[0], arguments | more)
    for x in objects(kind):
        assert not hasattr(x, "qwxyz")
        assert repr(copy.deepcopy(x)) == repr(x)


def test_arguments_of_other_libraries_lead_to_ours() -> None:
    answered = set()
    for module in (tg.nn, tg.optim):
        for name in module.__all__:
            cls = getattr(module, name)
            known = inspect.signature(cls).parameters if isinstance(cls, type) else {}
            is_ours = hasattr(cls, "init") and cls not in (tg.nn.Sequential, tg.optim.Optimizer)
            for other, ours in PARAMETERS.items() if is_ours and known else ():
                if other in known:
                    continue
                with pytest.raises(TypeError) as caught:
                    cls(**{other: 1})
                first = ours.split(" and ")[0]
                assert str(caught.value).endswith(f": write {ours}") == (first in known)
                answered |= {other} if first in known else set()
    assert answered == set(PARAMETERS)
