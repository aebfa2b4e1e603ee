"""`compile` records a function once for each signature, and runs its program. Start there."""

from __future__ import annotations

import gc
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import closing
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import attrs

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.declare.abstract import Recorder
from tapegrad.errors.functions import Description, Wrapper, find_code, label, title
from tapegrad.errors.lines import caller_name, users_place
from tapegrad.errors.words import html_text
from tapegrad.program.control.loop import nested_codes
from tapegrad.program.draws import without_draws
from tapegrad.program.entry import OTHER, CallArguments, Enter, Signature, Static, entrance, read
from tapegrad.program.observe import Watch
from tapegrad.program.passes import PASSES
from tapegrad.program.program import Pass, Program, from_tape, run_passes
from tapegrad.program.results import check_results
from tapegrad.transforms.names import as_positions, check_positions
from tapegrad.tree.ownership import readonly_view

P = ParamSpec("P")
R = TypeVar("R")

MOST_SIGNATURES = 64
# records from which a compilation takes seconds and is reported; fewer if each pass is checked
MANY, MANY_PROVED = 1 << 14, 1 << 10
# functions that one line may compile and throw away after a call before this is reported
THROWN_AWAY = 8


@attrs.define(eq=False)
class Kept:
    """A program that `Compiled` keeps for a signature."""

    program: Program
    # the name, dtype and shape of each captured array, before the passes
    captured: tuple[tuple[Any, ...], ...]
    # a function that reads and runs a call, made when the signature occurs again
    enter: Enter | None = None


def _report(text: str) -> None:
    """Log a warning."""
    lazy_import("logging", "getLogger")("tapegrad").warning(text)


def _note_size(recorded: Program, proves: bool) -> None:
    """Report a recording that takes seconds to compile, and how to make it smaller."""
    codes = nested_codes(recorded)
    n = sum([len(code.instructions) for code in codes])
    if n < (MANY_PROVED if proves else MANY):
        return
    longest = max(codes, key=lambda code: len(code.instructions))
    inside = f", a body of tg.scan or the like in {recorded.label}" * (longest is not recorded)
    proof = "; check=True checks every pass on many inputs" * proves
    _report(
        f"compiling {recorded.label} takes a while: its recording has {n} records; "
        f"{len(longest.instructions)} are of {longest.label}{inside}: does it repeat code in a "
        f"loop of Python? tg.scan and tg.fori_loop record what is repeated once{proof}"
    )


def _call_without_gc(fn: Callable[..., R], *args: Any) -> R:
    """Call a function while Python's cyclic garbage collector is paused.

    Recording and passes make many small objects and no cycles. The collector would scan all
    memory again and again, which is a third of the compilation of a long program.
    """
    if not gc.isenabled():
        return fn(*args)
    gc.disable()
    try:
        return fn(*args)
    finally:
        gc.enable()


