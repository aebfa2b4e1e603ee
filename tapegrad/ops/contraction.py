"""Sums of products given by subscripts (`einsum`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.core.forward import apply, linear
from tapegrad.core.op import EachOperand
from tapegrad.declare import op
from tapegrad.declare.batching import Batched
from tapegrad.declare.domain import Call, Choices
from tapegrad.face.table import answers

__all__ = [
    "einsum",
]

# letters for axes, in the order of use
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _einsum_rule(
    i: int, g: Any, y: Any, *operands: Any, subscripts: str, optimize: Any = False
) -> Any:
    """The cotangent of an operand: a product again, of g and the other operands."""
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    spare = iter([letter for letter in LETTERS if letter not in subscripts])
    given = [(output, g), *zip(terms, operands, strict=True)]
    del given[i + 1]
    known = [pair for term, x in given for pair in zip(term, np.shape(x), strict=True)]
    wanted = ""
    for label, n in zip(terms[i], np.shape(operands[i]), strict=True):
        new = label
        if label in wanted:
            # a diagonal was taken: the cotangent lies on it
            new = next(spare)
            given.append((label + new, np.eye(n, dtype=g.dtype)))
        elif (label, n) not in known:
            # it was summed by itself: the cotangent is constant along it
            given.append((label, np.ones(n, g.dtype)))
        wanted += new
    return contract(
        [x for _, x in given],
        subscripts=",".join([term for term, _ in given]) + "->" + wanted,
        # a path fits only the operands that it was made for
        optimize=optimize if isinstance(optimize, bool | str) else True,
    )


def _contract_arguments(
    operands: Sequence[Any], subscripts: str, optimize: Any = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    options = {"subscripts": subscripts}
    return tuple(operands), options if optimize is False else {**options, "optimize": optimize}


def _contract_calls(choose: Choices) -> Call:
    lengths = [choose.among([2, 3, 1, 0]) for _ in range(3)]
    terms, operands = [], []
    for _ in range(choose.integer(1, 3)):
        term = [choose.integer(0, 2) for _ in range(choose.integer(0, 3))]
        # a length of 1 is broadcast, though not along a diagonal
        narrow = [n for n in range(3) if term.count(n) == 1 and choose.among([False] * 3 + [True])]
        terms.append("".join("ijk"[n] for n in term))
        operands.append(choose.array(tuple(1 if n in narrow else lengths[n] for n in term)))
    used = sorted(set("".join(terms)))
    subscripts = f"{','.join(terms)}->{''.join(choose.subset(used))}"
    optimize = choose.among([False, True, "greedy"])
    return Call((operands, subscripts), {} if optimize is False else {"optimize": optimize})


def _contract_batch(
    op: Any, batched: Batched, *operands: Any, subscripts: str, **options: Any
) -> Any:
    new = next((letter for letter in LETTERS if letter not in subscripts), None)
    if new is None:
        return NotImplemented
    inputs, output = subscripts.split("->")
    terms = [new + x if b else x for x, b in zip(inputs.split(","), batched, strict=True)]
    return apply(op, operands, {"subscripts": f"{','.join(terms)}->{new}{output}", **options})


@op(
    each_operand=EachOperand(_einsum_rule),
    read=_contract_arguments,
    domain=_contract_calls,
    batch=_contract_batch,
    jvp=linear,
)
def contract(*operands: Any, subscripts: str, optimize: Any = False) -> Any:
    """The op that `einsum` records, with a letter for each axis.

    Called as ``contract(operands, "ij,jk->ik")``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.einsum("ii", np.eye(3)).item()
    3.0
    """
    y = np.einsum(subscripts, *operands, optimize=optimize)
    # with one operand it may be a view
    return np.array(y) if len(operands) == 1 else y


def einsum(*operands: Any, optimize: Any = False) -> Any:
    """The sum of products given by subscripts, as NumPy's ``einsum``.

    Parameters
    ----------
    *operands
        The subscripts, such as ``"ij,jk->ik"``, and the arrays: any expression that NumPy takes,
        with or without ``->``, with ellipses and with indices that repeat. Alternatively, each
        array followed by a list of integers for its axes and, optionally, a list for the result's
        at the end.
    optimize
        Whether, or how, to look for a better order than from left to right; it applies to the
        gradient too.

    Raises
    ------
    ValueError
        If the subscripts do not fit the arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.einsum("ij,j->i", x, np.ones(2))
    array([3., 7.])
    >>> tg.grad(lambda x: tg.einsum("ii", x))(x)
    array([[1., 0.],
           [0., 1.]])
    """
    if not operands:
        raise ValueError("einsum takes subscripts and arrays; none were given")
    if isinstance(operands[0], str):
        subscripts, *arrays = operands
    else:
        subscripts, arrays = _lettered(operands), list(operands[: len(operands) // 2 * 2 : 2])
    explicit = _explicit(subscripts, [np.ndim(x) for x in arrays])
    return contract(arrays, subscripts=explicit, optimize=optimize)


answers([np.einsum], einsum)


def _lettered(operands: tuple[Any, ...]) -> str:
    """The subscripts for arrays that are followed by lists of integers."""
    letters = sorted(LETTERS)
    terms = [
        "".join(["..." if label is Ellipsis else letters[label] for label in labels])
        for labels in (*operands[1::2], *(operands[-1:] if len(operands) % 2 else ()))
    ]
    inputs = ",".join(terms[: len(operands) // 2])
    return f"{inputs}->{terms[-1]}" if len(operands) % 2 else inputs


def _explicit(subscripts: str, n_axes: Sequence[int]) -> str:
    """Subscripts that include the result's, with a letter for each axis of an ellipsis."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(n_axes):
        raise ValueError(
            f"einsum: {subscripts!r} has subscripts for {len(terms)} operands; "
            f"{len(n_axes)} were given"
        )
    hidden = [n - len(term.replace("...", "")) for term, n in zip(terms, n_axes, strict=True)]
    for i, (term, n) in enumerate(zip(terms, hidden, strict=True)):
        if n < 0 or (n > 0 and "..." not in term):
            raise ValueError(
                f"einsum: {term!r} in {subscripts!r} does not fit operand {i}, "
                f"which has {n_axes[i]} axes"
            )
    letters = [letter for letter in LETTERS if letter not in subscripts]
    new = "".join(letters[: max(hidden)])
    if not arrow:
        once = [letter for letter, n in Counter(inputs).items() if n == 1 and letter.isalpha()]
        output = "..." * ("..." in inputs) + "".join(sorted(once))
    if new and "..." not in output:
        raise ValueError(
            f"einsum: the result in {subscripts!r} has no ellipsis, but the operands do"
        )
    full = [term.replace("...", new[len(new) - n :]) for term, n in zip(terms, hidden, strict=True)]
    return f"{','.join(full)}->{output.replace('...', new)}"
