"""Op: a forward function on arrays and its VJP rules; how to add one.

An op is one declaration: a function that computes on arrays, and a rule for each
operand that a gradient can pass to. The same declaration serves calls on plain
arrays, recording, derivatives of any order, and compiling.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, ParamSpec

import attrs
import numpy as np

from tapegrad.domain import REAL, Domain, each
from tapegrad.core.ownership import keep, lend
from tapegrad.core.tape import CURRENT, advance, refuse_stranger, require_real, write
from tapegrad.core.tensor import NUMPY, OPS, Tensor

P = ParamSpec("P")

Rule = Callable[..., Any]


@attrs.frozen
class EachOperand:
    """The rules of an op that takes any number of operands.

    Attributes
    ----------
    rule
        Called with the operand's position before the arguments of a VJP rule.
    last
        The position of the last operand that has a rule; None if all have.
    """

    rule: Rule
    last: int | None = None

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands."""
        last = n if self.last is None else self.last
        return [partial(self.rule, i) if i <= last else None for i in range(n)]


@attrs.frozen
class Joint:
    """One rule for all operands, where their cotangents are found together.

    Attributes
    ----------
    rule
        A VJP rule that returns a sequence with the cotangent of each operand, or None.
    """

    rule: Rule

    def rules(self, n: int) -> list[Rule | None]:
        """The rules of n operands: the first one called calls the joint rule for all."""
        cotangents: list[Any] = []

        def one(i: int, *args: Any, **options: Any) -> Any:
            if not cotangents:
                cotangents.extend(self.rule(*args, **options))
            return cotangents[i]

        return [partial(one, i) for i in range(n)]


Source = str | Callable[..., str] | None
VJPs = tuple[Rule | None, ...] | EachOperand | Joint


