"""Bridges: a NumPy function that tapegrad differentiates, inside another library's training.

The function is called as it is, on NumPy arrays, so it may branch on values, call `custom_op`
and `custom_vjp` functions and loop until something converges. A function that tapegrad can
record whole is better converted to JAX with `tapegrad.to_jax`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

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

__all__ = ["jax", "torch"]
__dir__ = __all__.copy

Fn = Callable[..., Any]


@attrs.frozen(eq=False)
class _Call:
    """A call of a function that varies in the leaves that are arrays of the other library.

    Attributes
    ----------
    fn
        The function.
    structure, leaves
        Its arguments: ``(args, kwargs)``.
    places
        Which leaves vary.
    """

    fn: Fn
    structure: tree.Structure
    leaves: tuple[Any, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, fn: Fn, args: Any, kwargs: Any, kinds: Any) -> _Call:
        """A call that varies in the leaves of some classes."""
        leaves, structure = tree.flatten((args, kwargs))
        places = tuple([i for i, x in enumerate(leaves) if isinstance(x, kinds)])
        return cls(fn, structure, tuple(leaves), places)

    @property
    def varying(self) -> list[Any]:
        """The leaves that vary."""
        return [self.leaves[i] for i in self.places]

    def on(self, arrays: Any) -> Any:
        """The function's result for these values of the leaves that vary."""
        leaves = replace_leaves(self.leaves, self.places, arrays)
        args, kwargs = tree.unflatten(self.structure, leaves)
        return self.fn(*args, **kwargs)

    def slopes(self, arrays: Any, moving: Any, cotangents: Any) -> Any:
        """The cotangents of some of the arrays, as a function that can be differentiated."""
        return self.pulled(arrays, moving)[2](cotangents)

    def pulled(self, arrays: Any, moving: Any) -> tuple[list[Any], tree.Structure, Any]:
        """Its results, and a function from their cotangents to the cotangents of some arrays."""

        def of_moving(*xs: Any) -> Any:
            return self.on(replace_leaves(arrays, moving, xs))

        output, pullback = vjp(of_moving, *[arrays[i] for i in moving])
        leaves, structure = tree.flatten(output)

        def pull(cotangents: Any) -> Any:
            used = [c if is_floating(x) else None for x, c in zip(leaves, cotangents, strict=True)]
            return pullback(tree.unflatten(structure, used))

        return leaves, structure, pull

    def arrays(self, leaves: list[Any]) -> list[Any]:
        """Its results as arrays."""
        for x in leaves:
            if not isinstance(x, np.ndarray | np.generic | float | int | complex):
                raise TypeError(
                    f"{label(self.fn)} returned {a_kind(x)}; a bridge hands on arrays "
                    "and numbers alone"
                )
        return [np.asarray(x) for x in leaves]


def torch(fn: Fn) -> Fn:
    """A NumPy function as one of PyTorch tensors, with tapegrad's gradient.

    Parameters
    ----------
    fn
        A function of trees of arrays and numbers that returns a tree of them, written in
        NumPy or with tapegrad, as `grad` takes it.

    Returns
    -------
    A function of the same arguments. Tensors among the leaves reach `fn` as arrays of their
    shape and dtype; everything else reaches it as it is. Results are tensors, on the device
    of the first tensor. ``backward`` passes through it to every floating tensor that requires
    a gradient, and with ``create_graph=True`` so do derivatives of any order.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError
        When called: for a tensor of a dtype that NumPy lacks, such as bfloat16, and for
        what `vjp` refuses.

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
    library = _imported("torch")
    function = _torch_function(library)

    def bridged(*args: Any, **kwargs: Any) -> Any:
        call = _Call.of(fn, args, kwargs, library.Tensor)
        # the tree of the results is known when they are
        trees: list[tree.Structure] = []
        results = function.apply(call, trees, *call.varying)
        return tree.unflatten(trees[0], results)

    bridged.__name__ = f"torch_{label(fn)}"
    return bridged


def _torch_function(library: Any) -> Any:
    """The ``autograd.Function`` of calls."""

    def tensor(x: Any, device: Any) -> Any:
        # a copy, because a tensor can be written to
        return library.from_numpy(np.array(x)).to(device)

    class Bridge(library.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, call: _Call, trees: list[Any], *tensors: Any) -> Any:
            arrays = [_array(x) for x in tensors]
            wanted = ctx.needs_input_grad[2:]
            moving = [i for i, x in enumerate(arrays) if wanted[i] and is_floating(x)]
            if moving:
                leaves, structure, ctx.pull = call.pulled(arrays, moving)
            else:
                leaves, structure = tree.flatten(call.on(arrays))
            trees.append(structure)
            ctx.call, ctx.moving = call, moving
            ctx.save_for_backward(*tensors)
            device = tensors[0].device if tensors else None
            results = tuple([tensor(x, device) for x in call.arrays(leaves)])
            fixed = [x for x in results if not (x.is_floating_point() or x.is_complex())]
            ctx.mark_non_differentiable(*fixed)
            return results

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            tensors = ctx.saved_tensors
            gradients: list[Any] = [None] * len(tensors)
            if library.is_grad_enabled():
                # the backward pass is itself a call of a function that tapegrad differentiates
                args = (list(tensors), ctx.moving, list(cotangents))
                back = _Call.of(ctx.call.slopes, args, {}, library.Tensor)
                gradients_of = Bridge.apply(back, [], *back.varying)
            else:
                slopes = ctx.pull([_array(c) for c in cotangents])
                gradients_of = [tensor(g, tensors[0].device) for g in slopes]
            for i, g in zip(ctx.moving, gradients_of, strict=True):
                gradients[i] = g.to(tensors[i].device)
            return None, None, *gradients

    return Bridge


def _array(x: Any) -> Any:
    """A tensor as an array of NumPy, which may share its memory but not write to it."""
    return readonly_view(x.detach().cpu().resolve_conj().resolve_neg().numpy())


def jax(fn: Fn, like: Any = None) -> Fn:
    """A NumPy function as one of JAX arrays, called back on the host, with tapegrad's gradient.

    Parameters
    ----------
    fn
        A function of trees of arrays and numbers that returns a tree of them, written in
        NumPy or with tapegrad, as `grad` takes it. Pure: JAX may call it any number of times.
    like
        An example of its result, a tree of arrays or of ``jax.ShapeDtypeStruct``: only its
        shapes and dtypes matter. Or a function of the arguments that returns one. By
        default `fn` is called once for each trace, inside ``jax.jit`` on placeholder numbers.

    Returns
    -------
    A function of the same arguments, for ``jax.jit``, ``jax.grad``, ``jax.vjp`` and
    ``jax.vmap`` (which calls `fn` row by row). It has first derivatives in reverse mode. The
    backward pass calls `fn` again, to record it. Gradients by complex numbers are JAX's, the
    conjugates of tapegrad's.

    Raises
    ------
    ImportError
        If JAX is not installed.
    TypeError
        When called: for results of 64 bits where JAX would hold them in 32, unless
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
    library = _imported("jax")
    from tapegrad.interop.jax.run import register, stand_in

    def known(x: Any) -> Any:
        if isinstance(x, library.core.Tracer):
            return stand_in(x.shape, np.dtype(x.dtype))
        return np.asarray(x)

    def bridged(*args: Any, **kwargs: Any) -> Any:
        call = _Call.of(fn, args, kwargs, (library.Array, np.ndarray, np.generic))
        register(library, call.structure)
        if like is None:
            wanted = call_silently(call.on, [known(x) for x in call.varying])
        else:
            wanted = like(*args, **kwargs) if callable(like) else like
        leaves, structure = tree.flatten(wanted)
        register(library, structure)
        results = [_result(library, fn, x) for x in leaves]
        values = _called_back(library, call, results)(*map(library.numpy.asarray, call.varying))
        return tree.unflatten(structure, values)

    bridged.__name__ = f"jax_{label(fn)}"
    return bridged


