"""Bridges: call a NumPy function, differentiated by tapegrad, within another library.

The function runs on NumPy arrays, so it may branch on values, call `custom_op` and `custom_vjp`
functions and loop until something converges. If tapegrad can record the whole function, convert it
to JAX with `tapegrad.to_jax` instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.declare.abstract import call_silently
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.words import a_kind
from tapegrad.transforms.products import vjp
from tapegrad.tree.cotangents import conjugate_cotangent
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.ownership import readonly_view
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, ArrayLike, Cotangent, PyTree

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from jax import ShapeDtypeStruct
    from torch import Tensor as TorchTensor

__all__ = ["jax", "torch"]
__dir__ = __all__.copy

Fn: TypeAlias = Callable[..., Any]
Pullback: TypeAlias = Callable[[Sequence[Cotangent | None]], Sequence[Cotangent]]
"""A function from the cotangents of a call's results to the cotangents of some arrays."""


@attrs.frozen(eq=False)
class _Call:
    """A call of a function, whose variables are the leaves that are arrays of the other library.

    Attributes
    ----------
    fn
        The function.
    structure, leaves
        The function's arguments, ``(args, kwargs)``.
    places
        The positions of the variables among the leaves.
    """

    fn: Fn
    structure: tree.Structure
    leaves: tuple[Any, ...]
    places: tuple[int, ...]

    @classmethod
    def from_arguments(
        cls,
        fn: Fn,
        args: Sequence[PyTree],
        kwargs: Mapping[str, PyTree],
        kinds: type | tuple[type, ...],
    ) -> _Call:
        """Make a call whose variables are the leaves of some classes."""
        leaves, structure = tree.flatten((args, kwargs))
        places = tuple([i for i, x in enumerate(leaves) if isinstance(x, kinds)])
        return cls(fn, structure, tuple(leaves), places)

    @property
    def variables(self) -> list[Any]:
        """The leaves that are arrays of the other library."""
        return [self.leaves[i] for i in self.places]

    def evaluate(self, arrays: Iterable[Array]) -> Any:
        """Return the function's result for some values of the variables."""
        leaves = replace_leaves(self.leaves, self.places, arrays)
        args, kwargs = tree.unflatten(self.structure, leaves)
        return self.fn(*args, **kwargs)

    def compute_cotangents(
        self, arrays: Sequence[Array], active: Sequence[int], cotangents: Sequence[Cotangent]
    ) -> Sequence[Cotangent]:
        """Return the cotangents of the active arrays; this can itself be differentiated."""
        return self.evaluate_with_pullback(arrays, active)[2](cotangents)

    def evaluate_with_pullback(
        self, arrays: Sequence[Array], active: Sequence[int]
    ) -> tuple[list[Any], tree.Structure, Pullback]:
        """Return the results, and the pullback to the arrays at the active positions."""

        def evaluate_active(*xs: Array) -> Any:
            return self.evaluate(replace_leaves(arrays, active, xs))

        output, pullback = vjp(evaluate_active, *[arrays[i] for i in active])
        leaves, structure = tree.flatten(output)

        def pull_back(cotangents: Sequence[Cotangent | None]) -> Sequence[Cotangent]:
            used = [c if is_floating(x) else None for x, c in zip(leaves, cotangents, strict=True)]
            return pullback(tree.unflatten(structure, used))

        return leaves, structure, pull_back

    def as_arrays(self, leaves: list[Any]) -> list[Array]:
        """Convert the function's results to arrays."""
        for x in leaves:
            if not isinstance(x, np.ndarray | np.generic | float | int | complex):
                raise TypeError(
                    f"{label(self.fn)} returned {a_kind(x)}; a bridge hands on arrays "
                    "and numbers alone"
                )
        return [np.asarray(x) for x in leaves]


def torch(fn: Fn) -> Fn:
    """Convert a NumPy function to a function of PyTorch tensors, with tapegrad's gradient.

    Parameters
    ----------
    fn
        A function of trees of arrays and numbers that returns a tree of them, written in
        NumPy or with tapegrad, as `grad` takes it.

    Returns
    -------
    A function of the same arguments. `fn` receives tensors as arrays of their shape and dtype, and
    other leaves unchanged. Results are tensors, on the device of the first tensor. ``backward``
    passes through the function to every floating tensor that requires a gradient, and with
    ``create_graph=True`` so do derivatives of any order.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError
        When called: for a tensor of a dtype that NumPy lacks, such as bfloat16, and where `vjp`
        raises.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import torch  # doctest: +SKIP
    >>> f = tg.bridges.torch(lambda x: np.sum(np.sinc(x) ** 2))  # doctest: +SKIP
    >>> x = torch.tensor([0.0, 0.5], requires_grad=True)  # doctest: +SKIP
    >>> f(x).backward()  # doctest: +SKIP
    >>> x.grad  # doctest: +SKIP
    tensor([ 0.0000, -1.6211])
    """
    check_callable(fn)
    library = _import_library("torch")
    function = _torch_function(library)

    def call_bridge(*args: PyTree, **kwargs: PyTree) -> Any:
        call = _Call.from_arguments(fn, args, kwargs, library.Tensor)
        # an output parameter, since `apply` returns tensors alone
        structures: list[tree.Structure] = []
        results = function.apply(call, structures, *call.variables)
        return tree.unflatten(structures[0], results)

    call_bridge.__name__ = f"torch_{label(fn)}"
    return call_bridge


