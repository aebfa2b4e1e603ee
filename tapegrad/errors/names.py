"""Names that a module lacks, and ours for them: another library's word, the same, or a near one."""

from __future__ import annotations

from collections.abc import Container, Mapping
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

# other libraries' names for what is here, or for what is not needed
_NAMES = {
    "tg.compile(fn)": "jit function",
    "tg.record(fn), or np.array for an array": "tensor Variable Parameter GradientTape as_tensor",
    "tg.stop_gradient(t)": "no_grad detach stop_grad",
    "tg.scan, tg.cond, tg.switch or the like": "lax",
    "np.* or tg.*, which take arrays and Tensors": "numpy np jnp functional F",
    "tg.tree": "tree_util pytree",
    "tg.tree.map(f, tree)": "tree_map",
    "tg.tree.ravel(tree)": "ravel_pytree parameters_to_vector",
    "tg.grad(fn)": "backward gradient",
    "tg.value_and_grad(fn)": "grad_and_value",
    "tg.vjp(fn, x)[1](np.ones_like(x))": "elementwise_grad",
    "tg.jacobian(fn)": "jacfwd jacrev",
    "tg.checkpoint(fn)": "remat",
    "tg.custom_op(vjps=..., jvp=...)": "custom_jvp",
    "tg.custom_vjp(rule)": "custom_gradient defvjp",
    "tg.record(fn)(*args)": "make_jaxpr",
    "tg.vmap(fn)": "vectorize vectorized_map",
    "tg.sigmoid(x)": "expit",
    "np.log(p / (1 - p))": "logit",
    "tg.compile(fn).program(*args).save(path)": "save_program",
    "np.asarray(array)": "from_numpy",
    "tg.linearize(fn, x)[1].transpose(g)": "linear_transpose",
    "tg.concatenate(arrays)": "concat cat",
    "tg.clip(x, low, high)": "clamp",
    "tg.at(x)[index].add(values), or tg.segment_sum": "scatter scatter_add index_add segment",
    "-tg.segment_max(-x, ids, n)": "segment_min",
    "tg.segment_sum, divided by np.bincount(ids, minlength=n)": "segment_mean scatter_mean",
    "x = np.exp(x - tg.segment_max(x, ids, n)[ids]), then x / tg.segment_sum(x, ids, n)[ids]": (
        "segment_softmax scatter_softmax"
    ),
    "tg.at(np.ones(n))[ids].multiply(x)": "segment_prod",
    "tg.random.choice(key, n, shape, p=p)": "categorical multinomial",
    "tg.random.key(seed)": "manual_seed PRNGKey seed default_rng",
    "tg.random.normal(key, shape)": "randn standard_normal",
    "tg.random.uniform(key, shape)": "rand",
    "tg.random.integers(key, low, high, shape)": "randint",
    "tg.random.permutation(key, x)": "randperm shuffle",
    "tg.nn.Linear": "Dense",
    "tg.nn.LSTMCell, with tg.scan": "LSTM",
    "tg.nn.GRUCell, with tg.scan": "GRU",
    "tg.nn.RNNCell, with tg.scan": "RNN",
    "a frozen class with init(key) and layer(params, x), as in examples/recipes.md": "Module",
    "tg.nn.Silu": "Swish",
    "tg.nn.binary_cross_entropy_loss(logits, targets)": "BCELoss BCEWithLogitsLoss",
    "tg.nn.cross_entropy_loss(logits, targets)": "cross_entropy softmax_cross_entropy NLLLoss",
    "tg.nn.huber_loss": "SmoothL1Loss",
    "tg.nn.initializers": "init",
    "tg.nn.initializers.glorot_uniform": "xavier xavier_uniform",
    "tg.nn.initializers.he_normal": "kaiming kaiming_normal",
    "objective or minimize of tapegrad.scipy.optimize": "LBFGS BFGS",
    "tg.optim.warmup_cosine": "cosine_decay_schedule CosineAnnealingLR lr_scheduler",
    "tg.optim.clip_by_global_norm": "clip_grad_norm_ clip_grad_norm",
    "params, state = optimizer.update(params, grads, state)": "apply_updates",
    "tg.data.batches(key, arrays, size)": "DataLoader",
}
ELSEWHERE: Mapping[str, str] = {
    "scipy": ": import tapegrad.scipy first, which needs SciPy",
    **{name: f": write {ours}" for ours, names in _NAMES.items() for name in names.split()},
}
# functions of trees that other libraries name after functions of arrays
_ON_TREES: Mapping[str, str] = {
    **{
        name: f"tg.tree.map(np.{name.removesuffix('_like')}_like, tree)"
        for name in ("zeros", "ones", "empty", "zeros_like", "ones_like", "empty_like")
    },
    **dict.fromkeys(("full", "full_like"), "tg.tree.map(lambda x: np.full_like(x, value), tree)"),
    "stack": "tg.tree.map(lambda *leaves: tg.stack(leaves), *trees)",
    "concatenate": "tg.tree.map(lambda *leaves: tg.concatenate(leaves), *trees)",
    "norm": "tg.optim.global_norm(tree)",
    "sum": "sum(np.sum(x) for x in tg.tree.leaves(tree))",
}
# methods and attributes that stateful frameworks give to optimizers, layers and parameters
_SAVED = {
    "tg.save(path, {})": "state_dict save",
    "tg.load(path, like={})": "load_state_dict load",
}
_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    kind: {name: code for code, names in rows.items() for name in names.split()}
    for kind, rows in {
        "optimizer": {
            "params, state = optimizer.update(params, grads, state)": (
                "step minimize apply_gradients apply apply_updates"
            ),
            "grads = tg.grad(loss)(params), which are new in each step": "zero_grad backward",
            "optimizer.learning_rate": "lr",
            "type(optimizer)(learning_rate, decay=lambda path, leaf: ...)": (
                "param_groups add_param_group"
            ),
            **{code.format("state"): names for code, names in _SAVED.items()},
        },
        "layer": {
            "layer(params, x)": "forward apply call",
            "params = layer.init(key)": "parameters named_parameters weight bias reset_parameters",
            "layer.init(key, dtype)": "to float half double",
            "layer(params, x, key=key) to train with dropout, and without a key to evaluate": (
                "train eval training"
            ),
            "grads = tg.grad(loss)(params), which are new in each step": "zero_grad",
            **{code.format("params"): names for code, names in _SAVED.items()},
        },
        "record": {
            "tg.tree.leaves(tree)": "parameters values",
            "zip(tg.tree.paths(tree), tg.tree.leaves(tree))": "named_parameters items",
            "tg.tree.paths(tree)": "keys",
            "tg.tree.map(lambda x: x.astype(dtype), tree)": "astype to float half double",
            "grads = tg.grad(loss)(tree)": "grad zero_grad backward",
            **{code.format("tree"): names for code, names in _SAVED.items()},
        },
    }.items()
}
# parameters of classes in other libraries, and ours
_PARAMETERS: Mapping[str, str] = {
    name: ours
    for ours, names in {
        "learning_rate": "lr step_size",
        "beta1 and beta2": "betas",
        "beta1": "b1 beta_1",
        "beta2": "b2 beta_2",
        "alpha": "rho decay_rate",
        "epsilon": "eps",
        "n_inputs": "in_features in_channels input_size n_in",
        "n_outputs": "out_features out_channels units features n_out",
        "n_hidden": "hidden_size",
        "n": "num_features normalized_shape embed_dim",
        "heads": "num_heads",
        "size": "kernel_size",
        "vocab_size": "num_embeddings",
        "dim": "embedding_dim",
        "rate": "p",
        "slope": "negative_slope",
        "initial": "initial_accumulator_value",
    }.items()
    for name in names.split()
}
_MODULES = ["", "nn", "optim", "random", "tree", "linalg", "fft", "data", "testing"]
_MODULES += ["nn.initializers", "polynomial"]


