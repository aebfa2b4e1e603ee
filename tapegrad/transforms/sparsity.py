"""`sparsity`, and sparse Jacobians and Hessians.

The pattern is read off the tape (`tapegrad.transforms.pattern`), its columns or rows are colored
(`tapegrad.transforms.coloring`), and each color takes one product, which contains the elements
of all its columns or rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from html import escape
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of
from tapegrad.declare.abstract import known_values
from tapegrad.errors.functions import label
from tapegrad.errors.lines import users_level
from tapegrad.errors.words import got
from tapegrad.ops.casting import copy
from tapegrad.transforms.base import Argnums, P, R
from tapegrad.transforms.coloring import color_columns, color_symmetric
from tapegrad.transforms.jacobians import (
    Jacobian,
    append_op,
    cast_derivative,
    is_differentiable,
    make_propagator,
    propagate_in_blocks,
    total_size,
)
from tapegrad.transforms.pattern import (
    Dependence,
    Pairs,
    UnknownSizeError,
    full_dependence,
    identity_dependence,
    tape_dependences,
)
from tapegrad.tree.ownership import Unchanging, readonly_array
from tapegrad.types import Array, PyTree

# the size of a picture in characters, each of two columns and four rows of dots
_WIDTH, _HEIGHT = 40, 20
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
# the plain facts of a tape, and its arrays
Facts = tuple[list[Any], list[Array]]

# the cost of a product of rows relative to a product of columns
_REVERSE_COST = 2


@attrs.frozen(eq=False, repr=False, slots=False)
class Sparsity(Unchanging):
    """The places where a Jacobian may have elements, and the colors for its products.

    Attributes
    ----------
    rows, cols
        The places, sorted by rows and then by columns, each once.
    shape
        ``(output.size, argument.size)``.
    colors
        A color for each column, or for each row if `mode` is ``"reverse"``.
    mode
        ``"forward"``, ``"reverse"`` or ``"symmetric"``: products of columns, of rows, or of
        columns of a symmetric matrix.
    """

    __tree_leaf__: ClassVar[bool] = True

    rows: Array = attrs.field(converter=readonly_array)
    cols: Array = attrs.field(converter=readonly_array)
    shape: tuple[int, int]
    colors: Array = attrs.field(converter=readonly_array)
    mode: str

    def __reduce__(self) -> tuple[type[Sparsity], tuple[Any, ...]]:
        return Sparsity, (self.rows, self.cols, self.shape, self.colors, self.mode)

    @property
    def nnz(self) -> int:
        """The number of places."""
        return len(self.rows)

    def blocks(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> list[list[Any]]:
        """Return the block of each output and input: the numbers of its places, and its pattern."""
        if len(outputs) == len(inputs) == 1:
            return [[(range(self.nnz), self)]]
        ends = [np.cumsum([0, *map(np.size, xs)]) for xs in (outputs, inputs)]
        own = [
            [(n >= a) & (n < b) for a, b in pairwise(cuts)]
            for n, cuts in zip((self.rows, self.cols), ends, strict=True)
        ]
        by_rows = self.mode == "reverse"

        def block(i: int, j: int) -> tuple[Array, Sparsity]:
            at = np.flatnonzero(own[0][i] & own[1][j])
            sides = [cuts[k : k + 2] for k, cuts in zip((i, j), ends, strict=True)]
            (top, bottom), (left, right) = sides
            _, colors = np.unique(self.colors[slice(*sides[not by_rows])], return_inverse=True)
            places = self.rows[at] - top, self.cols[at] - left
            return at, Sparsity(*places, (int(bottom - top), int(right - left)), colors, self.mode)

        return [[block(i, j) for j in range(len(inputs))] for i in range(len(outputs))]

    @property
    def n_colors(self) -> int:
        """The number of colors, which is the number of products."""
        return int(self.colors.max()) + 1 if self.nnz else 0

    @cached_property
    def _product_indices(self) -> Array:
        """The index of each place's element in the concatenated products.

        In a symmetric matrix it is the index of the element or of its mirror image, whichever is
        alone in its row with its color.
        """
        m, n = self.shape
        if self.mode == "reverse":
            return self.colors[self.rows] * n + self.cols
        color = self.colors[self.cols]
        if self.mode == "forward":
            return color * m + self.rows
        _, inverse, counts = np.unique(
            self.rows * self.n_colors + color, return_inverse=True, return_counts=True
        )
        is_alone = counts[inverse] == 1
        return np.where(is_alone, color * m + self.rows, self.colors[self.rows] * m + self.cols)

    def __repr__(self) -> str:
        n_directions = self.shape[0] if self.mode == "reverse" else self.shape[1]
        return (
            f"<sparsity of {self.shape[0]} x {self.shape[1]}: {self.nnz} places, "
            f"{self.n_colors} {'product' if self.n_colors == 1 else 'products'} "
            f"instead of {n_directions}>"
        )

    def __str__(self) -> str:
        return f"{repr(self)[1:-1]}\n{self._picture()}"

    @cached_property
    def _coo_pattern(self) -> Any:
        """The pattern that sparse arrays of these places share."""
        make_pattern = lazy_import("tapegrad.scipy.sparse.coo", "made_pattern")
        return make_pattern(self.rows, self.cols, self.shape)

    def tocsc(self) -> Any:
        """Return a boolean array of ``scipy.sparse``, for arguments such as ``jac_sparsity``."""
        coo_array = lazy_import("scipy.sparse", "coo_array")
        return coo_array((np.ones(self.nnz, bool), (self.rows, self.cols)), self.shape).tocsc()

    def _picture(self) -> str:
        """Return the places as dots of braille characters."""
        m, n = self.shape
        scale = max(1.0, m / (4 * _HEIGHT), n / (2 * _WIDTH))
        height, width = math.ceil(m / scale / 4), math.ceil(n / scale / 2)
        rows, cols = (self.rows / scale).astype(int), (self.cols / scale).astype(int)
        cells = np.zeros((height, width), int)
        np.bitwise_or.at(cells, (rows // 4, cols // 2), _DOTS[rows % 4, cols % 2])
        return "\n".join(["".join([chr(0x2800 + x) for x in line]) for line in cells.tolist()])

    def _repr_html_(self) -> str:
        return f"<pre style='font-family: monospace; line-height: 1'>{escape(str(self))}</pre>"


def find_pattern(tape: Tape, inputs: Sequence[Tensor], outputs: Sequence[Any]) -> Pairs:
    """Return the rows and columns of all places, for the concatenated outputs and inputs."""
    n = total_size(inputs)
    starts = accumulate([x.size for x in inputs], initial=0)
    known = {
        x: identity_dependence(x.shape, n, start) for x, start in zip(inputs, starts, strict=False)
    }
    try:
        dependences = tape_dependences(tape, known, outputs) if n else []
    except UnknownSizeError:
        dependences = [full_dependence(np.shape(y), n, np.arange(n)) for y in outputs]
    rows, cols, first = [np.zeros(0, int)], [np.zeros(0, int)], 0
    for y, x in zip(outputs, dependences, strict=n > 0):
        if type(x) is Dependence:
            elements, columns = x.pairs
            rows.append(elements + first)
            cols.append(columns)
        first += np.size(y)
    return np.concatenate(rows), np.concatenate(cols)


def color_pattern(rows: Array, cols: Array, shape: tuple[int, int], mode: str | None) -> Sparsity:
    """Color a pattern, in the mode with cheaper products if `mode` is None."""
    if mode == "symmetric":
        if shape[0] != shape[1]:
            raise ValueError(f"a symmetric matrix is square, not {shape[0]} x {shape[1]}")
        keys = np.unique(np.concatenate([rows * shape[1] + cols, cols * shape[1] + rows]))
        rows, cols = np.divmod(keys, shape[1])
        return Sparsity(rows, cols, shape, color_symmetric(rows, cols, shape[1]), mode)
    choices = []
    if mode != "reverse":
        choices.append(Sparsity(rows, cols, shape, color_columns(rows, cols, shape[1]), "forward"))
    if mode == "reverse" or (mode is None and choices[0].n_colors > _REVERSE_COST):
        choices.append(Sparsity(rows, cols, shape, color_columns(cols, rows, shape[0]), "reverse"))
    return min(choices, key=lambda x: x.n_colors * (_REVERSE_COST if x.mode == "reverse" else 1))


# --- a pattern for a call ------------------------------------------------------------------------


def check_pattern(sparse: object) -> None:
    """Raise unless the argument `sparse` is a pattern."""
    if not (hasattr(sparse, "row") or hasattr(sparse, "tocsc")):
        raise TypeError(
            f"sparse must be True, False, or a pattern (a tg.sparsity(fn)(x), or an array of "
            f"scipy.sparse), not {got(sparse)}"
        )


def plan_pattern(
    transform: Jacobian[..., Any], tape: Tape, inputs: list[Tensor], outputs: list[Any]
) -> Sparsity:
    """Return the pattern of a call: given, kept from the last call, or read off the tape."""
    shape = sum([np.size(y) for y in outputs]), total_size(inputs)
    mode = "symmetric" if transform.symmetric else transform.mode
    if any(is_differentiable(y) and y.dtype.kind == "c" for y in outputs):
        mode = mode or "forward"  # tangents along real directions are the complex columns
    if transform.sparse is not True:
        return _color_given(transform, transform.sparse, shape, mode)
    facts = _pattern_facts(tape, inputs, outputs, mode)
    last = transform.last_pattern
    if last and _has_same_facts(facts, last["facts"]):
        return last["pattern"]
    rows, cols = find_pattern(tape, inputs, outputs)
    pattern = color_pattern(rows, cols, shape, mode)
    last.clear()
    if facts is not None:
        last.update(facts=facts, pattern=pattern)
    across = shape[0] if pattern.mode == "reverse" else shape[1]
    if pattern.n_colors >= across > 1 and transform.kind != "sparsity":
        warnings.warn(
            f"{transform.kind} of {label(transform.fn)} with sparse=True is dense: "
            f"{pattern.n_colors} colors of {across}",
            UserWarning,
            stacklevel=users_level(),
        )
    return pattern


def _color_given(
    transform: Jacobian[..., Any], sparse: Any, shape: tuple[int, int], mode: str | None
) -> Sparsity:
    """Color a pattern that the caller gives."""
    if tuple(sparse.shape) != shape:
        raise ValueError(
            f"{transform.kind} of {label(transform.fn)}: the pattern has shape "
            f"{tuple(sparse.shape)}, and the matrix {shape}"
        )
    if type(sparse) is Sparsity and mode in (None, sparse.mode):
        return sparse
    coo = sparse if hasattr(sparse, "row") else sparse.tocsc().tocoo()
    keys = np.unique(coo.row.astype(int) * shape[1] + coo.col)
    return color_pattern(*np.divmod(keys, shape[1] or 1), shape, mode)


def _pattern_facts(tape: Tape, inputs: list[Tensor], *further: PyTree) -> Facts | None:
    """Return the facts that decide the pattern: ops, shapes, options and constant arrays.

    Return None if an option is compared by identity, such as a checkpointed call, which has a tape.
    """
    origin, start, own = tape.start.origin, tape.start.index, frozenset(inputs)
    plain: list[Any] = []
    arrays: list[Array] = []
    kinds: set[type] = set()

    def note(x: object) -> None:
        if type(x) is Tensor:
            # a record of another tape has no value here
            plain.append(x.index - start if x.origin is origin else (x.shape, x.dtype))
        elif type(x) is np.ndarray:
            plain.append(x.dtype)  # a boolean mask differs from an index of ones and zeros
            arrays.append(x)
        else:
            plain.append(x)

    for x in tape:
        plain += x.op, x.shape
        if x._operands:
            for operand in x._operands:
                note(operand)
            if x._options:
                plain += x._options.items()
                kinds.update(map(type, x._options.values()))
        elif x not in own:
            note(x._primal)  # a constant, such as a cotangent of ones
    for end in tree.leaves((inputs, *further)):
        note(end)
    by_identity: Any = object.__eq__
    return None if any(kind.__eq__ is by_identity for kind in kinds) else (plain, arrays)


def _has_same_facts(facts: Facts | None, others: Facts) -> bool:
    """Return whether two tapes have the same facts, and so the same pattern."""
    if facts is None or len(facts[1]) != len(others[1]):
        return False
    try:
        is_same = facts[0] == others[0]
    except ValueError:  # arrays in options have no truth value
        return False
    return is_same and all(map(np.array_equal, facts[1], others[1]))


# --- blocks -----------------------------------------------------------------------------------


def sparse_blocks(
    jacobian: Jacobian[..., Any], tape: Tape, inputs: list[Tensor], outputs: list[Any]
) -> list[list[Any]]:
    """Return the blocks of a sparse Jacobian, by one product for each color of its pattern."""
    outputs = list(outputs)
    seen: set[Tensor] = set()
    for i, y in enumerate(outputs):
        if is_differentiable(y):
            if y in seen:
                tape, outputs[i] = append_op(tape, copy, y)  # the second one needs separate rows
            seen.add(y)
    pattern = plan_pattern(jacobian, tape, inputs, outputs)
    forward = pattern.mode != "reverse"
    differentiable = [y for y in outputs if is_differentiable(y)]
    propagate, ends, others = make_propagator(tape, inputs, differentiable, forward)
    colors = pattern.colors
    if not forward:  # outputs that are not differentiable have no products
        colors = colors[
            np.repeat([is_differentiable(y) for y in outputs], [np.size(y) for y in outputs])
        ]
    data: Any = np.zeros(0)
    if pattern.nnz:
        products: dict[Any, Any] = dict(
            zip(others, propagate_in_blocks(propagate, tape, ends, others, colors), strict=True)
        )
        n = pattern.n_colors
        side: list[Any] = outputs if forward else list(inputs)
        flat: list[Any] = [
            np.reshape(products[x], (n, x.size))
            if is_differentiable(x)
            else np.zeros((n, np.size(x)))
            for x in side
        ]
        together = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
        data = np.reshape(together, -1)[pattern._product_indices]
    if jacobian.sparse is not True:
        _check_covers(jacobian, tape, inputs, outputs, pattern, data)
    coo_array = lazy_import("tapegrad.scipy.sparse", "coo_array")
    if jacobian.check_finite:
        lazy_import("tapegrad.explain.finite", "check_values")(tape, set(differentiable))
    rows = []
    for y, parts in zip(outputs, pattern.blocks(outputs, inputs), strict=True):
        row = []
        for x, (at, block) in zip(inputs, parts, strict=True):
            part = cast_derivative(data if len(at) == len(data) else data[at], x)
            row.append(coo_array(part, block._coo_pattern))
            if jacobian.check_finite and is_differentiable(y):
                _check_elements(tape, "forward" if forward else "reverse", y, x, row[-1])
        rows.append(row)
    return rows


def _check_covers(
    jacobian: Jacobian[..., Any],
    tape: Tape,
    inputs: list[Tensor],
    outputs: list[Any],
    pattern: Sparsity,
    data: Array,
) -> None:
    """Raise if the product with a random vector shows that a given pattern misses a place."""
    random = np.random.default_rng(0)
    moved = {x: random.uniform(1, 2, x.shape).astype(x.dtype) for x in inputs}
    differentiable = [y for y in outputs if is_differentiable(y)]
    pushed = iter(make_propagator(tape, inputs, differentiable, True)[0](moved))
    products = [next(pushed) if is_differentiable(y) else np.zeros(np.shape(y)) for y in outputs]
    # while compiling, the check reads the values of the call
    data, *products = known_values([data, *products])
    v, product = (
        np.concatenate([np.reshape(x, -1) for x in xs]) for xs in (moved.values(), products)
    )
    parts, m = data * v[pattern.cols], pattern.shape[0]
    sums = [np.bincount(pattern.rows, x, m) for x in (parts.real, parts.imag, np.abs(parts))]
    eps = max([np.finfo(x.dtype).eps for x in (*tape, *inputs) if x.dtype.kind in "fc"])
    sizes = sums[2] + np.abs(product)
    # a row that overflows is not checked, and does not affect other rows
    finite = np.isfinite(sizes)
    # relative to the largest row, since a row of small elements may be rounding error
    error = max(np.sqrt(eps), 1e-6) * np.max(sizes, initial=0, where=finite)
    # and relative to the results, since a small derivative may be their rounding error
    most = [np.max(np.abs(y), initial=0, where=np.isfinite(y)) for y in known_values(outputs)]
    with np.errstate(invalid="ignore"):
        differs = np.abs(sums[0] + 1j * sums[1] - product) > error + 1e3 * eps * max(most)
    bad = np.flatnonzero(differs & finite)
    if bad.size:
        raise ValueError(
            f"{jacobian.kind} of {label(jacobian.fn)}: the pattern given by sparse misses a "
            f"place: the product with a random vector differs in row {bad[0]}; with sparse=True it "
            "is read off the tape"
        )


def _check_elements(tape: Tape, mode: str, y: Tensor, x: Tensor, block: Any) -> None:
    """Raise if an element of a block is not finite, and say where it arose."""
    bad = np.flatnonzero(~np.isfinite(primal_of(block.data)))
    if bad.size:
        at = [np.unravel_index(n[bad[0]], z.shape) for n, z in ((block.row, y), (block.col, x))]
        lazy_import("tapegrad.explain.finite", "check_direction")(tape, mode, y, x, at)


@attrs.frozen(slots=False, repr=False)
class PatternTransform(Jacobian[P, R]):
    """The result of `sparsity`."""

    kind = "sparsity"

    def _sparse_rows(self, tape: Tape, inputs: list[Tensor], outputs: list[Any]) -> list[list[Any]]:
        rows = plan_pattern(self, tape, inputs, outputs).blocks(outputs, inputs)
        return [[block for _, block in row] for row in rows]


def sparsity(
    fn: Callable[P, Any],
    argnums: Argnums = 0,
    symmetric: bool = False,
    has_aux: bool = False,
    *,
    argnames: str | Sequence[str] | None = None,
) -> PatternTransform[P, Any]:
    """A function that returns where the Jacobian of `fn` may have elements.

    The pattern is read off the tape, and is valid for all values of these shapes, since no value
    that depends on a differentiated argument is read: `where` has the places of both sides, ``x *
    0`` has the places of x, and `max` the places of all its operands. Captured arrays and other
    arguments, such as an index, are constants, whose zeros count. Real elementwise ops, selections,
    sums, products and loops over rows are exact; other ops, such as a solver or a `while_loop`,
    depend on all of their operands.

    Parameters
    ----------
    fn, argnums, has_aux, argnames
        As for `jacobian`.
    symmetric
        Whether the Jacobian is symmetric, such as the Jacobian of a gradient. A star coloring then
        needs fewer colors.

    Returns
    -------
    A function of the same arguments that returns a `Sparsity`, or a tree of these where
    `jacobian` returns a tree. A printed `Sparsity` is a picture.

    Raises
    ------
    TypeError
        When called, as for `jacobian`.

    Notes
    -----
    One product gives all elements of the columns of a color, which share no row, or, if that is
    cheaper, of the rows of a color, which share no column: A. R. Curtis, M. J. D. Powell and J. K.
    Reid (1974), "On the estimation of sparse Jacobian matrices".

    Examples
    --------
    >>> import tapegrad as tg
    >>> pattern = tg.sparsity(lambda x: (x[1:] - x[:-1]) ** 2)(np.ones(8))
    >>> pattern
    <sparsity of 7 x 8: 14 places, 2 products instead of 8>
    >>> print(pattern)
    sparsity of 7 x 8: 14 places, 2 products instead of 8
    ⠙⢦⡀⠀
    ⠀⠀⠙⠦
    """
    return PatternTransform(
        fn, argnums, has_aux, argnames=argnames, sparse=True, symmetric=symmetric
    )
