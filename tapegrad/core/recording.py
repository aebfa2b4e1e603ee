"""Recording a call of a function, whose arguments' leaves become parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from numpy import ndarray

from tapegrad import tree
from tapegrad.core.messages import check_output
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import NO_OPTIONS, Origin, Tensor
from tapegrad.core.writing import (
    CURRENT,
    PARAMETER,
    advance,
    last_record,
    lift,
    record_from,
    write_known,
    write_parameter,
)
from tapegrad.errors.functions import Description, check_callable, label
from tapegrad.errors.lines import users_place
from tapegrad.errors.words import a_kind
from tapegrad.tree.numbers import is_floating, refuse_leaf
from tapegrad.tree.ownership import owned_copy, readonly_array, readonly_view

P = ParamSpec("P")
R = TypeVar("R")


def record(fn: Callable[P, R], lines: bool = False) -> Callable[P, tuple[R, Tape]]:
    """Record the calls of a function.

    Parameters
    ----------
    fn
        Any function. Every floating leaf in its arguments' trees (arrays and Python floats)
        becomes a parameter, and ops called on them are recorded.
    lines
        Whether each record keeps its ``place``, the line of source that it was written for, which
        `Tape.show` and messages then name. This takes time. Inside another recording, the outer
        one decides.

    Returns
    -------
    A function of the same arguments that returns what `fn` returned, its Tensors records of the
    tape and its plain arrays read-only copies, and the `Tape`. Called inside a recording, it
    continues on that recording's tape, and returns its own part of it.

    Raises
    ------
    TapeError
        When called: if the result holds a Tensor of a tape that has ended.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda x, y: x * y + 1.0)(2.0, y=3.0)
    >>> print(tape)
    line  record      operands  shape  dtype    value
       0  x                     ()     float64  2.0
       1  y                     ()     float64  3.0
       2  multiply    %0, %1    ()     float64  6.0
       3  add         %2, 1.0   ()     float64  7.0
    """
    check_callable(fn)
    if type(lines) is not bool:
        raise TypeError(
            f"lines must be True or False, not {a_kind(lines)}; the arguments of fn go to the "
            "function that is returned: output, tape = tg.record(fn)(x)"
        )

    def recorded(*args: P.args, **kwargs: P.kwargs) -> tuple[R, Tape]:
        output, tape, _ = record_call(fn, args, kwargs, find_place=users_place if lines else None)
        # a plain array in the output may be the caller's
        return tree.map(_as_result, output), tape

    recorded.__name__ = recorded.__qualname__ = f"record({label(fn)})"
    recorded.__doc__ = fn.__doc__
    return recorded


def record_call(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] = NO_OPTIONS,
    argnums: tuple[int, ...] | None = None,
    find_place: Callable[[], Any] | None = None,
    description: Description | None = None,
    note_read: Callable[[Tensor], None] | None = None,
) -> tuple[Any, Tape, tuple[Any, ...]]:
    """Record one call, with the leaves of the given arguments as parameters.

    With `argnums` every leaf of those arguments must be floating. Without, the floating leaves of
    all arguments are parameters, and other leaves stay unchanged. The function receives copies of
    containers, which it may change.

    Returns
    -------
    The output, the tape, and the chosen arguments as trees of parameters.
    """
    outer = CURRENT.get()
    of = description or Description.from_function(fn)
    origin = Origin(of.label, False, of.line, find_place, note_read=note_read)
    start = last = origin if outer is None else outer
    parameters: list[Tensor] = []

    def mark(leaf: object, path: str) -> object:
        nonlocal last
        if type(leaf) is ndarray and leaf.dtype.kind in "fc":
            last = write_known(last, PARAMETER, (), NO_OPTIONS, owned_copy(leaf), path)
        elif is_floating(leaf):
            if type(leaf) is Tensor:
                last, leaf = lift(last, PARAMETER, leaf)
            last = write_parameter(last, leaf, path)
        else:
            return readonly_view(leaf) if argnums is None else refuse_leaf(label(fn), leaf, path)
        parameters.append(last)
        return last

    positional, which = list(args), range(len(args)) if argnums is None else dict.fromkeys(argnums)
    for i in which:
        x, name = args[i], of.names[i] if i < len(of.names) else of.argument(i)
        positional[i] = mark(x, name) if type(x) is ndarray else tree.map_with_path(mark, x, name)
    if argnums is None:
        kwargs = {name: tree.map_with_path(mark, x, name) for name, x in kwargs.items()}
    marked = tuple(map(positional.__getitem__, which))
    # the function may change its containers, and `marked` must not change
    for i, x in enumerate(positional):
        if type(x) is ndarray:
            # `readonly_view` without the call, since every training step runs this
            positional[i] = x = x.view()
            x.setflags(False)  # type: ignore[call-arg]
        elif type(x) is not Tensor:
            positional[i] = tree.copy_containers(x, None if i in which else readonly_view)
    if kwargs:
        kwargs = {name: tree.copy_containers(x, readonly_view) for name, x in kwargs.items()}
    if outer is None:
        output, last = record_from(last, fn, positional, kwargs)
    else:
        # the outer recording continues from here, even if fn raises
        advance(last)
        output = fn(*positional, **kwargs)
        last = last_record()
        check_output(output, last, of.label)
    return output, Tape(last, start, tuple(parameters)), marked


def _as_result(leaf: Any) -> Any:
    return readonly_array(leaf.view()) if type(leaf) is ndarray else leaf