def load_module(path: str) -> ModuleType:
    """Import a module of the package by its full name.

    No module of this folder imports a later one by itself. A module that lists its names here says
    which ones are loaded for it, and messages about missing names search the public modules.
    """
    return import_module(path)


def list_names(module: dict[str, Any], public: str = "", **later: str) -> None:
    """Have a public module list its names in `dir`, and answer for one that it lacks.

    Parameters
    ----------
    module
        Its dictionary. A name in ``__all__`` that is not there yet is a module, and imported.
    public
        Its name below ``tapegrad``, such as "linalg", if its file has another.
    **later
        The modules of names that are imported when they are first asked for.
    """
    path, names = module["__name__"], module["__all__"]

    # a type checker, which would take any name then, must not see it
    def look_up(name: str) -> Any:
        if name in later:
            return getattr(load_module(later[name]), name)
        if name in names:
            return load_module(f"{path}.{name}")
        refuse(public or path.removeprefix("tapegrad."), name)

    module.update(__dir__=names.copy, __getattr__=look_up)


def refuse(module: str, name: str) -> NoReturn:
    """Raise for a name that a public module lacks, such as "nn"; the package itself is ""."""
    of = ".".join(filter(None, ("tapegrad", module)))
    raise AttributeError(f"module {of!r} has no attribute {name!r}{_instead(module, name)}")