def _torch_function(library: ModuleType) -> Any:
    """Make the ``autograd.Function`` of calls."""

    def to_tensor(x: Array, device: object) -> TorchTensor:
        # a copy, because a tensor is writable
        return library.from_numpy(np.array(x)).to(device)

    function: Any = library.autograd.Function

    class Bridge(function):  # type: ignore[misc]
        @staticmethod
        def forward(
            ctx: Any, call: _Call, structures: list[tree.Structure], *tensors: TorchTensor
        ) -> tuple[TorchTensor, ...]:
            arrays = [_to_numpy(x) for x in tensors]
            needs_grad = ctx.needs_input_grad[2:]
            active = [i for i, x in enumerate(arrays) if needs_grad[i] and is_floating(x)]
            if active:
                leaves, structure, ctx.pull_back = call.evaluate_with_pullback(arrays, active)
            else:
                leaves, structure = tree.flatten(call.evaluate(arrays))
            structures.append(structure)
            ctx.call, ctx.active = call, active
            ctx.save_for_backward(*tensors)
            device = tensors[0].device if tensors else None
            results = tuple([to_tensor(x, device) for x in call.as_arrays(leaves)])
            constants = [x for x in results if not (x.is_floating_point() or x.is_complex())]
            ctx.mark_non_differentiable(*constants)
            return results

        @staticmethod
        def backward(ctx: Any, *cotangents: TorchTensor) -> tuple[TorchTensor | None, ...]:
            tensors = ctx.saved_tensors
            grads: list[TorchTensor | None] = [None] * len(tensors)
            if library.is_grad_enabled():
                # the backward pass is itself a call of a function that tapegrad differentiates
                args = (list(tensors), ctx.active, list(cotangents))
                call = _Call.from_arguments(ctx.call.compute_cotangents, args, {}, library.Tensor)
                active_grads = Bridge.apply(call, [], *call.variables)
            else:
                arrays = ctx.pull_back([_to_numpy(c) for c in cotangents])
                active_grads = [to_tensor(g, tensors[0].device) for g in arrays]
            for i, g in zip(ctx.active, active_grads, strict=True):
                grads[i] = g.to(tensors[i].device)
            return None, None, *grads

    return Bridge


def _to_numpy(x: TorchTensor) -> Array:
    """Convert a tensor to a read-only NumPy array, which may share its memory."""
    return readonly_view(x.detach().cpu().resolve_conj().resolve_neg().numpy())


def jax(fn: Fn, like: PyTree = None) -> Fn:
    """Convert a NumPy function to a function of JAX arrays, with tapegrad's gradient.

    JAX calls the function back on the host.

    Parameters
    ----------
    fn
        A function of trees of arrays and numbers that returns a tree of them, written in
        NumPy or with tapegrad, as `grad` takes it. Pure: JAX may call it any number of times.
    like
        An example of the result, a tree of arrays or of ``jax.ShapeDtypeStruct`` (only
        shapes and dtypes matter), or a function of the arguments that returns an example. By
        default each trace calls `fn` once, inside ``jax.jit`` on placeholder numbers.

    Returns
    -------
    A function of the same arguments, for ``jax.jit``, ``jax.grad``, ``jax.vjp`` and
    ``jax.vmap`` (which calls `fn` row by row). It has first derivatives in reverse mode. The
    backward pass calls `fn` again, to record it. Gradients with respect to complex numbers follow
    JAX: they are the conjugates of tapegrad's gradients.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        When called: for results of 64 bits that JAX would hold in 32 bits, unless
        ``jax.config.update("jax_enable_x64", True)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import jax  # doctest: +SKIP
    >>> def halved(x):
    ...     while np.sum(x) > 1:
    ...         x = x / 2
    ...     return x
    >>> f = tg.bridges.jax(halved, like=lambda x: x)  # doctest: +SKIP
    >>> jax.jacrev(f)(np.float32([3, 1]))  # doctest: +SKIP
    Array([[0.25, 0.  ],
           [0.  , 0.25]], dtype=float32)
    """
    check_callable(fn)
    library = _import_library("jax")
    from tapegrad.interop.jax.run import make_placeholder, register_nodes

    def to_example(x: JaxArray | Array) -> Array:
        if isinstance(x, library.core.Tracer):
            return make_placeholder(x.shape, np.dtype(x.dtype))
        return np.asarray(x)

    def call_bridge(*args: PyTree, **kwargs: PyTree) -> Any:
        call = _Call.from_arguments(fn, args, kwargs, (library.Array, np.ndarray, np.generic))
        register_nodes(library, call.structure)
        if like is None:
            example = call_silently(call.evaluate, [to_example(x) for x in call.variables])
        else:
            example = like(*args, **kwargs) if callable(like) else like
        leaves, structure = tree.flatten(example)
        register_nodes(library, structure)
        specs = [_result_spec(library, fn, x) for x in leaves]
        on_host = _make_host_function(library, call, specs)
        values = on_host(*map(library.numpy.asarray, call.variables))
        return tree.unflatten(structure, values)

    call_bridge.__name__ = f"jax_{label(fn)}"
    return call_bridge


