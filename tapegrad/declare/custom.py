"""Hand-written rules: `custom_op` for a function of arrays, `custom_vjp` for one of trees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, ParamSpec, TypeVar

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.core.broadcasting import unbroadcast
from tapegrad.core.forward import transpose_vjps
from tapegrad.core.messages import check_output, refuse_stranger
from tapegrad.core.op import Op
from tapegrad.core.primitive import Joint, Parts, Primitive, Rule
from tapegrad.core.tensor import Tensor, primals
from tapegrad.core.writing import CURRENT, advance, lift, write_known
from tapegrad.declare import declare
from tapegrad.declare.abstract import call_once, call_unrecorded, known_values
from tapegrad.declare.batching import batch_elementwise, batch_size
from tapegrad.declare.parts import Layout, is_numeric
from tapegrad.declare.signature import Signature
from tapegrad.domain import Domain
from tapegrad.errors import TraceError
from tapegrad.errors.functions import (
    Wrapper,
    argument_names,
    check_callable,
    label,
)
from tapegrad.errors.lines import call_users_function, with_user_warnings
from tapegrad.errors.words import a_kind, got
from tapegrad.tree.cotangents import conjugate_cotangent
from tapegrad.tree.numbers import as_constant, is_floating, refuse_unreal, require_real
from tapegrad.tree.opaque import refuse_hidden
from tapegrad.tree.ownership import owned_copy, readonly_view

P = ParamSpec("P")
R = TypeVar("R", bound=Any)
Fn = Callable[..., Any]


def custom_op(
    vjps: Iterable[Rule | None],
    name: str | None = None,
    domain: Domain | None = None,
    *,
    jvp: Rule | None = None,
    batch: Rule | str | None = None,
) -> Callable[[Callable[P, Any]], Op[P]]:
    """Make an op of a function on arrays and its VJP rules.

    When recorded, the function and its rules receive arrays, and Python numbers if it is called
    with them, which leave float32 as it is. Use only their results: no gradient passes through an
    array that they set aside.

    Parameters
    ----------
    vjps
        One rule for each operand: a function of the cotangent, the output, the operands and the
        options that returns the operand's cotangent, written with operators, ``np.*`` or
        tapegrad's functions; None where no gradient passes. The function's first parameters are
        the operands, one for each rule; the others are options, passed to the rules by keyword.
        For complex operands a rule is the adjoint of the derivative, with cotangents such as
        ``dL/dx + i dL/dy``: the rule of ``z**2`` is ``g * np.conj(2 * z)``. A real operand gets
        the real part of its rule's result.
    name
        The op's name on tapes and in messages; the function's name by default.
    domain
        The calls to test it on (`tapegrad.domain`); `tapegrad.testing.operands_for` draws
        from them.
    jvp
        The rule for tangents: a function of a tuple with the tangent of each operand (None if 0),
        the output, the operands and the options that returns the output's tangent, written as the
        rules are. By default it is the VJP of the VJP rules, so that these must pass a cotangent
        through ops that have rules themselves. `tapegrad.testing.check_grads` and
        `check_properties` check it against differences and against `vjps`.
    batch
        The rule for `vmap`: "elementwise" if the function, like a ufunc, computes each element of
        its result from one element of each operand, and broadcasts; or a function of the op, of a
        tuple that says which operands have the examples' axis (in front), of the operands and of
        the options, which returns the results of all examples along a leading axis. By default the
        function is called once for each example, in a loop, which for an elementwise function of a
        few numbers is hundreds of times slower. `tapegrad.testing.check_batched` checks the rule.

    Returns
    -------
    A decorator that returns an `Op`.

    Raises
    ------
    TypeError
        If there are more rules than parameters, a rule is not a function, or a parameter has
        neither a rule nor a default and is not keyword-only. From `jvp`: if the rules pass the
        cotangent through an op without a rule.
    ValueError
        From `vmap`: if `batch` does not return a result for each example.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
    ... def cube(x):
    ...     return x**3
    >>> tg.grad(cube)(2.0), tg.grad(tg.grad(cube))(2.0)
    (array(12.), array(12.))

    A tangent rule, and all examples of a batch in one call:

    >>> @tg.custom_op(
    ...     vjps=(lambda g, y, x: g * y,),
    ...     jvp=lambda tangents, y, x: tangents[0] * y,
    ...     batch="elementwise",
    ... )
    ... def growth(x):
    ...     return np.exp(x)
    >>> tg.jvp(growth, (0.0,), (3.0,))[1], tg.vmap(growth)(np.zeros(2))
    (array(3.), array([1., 1.]))
    """
    rules = tuple(vjps) if isinstance(vjps, Iterable) and not callable(vjps) else None
    if rules is None or not all(rule is None or callable(rule) for rule in rules):
        raise TypeError(
            "custom_op takes vjps, a tuple of rules: one for each operand, None where no "
            "gradient passes: @tg.custom_op(vjps=(rule,))"
        )
    if jvp is not None and not callable(jvp):
        raise TypeError(f"custom_op: jvp must be a function of tangents, not {a_kind(jvp)}")
    if batch not in (None, "elementwise") and not callable(batch):
        raise TypeError(
            f'custom_op: batch must be "elementwise", a function or None, not {batch!r}'
        )

    def decorate(function: Callable[P, Any]) -> Op[P]:
        called = name or function.__name__

        def call_checked(*args: P.args, **kwargs: P.kwargs) -> Any:
            # the function may write to its arguments, and return an array that it keeps
            y = function(*readonly_view(args), **readonly_view(kwargs))
            if not isinstance(y, np.ndarray | np.generic | float | int | complex):
                several = isinstance(y, tuple | list)
                raise TypeError(
                    f"{called}: the function returned {got(y)}; one array of numbers is needed"
                    + ("; for several results, declare it with tg.custom_vjp" if several else "")
                )
            refuse_unreal(f"{called}: the result", (y,), True)
            if not isinstance(y, np.ndarray):
                return np.asarray(y)[()]
            # a 0-d result is a view: in-place operators would take a 0-d array for a number
            return np.array(y) if y.shape else readonly_view(owned_copy(np.asarray(y)))

        @functools.wraps(function)
        def forward(*args: P.args, **kwargs: P.kwargs) -> Any:
            return call_once(call_checked, args, kwargs)

        signature = Signature.from_function(function, called, len(rules))
        _check_parameters(signature)
        defaults = {
            n: v for n, v in signature.defaults.items() if n in signature.names[len(rules) :]
        }
        guarded = tuple(_guard_rule(rule, called, i, defaults) for i, rule in enumerate(rules))
        settings: dict[str, Any] = {"takes_weak": True, "declared": forward, "complex": True}
        if batch is not None:
            settings["batch"] = partial(
                _apply_batch_rule, batch_elementwise if isinstance(batch, str) else batch
            )
        push = (
            users_jvp
            if jvp is None
            else partial(_apply_jvp_rule, jvp, _defaults_for(jvp, called, defaults))
        )
        settings["signature"] = signature
        operation: Op[P] = Op(called, forward, guarded, push, **settings)
        declare(operation, domain, "", operation.signature)
        return operation

    return decorate


def _check_parameters(signature: Signature) -> None:
    """Raise for a parameter that no rule and no default makes an operand or an option."""
    name = signature.name
    if signature.is_variadic:
        raise TypeError(
            f"{name} takes any number of arguments, *args, and an op has a rule for each operand; "
            "declare as many parameters as there are operands, or take one array of them all "
            "(np.stack)"
        )
    positional = signature.names[signature.n_operands : signature.n_positional]
    without = [x for x in positional if x not in signature.defaults]
    if without:
        raise TypeError(
            f"{name}: the parameter {without[0]} has no rule and no default. Give vjps a rule for "
            f"it, or None where no gradient passes; if it is an option, give it a default or make "
            f"it keyword-only (*, {without[0]})"
        )


def _guard_rule(rule: Rule | None, name: str, i: int, defaults: Mapping[str, Any]) -> Rule | None:
    """Wrap a user's rule so that it cannot write to its arguments, and its result is copied.

    The rule also receives options that a call leaves at their defaults, if it has parameters for
    them.
    """
    if rule is None:
        return None
    left = _defaults_for(rule, name, defaults)

    @functools.wraps(rule)
    def call_rule(*args: Any, **options: Any) -> Any:
        g, *known = readonly_view(args)
        try:
            c = call_users_function(
                rule, conjugate_cotangent(g), *known, **readonly_view(left | options)
            )
        except Exception as error:
            error.add_note(
                f"in the VJP rule of {name} for operand {i}, which is called with the cotangent, "
                "the output and the operands, and with the options by keyword"
            )
            if isinstance(error, TypeError | TraceError) and any(type(x) is Tensor for x in args):
                error.add_note(
                    f"for second derivatives, and inside compile, a rule is recorded: {name} has "
                    "neither if a rule computes on arrays alone. Give that computation an op of "
                    'its own, as in examples/compute.md under "An op and its adjoint"'
                )
            raise
        if c is None:
            raise TypeError(
                f"a VJP rule of {name} returned None (is a return missing?); where no gradient "
                "passes, write None for the rule in vjps"
            )
        shapes = {np.shape(x) for x in args[1:]}
        if np.ndim(c) > max(map(len, shapes)):
            listed = ", ".join(map(str, sorted(shapes)))
            raise ValueError(
                f"the VJP rule of {name} for operand {i} gives a cotangent of shape "
                f"{np.shape(c)}, which does not fit the operand's: the shapes are {listed}"
            )
        return conjugate_cotangent(as_cotangent(c, name))

    return call_rule


def _defaults_for(rule: Rule, name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of the options that a rule has parameters for."""
    named = Signature.from_function(rule, name).names if hasattr(rule, "__code__") else ()
    return {n: value for n, value in defaults.items() if n in named}