@attrs.frozen(eq=False, repr=False, slots=False)
class Op(Generic[P]):
    """A pure function of arrays that is recorded when an operand is a Tensor.

    Made by `custom_op`, or by `op` for the ops of this package. Called on plain
    arrays it computes and writes nothing; it pickles by name, as functions do.

    Attributes
    ----------
    name
        What tapes and messages call it.
    forward
        The function itself: operands, then options.
    vjps
        A rule for each operand, or None where no gradient passes: a function of
        the cotangent, the output, the operands and the options that returns the
        operand's cotangent. Rules are written with ops, so that they are recorded
        when a derivative is itself differentiated. The sweep undoes broadcasting.
    keeps_weak
        Whether Python numbers alone give a Python number, as with the arithmetic
        operators.
    takes_weak
        Whether a Python number leaves a float32 array beside it what it is: where
        `keeps_weak` holds, and for ufuncs. Other ops are given an array in its place.
    read
        Turns a call's arguments into operands and options where it is not the
        rule that the first ``len(vjps)`` are the operands.
    composite
        Whether `forward` is written with ops, so that a compiled program may have
        its parts instead. Without rules, a tape has the parts too, and it may take any
        number of ``*arrays``.
    source
        How a compiled program writes it: a format string, or a function that makes one
        of the operands' shapes and dtypes. ``{0}`` is the first operand, ``{axis}`` an
        option, ``{shape}`` the result's shape and ``{out}`` a buffer for it. By default
        a ufunc is called by its name, and any other op through `forward`.
    view
        Whether the result may share the first operand's memory.
    domain
        The calls that it is tested on (`tapegrad.domain`).
    kink
        The convention where it has no derivative, in a few words.
    jvp
        How a tangent passes, where that is simpler than by the VJP of the VJP:
        ``"rule"``, as the VJP rule has it, for each element is a function of one alone;
        ``"linear"``, by the op itself with the tangent in the operand's place; or a
        function of the tangents by the operands' positions, the output, the operands and
        the options. By default ``"rule"`` for ufuncs.
    declaration
        The function that has the op's signature and docstring, if `forward` has not.
    """

    name: str
    forward: Callable[P, Any]
    vjps: VJPs
    keeps_weak: bool = False
    read: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] | None = None
    composite: bool = False
    source: Source = None
    view: bool = False
    domain: Domain | None = None
    kink: str = ""
    jvp: str | Rule = attrs.field()
    takes_weak: bool = attrs.field()
    __tree_leaf__: ClassVar[bool] = True
    declaration: Callable[..., Any] = attrs.Factory(lambda self: self.forward, takes_self=True)
    arity: int = attrs.field(init=False)
    is_parts: bool = attrs.field(init=False)
    is_variadic: bool = attrs.field(init=False)
    parameters: tuple[str, ...] = attrs.field(init=False)
    positional: tuple[str, ...] = attrs.field(init=False)
    defaults: Mapping[str, Any] = attrs.field(init=False)

    @jvp.default
    def _default_jvp(self) -> str | Rule:
        return "rule" if self._n_elements() else ""

    @takes_weak.default
    def _default_takes_weak(self) -> bool:
        # of one operand the dtype is the same either way, and arrays are simpler for rules
        return self.keeps_weak or self._n_elements() > 1

    def _n_elements(self) -> int:
        """The number of operands of a function of elements; 0 for another function."""
        ufunc = self.forward
        return ufunc.nin if isinstance(ufunc, np.ufunc) and ufunc.signature is None else 0

    def __attrs_post_init__(self) -> None:
        names, n_positional, defaults, is_variadic = _parameters(self.read or self.declaration)
        set_ = self.__dict__.__setitem__
        set_("arity", len(self.vjps) if isinstance(self.vjps, tuple) and not self.read else -1)
        set_("is_parts", self.composite and self.vjps == ())
        set_("is_variadic", is_variadic and self.is_parts)
        set_("parameters", names)
        set_("positional", names[:n_positional])
        set_("defaults", defaults)
        if self.arity > len(self.parameters):
            raise TypeError(
                f"{self.name} takes {len(self.parameters)} arguments but has {self.arity} VJP "
                "rules; give one rule an operand, None where no gradient passes"
            )
        for name in ("__doc__", "__module__", "__qualname__"):
            set_(name, getattr(self.declaration, name, None))
        set_("__name__", self.name)
        set_("__wrapped__", self.declaration)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        operands: tuple[Any, ...] = args
        options: dict[str, Any] = kwargs
        if kwargs or len(args) != self.arity:
            operands, options = self.bind(args, kwargs)
            if self.is_parts:
                return self.forward(*operands, **options)
        for x in operands:
            if type(x) is Tensor:
                last = CURRENT.get()
                if last is None:
                    refuse_stranger(self, x, None)
                record = write(last, self, operands, options)
                advance(record)
                return record
        return self.forward(*operands, **options)

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call's arguments as operands, and options that are not the default.

        Raises
        ------
        TypeError
            For an argument the op does not have, one that is missing, or a Tensor where
            no gradient would pass.
        """
        operands, options = self._bind(args, kwargs)
        if not self.is_parts:
            for name, value in options.items():
                if type(value) is Tensor:
                    if value.origin.compiling:
                        value._read(f"{name} of {self.name}, an option,")
                    raise TypeError(
                        f"{self.name}: {name} is an option, which passes no gradient, and a "
                        "Tensor was given; pass its value (t.value), or make it an operand with a "
                        "VJP rule of its own"
                    )
        return operands, options

    def _bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        names = self.parameters
        if len(args) == self.arity and set(kwargs) <= set(names[self.arity :]):
            return args, {n: v for n, v in kwargs.items() if v is not self.defaults.get(n, self)}
        given = dict(zip(self.positional, args, strict=False))
        if len(args) > len(self.positional) and not self.is_variadic:
            raise TypeError(
                f"{self.name} takes {', '.join(self.positional)} by position; got {len(args)}"
            )
        for name, value in kwargs.items():
            if name in given:
                raise TypeError(f"{self.name} got {name} twice")
            if name in names:
                given[name] = value
            elif not (name in _HARMLESS and value is _HARMLESS[name]):
                raise TypeError(
                    f"{self.name} does not support the argument {name!r}; "
                    f"it takes {', '.join(names)}"
                )
        missing = [name for name in names if name not in given and name not in self.defaults]
        if missing:
            raise TypeError(f"{self.name} needs {', '.join(missing)}")
        if self.read is not None:
            return self.read(**given)
        operands = tuple(
            given.pop(name) if name in given else self.defaults[name]
            for name in names[: self.arity]
        )
        operands += args[len(self.positional) :]
        options = {
            n: v for n, v in given.items() if n not in self.defaults or v is not self.defaults[n]
        }
        return operands, options

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> str:
        return str(self.__dict__["__qualname__"])

    def __copy__(self) -> Op[P]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Op[P]:
        return self


def _parameters(function: Any) -> tuple[tuple[str, ...], int, dict[str, Any], bool]:
    """A function's parameters, how many go by position, the defaults, and if it has ``*args``."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, np.ufunc):
        return tuple(f"x{i + 1}" for i in range(function.nin)), function.nin, {}, False
    if not hasattr(function, "__code__"):
        raise TypeError(f"an op is made of a Python function or a ufunc, not of {function!r}")
    # inspect.signature would say the same, but takes long to import
    code = function.__code__
    n_positional = code.co_argcount
    names = code.co_varnames[: n_positional + code.co_kwonlyargcount]
    values = function.__defaults__ or ()
    defaults = dict(zip(names[n_positional - len(values) : n_positional], values, strict=True))
    defaults.update(function.__kwdefaults__ or {})
    # a flag of code objects, by which inspect knows them too
    return names, n_positional, defaults, bool(code.co_flags & 0x04)


