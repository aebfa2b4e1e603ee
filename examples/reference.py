"""The pages of reference: ops.md, from the ops' declarations, and api.md, from docstrings.

``python examples/reference.py`` writes both anew, the table of rules in contributing.md, and the
lists of names in scipy.md.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import support_table
from common.support_table import code, signature

import tapegrad as tg
from tapegrad.program.passes.algebra import words
from tapegrad.program.passes.fold import ALGEBRA

HEAD = """\
# Every public name

Grouped by what you want to do, each with its signature, the first sentence of its docstring and its
example. `help(tg.grad)` and the like show the rest: arguments, errors and notes. The examples begin
with `import numpy as np` and `import tapegrad as tg`. `examples/reference.py` writes this page.

"""


class Section(NamedTuple):
    """What one wants to do, a few words on it, and the names for it."""

    title: str
    words: str
    names: str


# A name ending in "*" stands for all of a module that no section names.
SECTIONS = [
    Section(
        "Differentiate",
        "Gradients, Jacobians and second derivatives of a function of trees. They nest in any "
        "order, and work inside `tg.compile`.",
        "grad value_and_grad jacobian value_and_jacobian sparsity hessian hessian_diag hvp vjp jvp "
        "linearize stop_gradient checkpoint implicit_root",
    ),
    Section(
        "Compile",
        "The same function as straight-line NumPy. See "
        "[Why does it compile again?](performance.md#why-does-it-compile-again)",
        "compile Program tapegrad.program.*",
    ),
    Section(
        "Loop, branch and batch",
        "One record each, however many steps or examples there are.",
        "scan fori_loop while_loop cond switch vmap",
    ),
    Section(
        "Record, sweep and look",
        "A tape is a value: printed, swept, drawn, and asked why a gradient is zero.",
        "record Tape Tensor reverse_sweep sweep_steps why_zero profile compare_tapes show.*",
    ),
    Section(
        "Check a gradient",
        "Against differences, against the other mode, against the compiled program. The last five "
        "draw arguments: strategies for Hypothesis.",
        "testing.check_grads testing.check_vjp testing.check_jvp testing.check_properties "
        "testing.check_batched testing.sample_calls testing.check_* testing.*",
    ),
    Section(
        "Add an op or a rule",
        "A function on arrays with rules of its own; and domains, the calls that it is tested on.",
        "custom_op custom_vjp Op tapegrad.domain.*",
    ),
    Section(
        "Build a model",
        "A layer is a frozen description: `init(key)` draws its parameters, and "
        "`layer(params, x)` is a pure function of them.",
        "nn.Sequential nn.Linear nn.Embedding nn.Conv1d nn.Conv2d nn.MaxPool2d nn.AvgPool2d "
        "nn.Flatten nn.RNNCell nn.GRUCell nn.LSTMCell nn.MultiHeadAttention nn.attention "
        "nn.LayerNorm nn.RMSNorm nn.BatchNorm nn.Dropout nn.*",
    ),
    Section(
        "Measure a loss",
        "Each takes predictions or logits first, then what they should be.",
        "nn.mse_loss nn.l1_loss nn.huber_loss nn.cross_entropy_loss "
        "nn.binary_cross_entropy_loss nn.kl_loss nn.accuracy nn.one_hot",
    ),
    Section(
        "Initialize parameters",
        "`tg.nn.initializers`, for layers of your own.",
        "nn.initializers.*",
    ),
    Section(
        "Train",
        "`optimizer.init(params)` is a state; `optimizer.update(params, gradients, state)` returns "
        "new parameters and a new state. A schedule is a learning rate for each step.",
        "optim.SGD optim.Adam optim.AdamW optim.RMSProp optim.Adagrad optim.clip_by_global_norm "
        "optim.global_norm optim.warmup_cosine optim.exponential_decay optim.linear "
        "optim.piecewise optim.constant data.* optim.*",
    ),
    Section(
        "Draw random numbers",
        "Pure functions of a key: the same key, the same numbers. The order of the arguments is "
        "key, shape, then the rest.",
        "random.key random.split random.fold_in random.*",
    ),
    Section(
        "Work on trees",
        "Nested dicts, lists, tuples and records, with arrays for leaves.",
        "tree.map tree.leaves tree.paths tree.update tree.ravel tree.summary tree.*",
    ),
    Section(
        "Save and load",
        "Files that `np.load` reads too, and that execute no code.",
        "save load load_metadata load_program",
    ),
    Section(
        "Connect to JAX, PyTorch and other machines",
        "A function converted to JAX whole, or called back from another library; gradients "
        "averaged over MPI processes.",
        "to_jax bridges.* parallel.*",
    ),
    Section(
        "Understand an error",
        "Wrong types raise a `TypeError`, shapes that do not fit a `ValueError`, as in NumPy.",
        "TapegradError TapeError TraceError NonFiniteError FileError errors.*",
    ),
]
# the public modules that are no names of the face
BESIDE: tuple[str, ...] = ("tapegrad.program", "tapegrad.domain")
if importlib.util.find_spec("scipy"):
    BESIDE += ("tapegrad.scipy",)
FUNCTIONS = "Compute with arrays"
ON_ARRAYS = """\
NumPy's functions under NumPy's names, and some of neural networks, by their file in `tapegrad/`.
You can as well call NumPy's own. [ops.md](ops.md) says which operands have a gradient, and where it
is a matter of convention."""
# what is never made by calling its class, and what is called otherwise than the class says
NOT_CALLED = {"Op", "Program", "Tensor", "Structure", "Compiled", "Signature", "Optimizer"}
NOT_CALLED |= {"dirichlet", "multinomial", "multivariate_normal", "multivariate_t"}
CALLED = {"Tape": "()"}
# values, which have no docstring of their own
VALUES = {
    "tapegrad.program.PASSES": "The passes of the compiler, a tuple, in their order: see the "
    "`passes` of `tg.compile`.",
    "tg.random.Key": "The type of a key: an array of two `uint64` that `key` made, an integer, or "
    "a `numpy.random.SeedSequence`.",
    "tapegrad.domain.Domain": "The type of a domain: a function from `Choices` to a `Call`.",
    "tapegrad.domain.REAL": "Elements from -4 to 4.",
    "tapegrad.domain.POSITIVE": "Elements from 1/16 to 4.",
    "tapegrad.domain.NONZERO": "Elements from -4 to 4, at least 1/16 away from 0.",
    "tapegrad.domain.NEAR_ONE": "Elements from -1.25 to 1.25, of which many can be multiplied.",
    "tapegrad.domain.TYING": "A few numbers around 0, so that two are often equal.",
}


def public_names() -> dict[str, Any]:
    """Everything public, by the name that a user writes."""
    found: dict[str, Any] = {}
    faces = {tg: "tg"} | {importlib.import_module(name): name for name in BESIDE}
    for face in (todo := list(faces)):
        for name in dir(face):
            thing = getattr(face, name)
            if not inspect.ismodule(thing):
                found[f"{faces[face]}.{name}"] = thing
            elif thing not in faces:
                faces[thing] = f"{faces[face]}.{name}"
                todo.append(thing)
    del found["tg.__version__"]
    return found


class Entry(NamedTuple):
    """A thing, and its names, the shortest first."""

    name: str
    others: list[str]
    thing: Any


def entries() -> dict[str, Entry]:
    """Every thing once, by its shortest name."""
    names: dict[int, list[str]] = {}
    public = public_names()
    for name, thing in sorted(public.items(), key=lambda item: (len(item[0]), item[0])):
        names.setdefault(id(thing), []).append(name)
    return {first: Entry(first, others, public[first]) for first, *others in sorted(names.values())}


def grouped() -> Iterator[tuple[Section, list[Entry]]]:
    """The sections, each with its entries, then families of functions on arrays, without names."""
    left = entries()
    sections = [(s, [full(name) for name in s.names.split()]) for s in SECTIONS]
    # what one section names is not another's, where that says "*"
    named = {name: left.pop(name) for _, names in sections for name in names if name[-1] != "*"}
    for section, names in sections:
        found = []
        for name in names:
            if name in named:
                found.append(named[name])
            else:
                form = re.compile(name.replace(".", r"\.").replace("*", r"\w+"))
                found += [left.pop(x) for x in list(left) if form.fullmatch(x)]
        yield section, found
    families: dict[str, list[Entry]] = {}
    for entry in left.values():
        place = getattr(entry.thing, "__module__", type(entry.thing).__module__)
        families.setdefault(place, []).append(entry)
    for place, family in sorted(families.items()):
        yield Section(summary(sys.modules[place]).rstrip("."), "", ""), family


def full(name: str) -> str:
    """A name in `SECTIONS` with its beginning."""
    return name if name.startswith("tapegrad.") else f"tg.{name}"


def summary(thing: Any) -> str:
    """The first sentence of a docstring, as Markdown."""
    first = (inspect.getdoc(thing) or "").partition("\n\n")[0]
    return " ".join(first.split()).replace("``", "`")


def example(thing: Any) -> str:
    """The first example of a docstring, without the imports that all have."""
    text = (inspect.getdoc(thing) or "").partition("Examples\n--------\n")[2]
    shown: list[str] = []
    for paragraph in text.split("\n\n"):
        is_code = paragraph.startswith((">>>", "    "))
        if is_code:
            shown.append(textwrap.dedent(paragraph))
        elif shown:
            break
    lines = [
        line
        for line in "\n\n".join(shown).splitlines()
        if line not in (">>> import numpy as np", ">>> import tapegrad as tg")
    ]
    return "\n".join(lines).replace("<BLANKLINE>", "").strip()


def call(entry: Entry) -> str:
    """How it is called; of what is not called, the name."""
    thing, name = entry.thing, entry.name
    short = name.rpartition(".")[2]
    is_error = isinstance(thing, type) and issubclass(thing, Exception)
    if not callable(thing) or short in NOT_CALLED or is_error or short in ("Choices", "Domain"):
        return name
    return name + CALLED.get(short, signature(support_table.as_called(thing)))


def members(thing: Any) -> Iterator[str]:
    """The methods and properties that a class adds to those of its bases, a line for each."""
    if not isinstance(thing, type):
        return
    inherited = {
        name for base in thing.__mro__[1:] for name in (*vars(base), *inspect.get_annotations(base))
    }
    if thing is tg.Tensor:  # what an array has too is NumPy's
        inherited |= {*dir(np.ndarray)}
    for name, member in vars(thing).items():
        if name.startswith("_") or name in inherited:
            continue
        if inspect.isfunction(member):
            # without self
            called = re.sub(r"^\(self(, /)?(, )?", "(", signature(member))
            yield f"- `.{name}{called}`: {summary(member)}"
        elif isinstance(member, property):
            yield f"- `.{name}`: {summary(member)}"


def told(entry: Entry) -> str:
    """One entry."""
    parts = [f"### {entry.name}"]
    if (written := call(entry)) != entry.name:
        lines = textwrap.wrap(written, 98, subsequent_indent="    ")
        parts.append("\n".join(["```text", *lines, "```"]))
    also = f" Also {', '.join(map(code, entry.others))}." if entry.others else ""
    parts.append(VALUES.get(entry.name, summary(entry.thing)) + also)
    parts.append("\n".join(members(entry.thing)))
    if entry.name not in VALUES and (shown := example(entry.thing)):
        parts.append(f"```pycon\n{shown}\n```")
    return "\n\n".join(filter(None, parts))


def row(entry: Entry) -> str:
    """One function on arrays, as a line of its family's table."""
    done: list[str] = []
    shown = ""
    for step in doctest.DocTestParser().get_examples(example(entry.thing)):
        done.append(step.source.strip())
        if step.want:
            shown = f"{code('; '.join(done))} gives {code(' '.join(step.want.split()))}"
            break
    names = ", ".join(map(code, [call(entry), *entry.others]))
    return f"| {names} | {summary(entry.thing)} | {shown} |".replace("|  |", "| |")