def name_attributes(cls: type[Any], kind: str) -> None:
    """Let a class answer for attributes that its kind of object has in other libraries.

    Parameters
    ----------
    cls
        The class, which has no ``__getattr__``.
    kind
        "optimizer", "layer" or "record", a class of parameters or of a state.
    """

    def refuse_attribute(self: object, name: str) -> NoReturn:
        code = _ATTRIBUTES[kind].get(name)
        advice = f": write {code}" if code else ""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}{advice}", name=name, obj=self
        )

    # a type checker, which would take any name then, must not see it
    cls.__getattr__ = refuse_attribute


def describe_parameter(name: str, parameters: Container[str]) -> str:
    """The rest of a message about a parameter that a class lacks: ours for it, or ""."""
    ours = _PARAMETERS.get(name, "")
    return f": write {ours}" if ours.split(" and ")[0] in parameters else ""


def _instead(module: str, name: str) -> str:
    """The rest of a message: the name to write for one that a module lacks; "" if there is none."""
    if name.startswith("_"):
        return ""
    if module.startswith("scipy"):
        names = sorted(load_module(f"tapegrad.{module}").__all__)
        return (
            f"; it has {', '.join(names)}. Compose it of these and of functions of np.* and tg.*, "
            "declare it with tg.custom_op, or call SciPy's on values (t.value)"
        )
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if module == "tree" and name in _ON_TREES:
        return f": write {_ON_TREES[name]}"
    own = _names(module)
    # a function of arrays rather than the layer or the initializer of its name
    everywhere = load_module("tapegrad")
    if name in dir(everywhere):
        return f": write tg.{name}"
    if not module and name in np.__all__:
        return f": write np.{name}"
    same = own.get(_plain(name))
    for other in () if same else _MODULES:
        same = same or _names(other).get(_plain(name))
    if same:
        return f": write {same}"
    # few programs need it
    from difflib import get_close_matches

    matches = get_close_matches(_plain(name), own, n=1, cutoff=0.7)
    return f"; did you mean {own[matches[0]]}?" if matches else ""


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _names(module: str) -> dict[str, str]:
    """The public names of a module, by themselves without case and underscores."""
    tg = load_module("tapegrad")
    names = dir(attrgetter(module)(tg) if module else tg)
    return {_plain(name): ".".join(filter(None, ("tg", module, name))) for name in names}
