"""Checks of the numbers that optimizers and schedules take."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor


def plain(x: Any) -> Any:
    """A Python number in place of NumPy's, which would widen float32 parameters."""
    return x.item() if isinstance(x, np.generic | np.ndarray) and x.size == 1 else x


def is_known(x: Any) -> bool:
    """Whether x is not a Tensor, whose value may not be known yet."""
    return not isinstance(x, Tensor)


def is_none(x: Any) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    return type(x) is not Tensor and x == 0


def number(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a finite number."""
    if isinstance(value, Tensor) and value.shape == ():
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}")
    if not abs(value) < float("inf"):
        raise ValueError(f"{attribute.name} must be finite; it is {value!r}")


def not_negative(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a finite number of at least 0."""
    number(instance, attribute, value)
    if is_known(value) and value < 0:
        raise ValueError(f"{attribute.name} must not be negative; it is {value!r}")


def positive(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field, known to be a number, is more than 0."""
    if is_known(value) and not value > 0:
        raise ValueError(f"{attribute.name} must be more than 0; it is {value!r}")


def below_one(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a number from 0 up to 1, so that old steps fade."""
    not_negative(instance, attribute, value)
    if is_known(value) and value >= 1:
        raise ValueError(f"{attribute.name} must be less than 1; it is {value!r}")


def count(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a number of steps."""
    not_negative(instance, attribute, value)
    if is_known(value) and value != int(value):
        raise ValueError(f"{attribute.name} must be a number of steps; it is {value!r}")


def number_or_schedule(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a learning rate: a number or a function of the step."""
    if not callable(value):
        not_negative(instance, attribute, value)