def anchors(text: str) -> Iterator[tuple[str, str]]:
    """Each heading of a page and its anchor, as GitHub makes them."""
    seen: Counter[str] = Counter()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#+ (.*)$", prose, re.M):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        yield heading, f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


def api() -> str:
    """All of it, as Markdown."""
    body = []
    # by the title of a section, what is in it: a heading, and what the contents call it
    contents: dict[str, list[tuple[str, str]]] = {}
    for section, found in grouped():
        if section.names:
            contents[section.title] = [(e.name, e.name.rpartition(".")[2]) for e in found]
            body += [f"## {section.title}\n\n{section.words}", *map(told, found)]
            continue
        if FUNCTIONS not in contents:
            contents[FUNCTIONS] = []
            body.append(f"## {FUNCTIONS}\n\n{ON_ARRAYS}")
        contents[FUNCTIONS].append((section.title, section.title.partition(":")[0]))
        rows = "\n".join(map(row, found))
        body.append(f"### {section.title}\n\n| call | | example |\n|---|---|---|\n{rows}")
    text = "\n\n".join(body) + "\n"
    to = dict(anchors(HEAD + text))
    listed = ""
    for title, parts in contents.items():
        links = ", ".join(f"[{called}](#{to[heading]})" for heading, called in parts)
        listed += f"- [{title}](#{to[title]}): {links}\n"
    return f"{HEAD}{listed}\n{text}"


