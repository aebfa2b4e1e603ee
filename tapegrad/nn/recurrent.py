"""Recurrent cells: plain, GRU and LSTM."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tapegrad.arraylike.reading import shape_of
from tapegrad.nn.initializers import Key, glorot_uniform, orthogonal, split, zeros
from tapegrad.nn.layers import (
    BaseLayer,
    Linear,
    LinearParams,
    affine,
    check_params,
    positive_integer,
)
from tapegrad.ops import add, astype, concatenate, relu, sigmoid, tanh
from tapegrad.ops.casting import to_array
from tapegrad.tree.ownership import as_readonly_leaf
from tapegrad.tree.structure import immutable
from tapegrad.types import Array, DTypeLike

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]

_ACTIVATIONS = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}


def match_dtype(hidden: Array, x: Array) -> Array:
    """Convert a hidden state to the dtype of x, so that it does not widen the model's dtype."""
    hidden = to_array(hidden)
    return hidden if hidden.dtype == x.dtype else astype(hidden, x.dtype)


def _check_activation(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if value not in tuple(_ACTIVATIONS):
        raise ValueError(
            f"{attribute.name} must be one of {', '.join(_ACTIVATIONS)}; not {value!r}"
        )


@immutable
@attrs.frozen
class RNNCellParams:
    """The parameters of `RNNCell`: input to hidden, hidden to hidden, hidden to output."""

    w_ih: LinearParams
    w_hh: LinearParams
    w_ho: LinearParams


@attrs.frozen
class RNNCell(BaseLayer):
    """One step of a simple recurrent network.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs
        The lengths of the last axis of the input, the hidden state and the output.
    activation
        ``"sigmoid"``, ``"tanh"``, which is PyTorch's default, or ``"relu"``.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> cell = tg.nn.RNNCell(3, 4, 2)
    >>> output, hidden = cell(cell.init(0), np.ones((5, 3)), cell.initial_hidden(5))
    >>> output.shape, hidden.shape
    ((5, 2), (5, 4))
    """

    n_inputs: int = attrs.field(validator=positive_integer)
    n_hidden: int = attrs.field(validator=positive_integer)
    n_outputs: int = attrs.field(validator=positive_integer)
    activation: str = attrs.field(default="sigmoid", validator=_check_activation)

    def init(self, key: Key, dtype: DTypeLike = float) -> RNNCellParams:
        """Draw the parameters of three `Linear` layers, each with its own key."""
        ih, hh, ho = split(key, 3)
        return RNNCellParams(
            Linear(self.n_inputs, self.n_hidden).init(ih, dtype),
            Linear(self.n_hidden, self.n_hidden).init(hh, dtype),
            Linear(self.n_hidden, self.n_outputs).init(ho, dtype),
        )

    def initial_hidden(self, batch_size: int, dtype: DTypeLike = float) -> Array:
        """A hidden state of zeros, of shape (batch_size, n_hidden).

        A call converts it to the dtype of the parameters and the input.
        """
        return zeros((batch_size, self.n_hidden), dtype)

    def __call__(self, params: RNNCellParams, x: Array, hidden: Array) -> tuple[Array, Array]:
        """The output and the new hidden state.

        Parameters
        ----------
        params
            From `init`.
        x
            The input, of shape (batch, n_inputs).
        hidden
            The hidden state, of shape (batch, n_hidden), in any floating dtype. The new hidden
            state has the promoted dtype of the parameters and the input.

        Raises
        ------
        TypeError
            If the parameters are not `RNNCellParams`.
        ValueError
            If a shape does not fit the cell.
        """
        check_params(self, params, RNNCellParams)
        from_x = affine(self, params.w_ih, x, self.n_inputs, self.n_hidden, "w_ih")
        from_hidden = affine(
            self,
            params.w_hh,
            match_dtype(hidden, from_x),
            self.n_hidden,
            self.n_hidden,
            "w_hh",
            "hidden",
        )
        try:
            preactivation = add(from_x, from_hidden)
        except ValueError as error:
            raise ValueError(
                f"{self}: x of shape {shape_of(x)} and hidden of shape {shape_of(hidden)} are not "
                "of one batch"
            ) from error
        hidden = _ACTIVATIONS[self.activation](preactivation)
        return affine(self, params.w_ho, hidden, self.n_hidden, self.n_outputs, "w_ho"), hidden


@immutable
@attrs.frozen
class GatedParams:
    """The parameters of `GRUCell` and `LSTMCell`: input to gates, hidden to gates.

    The gates stand side by side in the columns, in PyTorch's order: reset, update and new
    in a `GRUCell`; input, forget, cell and output in an `LSTMCell`.
    """

    w_ih: LinearParams
    w_hh: LinearParams


@attrs.frozen
class _GatedCell(BaseLayer):
    """The base of cells with gates."""

    n_gates: ClassVar[int]

    n_inputs: int = attrs.field(validator=positive_integer)
    n_hidden: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: DTypeLike = float) -> GatedParams:
        """Draw Glorot-uniform weights for the input, and orthogonal ones for the hidden state."""
        width = self.n_gates * self.n_hidden
        ih, *hh = split(key, 1 + self.n_gates)
        w_ih = glorot_uniform(ih, (self.n_inputs, width), dtype)
        w_hh = concatenate([orthogonal(k, (self.n_hidden,) * 2, dtype) for k in hh], axis=1)
        bias = zeros((width,), dtype)
        return GatedParams(LinearParams(w_ih, bias), LinearParams(as_readonly_leaf(w_hh), bias))

    def _gate_inputs(self, params: GatedParams, x: Array, hidden: Array) -> tuple[Array, Array]:
        """The contributions of the input and the hidden state to the gates."""
        check_params(self, params, GatedParams)
        width = self.n_gates * self.n_hidden
        from_x = affine(self, params.w_ih, x, self.n_inputs, width, "w_ih")
        hidden = match_dtype(hidden, from_x)
        return from_x, affine(self, params.w_hh, hidden, self.n_hidden, width, "w_hh", "hidden")