def _apply_jvp_rule(
    rule: Rule,
    left: Mapping[str, Any],
    op: Primitive,
    tangents: Mapping[int, Any],
    y: Any,
    *operands: Any,
    **options: Any,
) -> Any:
    """Return the tangent of a user's op, by the user's rule."""
    all_tangents = readonly_view(tuple([tangents.get(i) for i in range(len(operands))]))
    try:
        known, named = readonly_view((y, *operands)), readonly_view({**left, **options})
        t = call_users_function(rule, all_tangents, *known, **named)
    except Exception as error:
        error.add_note(
            f"in the JVP rule of {op.name}, which is called with a tuple of tangents, the output "
            "and the operands, and with the options by keyword"
        )
        raise
    if t is None:
        raise TypeError(f"the JVP rule of {op.name} returned None (is a return missing?)")
    t = as_cotangent(t, op.name, "the tangent that the JVP rule")
    like = np.shape(y._primal if type(y) is Tensor else y)
    if t.shape != like:
        try:
            t = np.broadcast_to(t, like)
        except ValueError:
            raise ValueError(
                f"the JVP rule of {op.name} gives a tangent of shape {t.shape}, and the output has "
                f"shape {like}"
            ) from None
    return t


def _apply_batch_rule(
    rule: Rule, op: Primitive, batched: tuple[bool, ...], *operands: Any, **options: Any
) -> Any:
    """Return the results of a user's op for a batch, by the user's rule or elementwise."""
    y = call_users_function(rule, op, batched, *operands, **options)
    n = batch_size(batched, operands)
    if y is not NotImplemented and np.shape(y)[:1] != (n,):
        raise ValueError(
            f"the batching rule of {op.name} gives shape {np.shape(y)} for {n} examples, which "
            'stand along a leading axis; batch="elementwise" is for ops that broadcast'
        )
    return y