def pages() -> dict[str, str]:
    """The text of each page, by its file."""
    written = {"ops.md": support_table.table(), "api.md": api()}
    with_tables = ["contributing.md"] + ["scipy.md"] * ("tapegrad.scipy" in BESIDE)
    for name in with_tables:
        page = Path(__file__).with_name(name).read_text(encoding="utf-8")
        written[name] = TABLE.sub(lambda m: f"{m[1]}{table_of(m[2])}\n{m[3]}", page)
    return written


# it stands between two comments, of which the first names it
TABLE = re.compile(r"(<!-- ([\w.]+) -->\n).*?(<!-- end -->)", re.S)


def table_of(name: str) -> str:
    """The rules of the compiler, or the names in a module of `tapegrad.scipy`."""
    if name != "rules":
        return names_of(name)
    rules = "\n".join(rule.text for rule in ALGEBRA)
    return f"```text\n{rules}\n\n{words()}\n```"


DISTRIBUTIONS = {"pdf": "Continuous, with `loc` and `scale`", "pmf": "Counts, with `loc`"}


def names_of(module: str) -> str:
    """The functions of a module of `tapegrad.scipy`, or its distributions and their parameters."""
    theirs = importlib.import_module(f"tapegrad.scipy.{module}")
    kinds: dict[str, list[str]] = {}
    for name in sorted(theirs.__all__):
        thing = getattr(theirs, name)
        methods = getattr(thing, "kinds", ("",))
        parameters = ", ".join(getattr(thing, "example", ()))
        shown = f"`{name}({parameters})`" if parameters else f"`{name}`"
        kinds.setdefault(methods[0], []).append(shown + exceptions(thing, methods))
    others = "Others" if len(kinds) > 1 else f"`tapegrad.scipy.{module}`"
    lines = [f"{DISTRIBUTIONS.get(kind, others)}: {', '.join(x)}." for kind, x in kinds.items()]
    return "\n\n".join(textwrap.fill(line, 110, break_on_hyphens=False) for line in sorted(lines))


def exceptions(thing: Any, methods: tuple[str, ...]) -> str:
    """The methods that a distribution lacks, or those that it has if these are fewer."""
    has = [name for name in methods if hasattr(thing, name)]
    lacks = [name for name in methods if name and name not in has]
    if not lacks:
        return ""
    word, names = ("only", has) if len(has) < len(lacks) else ("without", lacks)
    return f" ({word} {', '.join(map(code, names))})"


if __name__ == "__main__":
    for name, text in pages().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")
