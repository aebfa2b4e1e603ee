"""Recurrent layers: a call takes the hidden state and returns the new one."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy.typing as npt

from tapegrad.core.operands import shape_of
from tapegrad.face.lines import at_users_line
from tapegrad.face.ownership import Array
from tapegrad.nn.initializers import Key, split, zeros
from tapegrad.nn.layers import Linear, LinearParams, affine, check_params, positive_integer
from tapegrad.ops import add, astype, relu, sigmoid, tanh
from tapegrad.ops.record import array

_ACTIVATIONS = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}


def as_wide(hidden: Any, x: Any) -> Any:
    """A hidden state in the dtype of x, so that it does not widen the model's dtype."""
    hidden = array(hidden)
    return hidden if hidden.dtype == x.dtype else astype(hidden, x.dtype)


def _known(instance: Any, attribute: Any, value: Any) -> None:
    if value not in tuple(_ACTIVATIONS):
        raise ValueError(f"{attribute.name} is one of {', '.join(_ACTIVATIONS)}; not {value!r}")


@attrs.frozen
class RNNCellParams:
    """The parameters of `RNNCell`: input to hidden, hidden to hidden, hidden to output."""

    w_ih: LinearParams
    w_hh: LinearParams
    w_ho: LinearParams


@attrs.frozen
class RNNCell:
    """One step of a simple recurrent network.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs
        The lengths of the last axis of its input, hidden state and output.
    activation
        ``"sigmoid"``, ``"tanh"`` or ``"relu"``.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> cell = tg.nn.RNNCell(3, 4, 2)
    >>> output, hidden = cell(cell.init(0), np.ones((5, 3)), cell.initial_hidden(5))
    >>> output.shape, hidden.shape
    ((5, 2), (5, 4))
    """

    __tree_leaf__: ClassVar[bool] = True

    n_inputs: int = attrs.field(validator=positive_integer)
    n_hidden: int = attrs.field(validator=positive_integer)
    n_outputs: int = attrs.field(validator=positive_integer)
    activation: str = attrs.field(default="sigmoid", validator=_known)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> RNNCellParams:
        """Parameters of three `Linear` layers, each drawn with its own key."""
        ih, hh, ho = split(key, 3)
        return RNNCellParams(
            Linear(self.n_inputs, self.n_hidden).init(ih, dtype),
            Linear(self.n_hidden, self.n_hidden).init(hh, dtype),
            Linear(self.n_hidden, self.n_outputs).init(ho, dtype),
        )

    def initial_hidden(self, batch_size: int, dtype: npt.DTypeLike = float) -> Array:
        """A hidden state of zeros, of shape (batch_size, n_hidden).

        A call converts it to the dtype of the parameters and the input.
        """
        return zeros((batch_size, self.n_hidden), dtype)

    @at_users_line
    def __call__(self, params: RNNCellParams, x: Any, hidden: Any) -> tuple[Any, Any]:
        """The output and the new hidden state.

        Parameters
        ----------
        params
            From `init`.
        x
            The input, of shape (batch, n_inputs).
        hidden
            The hidden state, of shape (batch, n_hidden), in any floating dtype. The new one
            has the dtype of the parameters and the input, promoted.

        Raises
        ------
        TypeError
            If the parameters are not `RNNCellParams`.
        ValueError
            If a shape does not fit the sizes of the cell.
        """
        check_params(self, params, RNNCellParams)
        from_x = affine(self, params.w_ih, x, self.n_inputs, self.n_hidden, "w_ih")
        from_hidden = affine(
            self,
            params.w_hh,
            as_wide(hidden, from_x),
            self.n_hidden,
            self.n_hidden,
            "w_hh",
            "hidden",
        )
        try:
            combined = add(from_x, from_hidden)
        except ValueError as error:
            raise ValueError(
                f"{self}: x of shape {shape_of(x)} and hidden of shape {shape_of(hidden)} are not "
                "of one batch"
            ) from error
        hidden = _ACTIVATIONS[self.activation](combined)
        return affine(self, params.w_ho, hidden, self.n_hidden, self.n_outputs, "w_ho"), hidden