@attrs.define(eq=False, repr=False, slots=False)
class Compiled(Wrapper, Generic[P, R]):
    """A compiled function; it takes the arguments of the function that it was compiled from.

    No lock is held while the function is recorded. Two threads may both record it for one
    signature; the program of the first to finish is kept.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> step = tg.compile(lambda x, times: x * times, static_argnums=1)
    >>> step(np.ones(2), 3), step(np.ones(2), 4), step(np.ones(5), 3)
    (array([3., 3.]), array([4., 4.]), array([3., 3., 3., 3., 3.]))
    >>> for signature in step.signatures:
    ...     print(signature)
    (float64[2], 3)
    (float64[2], 4)
    (float64[5], 3)
    """

    # other compiled functions take it for a function
    __compiled__: ClassVar[bool] = True
    # by key, the functions thrown away before one of their programs ran again
    _thrown_away: ClassVar[Counter[Hashable]] = Counter()

    fn: Callable[P, R]
    static_argnums: tuple[int, ...]
    passes: tuple[Pass, ...]
    proves: bool = False
    check_finite: bool = False
    _kept: dict[Signature, Kept] = attrs.field(init=False, factory=dict)
    # the `enter` of the signature that was last called again
    _enter: Enter = attrs.field(init=False, default=lambda args, kwargs: OTHER)
    _warned: bool = attrs.field(init=False, default=False)
    # its key in _thrown_away, until one of its programs runs again: the line that called
    # `compile`, and the function
    _key: Any = attrs.field(init=False, default=None)

    def __repr__(self) -> str:
        n = len(self._kept)
        return f"<compiled {title(self.fn)}, {n} program{'' if n == 1 else 's'}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result = self._enter(args, kwargs)
        if result is not OTHER:
            return result
        call = read(args, kwargs, self.static_argnums)
        if call.is_traced:
            args, kwargs = tree.copy_containers((args, kwargs), readonly_view)
            return self.fn(*args, **kwargs)
        known = self._kept.get(call.signature)
        kept = known or self._keep(call)
        if known:
            self._key = None
            if not self.check_finite:
                kept.enter = kept.enter or entrance(call.signature, kept.program._run)
                self._enter = kept.enter
        result = call.results("take", kept.program._run, *call.values)
        if self.check_finite:
            check = lazy_import("tapegrad.explain.finite", "check_result")
            check(self.fn, self.static_argnums, args, kwargs, result)
        return result

    def _repr_html_(self) -> str:
        programs = [str(kept.program) for kept in self._kept.values()]
        return html_text("\n\n".join([repr(self), *programs]))

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """The signatures of the programs that are kept, the oldest first."""
        return tuple(self._kept)

    def program(self, /, *args: P.args, **kwargs: P.kwargs) -> Program:
        """The program for these arguments; ``str()`` of it is the source that runs."""
        return self._keep(read(args, kwargs, self.static_argnums)).program

    def check(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run the function recorded and compiled, and compare the results.

        Raises
        ------
        AssertionError
            If a result differs, with its path, by how much, the captured arrays, which the
            function may since have changed, and the first line of the program whose operands
            agree with the recording's, and whose value does not.
        """
        compiled = self(*args, **kwargs)
        call = read(args, kwargs, self.static_argnums)
        kept = self._keep(call)
        check = lazy_import("tapegrad.explain.check", "check_compiled")
        captured = [f"{name} {dtype}{list(shape)}".lstrip() for name, dtype, shape in kept.captured]
        check(compiled, kept.program, captured, call.values, self.fn, args, kwargs)

    def _keep(self, call: CallArguments) -> Kept:
        kept = self._kept.get(call.signature)
        if kept is None:
            kept = self._kept.setdefault(call.signature, _call_without_gc(self._compile, call))
            oldest = list(self._kept)[:-MOST_SIGNATURES]
            for dropped in oldest:
                self._kept.pop(dropped, None)
            if oldest and not self._warned:
                self._warned = True
                warnings.warn(
                    f"{label(self.fn)} was compiled for more than {MOST_SIGNATURES} signatures; "
                    "the oldest programs are dropped. Do its arguments' shapes, or its static "
                    "values, change with every call? See .signatures",
                    stacklevel=3,
                )
        return kept

    def _compile(self, call: CallArguments) -> Kept:
        if not self._kept and self._thrown_away[self._key] >= THROWN_AWAY:
            # report it once
            self._thrown_away[self._key] = -sys.maxsize
            _report(
                f"{self._key[0]}: {self._key[1]} is compiled here again and again, and thrown away "
                "after a call, as in a loop; compile it once, outside: its programs are kept in "
                "what tg.compile returns, and what changes must be an argument"
            )
        n = call.signature._n_positional
        if any(not -n <= i < n for i in self.static_argnums):
            check_positions(self.fn, "static_argnums", self.static_argnums)
        recorded = call.results("", trace, self.fn, call)
        _note_size(recorded, self.proves)
        if self.proves:
            check_passes = lazy_import("tapegrad.testing.proof", "run_checked_passes")
            program = check_passes(recorded, self.passes, call.values)
        else:
            program = run_passes(recorded, self.passes)
        program._run  # noqa: B018
        captured = tuple(dict.fromkeys([(x.name, x.dtype, x.shape) for x in recorded.constants]))
        return Kept(program, captured)

    def __del__(self) -> None:
        if self._key is not None and self._kept:
            self._thrown_away[self._key] += 1


def trace(fn: Callable[..., Any], call: CallArguments, stops: bool = False) -> Program:
    """Record one call as a program, without passes; `stops` as in `from_tape`.

    Raises
    ------
    TypeError
        If an argument holds a Tensor.
    """
    watch, of = Watch(), Description.from_function(fn)
    recorder = Recorder(of.label, of.line, watch.note)
    if call.is_traced:
        raise TypeError("a program is made for arrays; an argument here is a Tensor")
    arguments, values = call.signature.arguments, iter(call.values)
    names: list[Any] = [of.argument(x.name) if type(x.name) is int else x.name for x in arguments]
    parts = tuple([x.structure for x in arguments])
    paths = tree.structure_paths(tree.Structure(dict, tuple(names), parts))
    marked = [
        x.value if isinstance(x, Static) else recorder.mark(next(values), path)
        for x, path in zip(call.signature.leaves, paths, strict=True)
    ]
    given = tree.unflatten(tree.Structure(tuple, (), parts), marked)
    n = call.signature._n_positional
    # the watch and the records refer to each other
    with without_draws(fn) as reach, closing(watch):
        output = recorder.run(fn, given[:n], dict(zip(names[n:], given[n:], strict=True)))
        variables = watch.variables()
    leaves, structure = tree.flatten(output)
    check_results(structure, leaves, of.label)
    recorded = recorder.tape, recorder.inputs, leaves, structure
    program = from_tape(*recorded, variables, reach, stops)
    return attrs.evolve(program, arguments=arguments)


def compile(
    fn: Callable[P, R],
    static_argnums: int | Iterable[int] = (),
    passes: Sequence[Pass] | None = None,
    check: bool = False,
    check_finite: bool = False,
) -> Compiled[P, R]:
    """Compile a function: record it once for each signature, and run the record as plain NumPy.

    Parameters
    ----------
    fn
        A pure function of trees. Arrays and Python numbers may vary. All other leaves are static:
        each value of them has its own program. Static values compare by content and never
        change: strings, None, bools, enums, functions, classes, ops, and tuples and frozen records
        of these, such as layers.
    static_argnums
        Positions of further arguments to treat as static.
    passes
        The passes that improve the program, in order; `tapegrad.program.PASSES` by default. Add
        a pass that you write to these: ``(*PASSES, own)``. `PASSES` holds `improve_bodies`, which
        applies all passes to the bodies of loops and branches; ``(own,)`` alone changes no body.
    check
        Whether to check each pass on each program, and on each body of a loop or a branch. After
        the pass, the program is well-formed, and its results are the same for these arguments and
        for others of their shapes: ordinary numbers, ties, zeros, numbers near one, huge, tiny,
        infinite and nan. Compilation takes a hundred times as long. Use it when results look
        wrong, and when you report a fault.
    check_finite
        Whether to look at the results of each call. If one is not finite, the function itself is
        recorded with these arguments, and the error names the first value that is not, with your
        line of source, as for `value_and_grad`. A call takes some microseconds longer.

    Returns
    -------
    A function of the same arguments. Its results are new and read-only. On Tensors it calls `fn`,
    which is recorded. ``.program(*args)`` is the Program, ``.signatures`` lists the signatures
    that have programs, and ``.check(*args)`` compares the program with the recorded function. In
    a class it is a method: its first argument is the instance, a frozen record whose arrays may
    vary (``Model.step.program(model, x)``).

    Notes
    -----
    A program calls NumPy under the caller's ``np.errstate``. Values that the program does not
    compute give no warning. A ``with np.errstate`` inside the function applies to its recording
    alone. Some sums are added in another order, so results agree up to rounding. Some functions
    raise an error for certain values of an array, such as a ``q`` of `quantile` outside of 0 to 1
    or weights of `average` that sum to 0. Their programs give nan or infinity, and `check_finite`
    raises the error.

    Raises
    ------
    TraceError
        When called: if the function reads the value of an array (``if``, ``float``, ``.value``, a
        mask), since only shapes and dtypes are known; or if it draws from a random generator that
        it refers to, since the numbers would be the same in every call. The search for generators
        visits at most a thousand objects.
    TypeError
        When called: for an argument that neither varies nor is static; for a result that is
        neither an array, a number nor static, such as a pullback; and for a position in
        `static_argnums` that the function does not have.
    ProofError
        When called, if `check` is true and a pass changes the results. This is a fault of
        tapegrad, unless you wrote the pass.
    NonFiniteError
        When called, with `check_finite`: if a result is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> step = tg.compile(tg.grad(lambda w, x: tg.sum(tg.tanh(x * w))))
    >>> step(np.zeros(2), np.array([1.0, 2.0]))
    array([1., 2.])

    Check each pass on this program:

    >>> step = tg.compile(tg.grad(lambda w, x: tg.sum(tg.tanh(x * w))), check=True)
    >>> step(np.zeros(2), np.array([1.0, 2.0]))
    array([1., 2.])
    """
    numbers = as_positions("static_argnums", static_argnums)
    static = numbers if isinstance(numbers, tuple) else (numbers,)
    known: Any = PASSES if passes is None else passes
    several = tuple(known) if isinstance(known, Iterable) else (None,)
    if not all(map(callable, several)):
        raise TypeError(
            "compile: passes must be a tuple of passes, such as (*tg.program.PASSES, own), not "
            f"{passes!r}"
        )
    compiled = Compiled(fn, static, several, check, check_finite)
    # the package compiles again on purpose, to compare results
    if not caller_name(1)[1].startswith("tapegrad."):
        # one line may compile many functions, and may hold many lambdas
        compiled._key = users_place(), label(fn), find_code(fn)
    return compiled