def as_cotangent(c: Any, name: str, what: str = "the cotangent that a VJP rule") -> Any:
    """Return the result of a user's rule: a Tensor, or an array that the rule cannot change."""
    if type(c) is Tensor:
        return c
    what = f"{what} of {name} returned"
    refuse_unreal(what, (c,), True)
    c = np.asarray(c)
    require_real(c.dtype, what, True)
    return owned_copy(c)


# --- custom_vjp------------------------------------------------------------


@attrs.frozen(slots=False, repr=False)
class CustomVJP(Wrapper, Generic[P, R]):
    """The result of `custom_vjp`.

    Attributes
    ----------
    like
        A function that returns an output of the right structure, shapes and dtypes. It is called
        instead of `fn` where values are unknown. By default `fn` is called, at placeholder values.
    """

    kind = "custom_vjp"

    fn: Fn
    backward: Fn
    like: Fn | None = None

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_callable(self.backward)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        leaves, structure = tree.flatten((args, kwargs))
        tensors = [x for x in leaves if type(x) is Tensor]
        start = CURRENT.get()
        if start is None:
            for x in tensors:
                refuse_stranger("custom_vjp", x, None)
            refuse_unreal("custom_vjp", leaves, True)
            args, kwargs = tree.unflatten(structure, readonly_view(leaves))
            output = with_user_warnings(self.fn, *args, **kwargs)
            check_output(output, None, label(self.fn))
            return output
        for x in tree.leaves(kwargs):
            if type(x) is Tensor and x.dtype.kind in "fc" and any(x.op.vjps_for(len(x._operands))):
                raise TypeError(
                    f"{label(self.fn)} has a custom VJP, which gives cotangents for the positional "
                    f"arguments; {x._line()} was passed by keyword: pass it by position, or "
                    "tg.stop_gradient of it"
                )
        for x in leaves:
            refuse_hidden(x, f"an argument of {label(self.fn)}, which has a custom VJP,")
        last, numeric = start, []
        for x in filter(is_numeric, leaves):
            if type(x) is Tensor:
                last, x = lift(last, CUSTOM_VJP, x)
            numeric.append(x if type(x) is Tensor else as_constant(x, "custom_vjp", True))
        operands = tuple(numeric)
        statics = tuple([None if is_numeric(x) else x for x in leaves])
        # the caller may change these objects before the rule gets them
        kept = tuple(map(owned_copy, statics))
        call = CustomCall(self, structure, statics)
        if self.like is not None and tensors and start.origin.compiling:
            args, kwargs = call.fill_arguments(primals(operands))
            output = self.like(*args, **kwargs)
        else:
            # the function sees arrays; a Tensor that it captures raises an error
            output = call_unrecorded(call.run, (known_values(operands),))
        if not tensors:
            return output
        layout = Layout.from_output(output)
        others = [a_kind(x) for x in layout.leaves if is_numeric(x)]
        if others and start.origin.compiling:
            raise TypeError(
                f"{label(self.fn)} has a custom VJP and returned {others[0]} that is not "
                f"floating, which is not known while {start.origin.activity} {start.origin.label}; "
                "return .astype(float) of it"
            )
        call = attrs.evolve(call, statics=kept, layout=layout)
        record = write_known(last, CUSTOM_VJP, operands, {"call": call}, layout.to_primal(output))
        advance(record)
        return layout.to_tree(layout.partition(record))


