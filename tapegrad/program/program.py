"""A Program: the computation of a tape, without its values.

`from_tape` makes a Program, passes improve it (`run_passes`, `tapegrad.program.passes`), and
`tapegrad.program.text` writes the source that runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.table import lazy_import
from tapegrad.core.messages import refuse_branch
from tapegrad.core.primitive import Primitive
from tapegrad.core.sweep import SWEEP
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.declare import OPS
from tapegrad.declare.parts import PART
from tapegrad.errors.lines import DEFAULT, STATE
from tapegrad.errors.words import Printed
from tapegrad.ops.arithmetic import add, subtract
from tapegrad.ops.casting import stopped
from tapegrad.program.builder import Builder, Form, Visit
from tapegrad.program.canonical import CANONICAL
from tapegrad.program.entry import Argument, values_of
from tapegrad.program.ir import (
    STAGES,
    Code,
    Constant,
    Fields,
    FrozenOptions,
    Instruction,
    Ref,
    input_for,
    input_refs,
    instruction_refs,
)
from tapegrad.program.observe import array_namer, describe_records, short_names, split_path
from tapegrad.program.text import Runs, make_runner, source
from tapegrad.transforms.reverse import SEED
from tapegrad.tree.numbers import PYTHON_NUMBERS

if TYPE_CHECKING:
    from tapegrad.files import FilePath


@attrs.frozen(hash=False, slots=False, repr=False)
class Program(Code, Printed):
    """The computation of a tape, without its values. ``str(program)`` is the source that runs.

    A program takes the arguments of the recorded function, with arrays of the same shapes and
    dtypes. Programs compare by content, and can be pickled.

    Attributes
    ----------
    arguments
        The arguments; None if only the leaves that vary are known (`inputs`).

    Examples
    --------
    >>> import tapegrad as tg
    >>> program = tg.compile(lambda x: tg.sum(x * x)).program(np.ones(3))
    >>> program(np.array([1.0, 2.0, 3.0]))
    array(14.)
    """

    arguments: tuple[Argument, ...] | None = None

    def __str__(self) -> str:
        return source(self)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Compute the recorded function's result for these arguments. It is new and read-only.

        A static argument must equal the recorded one, or be ``...``.

        Raises
        ------
        TypeError
            If the program was made for other arguments.
        ValueError
            If an array has another shape.
        """
        if self.arguments is None:
            raise TypeError("this program was made from a tape, and does not know its arguments")
        return self._run(*values_of(self.arguments, self.inputs, args, kwargs))

    @functools.cached_property
    def _run(self) -> Callable[..., Any]:
        """The function that runs the source. It takes a value for each input."""
        # runners that no call uses now, each with its own buffers
        idle: list[Runs] = []
        make, state, default = make_runner(self), STATE.get, DEFAULT

        def run(*values: Any) -> Any:
            try:
                runs = idle.pop()
            except IndexError:
                runs = make()
            try:
                # one runner reads NumPy's error state, the other is for the default state
                return runs[state(default) is default](*values)
            finally:
                idle.append(runs)

        return run

    def save(self, path: FilePath) -> None:
        """Write the program to a file, which `load_program` reads.

        The file is an ``.npz`` of the instructions, as JSON, and the constants, as arrays. Loading
        and running it does not need the recorded function. It is written beside `path` and then
        renamed, as by `tapegrad.save`.

        Parameters
        ----------
        path
            The file. An existing file is replaced.

        Raises
        ------
        TypeError
            If the program holds something that a file cannot hold: a call of a `custom_vjp`
            function, or a static result that is not a plain value. The message names it.

        Examples
        --------
        >>> import tempfile
        >>> import tapegrad as tg
        >>> step = tg.compile(tg.grad(lambda w, x: tg.sum(tg.tanh(x * w))))
        >>> w, x = np.zeros(2), np.array([1.0, 2.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     step.program(w, x).save(f"{folder}/step.npz")
        ...     loaded = tg.load_program(f"{folder}/step.npz")
        >>> loaded(w, x)
        array([1., 2.])
        """
        lazy_import("tapegrad.program.saving", "save")(self, path)


