"""The base class of optimizers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

import attrs
import numpy as np
from numpy import ndarray

from tapegrad import tree
from tapegrad.arraylike.reading import dtype_of, shape_of
from tapegrad.core.tensor import Tensor
from tapegrad.errors.functions import name_parameters
from tapegrad.errors.lines import warns_at_users_line, with_user_warnings
from tapegrad.errors.names import name_attributes
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import as_readonly_leaf, readonly_array
from tapegrad.types import Array, DType, PyTree

Number: TypeAlias = Array | float
"""A number of a step: a Python float, or an array or a Tensor without axes."""

Schedule: TypeAlias = Callable[[Array], Number]
"""A learning rate as a function of the step."""


def as_number(x: Number | np.generic) -> Number:
    """Turn a NumPy number, which would widen float32 parameters, into a Python number."""
    if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.size == 1):
        number: float = x.item()
        return number
    return x


def as_learning_rate(x: Number | np.generic | Schedule) -> Number | Schedule:
    """Turn a NumPy number into a Python number; keep a schedule."""
    return x if callable(x) else as_number(x)


def is_known(x: object) -> bool:
    """Whether x is not a Tensor, whose value may not be known yet."""
    return not isinstance(x, Tensor)


def is_zero(x: Number) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    return not isinstance(x, Tensor) and x == 0


def compute_into(array: Array, function: Callable[..., Array], *operands: Number) -> Array:
    """Call a ufunc, with its result in the memory of an array if the result fits there.

    The caller must own the array and not need it any more. A Tensor or a wider result gets new
    memory.
    """
    if type(array) is not ndarray:
        return function(*operands)
    dtype, shape, fits = array.dtype, array.shape, False
    x: Any
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


def check_number(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Raise unless a field is a finite number."""
    if isinstance(value, Tensor) and value.shape == ():
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}")
    if not abs(value) < float("inf"):
        raise ValueError(f"{attribute.name} must be finite; it is {value!r}")


