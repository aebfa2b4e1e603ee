"""Losses, metrics and one-hot labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from tapegrad import ops
from tapegrad.arraylike.reading import is_count, shape_of
from tapegrad.core.tensor import Tensor
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.ops.casting import as_floating, as_real, squared_modulus, to_array, values_if_known
from tapegrad.ops.rows import pick
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.types import Array, ArrayLike, DTypeLike

__all__ = ["accuracy", "binary_cross_entropy_loss", "cross_entropy_loss", "huber_loss", "kl_loss"]
__all__ += ["l1_loss", "mse_loss", "one_hot"]

Reduction: TypeAlias = Literal["mean", "sum", "none"]

_REDUCTIONS: dict[str, Callable[[Array], Array]] = {
    "mean": ops.mean,
    "sum": ops.sum,
    "none": lambda losses: losses,
}


def _get_reduction(name: Reduction) -> Callable[[Array], Array]:
    if not isinstance(name, str) or name not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(_REDUCTIONS)}; not {name!r}")
    return _REDUCTIONS[name]


def _subtract_targets(loss: str, predictions: ArrayLike, targets: ArrayLike) -> Array:
    """Subtract the targets from the predictions; raise unless their shapes are equal."""
    _check_same_shape(loss, "predictions", predictions, targets)
    if getattr(predictions, "dtype", np.dtype(float)).kind not in "fc":
        # differences of small or unsigned integers would overflow
        predictions = as_floating(predictions)
    return ops.subtract(predictions, targets)


def _check_probabilities(loss: str, targets: Array, most: float) -> None:
    """Raise for targets out of range, unless only a compiled program knows their values."""
    known = values_if_known(targets)
    if known is not None and ((known < 0) | (known > most)).any():
        raise ValueError(f"{loss}: targets must be probabilities, from 0 to 1; got {known}")


def _check_same_shape(loss: str, name: str, x: ArrayLike, targets: ArrayLike) -> None:
    """Raise unless the targets have the shape of x."""
    shape, expected = shape_of(x), shape_of(targets)
    if shape != expected:
        raise ValueError(
            f"{loss}: {name} have shape {shape}, targets {expected}; they must be the same"
        )


def _count_classes(loss: str, logits: ArrayLike, targets: ArrayLike) -> int:
    """Return the number of classes; raise unless the targets have the logits' leading shape."""
    shape = shape_of(logits)
    if not shape:
        raise ValueError(f"{loss}: logits of shape () have no axis of classes")
    if shape_of(targets) != shape[:-1]:
        raise ValueError(
            f"{loss}: logits of shape {shape} need targets of shape {shape[:-1]}, not "
            f"{shape_of(targets)}"
        )
    return shape[-1]


@warns_at_users_line
def mse_loss(predictions: ArrayLike, targets: ArrayLike, reduction: Reduction = "mean") -> Array:
    """The squared errors, ``(predictions - targets)**2``; for complex numbers ``abs(...)**2``.

    Parameters
    ----------
    predictions, targets
        Arrays of the same shape.
    reduction
        ``"mean"`` or ``"sum"`` over all elements, or ``"none"``.

    Returns
    -------
    A scalar; with ``"none"`` an array of the predictions' shape.

    Raises
    ------
    ValueError
        If the shapes differ, since broadcasting is usually a mistake here.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nn.mse_loss)(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
    array([1., 2.])
    """
    reduce = _get_reduction(reduction)
    errors = _subtract_targets("mse_loss", predictions, targets)
    return reduce((squared_modulus if errors.dtype.kind == "c" else ops.square)(errors))


@warns_at_users_line
def l1_loss(predictions: ArrayLike, targets: ArrayLike, reduction: Reduction = "mean") -> Array:
    """The absolute errors, ``|predictions - targets|``, with derivative 0 at 0.

    Parameters
    ----------
    predictions, targets, reduction
        As for `mse_loss`.

    Returns
    -------
    A scalar; with ``"none"`` an array of the predictions' shape.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.l1_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0])).item()
    1.5
    """
    return _get_reduction(reduction)(ops.abs(_subtract_targets("l1_loss", predictions, targets)))