def from_tape(
    tape: Tape,
    inputs: Sequence[Tensor],
    outputs: Iterable[Any],
    structure: tree.Structure,
    variables: Mapping[Tensor, str] | None = None,
    reach: Sequence[tuple[str, Any]] = (),
    stops: bool = False,
    is_named: bool = True,
) -> Program:
    """Make the program of a tape.

    Parameters
    ----------
    tape
        The records. The program takes its label from the tape's origin.
    inputs
        The records that are the inputs, in order.
    outputs, structure
        The results (records of the tape, or static values) and their tree.
    variables
        The names of records in the caller's functions; None if there are no such functions.
    reach
        The objects that the function refers to, by name. They give captured arrays their names.
    stops
        Whether to keep the records that stop gradients, because the program will be
        differentiated.
    is_named
        Whether a function of the user returns the outputs, so that their paths give them names.
    """
    given = tuple([input_for(x._primal, x.name or x.op.name) for x in inputs])
    builder = Builder(Code(tape.start.origin.label, given, (), (), (), structure))
    refs = _Refs(zip(inputs, input_refs(range(len(inputs))), strict=True))
    same = _SAME - {stopped} if stops else _SAME
    name_of = array_namer(reach)

    def operand(x: Any) -> Any:
        if type(x) is Tensor:
            return refs[x]
        # a NumPy string is a static value, no constant
        if isinstance(x, np.ndarray | np.generic) and not isinstance(x, np.character):
            return builder.constant(Constant(x, True, name_of(np.asarray(x))))
        return x

    names = dict(zip(inputs, short_names([x.path for x in builder.inputs]), strict=True))
    records = list(tape)
    instructions, results_of = builder.instructions, instruction_refs(records)
    taken: dict[Any, Ref] = {}
    for record, name, stage, place in describe_records(records, names, variables):
        op, operands, value = record.op, record._operands, record._primal
        options = record._options
        if record in refs or op is SWEEP:
            continue
        if op in same and operands:
            refs[record] = operand(operands[0])
        elif not operands and op is not SEED:
            refs[record] = operand(value)
        elif op is PART and (of := (refs[operands[0]], options["index"])) in taken:
            refs[record] = taken[of]
        else:
            is_array = type(value) is np.ndarray
            instruction = Fields(
                op,
                tuple([refs[x] if type(x) is Tensor else operand(x) for x in operands]),
                # a record's options never change
                FrozenOptions(options) if options else options,
                value.shape if is_array else record.shape,
                value.dtype if is_array else record.dtype,
                type(value) in PYTHON_NUMBERS,
                "",
                name,
                stage,
                place,
            ).as_instruction()
            refs[record] = results_of[len(instructions)]
            if op is PART:
                taken[of] = refs[record]
            instructions.append(
                builder.canonicalize(instruction) if op in CANONICAL else instruction
            )
    results = tuple(operand(x) for x in outputs)
    if is_named:
        _name_new(builder, results, structure, names.values())
    parts = given, tuple(builder.constants), tuple(instructions)
    return Program(tape.start.origin.label, *parts, results, structure)


class _Refs(dict[Tensor, Any]):
    """The Ref of each record."""

    def __missing__(self, record: Tensor) -> NoReturn:
        refuse_branch(record)


def _name_new(
    builder: Builder, outputs: tuple[Any, ...], structure: tree.Structure, names: Iterable[str]
) -> None:
    """Name the outputs that are the new values of inputs.

    In ``(loss, p)``, the output for ``p.w`` is named ``new_w``, unless it has another name. An
    output that an update adds to ``w``, or subtracts from it, has this name at any path.
    """
    names = tuple(names)
    paths = tree.structure_paths(structure)
    ends: dict[tuple[str, ...], list[tuple[str, tuple[int, ...]]]] = {}
    for leaf, name in zip(builder.inputs, names, strict=True):
        ends.setdefault(split_path(leaf.path)[1:], []).append((name, leaf.shape))
    for x, path in zip(outputs, paths, strict=True):
        source, end = builder.producer(x), split_path(path)
        if source is None:
            continue
        for like in [ends.get(part, []) for part in (end, end[1:]) if part]:
            if [shape for _, shape in like] == [source.shape]:
                builder.name_value(x, f"new_{like[0][0]}")
        if source.stage == STAGES[-1] and source.op in (add, subtract):
            old = source.operands[0]
            if type(old) is Ref and old.kind == "input" and builder.shape(old) == source.shape:
                builder.name_value(x, f"new_{names[old.index]}")


# ops whose result is their operand
_SAME = frozenset({PARAMETER, stopped})


Pass = Callable[[Program], Program]
Change = Callable[[Builder], None]


@attrs.frozen(eq=False, repr=False, slots=False)
class Improvement:
    """A pass that is declared by a function which changes a Builder.

    Attributes
    ----------
    change
        The function. The Builder's values may be complex.
    """

    change: Change

    def __attrs_post_init__(self) -> None:
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            self.__dict__[name] = getattr(self.change, name)

    def __call__(self, program: Program) -> Program:
        return run_passes(program, (self,))

    def __repr__(self) -> str:
        return f"<pass {self.change.__name__}>"

    def __reduce__(self) -> str:
        return self.change.__qualname__


def rule(
    *ops: Primitive, complex: bool = False, where: Callable[[Form], object] = lambda form: True
) -> Callable[[Visit], Improvement]:
    """Declare a pass by a rule that replaces one instruction, see `Builder.rewrite`.

    Parameters
    ----------
    *ops
        The ops whose instructions the rule is called for; all by default.
    complex
        Whether the rule is right for complex numbers. By default it is not called for an
        instruction with a complex operand or result, since conj(x) is not x, and 1 * x is nan
        where x is infinite.
    where
        A predicate on the form of an instruction, see `Builder.rewrite`.

    Raises
    ------
    TypeError
        If an element of `ops` is no op, such as a NumPy function.
    """
    for op in ops:
        if not isinstance(op, Primitive):
            name = getattr(op, "__name__", "")
            instead = f": tg.{name} is the op" if name in OPS else ""
            raise TypeError(f"rule: an op is needed, not {op!r}{instead}")

    def declare_pass(visit: Visit) -> Improvement:
        def visit_real(builder: Builder, instruction: Instruction) -> Any:
            return None if builder.is_complex(instruction) else visit(builder, instruction)

        @functools.wraps(visit)
        def change(builder: Builder) -> None:
            builder.rewrite(visit if complex else visit_real, frozenset(ops) or None, where)

        return Improvement(change)

    return declare_pass


def run_passes(program: Program, passes: Iterable[Pass]) -> Program:
    """Apply passes to a program, in order.

    After each `Improvement`, equal instructions are one, and unused instructions are dropped.
    """
    known: tuple[Any, ...] = tuple(passes)
    for is_change, group in groupby(known, lambda improve: isinstance(improve, Improvement)):
        if is_change:
            builder = Builder(program, known)
            for improve in group:
                improve.change(builder)
                builder.drop_unused()
            program = builder.build()
        else:
            for improve in group:
                program = improve(program)
    return program
