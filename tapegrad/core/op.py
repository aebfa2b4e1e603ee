"""Op, a primitive that users call as a function.

A call computes on plain arrays, and writes a record where an operand is a Tensor. One declaration
serves both, and derivatives of any order and compiling too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, ParamSpec

import attrs

from tapegrad.core.messages import refuse_stranger
from tapegrad.core.primitive import Primitive
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import CURRENT, advance, write
from tapegrad.errors.functions import reduce_by_name
from tapegrad.errors.lines import with_user_warnings
from tapegrad.tree.lists import LISTS, first_tensor, has_tensor
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import Unchanging
from tapegrad.types import Array

P = ParamSpec("P")


@attrs.frozen(eq=False, repr=False)
class Op(Primitive, Unchanging, Generic[P]):
    """A pure function of arrays that is recorded when an operand is a Tensor.

    Called on plain arrays it computes and writes nothing. It pickles by name, as
    functions do.

    Attributes
    ----------
    name, forward, vjps, jvp, keeps_weak, takes_weak, batch, complex
        The fields of a `Primitive`.
    declared
        The function whose signature, docstring and module the op has.
    general
        The function that answers calls with arguments that the op lacks, by several ops; or None.
    signature
        The `declare.signature.Signature`: its ``bind`` divides a call's arguments into operands and
        options, and its ``lacks`` says whether a call has an argument for `general`.
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
    general: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    signature: Any = attrs.field(kw_only=True)
    arity: int = attrs.field(init=False)
    __tree_leaf__: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "arity", self.signature.arity)
        for name in ("__doc__", "__module__", "__qualname__"):
            self.__dict__[name] = getattr(self.declared, name, None)
        self.__dict__["__name__"] = self.name
        self.__dict__["__wrapped__"] = self.declared

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Array:
        operands: tuple[Any, ...] = args
        options: dict[str, Any] = kwargs
        if kwargs or len(args) != self.arity:
            if self.general is not None and self.signature.has_unknown_arguments(args, kwargs):
                general: Array = self.general(*args, **kwargs)
                return general
            operands, options = self.bind(args, kwargs)
        for x in operands:
            if type(x) is Tensor or (type(x) in LISTS and has_tensor(x)):
                last = CURRENT.get()
                if last is None:
                    refuse_stranger(self.name, first_tensor(x), None)
                record = write(last, self, operands, options)
                advance(record)
                # a record stands for its array
                return record  # type: ignore[return-value]
        refuse_unreal(self.name, operands, self.complex, takes_none=False)
        return with_user_warnings(self.forward, *operands, **options)

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a call's arguments as operands, and options that are not the default.

        Raises
        ------
        TypeError
            For an unknown or a missing argument, or a Tensor where no gradient would
            pass.
        """
        return self.signature.bind(args, kwargs)  # type: ignore[no-any-return]

    def __get__(self, instance: Any, owner: Any = None) -> Op[P]:
        # help() then takes the op for a routine, and shows its signature and docstring
        return self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> Any:
        if "__real__" in self.__dict__:
            return getattr, (self.__dict__["__real__"], "complex")
        fields = self.name, self.forward, self.vjps, self.jvp, self.keeps_weak, self.takes_weak
        further = {name: getattr(self, name) for name in ("declared", "general", "signature")}
        return reduce_by_name(self, partial(Op, **further), fields)