def _number_validator(
    condition: str, holds: Callable[[Number], Array | bool]
) -> Callable[[object, attrs.Attribute[Any], Number], None]:
    """Make a validator of finite numbers for which a condition holds, if their value is known."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Number) -> None:
        check_number(instance, attribute, value)
        if is_known(value) and not holds(value):
            raise ValueError(f"{attribute.name} must {condition}; it is {value!r}")

    return check


not_negative = _number_validator("not be negative", lambda x: x >= 0)
positive = _number_validator("be more than 0", lambda x: x > 0)
below_one = attrs.validators.and_(
    not_negative, _number_validator("be less than 1", lambda x: x < 1)
)
count = attrs.validators.and_(
    not_negative, _number_validator("be a number of steps", lambda x: x == int(x))
)


def check_learning_rate(
    instance: object, attribute: attrs.Attribute[Any], value: Number | Schedule
) -> None:
    """Raise unless a field is a learning rate: a number or a function of the step."""
    if not callable(value):
        not_negative(instance, attribute, value)


Params = TypeVar("Params")
if TYPE_CHECKING:
    import typing_extensions

    class HasStep(Protocol):
        """The state of an optimizer."""

        @property
        def step(self) -> Array:
            """The number of steps taken."""

    # a subclass or an annotation may leave the state's class out
    State = typing_extensions.TypeVar("State", bound=HasStep, default=Any)
else:
    # before Python 3.13 it takes no default
    State = TypeVar("State")

_PYTHON_NUMBERS = frozenset({float, int})
# moments that average or sum squares, which are real
_SQUARED_MOMENTS = frozenset({"square", "total"})


def everywhere(path: str, leaf: Array) -> bool:
    """Decay each parameter."""
    return True


@attrs.frozen
class Optimizer(Generic[State]):
    """The base of the optimizers.

    A subclass sets `state` to the class of its state, whose first field is ``step``, the number of
    steps made. Its methods name the other fields (`moments`), compute the numbers of a step
    (`numbers`) and step one parameter (`leaf`).

    Complex parameters step along ``dL/dx + i dL/dy``, and the square of g is ``abs(g)**2``. So a
    phase that multiplies the initial parameters and the data also multiplies all later parameters.

    Attributes
    ----------
    learning_rate
        The length of a step: a non-negative number, or a function of the step, counted
        from 0, such as the schedules of this package.
    weight_decay
        The multiple of each parameter that is added to its gradient.
    decay
        A predicate of a parameter's path and value: whether it decays. ``lambda path, leaf:
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

    # a class variable cannot have the type of `State`
    state: ClassVar[type[Any]]

    learning_rate: float | Array | Schedule = attrs.field(
        converter=as_learning_rate, validator=check_learning_rate
    )
    weight_decay: float | Array = attrs.field(
        converter=as_number, validator=not_negative, default=0.0, kw_only=True
    )
    decay: Callable[[str, Array], bool] = attrs.field(
        default=everywhere, kw_only=True, validator=attrs.validators.is_callable()
    )

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        name_parameters(cls)

    def init(self, params: PyTree) -> State:
        """Make the initial state: step 0, and zeros like the parameters, which are floating."""
        who = f"{type(self).__name__}.init"
        for path, p in tree.named_leaves(params, "params"):
            refuse_unreal(f"{who}: {path}", (p,), True)
            _check_floating(who, path, p)
        real = tree.map(lambda p: p.real if dtype_of(p).kind == "c" else p, params)
        moments = {
            name: tree.map(self.start, real if name in _SQUARED_MOMENTS else params)
            for name in self.moments()
        }
        state: State = self.state(step=readonly_array(np.zeros((), np.int64)), **moments)
        return state

    @warns_at_users_line
    def rate(self, state: State) -> Number:
        """The learning rate of the next step."""
        if not callable(self.learning_rate):
            return self.learning_rate
        rate = self.learning_rate(state.step)
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

    def update(self, params: Params, grads: PyTree, state: State) -> tuple[Params, State]:
        """Make new parameters and a new state; the old ones stay unchanged.

        Parameters
        ----------
        params, grads
            Trees of the same structure.
        state
            From `init` or the last update.

        Returns
        -------
        params, state
            The new trees, of the same structure, shapes and dtypes.

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
        return with_user_warnings(self._update_trees, params, grads, state)

    def _update_trees(self, params: Params, grads: PyTree, state: State) -> tuple[Params, State]:
        names = self.moments()
        moments = [getattr(state, name) for name in names] if names else []
        step_numbers = self.numbers(state.step, self.rate(state))
        cast = None
        if not _PYTHON_NUMBERS.issuperset(map(type, step_numbers)):
            cast = functools.cache(functools.partial(_cast_numbers, step_numbers))
        decay_flags = self._decay_flags(params)
        leaf = self.leaf
        rows: list[tuple[Array, ...]] = []

        # a hot loop: this runs for each parameter in each step
        def step_parameter(p: Array, g: Array, *moments: Array) -> Array:
            shape = getattr(p, "shape", ())
            if getattr(g, "shape", ()) != shape:
                # NumPy would broadcast; `_refuse_difference` explains it better
                raise ValueError(f"shape {shape_of(g)} for a parameter of {shape}")
            if type(p) is not ndarray or type(g) is not ndarray:
                refuse_unreal(f"{type(self).__name__}.update", (p, g), True)
            numbers = step_numbers if cast is None else cast(dtype_of(p))
            start = p
            if decay_flags is not None and next(decay_flags):
                start, g = self.decayed(p, g, *numbers)
            row = leaf(start, g, moments, *numbers)
            new = row[0]
            if type(p) is ndarray and new.dtype is not p.dtype and new.dtype != p.dtype:
                raise ValueError(f"a step of {new.dtype} for a parameter of {p.dtype}")
            if moments:
                for x, old in zip(row[1:], moments, strict=True):
                    if shape_of(old) != shape or x.dtype != dtype_of(old):
                        raise ValueError(f"{dtype_of(old)} {shape_of(old)} for a {x.dtype} {shape}")
                rows.append(row)
            return new if isinstance(new, Tensor) else readonly_array(new)

        is_plain = not names and decay_flags is None and cast is None
        step = self.stepper(step_parameter, *step_numbers) if is_plain else step_parameter
        try:
            new = tree.map(step, params, grads, *moments)
        except (TypeError, ValueError):
            who = f"{type(self).__name__}.update"
            _check_trees_match(who, params, "grads", grads)
            for name, moment in zip(names, moments, strict=True):
                _check_trees_match(who, params, f"state.{name}", moment)
            raise
        new_moments = {}
        for i, name in enumerate(names, 1):
            leaves = iter([as_readonly_leaf(row[i]) for row in rows])
            new_moments[name] = tree.map(lambda _: next(leaves), params)  # noqa: B023
        return new, self.state(_next_step(state.step), **new_moments)

    def _decay_flags(self, params: PyTree) -> Iterator[bool] | None:
        """Yield for each parameter whether it decays; return None if none does."""
        if is_zero(self.weight_decay):
            return None
        return map(self.decay, tree.paths(params), tree.leaves(params))

    # --- defined by subclasses ------------------------------------------------------------

    def moments(self) -> tuple[str, ...]:
        """The fields of the state that are trees like the parameters."""
        raise NotImplementedError

    def start(self, p: Array) -> Array:
        """The initial moment of a parameter; a moment of squares gets the parameter's real part."""
        return readonly_array(np.zeros(np.shape(p), dtype_of(p)))

    def numbers(self, step: Array, rate: Number) -> tuple[Number, ...]:
        """The numbers of a step that `leaf` needs, the learning rate first."""
        return (rate,)

    def decayed(self, p: Array, g: Array, rate: Number, *numbers: Number) -> tuple[Array, Array]:
        """A parameter and its gradient, with the weight decay in one of the two."""
        decay = self.weight_decay * p
        return p, compute_into(decay, np.add, g, decay)

    def stepper(self, stepped: Callable[..., Array], *numbers: Number) -> Callable[..., Array]:
        """A function that steps a parameter along its gradient, without moments and decay.

        The default is `stepped`, which calls `leaf` and checks its results; a subclass may return
        a faster function.
        """
        return stepped

    def leaf(
        self, p: Array, g: Array, moments: tuple[Array, ...], *numbers: Number
    ) -> tuple[Array, ...]:
        """A new parameter and its new moments."""
        raise NotImplementedError