# Arguments that NumPy's functions have, at the value that asks for nothing.
_HARMLESS: Mapping[str, Any] = {"out": None, "where": True, "dtype": None}


def op(
    *vjps: Rule | None,
    each_operand: EachOperand | None = None,
    ufunc: Callable[..., Any] | None = None,
    numpy: Any = (),
    read: Callable[..., Any] | None = None,
    keeps_weak: bool = False,
    composite: bool = False,
    source: Source = None,
    view: bool = False,
    domain: Domain | None = None,
    kink: str = "",
    jvp: str | Rule | None = None,
    takes_weak: bool | None = None,
) -> Callable[[Callable[P, Any]], Op[P]]:
    """Declare an op of this package and enter it in the table of ops.

    Parameters
    ----------
    *vjps
        A rule for each operand, or None; none at all for a composite that is always
        recorded as its parts.
    each_operand
        The rules of an op that takes any number of operands, instead.
    ufunc
        The NumPy ufunc that is its forward function and that it answers for on
        Tensors; the decorated function then says how it is called, and what it does.
    numpy
        Further NumPy functions that it answers for.
    read, keeps_weak, composite, source, view, kink, jvp, takes_weak
        See `Op`.
    domain
        See `Op`; any real numbers by default for a ufunc.
    """
    if domain is None and isinstance(ufunc, np.ufunc) and ufunc.signature is None:
        domain = each(*(REAL,) * ufunc.nin)

    given = {"jvp": jvp, "takes_weak": takes_weak}
    further: dict[str, Any] = {name: x for name, x in given.items() if x is not None}

    def declare(forward: Callable[P, Any]) -> Op[P]:
        declared = Op(
            forward.__name__,
            ufunc or forward,
            each_operand or vjps,
            keeps_weak,
            read,
            composite,
            source,
            view,
            domain,
            kink,
            declaration=forward,
            **further,
        )
        OPS[declared.name] = declared
        for function in numpy if isinstance(numpy, tuple) else (numpy,):
            NUMPY[function] = declared
        if ufunc is not None:
            NUMPY[ufunc] = declared
        return declared

    return declare


