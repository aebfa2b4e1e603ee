"""The base class of optimizers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import attrs
import numpy as np
from numpy import ndarray

from tapegrad import tree
from tapegrad.arraylike.reading import dtype_of, shape_of
from tapegrad.core.tensor import Tensor
from tapegrad.errors.functions import name_parameters
from tapegrad.errors.lines import at_users_line, with_user_warnings
from tapegrad.errors.names import name_attributes
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import as_readonly_leaf, readonly_array


def plain(x: Any) -> Any:
    """A Python number in place of NumPy's, which would widen float32 parameters."""
    return x.item() if isinstance(x, np.generic | np.ndarray) and x.size == 1 else x


def is_known(x: Any) -> bool:
    """Whether x is not a Tensor, whose value may not be known yet."""
    return not isinstance(x, Tensor)


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    return type(x) is not Tensor and x == 0


def within(array: Any, function: Any, *operands: Any) -> Any:
    """The result of one of NumPy's functions, in the memory of an array if it fits there.

    The array is the caller's own, and not needed any more. Records and wider results stay apart.
    """
    if type(array) is not ndarray:
        return function(*operands)
    dtype, shape, fits = array.dtype, array.shape, False
    for x in operands:
        if x is array:
            fits = True
        elif type(x) is not float:
            if type(x) not in (ndarray, dtype.type) or x.dtype != dtype:
                return function(*operands)
            if x.shape not in (shape, ()):
                return function(*operands)
            fits = fits or x.shape == shape
    return function(*operands, out=array) if fits else function(*operands)