def _result(library: Any, fn: Fn, x: Any) -> Any:
    """The shape and dtype of a result."""
    array = x if hasattr(x, "dtype") else np.asarray(x)
    dtype = np.dtype(array.dtype)
    held = np.dtype(library.dtypes.canonicalize_dtype(dtype))
    if dtype.kind != "i" and held != dtype:
        raise TypeError(
            f"{label(fn)} returns {dtype}, which JAX would hold as {held}; call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    return library.ShapeDtypeStruct(array.shape, held)


def _called_back(library: Any, call: _Call, results: list[Any]) -> Any:
    """The function of the varying leaves, with its VJP; both are done on the host."""

    def back(host: Any, shapes: Any, *xs: Any) -> Any:
        return library.pure_callback(host, shapes, *xs, vmap_method="sequential")

    def cast(values: Any, shapes: Any) -> Any:
        pairs = list(zip(values, shapes, strict=True))
        for x, wanted in pairs:
            if x.shape != wanted.shape:
                raise ValueError(
                    f"{label(call.fn)} returned the shape {x.shape}, not {wanted.shape} as for "
                    "other values; a function for JAX returns one shape"
                )
        return tuple([np.asarray(x, wanted.dtype) for x, wanted in pairs])

    def forward(*xs: Any) -> Any:
        return cast(call.arrays(tree.leaves(call.on([np.asarray(x) for x in xs]))), results)

    @library.custom_vjp  # type: ignore[untyped-decorator]
    def f(*xs: Any) -> Any:
        return back(forward, tuple(results), *xs)

    def f_forward(*xs: Any) -> Any:
        return f(*xs), xs

    def f_back(xs: Any, cotangents: Any) -> Any:
        moving = [i for i, x in enumerate(xs) if x.dtype.kind in "fc"]
        shapes = [library.ShapeDtypeStruct(xs[i].shape, xs[i].dtype) for i in moving]
        floating = [i for i, x in enumerate(results) if x.dtype.kind in "fc"]

        def pull(xs: Any, floating_cotangents: Any) -> Any:
            *_, pull = call.pulled([np.asarray(x) for x in xs], moving)
            weights: list[Any] = [None] * len(results)
            for i, c in zip(floating, floating_cotangents, strict=True):
                # JAX's cotangents are the conjugates of ours
                weights[i] = conjugate_cotangent(np.asarray(c))
            return cast([conjugate_cotangent(np.asarray(c)) for c in pull(weights)], shapes)

        slopes = iter(back(pull, tuple(shapes), xs, [cotangents[i] for i in floating]))
        none = library.dtypes.float0
        return tuple(
            [next(slopes) if i in moving else np.zeros(x.shape, none) for i, x in enumerate(xs)]
        )

    f.defvjp(f_forward, f_back)
    return f


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"this bridge needs the other side: pip install 'tapegrad[{name}]'"
        ) from error
