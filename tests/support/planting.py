"""Faults planted in the passes, the planner and the writer, each by a change of one line."""

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

# the module in tapegrad.program, a piece of its source that occurs once, what it becomes: a stale
# operand, a swapped axis, a dropped term or guard, a wider dtype, a wrong alias, a buffer that is
# used again too early; the default run plants the first three
PLANTED: tuple[tuple[str, str, str], ...] = (
    ("passes.factors", "number = outer * inner", "number = outer"),
    ("memory", "if self.ends[x] == i and x in held and", "if x in held and"),
    ("instruction_lines", "return self.frame.outs.get(ref) or buffer", "return buffer"),
    (
        "passes.stack",
        "stack, *[_total(builder, rows[i]) for i in range(n)]",
        "stack, *[_total(builder, rows[0]) for i in range(n)]",
    ),
    (
        "passes.stack",
        "turned = builder.emit(transpose, left_all)",
        "turned = builder.reshaped(left_all, builder.shape(left_all)[::-1])",
    ),
    (
        "passes.rows",
        "return builder.emit(index_select, tables.pop(), concatenated(builder, indices))",
        "return builder.emit(index_select, tables.pop(), concatenated(builder, indices[::-1]))",
    ),
    (
        "content",
        "return instruction.op, operands, *[(name",
        "return instruction.op, operands[:1], *[(name",
    ),
    (
        "builder",
        '[moved[x] if type(x) is Ref and x[0] == "instruction" else x for x in operands]',
        "[x for x in operands]",
    ),
    ("ir", "return self.on(tuple([values.get(x, x) for x in self.operands]))", "return self"),
    ("passes.products", "index=(slice(k * n, (k + 1) * n),)", "index=(slice(0, n),)"),
    ("passes.fold", "tuple([first[axis] for axis in axes])", "tuple(axes)"),
    (
        "passes.fission",
        "return np.sum(values[term], axis=0)",
        "return np.sum(values[term], axis=-1)",
    ),
    ("passes.factors", "subtract if is_sum else add, a, positive", "add, a, positive"),
    ("passes.rows", "subtract=instruction.op is subtract,", "subtract=False,"),
    ("passes.picks", "if sign < 0:", "if sign > 0:"),
    (
        "passes.fission",
        "if x in self.on_carry or x not in self.on_rows or x in self.after:",
        "if x not in self.on_rows or x in self.after:",
    ),
    ("passes.operands", "builder.number(x, dtype)", "builder.number(x, np.dtype(float))"),
    (
        "passes.sums",
        "ones = builder.constant(np.ones(height, builder.dtype(x)))",
        "ones = builder.constant(np.ones(height))",
    ),
    (
        "liveness",
        "if instruction.op in views and type(operands[0]) is Ref and not is_filled(instruction):",
        "if False:",
    ),
    (
        "memory",
        "fitting = [x for x in places if last.get(ref, ref.index) <= x[0]]",
        "fitting = list(places)",
    ),
    (
        "concatenations",
        "view = f\"[{':, ' * axis}{start}:{stop}]\"",
        "view = f\"[{':, ' * axis}:{stop - start}]\"",
    ),
    ("blocks", "{whole}[{self.low}:{self.low} + {self.step}]", "{whole}[:{self.step}]"),
    ("control.writing", 'return f"{rows}[::-1]" if self.loop.reverse else rows', "return rows"),
    ("passes.fission", "stands[k] = builder.emit(add, so_far, x)", "stands[k] = x"),
    (
        "passes.sums",
        "stack = (of_first & of_second) - inner",
        "stack = of_first & of_second & inner",
    ),
)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for x in code.co_consts:
        if isinstance(x, CodeType):
            yield x
            yield from _codes(x)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods of a module; a pass is the function that declares it."""
    for x in [inspect.unwrap(getattr(x, "change", x)) for x in vars(module).values()]:
        if getattr(x, "__module__", "") == module.__name__:
            members: list[Any] = [*vars(x).values()] if isinstance(x, type) else [x]
            yield from [
                y for m in members if isinstance(y := getattr(m, "__func__", m), FunctionType)
            ]


@contextlib.contextmanager
def planted(name: str, old: str, new: str) -> Iterator[None]:
    """A piece of a module's source in place of another, for as long as it lasts."""
    module = importlib.import_module(f"tapegrad.program.{name}")
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{name} has {source.count(old)} of {old!r}"
    changed = compile(source.replace(old, new), module.__file__ or name, "exec")
    codes = {x.co_qualname: x for x in _codes(changed)}
    found = [x for x in _functions(module) if x.__code__.co_qualname in codes]
    kept = [(x, x.__code__) for x in found]
    for x in found:
        code = codes[x.__code__.co_qualname]
        if code.co_freevars == x.__code__.co_freevars:
            x.__code__ = code
    try:
        yield
    finally:
        for x, code in kept:
            x.__code__ = code
