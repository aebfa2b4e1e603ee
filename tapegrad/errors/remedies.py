"""The table of remedies: the names that users of other libraries write, and the code to write here.

Each part is for one kind of name. A row has a remedy on the left and the names that it is for on
the right, separated by spaces; most remedies are code, and the tests run it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def index_by_name(rows: Mapping[str, str]) -> dict[str, str]:
    """Return the remedy of each name, given the names of each remedy."""
    return {name: remedy for remedy, names in rows.items() for name in names.split()}


# --- names that modules lack ------------------------------------------------------------------

# in any module
NAMES: Mapping[str, str] = index_by_name(
    {
        "tg.compile(fn)": "jit function",
        "tg.record(fn), or np.array for an array": (
            "tensor Variable Parameter GradientTape as_tensor"
        ),
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
        "a frozen class with init(key) and layer(params, x), as in examples/train.md": "Module",
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
)
# in `tapegrad.tree`: functions of trees that other libraries name after functions of arrays
TREE_FUNCTIONS: Mapping[str, str] = {
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

# --- attributes that objects lack -------------------------------------------------------------

_SAVED = {
    "tg.save(path, {})": "state_dict save",
    "tg.load(path, like={})": "load_state_dict load",
}
_READ = "write t.value{}, which passes no gradient"
_IMMUTABLE = "a Tensor is immutable; {}"
# functions here that are methods of PyTorch's tensors
_METHODS = (
    "abs cos cosh erf exp expm1 floor log log1p log10 log2 log_softmax logsumexp maximum minimum "
    "relu sigmoid sign sin sinh softmax sqrt square tan tanh"
)
# of optimizers, layers, and records, which are classes of parameters or of a state
ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    kind: index_by_name(rows)
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
# of Tensors, beside the attributes of arrays and the methods of PyTorch that are functions here
TENSOR_ATTRIBUTES: Mapping[str, str] = {
    **{name: _READ.format(f".{name}") for name in dir(np.ndarray) if not name.startswith("_")},
    **{name: f"write tg.{name}(t)" for name in _METHODS.split()},
    **index_by_name(
        {
            "gradients are returned, not stored: tg.grad(fn)(x), or "
            "tg.reverse_sweep(tape, output)[x]": "grad backward",
            "the arguments of tg.grad and tg.record have gradients; tg.stop_gradient(t) has none": (
                "requires_grad requires_grad_ retain_grad is_leaf"
            ),
            _READ.format(""): "numpy data",
            "arrays are NumPy's; t.astype(dtype) changes the dtype": "cpu cuda to device",
            "write t.astype(dtype)": "float double half",
            _IMMUTABLE.format("write t = t.at[index].set(value) or .add(value)"): (
                "fill put itemset resize setfield copy_ zero_ fill_ add_"
            ),
            "write tg.linalg.norm(t)": "norm",
            "write t**p": "pow",
            "write t * u": "mul",
            "write t / u": "div",
            "write t @ u": "matmul mm",
            "write t.T": "t",
            "write tg.clip(t, low, high)": "clamp",
            "a Tensor needs no copy": "contiguous",
            "a Tensor is immutable, so it needs no copy": "clone",
            "write tg.stop_gradient(t), or t.value for the array": "detach",
            "t.op wrote it, from t.operands": "grad_fn",
            "write t.transpose(axes)": "permute",
            "write tg.expand_dims(t, axis)": "unsqueeze",
            "write t.reshape(shape), or t.astype(dtype)": "view",
            "write t.ravel()": "flat",
            _IMMUTABLE.format("write tg.sort(t)"): "sort",
            _IMMUTABLE.format("write tg.partition(t, kth)"): "partition",
            "read it as an array (t.value.byteswap())": "byteswap",
            "its array is always read-only": "setflags",
        }
    ),
}

# --- parameters that classes lack -------------------------------------------------------------

PARAMETERS: Mapping[str, str] = index_by_name(
    {
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
    }
)

# --- functions that take no Tensor ------------------------------------------------------------

_UPDATE = "arrays on a tape are immutable; write {}"
_VALUE = "no gradient passes through it: pass the value (t.value)"
# functions of NumPy without an op
NUMPY_FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("array2string", "array_repr", "array_str", "save", "savetxt", "savez"), _VALUE
    ),
    "copyto": _UPDATE.format("array = tg.at(array)[...].set(t)"),
    "fill_diagonal": _UPDATE.format("a = tg.at(a)[i, i].set(t) with i = np.arange(n)"),
    "place": _UPDATE.format("array = tg.at(array)[mask].set(t)"),
    "put": _UPDATE.format("a = tg.put(a, ind, t)"),
    "put_along_axis": _UPDATE.format("a = tg.put_along_axis(a, indices, t, axis)"),
    "putmask": _UPDATE.format("array = tg.where(mask, t, array)"),
}
# methods of ufuncs, by the ufunc's name too where it matters; {0} is the ufunc's full name
UFUNC_METHODS: Mapping[str, str] = {
    "add.at": "write array = tg.at(array)[index].add(t)",
    "subtract.at": "write array = tg.at(array)[index].add(-t)",
    "multiply.at": "write array = tg.at(array)[index].multiply(t)",
    "maximum.at": "write array = tg.at(array)[index].max(t)",
    "minimum.at": "write array = tg.at(array)[index].min(t)",
    "at": "write array = tg.at(array)[index].set({0}(array[index], t)), if no index comes twice",
    "reduce": "write tg.scan(lambda c, row: ({0}(c, row), None), t[0], t[1:])[0], along axis 0",
    "accumulate": "write np.concatenate([t[:1], tg.scan(lambda c, row: ({0}(c, row),) * 2, "
    "t[0], t[1:])[1]]), along axis 0",
    "reduceat": "use np.sum or another function with an axis on the parts, t[start:stop]",
}
# functions of `numpy.random`, whose draws take a key here
RANDOM_DRAWS: Mapping[str, str] = index_by_name(
    {
        "tg.random.permutation(key, t)": "permutation permuted shuffle",
        "tg.random.choice(key, t, shape, replace, p)": "choice",
        "tg.random.integers(key, low, high, shape)": "integers randint",
        "tg.random.uniform(key, shape, low, high)": "uniform",
        "loc + scale * tg.random.normal(key, shape)": "normal",
        "np.exp(mean + sigma * tg.random.normal(key, shape))": "lognormal",
        "-scale * np.log1p(-tg.random.uniform(key, shape))": "exponential",
    }
)
# solvers of SciPy; for other functions of `scipy.optimize` the remedy is `implicit_root`
SOLVERS: Mapping[str, str] = {
    name: f"{ours}, whose function may capture Tensors"
    for name, ours in index_by_name(
        {
            "tapegrad.scipy.optimize.minimize": "basinhopping brute differential_evolution direct "
            "dual_annealing fmin fmin_bfgs fmin_cg fmin_l_bfgs_b fmin_ncg fmin_powell fmin_slsqp "
            "fmin_tnc fminbound golden brent minimize minimize_scalar shgo",
            "tapegrad.scipy.optimize.least_squares": "curve_fit least_squares leastsq",
            "tapegrad.scipy.optimize.root": "anderson broyden1 broyden2 fsolve newton_krylov root",
            "tapegrad.scipy.optimize.fixed_point": "fixed_point",
            "tapegrad.scipy.integrate.solve_ivp": "complex_ode integrate ode odeint solve_ivp",
            "tapegrad.scipy.integrate.quad": "quad",
        }
    ).items()
}
# libraries that compute on arrays alone, and parts of them before the whole
LIBRARIES: Mapping[str, str] = {
    "scipy.sparse": "SciPy's sparse arrays compute on arrays alone: write "
    "tapegrad.scipy.sparse.coo_array(A) @ t for a product, and solve with "
    "tapegrad.scipy.sparse.linalg",
    "scipy": "SciPy computes on arrays alone: compose it of functions of np.* and tg.*, or declare "
    "it with tg.custom_op",
    "pandas": "pandas computes on arrays alone: write column.to_numpy() for a column or a table",
}