name_attributes(Optimizer, "optimizer")


def _cast_numbers(numbers: tuple[Number, ...], dtype: DType) -> tuple[Number, ...]:
    """Cast arrays to a parameter's dtype, so that they widen nothing; keep Python numbers."""
    dtype = real_dtype(dtype)
    return tuple(
        [x.astype(dtype) if hasattr(x, "astype") and dtype_of(x) != dtype else x for x in numbers]
    )


def _check_trees_match(who: str, params: PyTree, name: str, other: PyTree) -> None:
    """Raise for the first leaf where another tree differs from the parameters."""
    try:
        pairs = tree.zip_leaves(params, other)
    except ValueError as error:
        raise ValueError(f"{who}: {name} is not a tree like params: {error}") from None
    for (path, _), (p, x) in zip(tree.named_leaves(params, "params"), pairs, strict=True):
        _check_floating(who, path, p)
        p_dtype, x_dtype = dtype_of(p), dtype_of(x)
        if (
            shape_of(p) != shape_of(x)
            or x_dtype.kind not in "fciub"
            or np.result_type(p_dtype, x_dtype) != p_dtype
        ):
            raise ValueError(
                f"{who}: {path} is {p_dtype} {shape_of(p)}, but "
                f"{name}{path.removeprefix('params')} is {x_dtype} {shape_of(x)}"
            )


def _check_floating(who: str, path: str, p: Array) -> None:
    """Raise for a parameter that is not floating."""
    if dtype_of(p).kind not in "fc":
        raise ValueError(f"{who}: {path} is {dtype_of(p)}; parameters must be floating")


def real_dtype(dtype: DType) -> DType:
    """The dtype of the real part of numbers of a dtype."""
    return np.finfo(dtype).dtype if dtype.kind == "c" else dtype


def _next_step(step: Array) -> Array:
    """Count a step."""
    if type(step) is ndarray and not step.ndim:
        # the sum of 0-d arrays is a number in NumPy, which takes as long to turn into an array
        return readonly_array(np.array(step.item() + 1, step.dtype))
    return as_readonly_leaf(step + 1)