@warns_at_users_line
def huber_loss(
    predictions: ArrayLike, targets: ArrayLike, reduction: Reduction = "mean", delta: float = 1.0
) -> Array:
    """Half the squared errors, continued by straight lines beyond `delta`.

    For an error e it is ``e**2 / 2`` where ``|e| <= delta``, else ``delta * (|e| - delta / 2)``
    (Huber 1964, https://doi.org/10.1214/aoms/1177703732).

    Parameters
    ----------
    predictions, targets, reduction
        As for `mse_loss`.
    delta
        The error beyond which the loss grows linearly.

    Returns
    -------
    A scalar; with ``"none"`` an array of the predictions' shape.

    Raises
    ------
    ValueError
        If the shapes differ, or `delta` is not positive.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.huber_loss(np.array([1.0, 4.0]), np.array([0.0, 0.0]), reduction="none")
    array([0.5, 3.5])
    """
    reduce = _get_reduction(reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, not {delta!r}")
    distance = ops.abs(_subtract_targets("huber_loss", predictions, targets))
    near = ops.minimum(distance, delta)
    return reduce(near * (distance - 0.5 * near))


@warns_at_users_line
def binary_cross_entropy_loss(
    logits: ArrayLike, targets: ArrayLike, reduction: Reduction = "mean"
) -> Array:
    """The cross entropy of a sigmoid with its target, without overflow.

    Parameters
    ----------
    logits
        The arguments of the sigmoid.
    targets
        The target probabilities, from 0 to 1; of the logits' shape.
    reduction
        ``"mean"`` or ``"sum"`` over all elements, or ``"none"``.

    Returns
    -------
    A scalar; with ``"none"`` an array of the logits' shape.

    Raises
    ------
    ValueError
        If the shapes differ, or a target is out of range (a compiled function does not check
        this for its inputs).

    Examples
    --------
    >>> import tapegrad as tg
    >>> logits, targets = np.array([0.0, -1e4]), np.array([1, 1])
    >>> tg.nn.binary_cross_entropy_loss(logits, targets, reduction="none")
    array([6.93147181e-01, 1.00000000e+04])
    """
    reduce = _get_reduction(reduction)
    name = "binary_cross_entropy_loss"
    refuse_unreal(name, (logits, targets))
    logits = as_floating(logits)
    _check_same_shape(name, "logits", logits, targets)
    targets = as_real(targets).astype(logits.dtype)
    _check_probabilities(name, targets, 1)
    # a target of 0 or 1 leaves one term, without cancellation
    return reduce(targets * ops.softplus(-logits) + (1 - targets) * ops.softplus(logits))


@warns_at_users_line
def kl_loss(logits: ArrayLike, targets: ArrayLike, reduction: Reduction = "mean") -> Array:
    """The Kullback-Leibler divergence of a softmax from the target's probabilities.

    ``sum(targets * (log(targets) - log_softmax(logits)))`` along the last axis. The logarithms
    of probabilities are valid logits.

    Parameters
    ----------
    logits
        Any leading shape, and classes along the last axis.
    targets
        The target probabilities, of the logits' shape. Zeros add nothing to the loss.
    reduction
        ``"mean"`` or ``"sum"`` over all distributions (PyTorch's ``"batchmean"`` and
        ``"sum"``), or ``"none"``.

    Returns
    -------
    A scalar; with ``"none"`` an array of the logits' leading shape.

    Raises
    ------
    ValueError
        If the shapes differ, or a target is out of range, as for `binary_cross_entropy_loss`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> float(tg.nn.kl_loss(np.zeros(2), np.array([1.0, 0.0])).round(4))
    0.6931
    """
    reduce = _get_reduction(reduction)
    refuse_unreal("kl_loss", (logits, targets))
    _check_same_shape("kl_loss", "logits", logits, targets)
    targets = as_real(targets)
    # rounding can lift the probabilities of a softmax above 1
    _check_probabilities("kl_loss", targets, 1.01)
    log_targets = ops.log(ops.where(ops.greater(targets, 0), targets, 1))
    return reduce(ops.sum(targets * (log_targets - ops.log_softmax(logits)), axis=-1))


@warns_at_users_line
def cross_entropy_loss(
    logits: ArrayLike, targets: ArrayLike, reduction: Reduction = "mean"
) -> Array:
    """The cross entropy of a softmax with integer targets, without overflow.

    Parameters
    ----------
    logits
        Any leading shape, and classes along the last axis.
    targets
        The right classes: integers from 0, of the logits' leading shape.
    reduction
        ``"mean"`` or ``"sum"`` over all targets, or ``"none"``.

    Returns
    -------
    A scalar; with ``"none"`` an array of the targets' shape.

    Raises
    ------
    TypeError
        If the targets are not integers.
    ValueError
        If the targets' shape is not the logits' leading shape.
    IndexError
        If a target is not one of the classes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> logits = np.array([[0.0, 1e4], [0.0, 0.0]])
    >>> tg.nn.cross_entropy_loss(logits, np.array([0, 0]), reduction="none")
    array([1.00000000e+04, 6.93147181e-01])
    """
    reduce = _get_reduction(reduction)
    if not isinstance(targets, Tensor):
        refuse_unreal("cross_entropy_loss", (targets,))
        targets = np.asarray(targets)
    if targets.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy_loss(logits, targets) takes integer targets, not {targets.dtype}; "
            "write np.argmax(targets, axis=-1) if they are one-hot, or targets.astype(int)"
        )
    n = _count_classes("cross_entropy_loss", logits, targets)
    if not n:
        raise ValueError(
            f"cross_entropy_loss: logits of shape {shape_of(logits)} have no axis of classes"
        )
    try:
        # a record stands for its array
        picked = pick(ops.log_softmax(logits), targets)  # type: ignore[arg-type]
    except IndexError as error:
        raise IndexError(
            f"cross_entropy_loss: a target is not one of the {n} classes: {error}"
        ) from error
    return reduce(ops.negative(picked))


