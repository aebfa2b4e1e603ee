"""Layers in sequence, with a key, a mode and state for the layers that take them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.nn.initializers import Key, split
from tapegrad.nn.layers import BaseLayer, Layer, WithoutParameters, check_params
from tapegrad.types import Array, DTypeLike

__all__ = ["Sequential"]

# inspect.CO_VARARGS, since inspect takes long to import
_VARARGS = 4
# the arguments of a call, besides the parameters and x, that `Sequential` passes to its layers
_CALL_OPTIONS = ("state", "training", "key")


class AnyLayer(Protocol):
    """A `Layer` whose call may take options or return its new state too."""

    def init(self, key: Any, dtype: Any = ..., /) -> Any:
        """Draw parameters."""

    def __call__(self, params: Any, /, *args: Any, **options: Any) -> Any:
        """The layer's output, or a pair of the output and the new state."""


@attrs.frozen
class _Function(WithoutParameters):
    """A user's function as a layer."""

    function: Callable[[Array], Array]  # type: ignore[misc]


def _as_layer(layer: Any) -> Layer:
    """Return a layer itself, or make a layer of a function."""
    if isinstance(layer, list | tuple):
        raise TypeError("pass layers one by one, not in a list: Sequential(*layers)")
    if isinstance(layer, type):
        raise TypeError(
            f"{layer.__name__} is a class; call it to make a layer: {layer.__name__}(...)"
        )
    if hasattr(layer, "init") and callable(layer):
        code = getattr(getattr(layer.init, "__func__", None), "__code__", None)
        if code is not None and code.co_argcount < 3 and not code.co_flags & _VARARGS:
            raise TypeError(
                f"{type(layer).__name__}.init must take a key and a dtype: "
                "def init(self, key, dtype=float)"
            )
        return layer
    if not callable(layer):
        raise TypeError(f"a layer is needed, or a function of x; not {layer!r}")
    attribute = _find_array(layer, [])
    if attribute is not None:
        raise TypeError(
            f"{type(layer).__name__} holds an array in {attribute}, which would never be trained. "
            "A layer holds none: it has init(key, dtype), which returns its parameters, a tree of "
            "arrays, and is called as layer(params, x)"
        )
    return _Function(layer)


def _find_array(function: object, seen: list[object]) -> str | None:
    """Return the attribute of a callable, or a method's object, that holds a floating array."""
    owner = getattr(function, "__self__", function)
    if isinstance(owner, type | ModuleType) or any(owner is x for x in seen):
        return None
    seen.append(owner)
    slots: list[str] = [
        name for kind in type(owner).__mro__ for name in getattr(kind, "__slots__", ())
    ]
    for name in (*map(str, getattr(owner, "__dict__", ())), *slots):
        for leaf in tree.leaves(getattr(owner, name, None)):
            if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fc":
                return name
            inner = _find_array(leaf, seen) if callable(leaf) else None
            if inner is not None:
                return f"{name}.{inner}"
    return None


def _call_options(layer: Layer) -> frozenset[str]:
    """The arguments among `_CALL_OPTIONS` that a layer's ``__call__`` takes."""
    if isinstance(layer, Sequential):
        return frozenset().union(*layer.wants)
    call = type(layer).__call__
    # a decorated call takes the arguments of the function that it wraps
    while (wrapped := getattr(call, "__wrapped__", None)) is not None:
        call = wrapped
    code = getattr(call, "__code__", None)
    # not by inspect.signature, since inspect takes long to import
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
    return frozenset(name for name in _CALL_OPTIONS if name in names)