@attrs.frozen(repr=False)
class CustomCall:
    """A call of a `custom_vjp` function, without its numeric arguments."""

    __tree_leaf__: ClassVar[bool] = True

    custom: CustomVJP[..., Any]
    structure: tree.Structure
    statics: tuple[Any, ...]
    layout: Any = None

    def __repr__(self) -> str:
        return label(self.custom.fn)

    def fill_arguments(self, operands: Sequence[Any]) -> Any:
        """Return the positional and keyword arguments, with the operands at their positions."""
        rest = iter(operands)
        leaves = [next(rest) if x is None else x for x in self.statics]
        return tree.unflatten(self.structure, leaves)

    def run(self, operands: Sequence[Any]) -> Any:
        """Call the function."""
        args, kwargs = self.fill_arguments(readonly_view(operands))
        return self.custom.fn(*args, **kwargs)

    def cotangents(self, g: Any, y: Any, operands: Sequence[Any]) -> list[Any]:
        """Return the operands' cotangents, by the user's rule."""
        layout, name = self.layout, label(self.custom.fn)
        args, kwargs = self.fill_arguments(readonly_view(operands))
        parts = [None if c is None else conjugate_cotangent(c) for c in layout.partition(g)]
        cotangent, output = (layout.to_tree(readonly_view(x)) for x in (parts, layout.partition(y)))
        own, named = tree.copy_containers((args, kwargs))
        returned = call_users_function(self.custom.backward, cotangent, output, *own, **named)
        if type(returned) is not tuple or len(returned) != len(args):
            what = f"a tuple of {len(returned)}" if type(returned) is tuple else got(returned)
            raise TypeError(
                f"the backward rule of {name} returned {what}; a tuple with a cotangent for each "
                f"of the {len(args)} positional arguments is needed (None where no gradient "
                "passes)"
            )
        cotangents: list[Any] = []
        names = argument_names(self.custom.fn, len(args))
        for arg, argument, whole in zip(args, names, returned, strict=True):
            pairs = tree.zip_leaves(arg, whole, strict=False)
            for (path, x), (_, c) in zip(tree.named_leaves(arg, argument), pairs, strict=True):
                if not is_numeric(x):
                    continue
                if c is not None and is_floating(x):
                    primal = x._primal if type(x) is Tensor else x
                    c = unbroadcast(as_cotangent(c, name), np.asarray(primal), name, path)
                cotangents.append(c if c is None else conjugate_cotangent(c))
        n_keywords = len([x for x in tree.leaves(kwargs) if is_numeric(x)])
        return cotangents + [None] * n_keywords


def _call_customized(*operands: Any, call: CustomCall) -> Any:
    """Call a function that has a hand-written VJP rule."""
    # a loop's body runs while its result is recorded; the function must not see that tape
    output = call.run(operands) if CURRENT.get() is None else call_unrecorded(call.run, (operands,))
    y = call.layout.to_primal(output)
    return y if type(y) is Parts else np.asarray(y)


