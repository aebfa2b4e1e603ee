"""Scaled dot-product attention, and attention with several heads."""

from __future__ import annotations

import math

import attrs
import numpy as np

from tapegrad.arraylike.reading import dtype_of, shape_of
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.nn.initializers import Key, glorot_uniform, split, zeros
from tapegrad.nn.layers import BaseLayer, LinearParams, affine, check_params, positive_integer
from tapegrad.ops import expand_dims, logical_and, matmul, reshape, softmax, swapaxes, where
from tapegrad.tree.structure import immutable
from tapegrad.types import Array, DTypeLike, Shape

__all__ = ["MultiHeadAttention", "attention"]


@warns_at_users_line
def attention(queries: Array, keys: Array, values: Array, mask: Array | None = None) -> Array:
    """Scaled dot-product attention, ``softmax(q @ k.T / sqrt(n)) @ v``.

    (Vaswani et al. 2017, arXiv:1706.03762.)

    Parameters
    ----------
    queries
        An array of shape (..., n_queries, n).
    keys, values
        Arrays of shapes (..., n_keys, n) and (..., n_keys, m).
    mask
        Booleans that broadcast to (..., n_queries, n_keys), true where a query may attend.
        A query that may attend to no key attends to all keys equally.

    Returns
    -------
    An array of shape (..., n_queries, m).

    Raises
    ------
    TypeError
        If the mask does not hold booleans. A mask of numbers may be a summand of the scores,
        where 0 lets a query attend.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.eye(2)
    >>> tg.nn.attention(x, x, np.array([[1.0], [2.0]]), mask=np.tri(2, dtype=bool)).round(3)
    array([[1.  ],
           [1.67]])
    """
    scores = matmul(queries / math.sqrt(shape_of(queries)[-1]), swapaxes(keys, -1, -2))
    if mask is not None:
        _check_is_boolean(mask)
        scores = where(mask, scores, float(np.finfo(scores.dtype).min))
    return matmul(softmax(scores), values)


def _check_is_boolean(mask: Array) -> None:
    dtype = dtype_of(mask)
    if dtype != np.bool_:
        raise TypeError(
            f"a mask must hold booleans, true where a query may look; it is {dtype}. Write "
            "mask.astype(bool), or mask == 0 for one meant to be added to scores"
        )


@immutable
@attrs.frozen
class MultiHeadAttentionParams:
    """The parameters of `MultiHeadAttention`: four `LinearParams`, each (n, n) and (n,)."""

    query: LinearParams
    key: LinearParams
    value: LinearParams
    output: LinearParams


@attrs.frozen
class MultiHeadAttention(BaseLayer):
    """Attention with several heads, between linear maps of its input and its output.

    (Vaswani et al. 2017, arXiv:1706.03762.)

    Parameters
    ----------
    n
        The length of the last axis of the input and of the output.
    heads
        The number of heads, which divides `n`.
    causal
        Whether a query attends only to its own position and earlier positions.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.MultiHeadAttention(8, 2, causal=True)
    >>> layer(layer.init(0), np.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    n: int = attrs.field(validator=positive_integer)
    heads: int = attrs.field(validator=positive_integer)
    causal: bool = False

    def __attrs_post_init__(self) -> None:
        if self.n % self.heads:
            raise ValueError(f"heads={self.heads} do not divide n={self.n}")

    def init(self, key: Key, dtype: DTypeLike = float) -> MultiHeadAttentionParams:
        """Draw Glorot-uniform weights; the biases are zeros."""
        return MultiHeadAttentionParams(
            *(
                LinearParams(glorot_uniform(k, (self.n, self.n), dtype), zeros((self.n,), dtype))
                for k in split(key, 4)
            )
        )

    def __call__(
        self,
        params: MultiHeadAttentionParams,
        x: Array,
        memory: Array | None = None,
        mask: Array | None = None,
    ) -> Array:
        """The attention of each vector of x over the memory.

        Parameters
        ----------
        params
            From `init`.
        x
            The input, of shape (..., n_queries, n).
        memory
            The source of the keys and values, of shape (..., n_keys, n); x by default.
        mask
            Booleans that broadcast to (..., n_queries, n_keys), the same for all heads, true
            where a query may attend.

        Raises
        ------
        TypeError
            If the parameters are not `MultiHeadAttentionParams`, or the mask does not hold
            booleans.
        ValueError
            If a shape does not fit.
        """
        check_params(self, params, MultiHeadAttentionParams)
        memory = x if memory is None else memory
        self._check_shapes(shape_of(x), shape_of(memory), None if mask is None else shape_of(mask))
        queries = self._split_heads(affine(self, params.query, x, self.n, self.n, "query"))
        keys, values = (
            self._split_heads(affine(self, p, memory, self.n, self.n, path, "memory"))
            for p, path in ((params.key, "key"), (params.value, "value"))
        )
        if mask is not None:
            _check_is_boolean(mask)
            mask = expand_dims(mask, -3) if len(shape_of(mask)) > 2 else mask
        if self.causal:
            causal_mask = np.tri(queries.shape[-2], keys.shape[-2], dtype=bool)
            mask = causal_mask if mask is None else logical_and(mask, causal_mask)
        heads = swapaxes(attention(queries, keys, values, mask), -3, -2)
        joined = reshape(heads, (*heads.shape[:-2], self.n))
        return affine(self, params.output, joined, self.n, self.n, "output")

    def _check_shapes(self, x: Shape, memory: Shape, mask: Shape | None) -> None:
        """Raise unless the shape of the memory fits x, and the shape of the mask fits both."""
        try:
            leading = np.broadcast_shapes(x[:-2], memory[:-2])
            scores = (*leading, *x[-2:-1], *memory[-2:-1])
            fits = len(scores) == len(leading) + 2
            fits = fits and (mask is None or np.broadcast_shapes(mask, scores) == scores)
        except ValueError:
            fits = False
        if not fits:
            mask_part = "" if mask is None else f", mask {mask}"
            raise ValueError(
                f"{self}: x has shape {x}, memory {memory}{mask_part}; (..., n_queries, {self.n}), "
                f"(..., n_keys, {self.n}) and for a mask (..., n_queries, n_keys) are needed"
            )

    def _split_heads(self, x: Array) -> Array:
        """Reshape (..., n_vectors, n) to (..., heads, n_vectors, n / heads)."""
        return swapaxes(reshape(x, (*x.shape[:-1], self.heads, self.n // self.heads)), -3, -2)