@attrs.frozen(init=False)
class Sequential(BaseLayer):
    """Layers in sequence; its parameters are a tuple with a tree for each layer.

    Parameters
    ----------
    *layers
        Each layer takes the output of the layer before. A layer is an object with ``init(key,
        dtype)``, which returns its parameters; its call is ``layer(params, x)``. A pure function of
        x is a layer without parameters.

    Raises
    ------
    TypeError
        If an argument is neither a layer nor a function, or is an object without `init` that holds
        arrays, which would never be trained.

    Notes
    -----
    A layer whose call has a parameter ``key``, such as `Dropout`, receives its own key, split from
    the caller's key; a layer whose call has a parameter ``training`` receives the caller's value. A
    layer with state, such as `BatchNorm`, has a method ``initial_state(dtype)``, takes ``state``
    and returns its output and the new state. A `Sequential` with such a layer does the same: its
    state is a tuple, with None for layers without state.

    Examples
    --------
    >>> import tapegrad as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    >>> params = model.init(0)
    >>> tg.tree.paths(params)
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> model(params, np.ones((4, 2))).shape
    (4, 1)

    A key and a state, for layers that need them:

    >>> model = tg.nn.Sequential(tg.nn.BatchNorm(2), np.tanh, tg.nn.Dropout(0.5))
    >>> params, state = model.init(0), model.initial_state()
    >>> y, state = model(params, np.ones((4, 2)), state, training=True, key=tg.random.key(1))
    >>> tg.tree.paths(state)
    ['0.mean', '0.variance']
    """

    layers: tuple[Layer, ...]
    # derived from the layers: the options that each layer's call takes, and whether any has state
    wants: tuple[frozenset[str], ...] = attrs.field(eq=False, repr=False)
    has_state: bool = attrs.field(eq=False, repr=False)

    def __init__(self, *layers: AnyLayer | Callable[[Array], Array]) -> None:
        as_layers = tuple(map(_as_layer, layers))
        wants = tuple(map(_call_options, as_layers))
        self.__attrs_init__(as_layers, wants, any("state" in names for names in wants))

    def init(self, key: Key, dtype: DTypeLike = float) -> tuple[Any, ...]:
        """Draw each layer's parameters, with its own key."""
        keys = split(key, len(self.layers))
        return tuple(layer.init(k, dtype) for layer, k in zip(self.layers, keys, strict=True))

    def initial_state(self, dtype: DTypeLike = float) -> tuple[Any, ...] | None:
        """Each layer's initial state, None for one without; None if no layer has state."""
        if not self.has_state:
            return None
        layers: tuple[Any, ...] = self.layers
        return tuple(
            layer.initial_state(dtype) if "state" in names else None
            for layer, names in zip(layers, self.wants, strict=True)
        )

    def __call__(
        self,
        params: tuple[Any, ...],
        x: Array,
        state: tuple[Any, ...] | None = None,
        training: bool = False,
        key: Key | None = None,
    ) -> Any:
        """The last layer's output; if a layer has state, a pair of the output and the new state.

        Parameters
        ----------
        params, x
            The parameters, and the first layer's input.
        state
            From `initial_state` or the last call, if a layer has state.
        training
            An option of the layers that take it.
        key
            A key, which is split among the layers that take one.

        Raises
        ------
        TypeError, ValueError
            If the parameters or the state are not a tuple with a tree for each layer.
        """
        self._check("params", params)
        if self.has_state and state is None:
            raise TypeError(
                "Sequential: a layer has state: y, state = model(params, x, state), with "
                "state = model.initial_state() to begin with"
            )
        if state is not None:
            if not self.has_state:
                raise TypeError("Sequential: no layer has state; y = model(params, x)")
            self._check("state", state)
        states = (None,) * len(self.layers) if state is None else state
        keys = iter(() if key is None else split(key, sum("key" in w for w in self.wants)))
        new_states = []
        for layer, p, s, names in zip(self.layers, params, states, self.wants, strict=True):
            if not names:
                x = layer(p, x)
            else:
                options = {"training": training, "state": s}
                if "key" in names:
                    options["key"] = next(keys, None)
                x = layer(p, x, **{name: options[name] for name in names})
                if "state" in names:
                    x, s = x
            new_states.append(s)
        return (x, tuple(new_states)) if self.has_state else x

    def _check(self, name: str, trees: tuple[Any, ...]) -> None:
        if not isinstance(trees, list):
            check_params("Sequential", trees, tuple, name)
        if len(trees) != len(self.layers):
            raise ValueError(
                f"Sequential: {name} has trees for {len(trees)} layers, of {len(self.layers)}"
            )