class GRUCell(_GatedCell):
    """One step of a gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

    With the reset gate r, the update gate z and the candidate n, the hidden state h becomes
    ``(1 - z) * n + z * h``, as in PyTorch.

    Parameters
    ----------
    n_inputs, n_hidden
        The lengths of the last axis of the input and of the hidden state.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> cell = tg.nn.GRUCell(3, 4)
    >>> output, hidden = cell(cell.init(0), np.ones((5, 3)), cell.initial_hidden(5))
    >>> output.shape, hidden.shape
    ((5, 4), (5, 4))
    """

    __slots__ = ()
    n_gates = 3

    def initial_hidden(self, batch_size: int, dtype: DTypeLike = float) -> Array:
        """A hidden state of zeros, of shape (batch_size, n_hidden)."""
        return zeros((batch_size, self.n_hidden), dtype)

    def __call__(self, params: GatedParams, x: Array, hidden: Array) -> tuple[Array, Array]:
        """The new hidden state, twice: as the output and as the state.

        Parameters
        ----------
        params
            From `init`.
        x
            The input, of shape (batch, n_inputs).
        hidden
            The hidden state, of shape (batch, n_hidden), in any floating dtype.

        Raises
        ------
        TypeError
            If the parameters are not `GatedParams`.
        ValueError
            If a shape does not fit the cell.
        """
        from_x, from_hidden = self._gate_inputs(params, x, hidden)
        hidden = match_dtype(hidden, from_x)
        n = self.n_hidden
        gates = sigmoid(from_x[..., : 2 * n] + from_hidden[..., : 2 * n])
        reset, update = gates[..., :n], gates[..., n:]
        candidate = tanh(from_x[..., 2 * n :] + reset * from_hidden[..., 2 * n :])
        hidden = candidate + update * (hidden - candidate)
        return hidden, hidden


class LSTMCell(_GatedCell):
    """One step of a long short-term memory (Hochreiter and Schmidhuber 1997).

    With the gates i, f, g and o, the cell state c becomes ``f * c + i * g`` and the
    hidden state ``o * tanh(c)``, as in PyTorch.

    Parameters
    ----------
    n_inputs, n_hidden
        The lengths of the last axis of the input, and of the hidden and the cell state.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> cell = tg.nn.LSTMCell(3, 4)
    >>> output, (hidden, memory) = cell(cell.init(0), np.ones((5, 3)), cell.initial_hidden(5))
    >>> output.shape, hidden.shape, memory.shape
    ((5, 4), (5, 4), (5, 4))
    """

    __slots__ = ()
    n_gates = 4

    def initial_hidden(self, batch_size: int, dtype: DTypeLike = float) -> tuple[Array, Array]:
        """A hidden state and a cell state of zeros, each of shape (batch_size, n_hidden)."""
        state = zeros((batch_size, self.n_hidden), dtype)
        return state, state

    def __call__(
        self, params: GatedParams, x: Array, hidden: tuple[Array, Array]
    ) -> tuple[Array, tuple[Array, Array]]:
        """The output, and the new hidden and cell states.

        Parameters
        ----------
        params
            From `init`.
        x
            The input, of shape (batch, n_inputs).
        hidden
            The hidden and the cell state, each of shape (batch, n_hidden), in any
            floating dtype.

        Raises
        ------
        TypeError
            If the parameters are not `GatedParams`, or `hidden` is not a pair.
        ValueError
            If a shape does not fit the cell.
        """
        if not isinstance(hidden, tuple | list) or len(hidden) != 2:
            raise TypeError(f"{self}: hidden is a pair of a hidden and a cell state")
        old_hidden, cell = hidden
        from_x, from_hidden = self._gate_inputs(params, x, old_hidden)
        gates, n = from_x + from_hidden, self.n_hidden
        input_gate, forget_gate = sigmoid(gates[..., :n]), sigmoid(gates[..., n : 2 * n])
        candidate, output_gate = tanh(gates[..., 2 * n : 3 * n]), sigmoid(gates[..., 3 * n :])
        cell = forget_gate * match_dtype(cell, gates) + input_gate * candidate
        output = output_gate * tanh(cell)
        return output, (output, cell)