def _like_customized(*operands: Any, call: CustomCall) -> Any:
    return call.layout.placeholder()


def users_jvp(
    op: Primitive, tangents: Mapping[int, Any], y: Any, *operands: Any, **options: Any
) -> Any:
    """`transposed_jvp` for users' rules, which may lose the cotangent on their way."""
    check = partial(lazy_import("tapegrad.explain.rules", "check_cotangent_path"), op)
    return transpose_vjps(op, tangents, y, operands, options, check)


CUSTOM_VJP = Primitive(
    "custom_vjp",
    _call_customized,
    Joint(lambda g, y, *operands, call: call.cotangents(g, y, operands)),
    jvp=users_jvp,
    keeps_weak=True,
    takes_weak=True,
    like=_like_customized,
    complex=True,
)


@attrs.frozen
class Customizing:
    """The decorator that `custom_vjp` returns; the decorated function keeps its parameters."""

    backward: Fn

    def __call__(self, fn: Callable[P, R], /) -> CustomVJP[P, R]:
        check_callable(fn, f"custom_vjp takes the rule, {_HOW_TO_DECORATE}")
        return CustomVJP(fn, self.backward)

    # hidden from type checkers, which would accept any attribute
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            advice = (
                "" if name.startswith("_") else f": its argument is the rule, {_HOW_TO_DECORATE}"
            )
            raise AttributeError(f"custom_vjp has no {name!r}{advice}")


_HOW_TO_DECORATE = (
    "as in @tg.custom_vjp(backward), where backward(g, y, *args) is called with the cotangent, "
    "the output and the arguments, and returns a tuple with a cotangent for each argument"
)


def custom_vjp(backward: Fn) -> Customizing:
    """Give a function of trees a hand-written VJP rule.

    Use it for a numerically stable form, the derivative of an implicit function, or a gradient
    that is replaced on purpose. For a function of a few arrays with one rule for each, see
    `custom_op`.

    Parameters
    ----------
    backward
        A function of the cotangent and the output, two trees of the same structure (both contain
        the output's leaves that are not floating), and of the arguments. It returns a tuple with a
        cotangent for each positional argument: a tree like it, or None where no gradient passes.
        It is written with operators, ``np.*`` or tapegrad's functions, so it can be differentiated
        itself: derivatives of any order, in both modes, follow from it. Of complex arguments it is
        the adjoint, as for `custom_op`.

    Returns
    -------
    A decorator. The decorated function is called on arrays and Python numbers, never on Tensors,
    and may compute in any way: with loops until something converges, or with functions that
    tapegrad does not know. It may return further results for the rule to use; their cotangents are
    zero in a first derivative, but not in a second one. Use only its results: no gradient passes
    through an array that it sets aside.

    Raises
    ------
    TypeError
        When called: if a floating Tensor is passed by keyword, or, inside `compile`, if
        a result is an integer or a truth value. In the backward pass: if the rule does not
        return such a tuple.
    TapeError
        When called: if the function captures a Tensor; pass it as an argument.
    ValueError
        During the sweep: if a cotangent does not fit its argument, with the path.

    Examples
    --------
    The derivative of an implicit function, ``x`` where ``x == cos(a * x)``:

    >>> import tapegrad as tg
    >>> def backward(g, x, a):
    ...     slope = tg.sin(a * x)
    ...     return (-g * slope * x / (1 + a * slope),)
    >>> @tg.custom_vjp(backward)
    ... def fixed_point(a):
    ...     x = 0.5
    ...     for _ in range(100):
    ...         x = np.cos(a * x)
    ...     return x
    >>> round(float(tg.grad(fixed_point)(1.0)), 4)
    -0.2975

    A stable form, where the steps would overflow:

    >>> @tg.custom_vjp(lambda g, y, x: (g * tg.sigmoid(x),))
    ... def log1pexp(x):
    ...     return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))
    >>> tg.grad(log1pexp)(1e4)
    array(1.)

    A rule of complex numbers is the adjoint, which conjugates the derivative:

    >>> @tg.custom_vjp(lambda g, y, z: (g * np.conj(2 * z),))
    ... def squared(z):
    ...     return z * z
    >>> tg.grad(lambda z: abs(squared(z)))(1 + 2j)
    array(2.+4.j)
    """
    check_callable(backward)
    return Customizing(backward)