def _result_spec(library: ModuleType, fn: Fn, x: ArrayLike | ShapeDtypeStruct) -> ShapeDtypeStruct:
    """Return the shape and dtype of a result."""
    array: Any = x if hasattr(x, "dtype") else np.asarray(x)
    dtype = np.dtype(array.dtype)
    held = np.dtype(library.dtypes.canonicalize_dtype(dtype))
    if dtype.kind != "i" and held != dtype:
        raise TypeError(
            f"{label(fn)} returns {dtype}, which JAX would hold as {held}; call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    return library.ShapeDtypeStruct(array.shape, held)


def _make_host_function(
    library: ModuleType, call: _Call, results: Sequence[ShapeDtypeStruct]
) -> Callable[..., tuple[JaxArray, ...]]:
    """Make the function of a call's variables, with its VJP; both run on the host."""

    def call_host(host: Fn, specs: Sequence[ShapeDtypeStruct], *xs: PyTree) -> Any:
        return library.pure_callback(host, tuple(specs), *xs, vmap_method="sequential")

    def cast(values: Iterable[Array], specs: Sequence[ShapeDtypeStruct]) -> tuple[Array, ...]:
        pairs = list(zip(values, specs, strict=True))
        for x, spec in pairs:
            if x.shape != spec.shape:
                raise ValueError(
                    f"{label(call.fn)} returned the shape {x.shape}, not {spec.shape} as for "
                    "other values; a function for JAX returns one shape"
                )
        return tuple([np.asarray(x, spec.dtype) for x, spec in pairs])

    def forward(*xs: Array) -> tuple[Array, ...]:
        output = call.evaluate([np.asarray(x) for x in xs])
        return cast(call.as_arrays(tree.leaves(output)), results)

    @library.custom_vjp  # type: ignore[untyped-decorator]
    def f(*xs: JaxArray) -> tuple[JaxArray, ...]:
        return call_host(forward, results, *xs)

    def f_fwd(*xs: JaxArray) -> tuple[tuple[JaxArray, ...], tuple[JaxArray, ...]]:
        return f(*xs), xs

    def f_bwd(
        xs: tuple[JaxArray, ...], cotangents: tuple[JaxArray, ...]
    ) -> tuple[JaxArray | Array, ...]:
        active = [i for i, x in enumerate(xs) if x.dtype.kind in "fc"]
        specs = [library.ShapeDtypeStruct(xs[i].shape, xs[i].dtype) for i in active]
        floating = [i for i, x in enumerate(results) if x.dtype.kind in "fc"]

        def pull_back(
            xs: Sequence[Array], floating_cotangents: Sequence[Array]
        ) -> tuple[Array, ...]:
            *_, pullback = call.evaluate_with_pullback([np.asarray(x) for x in xs], active)
            weights: list[Cotangent | None] = [None] * len(results)
            for i, c in zip(floating, floating_cotangents, strict=True):
                # JAX's cotangents are the conjugates of tapegrad's
                weights[i] = conjugate_cotangent(np.asarray(c))
            return cast([conjugate_cotangent(np.asarray(c)) for c in pullback(weights)], specs)

        grads = iter(call_host(pull_back, specs, xs, [cotangents[i] for i in floating]))
        float0 = library.dtypes.float0
        return tuple(
            [next(grads) if i in active else np.zeros(x.shape, float0) for i, x in enumerate(xs)]
        )

    f.defvjp(f_fwd, f_bwd)
    return f


def _import_library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"this bridge needs the other side: pip install 'tapegrad[{name}]'"
        ) from error