def number(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a finite number."""
    if isinstance(value, Tensor) and value.shape == ():
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}")
    if not abs(value) < float("inf"):
        raise ValueError(f"{attribute.name} must be finite; it is {value!r}")


def _numbers(needed: str, fits: Callable[[Any], bool]) -> Callable[[Any, Any, Any], None]:
    """A validator of finite numbers: each must be as it says, if its value is known."""

    def check(instance: Any, attribute: Any, value: Any) -> None:
        number(instance, attribute, value)
        if is_known(value) and not fits(value):
            raise ValueError(f"{attribute.name} must {needed}; it is {value!r}")

    return check


not_negative = _numbers("not be negative", lambda x: x >= 0)
positive = _numbers("be more than 0", lambda x: x > 0)
# so that old steps fade
below_one = attrs.validators.and_(not_negative, _numbers("be less than 1", lambda x: x < 1))
count = attrs.validators.and_(not_negative, _numbers("be a number of steps", lambda x: x == int(x)))


def number_or_schedule(instance: Any, attribute: Any, value: Any) -> None:
    """Check that a field is a learning rate: a number or a function of the step."""
    if not callable(value):
        not_negative(instance, attribute, value)


Params = TypeVar("Params", bound=Any)
State = TypeVar("State", bound=Any)

_PYTHON = frozenset({float, int})
# the moments of squares, which are real
_SQUARES = frozenset({"square", "total"})


def everywhere(path: str, leaf: Any) -> bool:
    """Decay each parameter."""
    return True


@attrs.frozen
class Optimizer:
    """The base of the optimizers.

    A subclass names the class of its state, whose first field is ``step``, the number of
    steps made. Its methods name the other fields (`moments`), compute the numbers of a step
    (`numbers`) and step one parameter (`leaf`).

    Complex parameters are stepped along ``dL/dx + i dL/dy``, and their squares are ``abs(g)**2``.
    So if the initial parameters and the data are multiplied by a phase, the path is too.

    Attributes
    ----------
    learning_rate
        The length of a step: a non-negative number, or a function of the step, counted
        from 0, such as the schedules of this package.
    weight_decay
        How much of each parameter is added to its gradient.
    decay
        Which parameters decay: a function of a parameter's path and value. ``lambda path, leaf:
        path.endswith("weight")`` leaves biases alone.

    Examples
    --------
    >>> import tapegrad as tg
    >>> optimizer = tg.optim.SGD(0.5)
    >>> params = {"w": np.array([2.0])}
    >>> state = optimizer.init(params)
    >>> params, state = optimizer.update(params, {"w": np.array([1.0])}, state)
    >>> params, state.step, optimizer.rate(state)
    ({'w': array([1.5])}, array(1), 0.5)
    """

    state: ClassVar[type[Any]]

    learning_rate: Any = attrs.field(converter=plain, validator=number_or_schedule)
    weight_decay: Any = attrs.field(
        converter=plain, validator=not_negative, default=0.0, kw_only=True
    )
    decay: Callable[[str, Any], bool] = attrs.field(
        default=everywhere, kw_only=True, validator=attrs.validators.is_callable()
    )

    def __init_subclass__(cls) -> None:
        name_parameters(cls)

    def init(self, params: Any) -> Any:
        """The initial state: step 0, and zeros like the parameters, which are floating."""
        who = f"{type(self).__name__}.init"
        for path, p in tree.named_leaves(params, "params"):
            refuse_unreal(f"{who}: {path}", (p,), True)
            _check_floating(who, path, p)
        real = tree.map(lambda p: p.real if dtype_of(p).kind == "c" else p, params)
        start = {
            name: tree.map(self.start, real if name in _SQUARES else params)
            for name in self.moments()
        }
        return self.state(step=readonly_array(np.zeros((), np.int64)), **start)

    @at_users_line
    def rate(self, state: Any) -> Any:
        """The learning rate of the next step."""
        rate = self.learning_rate
        if not callable(rate):
            return rate
        rate = rate(state.step)
        if np.shape(rate) != ():
            raise ValueError(
                f"learning_rate must return one number for a step; it returned an array "
                f"of shape {np.shape(rate)}"
            )
        if is_known(rate) and not rate >= 0:
            raise ValueError(
                f"learning_rate must not be negative; it returned {rate!r} for step {state.step}"
            )
        return rate

    def update(self, params: Params, grads: Any, state: State) -> tuple[Params, State]:
        """New parameters and a new state; the old ones stay unchanged.

        Parameters
        ----------
        params, grads
            Trees of the same structure.
        state
            From `init` or the last update.

        Returns
        -------
        params, state
            Of the same structure, shapes and dtypes.

        Raises
        ------
        TypeError
            If the state is not of the optimizer's class.
        ValueError
            If the trees differ in structure, shapes or dtypes; the message has the path of the
            first difference.
        """
        if not isinstance(state, self.state):
            raise TypeError(
                f"{type(self).__name__}.update(params, grads, state): state must be what init or "
                f"the last update returned; got {type(state).__name__}"
            )
        return with_user_warnings(self._updated, params, grads, state)

    def _updated(self, params: Params, grads: Any, state: State) -> tuple[Params, State]:
        names = self.moments()
        moments = [getattr(state, name) for name in names] if names else []
        now = self.numbers(state.step, self.rate(state))
        cast = None
        if not _PYTHON.issuperset(map(type, now)):
            cast = functools.cache(functools.partial(_cast, now))
        decays = self._decays(params)
        leaf = self.leaf
        rows: list[tuple[Any, ...]] = []

        # this runs for each parameter in each step, so it does only what is necessary
        def stepped(p: Any, g: Any, *moments: Any) -> Any:
            shape = getattr(p, "shape", ())
            if getattr(g, "shape", ()) != shape:
                # NumPy would broadcast; `_refuse_difference` explains it better
                raise ValueError(f"shape {shape_of(g)} for a parameter of {shape}")
            if type(p) is not ndarray or type(g) is not ndarray:
                refuse_unreal(f"{type(self).__name__}.update", (p, g), True)
            numbers = now if cast is None else cast(dtype_of(p))
            at = p
            if decays is not None and next(decays):
                at, g = self.decayed(p, g, *numbers)
            row = leaf(at, g, moments, *numbers)
            new = row[0]
            if type(p) is ndarray and new.dtype is not p.dtype and new.dtype != p.dtype:
                raise ValueError(f"a step of {new.dtype} for a parameter of {p.dtype}")
            if moments:
                for x, old in zip(row[1:], moments, strict=True):
                    if shape_of(old) != shape or x.dtype != dtype_of(old):
                        raise ValueError(f"{dtype_of(old)} {shape_of(old)} for a {x.dtype} {shape}")
                rows.append(row)
            return new if type(new) is Tensor else readonly_array(new)

        is_plain = not names and decays is None and cast is None
        each = self.stepper(stepped, *now) if is_plain else stepped
        try:
            new = tree.map(each, params, grads, *moments)
        except (TypeError, ValueError):
            who = f"{type(self).__name__}.update"
            _refuse_difference(who, params, "grads", grads)
            for name, moment in zip(names, moments, strict=True):
                _refuse_difference(who, params, f"state.{name}", moment)
            raise
        after = {}
        for i, name in enumerate(names, 1):
            leaves = iter([as_readonly_leaf(row[i]) for row in rows])
            after[name] = tree.map(lambda _: next(leaves), params)  # noqa: B023
        return new, self.state(_after(state.step), **after)

    def _decays(self, params: Any) -> Iterator[bool] | None:
        """For each parameter, whether it decays; None if none does."""
        if is_zero(self.weight_decay):
            return None
        return map(self.decay, tree.paths(params), tree.leaves(params))

    # --- defined by subclasses ------------------------------------------------------------

    def moments(self) -> tuple[str, ...]:
        """The fields of the state that are trees like the parameters."""
        raise NotImplementedError

    def start(self, p: Any) -> Any:
        """The initial moment of a parameter; for one of squares, p is the parameter's real part."""
        return readonly_array(np.zeros(np.shape(p), dtype_of(p)))

    def numbers(self, step: Any, rate: Any) -> tuple[Any, ...]:
        """The numbers of a step that `leaf` needs, the learning rate first."""
        return (rate,)

    def decayed(self, p: Any, g: Any, rate: Any, *numbers: Any) -> tuple[Any, Any]:
        """A parameter and its gradient with the decay in one of them."""
        decay = self.weight_decay * p
        return p, within(decay, np.add, g, decay)

    def stepper(self, stepped: Callable[..., Any], *numbers: Any) -> Callable[..., Any]:
        """A function that steps a parameter along its gradient, without moments and decay.

        It may do in less time what `run_steps` does, which makes the step by `leaf` and checks it.
        """
        return stepped

    def leaf(self, p: Any, g: Any, moments: tuple[Any, ...], *numbers: Any) -> tuple[Any, ...]:
        """A new parameter and its new moments."""
        raise NotImplementedError


name_attributes(Optimizer, "optimizer")


def _cast(numbers: tuple[Any, ...], dtype: Any) -> tuple[Any, ...]:
    """Python numbers unchanged, and arrays in a parameter's dtype, so that they widen nothing."""
    dtype = real_dtype(dtype)
    return tuple(
        [x.astype(dtype) if hasattr(x, "dtype") and x.dtype != dtype else x for x in numbers]
    )


def _refuse_difference(who: str, params: Any, name: str, other: Any) -> None:
    """Raise for the first place where another tree differs from the parameters."""
    try:
        pairs = tree.zip_leaves(params, other)
    except ValueError as error:
        raise ValueError(f"{who}: {name} is not a tree like params: {error}") from None
    for (path, _), (p, x) in zip(tree.named_leaves(params, "params"), pairs, strict=True):
        _check_floating(who, path, p)
        ours, theirs = dtype_of(p), dtype_of(x)
        if (
            shape_of(p) != shape_of(x)
            or theirs.kind not in "fciub"
            or np.result_type(ours, theirs) != ours
        ):
            raise ValueError(
                f"{who}: {path} is {ours} {shape_of(p)}, but {name}{path.removeprefix('params')} "
                f"is {theirs} {shape_of(x)}"
            )


def _check_floating(who: str, path: str, p: Any) -> None:
    """Raise for a parameter that is not floating."""
    if dtype_of(p).kind not in "fc":
        raise ValueError(f"{who}: {path} is {dtype_of(p)}; parameters must be floating")


def real_dtype(dtype: Any) -> Any:
    """The dtype of the parts of complex numbers; of real ones, theirs."""
    return np.finfo(dtype).dtype if dtype.kind == "c" else dtype


def _after(step: Any) -> Any:
    """The number of the next step."""
    if type(step) is ndarray and not step.ndim:
        # NumPy turns a sum without axes into a number, and making an array of it takes as long
        return readonly_array(np.array(step.item() + 1, step.dtype))
    return as_readonly_leaf(step + 1)