def custom_op(
    vjps: Iterable[Rule | None], name: str | None = None, domain: Domain | None = None
) -> Callable[[Callable[P, Any]], Op[P]]:
    """Make an op of a function on arrays and its VJP rules.

    Parameters
    ----------
    vjps
        One rule an operand: a function of the cotangent, the output, the operands
        and the options that returns the operand's cotangent, written with
        operators, ``np.*`` or tapegrad's functions; None where no gradient
        passes. The function's first parameters are the operands, one a rule; the
        others are options, passed to the rules by keyword.
    name
        What tapes and messages call the op; the function's name by default.
    domain
        The calls to test it on (`tapegrad.domain`), which `tapegrad.testing.operands_for`
        draws from.

    Returns
    -------
    A decorator that returns an `Op`.

    Raises
    ------
    TypeError
        If there are more rules than parameters, or one is no function.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
    ... def cube(x):
    ...     return x**3
    >>> tg.grad(cube)(2.0), tg.grad(tg.grad(cube))(2.0)
    (array(12.), array(12.))
    """
    rules = () if callable(vjps) else tuple(vjps)
    if callable(vjps) or not all(rule is None or callable(rule) for rule in rules):
        raise TypeError(
            "custom_op takes a tuple of rules, one an operand and None where no gradient passes: "
            "@tg.custom_op(vjps=(rule,))"
        )

    def declare(function: Callable[P, Any]) -> Op[P]:
        called = name or function.__name__

        @functools.wraps(function)
        def forward(*args: P.args, **kwargs: P.kwargs) -> Any:
            # the function may write to its arguments, and return an array that it keeps
            lent = [lend(x) if type(x) is np.ndarray else x for x in args]
            y = function(*lent, **kwargs)  # type: ignore[arg-type]
            if not isinstance(y, np.ndarray | np.generic | float | int):
                raise TypeError(
                    f"{called}: the function returned a {type(y).__name__}; one array of real "
                    "numbers is needed (is a return missing?)"
                )
            require_real(np.asarray(y).dtype, f"{called}: the result")
            return np.array(y)

        names, _, defaults, _ = _parameters(function)
        defaults = {n: defaults[n] for n in names[len(rules) :] if n in defaults}
        guarded = tuple(_guarded(rule, called, i, defaults) for i, rule in enumerate(rules))
        return Op(called, forward, guarded, domain=domain)

    return declare


def _guarded(rule: Rule | None, name: str, i: int, defaults: Mapping[str, Any]) -> Rule | None:
    """A user's rule, kept from writing to the arrays it reads and from handing out its own.

    Options that a call leaves at their defaults reach it too, where it has a place for them.
    """
    if rule is None:
        return None
    named = _parameters(rule)[0] if hasattr(rule, "__code__") else ()
    left = {n: value for n, value in defaults.items() if n in named}

    @functools.wraps(rule)
    def guarded(*args: Any, **options: Any) -> Any:
        lent = [lend(x) if type(x) is np.ndarray else x for x in args]
        try:
            c = rule(*lent, **(left | options))
        except Exception as error:
            error.add_note(
                f"in the VJP rule of {name} for operand {i}, which is called with the cotangent, "
                "the output and the operands, and with the options by keyword"
            )
            raise
        if c is None:
            raise TypeError(
                f"a VJP rule of {name} returned None (is a return missing?); where no gradient "
                "passes, write None for the rule in vjps"
            )
        shapes = {np.shape(x) for x in args[1:]}
        if np.ndim(c) > max(map(len, shapes)):
            known = ", ".join(map(str, sorted(shapes)))
            raise ValueError(
                f"the VJP rule of {name} for operand {i} gives a cotangent of shape "
                f"{np.shape(c)}, which does not fit the operand's: the shapes are {known}"
            )
        return as_cotangent(c, name)

    return guarded


def as_cotangent(c: Any, name: str) -> Any:
    """What a user's rule returned: a Tensor, or an array that the rule cannot change."""
    if type(c) is Tensor:
        return c
    c = np.asarray(c)
    require_real(c.dtype, f"the cotangent that a VJP rule of {name} returned")
    return keep(c)