@warns_at_users_line
def accuracy(logits: ArrayLike, targets: ArrayLike) -> Array:
    """The fraction of predictions whose largest logit is the target.

    Parameters
    ----------
    logits
        Any leading shape, and classes along the last axis. Among equal logits, the first counts.
    targets
        The right classes: integers from 0, of the logits' leading shape.

    Raises
    ------
    ValueError
        If the targets' shape is not the logits' leading shape.
    IndexError
        If a target is not one of the classes (a compiled function does not check this for its
        inputs).

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> tg.nn.accuracy(np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([1, 1])).item()
    0.5
    """
    n, known = _count_classes("accuracy", logits, targets), values_if_known(targets)
    if known is not None and ((known < 0) | (known >= n)).any():
        raise IndexError(
            f"accuracy: a target is not one of the {n} classes: targets go from 0 to {n - 1}; "
            f"got {known}"
        )
    return ops.mean(ops.equal(ops.argmax(logits, axis=-1), targets))


def one_hot(labels: ArrayLike, num_classes: int, dtype: DTypeLike = float) -> Array:
    """Rows of zeros with a one at each label. No gradient passes through it.

    `cross_entropy_loss` takes the labels themselves.

    Parameters
    ----------
    labels
        Integers of any shape. The row of a label outside 0 to ``num_classes - 1`` is all zeros.
    num_classes
        The length of the rows.
    dtype
        The dtype of the result.

    Returns
    -------
    An array of shape ``labels.shape + (num_classes,)``.

    Raises
    ------
    TypeError
        If the labels are not integers.

    Notes
    -----
    The name and the meaning agree with ``jax.nn.one_hot``.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> tg.nn.one_hot(np.array([1, 0, -1]), 2)
    array([[0., 1.],
           [1., 0.],
           [0., 0.]])
    """
    labels = to_array(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"one_hot takes integers, not {labels.dtype}; write labels.astype(int)")
    if not is_count(num_classes):
        raise ValueError(f"one_hot: num_classes must be a count from 0, not {num_classes!r}")
    return ops.astype(ops.equal(labels[..., None], np.arange(num_classes)), dtype)
