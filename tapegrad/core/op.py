"""Op: what can stand on a tape, a forward function on arrays and its VJP rules.

An op is one declaration: a function that computes on arrays, a rule for each operand that a
gradient can pass to, and how a tangent passes. It serves calls on plain arrays, recording,
derivatives of any order, and compiling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, NoReturn, ParamSpec

import attrs

from tapegrad.core.messages import refuse_stranger
from tapegrad.core.rules import Rules
from tapegrad.core.tensor import LISTS, Tensor, first_tensor
from tapegrad.core.writing import CURRENT, advance, write
from tapegrad.errors.functions import by_name
from tapegrad.errors.lines import with_user_warnings
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import Unchanging
from tapegrad.types import Array

P = ParamSpec("P")


@attrs.frozen(eq=False, repr=False)
class Op(Rules, Unchanging, Generic[P]):
    """A pure function of arrays that is recorded when an operand is a Tensor.

    Called on plain arrays it computes and writes nothing. It pickles by name, as
    functions do.

    Attributes
    ----------
    name, forward, vjps, jvp, keeps_weak, takes_weak, batch, complex
        What a record needs to know about the op; see `Rules`.
    declared
        The function that it takes its signature, docstring and module from.
    read
        Turns a call's arguments into operands and options; None if the operands are simply the
        first ``len(vjps)`` arguments.
    general
        Answers calls with arguments that the op lacks, by several ops.
    signature
        How a call's arguments divide into operands and options.
    arity
        The number of operands in a call without options, all by position; -1 if it varies.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.exp, float(tg.exp(0.0))
    (<op exp>, 1.0)
    >>> output, tape = tg.record(tg.exp)(np.zeros(2))
    >>> output, output.op is tg.exp
    (Tensor([1., 1.], line 1: exp), True)
    """

    declared: Callable[P, Any] = attrs.field(kw_only=True)
    read: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] | None = attrs.field(
        default=None, kw_only=True
    )
    general: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    signature: Any = attrs.field(kw_only=True)
    arity: int = attrs.field(init=False)
    __tree_leaf__: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "arity", -1 if self.read else self.signature.arity)
        for name in ("__doc__", "__module__", "__qualname__"):
            self.__dict__[name] = getattr(self.declared, name, None)
        self.__dict__["__name__"] = self.name
        self.__dict__["__wrapped__"] = self.declared

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Array:
        operands: tuple[Any, ...] = args
        options: dict[str, Any] = kwargs
        if kwargs or len(args) != self.arity:
            if self.general is not None and self.signature.lacks(args, kwargs):
                general: Array = self.general(*args, **kwargs)
                return general
            operands, options = self.bind(args, kwargs)
        for x in operands:
            if type(x) is Tensor or (type(x) in LISTS and first_tensor(x) is not None):
                last = CURRENT.get()
                if last is None:
                    refuse_stranger(self.name, first_tensor(x), None)  # type: ignore[arg-type]
                record = write(last, self, operands, options)
                advance(record)
                # a record stands for its array
                return record  # type: ignore[return-value]
        refuse_unreal(self.name, operands, self.complex)
        return with_user_warnings(self.forward, *operands, **options)

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call's arguments as operands, and options that are not the default.

        Raises
        ------
        TypeError
            For an unknown or a missing argument, or a Tensor where no gradient would
            pass.
        """
        if self.read is None:
            operands, options = self.signature.split(args, kwargs)
        elif not kwargs and len(args) == self.signature.n_positional == len(self.signature.names):
            operands, options = self.read(*args)
        else:
            operands, options = self.read(**self.signature.named(args, kwargs))
        for name, value in options.items():
            if type(value) is Tensor:
                _refuse_option(self.name, name, value)
        return operands, options

    def __get__(self, instance: Any, owner: Any = None) -> Op[P]:
        # makes it a routine to help(), which then shows its signature and docstring
        return self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> Any:
        if "__real__" in self.__dict__:
            return getattr, (self.__dict__["__real__"], "complex")
        fields = self.name, self.forward, self.vjps, self.jvp, self.keeps_weak, self.takes_weak
        maker = partial(
            Op,
            declared=self.declared,
            read=self.read,
            general=self.general,
            signature=self.signature,
        )
        return by_name(self, maker, fields)


def _refuse_option(op: str, name: str, value: Tensor) -> NoReturn:
    """Raise for a Tensor as an option of an op."""
    if value.origin.compiling:
        value._read(f"{name} of {op}, an option,")
    raise TypeError(
        f"{op}: {name} is an option, which passes no gradient, and a Tensor was given; pass its "
        "value (t.value), or make it an operand with a VJP rule of its own"
    )
