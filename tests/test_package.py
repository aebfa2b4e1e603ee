"""Imports run one way, modules show their public names alone, and the examples in docstrings are true."""

import ast
import doctest
import functools
import importlib.util
import inspect
import operator
import pydoc
import re
import sys
import tokenize
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripts import print_of_script

import tapegrad as tg
import tapegrad.core
import tapegrad.domain
from tapegrad.arraylike.table import ANSWERS, full_table
from tapegrad.declare import OPS

PACKAGE = Path(tg.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = [module_name(file) for file in FILES]
HAS_SCIPY = importlib.util.find_spec("scipy") is not None
IMPORTED = [x for x in NAMES if HAS_SCIPY or not x.startswith("tapegrad.scipy")]
MODULES = [importlib.import_module(name) for name in IMPORTED]


# --- imports ------------------------------------------------------------------------------


@functools.cache
def imports(file: Path) -> dict[str, set[str]]:
    """The modules that a file imports, of the package and others; for types too."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports by a relative path"
            # `from package import module` imports the module
            names = [
                full if (full := f"{node.module}.{alias.name}") in NAMES else node.module
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            (ours if name.split(".")[0] == "tapegrad" else others).add(name)
    return {"ours": ours, "others": others}


@pytest.mark.thorough
def test_imports_between_files_and_between_rooms_run_one_way():
    """Whoever imports a package's module runs the package's __init__ as well."""
    files = {module_name(file): imports(file)["ours"] for file in FILES}
    rooms: dict[str, set[str]] = {room_of(name): set() for name in files}
    for name in files:
        if name != "tapegrad":
            rooms[room_of(name)] |= {room_of(other) for other in files[name]} - {room_of(name), ""}
    assert {"core", "arraylike", "tree", "ops"} <= set(rooms)
    assert sum(map(len, files.values())) > 30
    for graph in (files, rooms):
        # those that import nothing which is still there, one after another
        while outermost := {name for name, found in graph.items() if not found & set(graph)}:
            graph = {name: found for name, found in graph.items() if name not in outermost}
        assert not graph


def test_no_count_of_references_and_no_frame_of_the_packages_own_decides_anything():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert "refcount" not in text, file
        # messages with the caller's code rewritten may look up what the caller calls
        assert "f_locals" not in text or file.stem in ("observe", "rewriting"), file


def test_the_core_takes_nothing_from_other_rooms():
    """Neither by an import nor by a name that is looked up later."""
    later = re.compile(r"[\"']tapegrad\.\w+|import_module|__import__|sys\.modules")
    rooms = {"core": {"core", "errors", "tree"}, "tree": {"tree", "errors"}, "errors": {"errors"}}
    # the types are names for a checker, below all rooms
    for room, allowed in rooms.items():
        for file in (PACKAGE / room).rglob("*.py"):
            assert {room_of(name) for name in imports(file)["ours"]} <= allowed | {"types"}, file
            assert room != "core" or not later.search(file.read_text(encoding="utf-8")), file


def test_errors_loads_no_later_room() -> None:
    """Neither at import time nor inside a function, apart from the one function `load_module`."""
    loading = []
    for file in (PACKAGE / "errors").rglob("*.py"):
        assert {room_of(name) for name in imports(file)["ours"]} <= {"errors", "types"}, file
        for scope in ast.parse(file.read_text(encoding="utf-8")).body:
            words = {getattr(x, "id", getattr(x, "attr", "")) for x in ast.walk(scope)}
            if words & {"import_module", "__import__", "find_spec", "exec", "eval"}:
                loading.append((file.name, getattr(scope, "name", "")))
    assert loading == [("names.py", "load_module")]


def room_of(name: str) -> str:
    """A folder of the package, or a loose module; "" for the package itself."""
    return f"{name}..".split(".")[1]


def reading_order() -> list[str]:
    """The files of the core, in the order in which its docstring says to read them."""
    _, order = (tapegrad.core.__doc__ or "").split("reading order")
    return re.findall(r"`(\w+)`", order)


def test_each_file_of_the_core_imports_only_files_read_before_it() -> None:
    order = reading_order()
    assert sorted(order) == sorted(x.stem for x in (PACKAGE / "core").glob("[a-z]*.py"))
    for i, name in enumerate(order):
        ours = imports(PACKAGE / "core" / f"{name}.py")["ours"]
        used = {x.removeprefix("tapegrad.core.") for x in ours if room_of(x) == "core"}
        assert used <= set(order[:i]), name


@pytest.mark.parametrize("name", ["bridges", "parallel"])
def test_modules_of_a_room_are_imported_by_their_public_paths(name: str) -> None:
    module = importlib.import_module(f"tapegrad.{name}")
    assert module is getattr(tg, name) is importlib.import_module(f"tapegrad.interop.{name}")


def test_the_face_shows_the_public_names_alone():
    modules = {name for name in tg.__all__ if inspect.ismodule(getattr(tg, name))}
    names = "bridges data errors fft linalg nn optim parallel polynomial random show testing tree"
    assert modules == set(names.split())
    later = {"Program", "compile", "load", "load_metadata", "load_program", "save", "to_jax"}
    later |= {"cond", "fori_loop", "scan", "while_loop"}
    later |= {"custom_op", "custom_vjp", "hessian", "hessian_diag", "implicit_root", "jacobian"}
    later |= {"sweep_steps", "value_and_jacobian", "vmap", "why_zero"}
    assert set(public(tg)) | modules | later == set(tg.__all__)
    assert set(dir(tg)) == {"__version__", *tg.__all__}
    star: dict[str, Any] = {}
    exec("from tapegrad import *", star)
    assert set(star) - {"__builtins__"} == set(tg.__all__)


PUBLIC_MODULES = [
    *(thing for name in dir(tg) if inspect.ismodule(thing := getattr(tg, name))),
    *(tg.nn.initializers, tapegrad.domain, tapegrad.program),
]
# with modules of modules, such as sparse.linalg
PUBLIC_MODULES += [m for m in MODULES if m.__name__.startswith("tapegrad.scipy")]


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_a_public_module_shows_its_public_names_alone(module):
    names = dir(module)
    assert len(names) == len(set(names)) > 0
    for name in names:
        thing = getattr(module, name)
        assert not name.startswith("_")
        if inspect.ismodule(thing):
            assert thing in PUBLIC_MODULES, name
            continue
        # no helper of typing or NumPy, nor of a room that users do not see
        values = (str, tuple)  # the type of keys, and the passes
        where = getattr(thing, "__module__", "") or type(thing).__module__
        assert where.startswith("tapegrad") or isinstance(thing, values) or name == "Domain", name
        assert not where.startswith(("tapegrad.core.", "tapegrad.arraylike.")) or name == "Op", name
    star: dict[str, Any] = {}
    exec(f"from {module.__name__} import *", star)
    assert module is tg.testing or set(star) - {"__builtins__"} == set(names)


def test_tapes_call_ops_by_names_that_their_readers_know():
    """An op that has a name of ours alone is one that has no other, and is added on purpose."""
    known = [np, np.linalg, np.fft, np.ndarray, np.lib.stride_tricks, tg, tg.random]
    full_table()
    # what JAX has under this name too
    theirs = {"scatter", "scatter_add"}
    # what only rules and passes write, and parts of what has no word
    ours = {
        *("check_indices", "flat_indices", "keep", "piece", "inner_product", "add_scaled_rows"),
        *("cofactor", "complement", "linear_recurrence", "sinc_derivative", "i0_derivative"),
        *("index_set", "index_add", "last_writes", "overlap_add", "patches", "add_patches"),
        *("index_max", "index_min", "index_multiply"),
        *("even_edges", "exponent", "sigmoid_derivative"),
    }
    named = {op.name for op in list(OPS.values()) if op.__module__.startswith("tapegrad.")}
    unknown = {name for name in named if not any(hasattr(x, name) for x in known)}
    assert unknown == theirs | ours


def test_help_of_an_op_shows_its_signature_and_its_docstring():
    for thing, line in [(tg.sum, "sum(a: "), (tg.var, "var(a: ")]:
        text = pydoc.plain(pydoc.render_doc(thing))
        # from Python 3.13 on, a long signature has a line for each parameter
        assert line in text.replace("(\n    ", "(")
        assert inspect.getdoc(thing).split("\n")[0] in text


def test_the_repr_of_what_is_made_of_a_function_says_what_it_is_of():
    def loss(x):
        return x * x

    for name in ("grad", "value_and_grad", "hessian", "jacobian", "checkpoint"):
        assert repr(getattr(tg, name)(loss)) == f"<{name} of loss>"
    assert repr(tg.value_and_grad(tg.grad(loss))) == "<value_and_grad of grad of loss>"
    step = tg.compile(tg.grad(loss))
    assert repr(step) == "<compiled grad of loss, 0 programs>"
    step(2.0)
    assert repr(step) == "<compiled grad of loss, 1 program>"


def test_the_version_is_the_projects():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    # either written there too, or read from here
    assert project.get("version", tg.__version__) == tg.__version__
    assert ("version" in project) != ("version" in project.get("dynamic", ()))
    assert re.fullmatch(r"\d+\.\d+\.\d+", tg.__version__)


@pytest.mark.thorough
def test_numpy_and_attrs_are_all_that_the_package_needs():
    allowed = {"numpy", "attrs", *sys.stdlib_module_names}
    for file in FILES:
        if module_name(file) != "tapegrad.testing.strategies":
            tops = {name.split(".")[0] for name in imports(file)["others"]}
            # for files of its own format only, and imported there
            tops -= {"safetensors"} if file.name == "files.py" else set()
            # for a plot, and imported where it is drawn
            tops -= {"matplotlib"} if file.name == "drawing.py" else set()
            # whose functions it differentiates, and which nothing else imports
            tops -= {"scipy"} if module_name(file).startswith("tapegrad.scipy") else set()
            assert tops <= allowed, file


def test_importing_the_package_imports_no_test_tool_and_no_room_that_few_need():
    loaded = print_of_script("import sys, tapegrad; print(*sys.modules)").split()
    assert {"tapegrad", "numpy", "attrs"} <= set(loaded)
    optional = "hypothesis pytest _pytest matplotlib torch jax safetensors scipy"
    assert not {name.split(".")[0] for name in loaded} & set(optional.split())
    later = "nn optim testing functions program.text ops.scipy_special"
    assert not [x for x in loaded if x.startswith(tuple(f"tapegrad.{y}" for y in later.split()))]


def test_a_first_call_reads_no_source_and_imports_no_room_that_few_need():
    said = print_of_script(
        "import linecache, sys, numpy as np, tapegrad as tg\n"
        "text = 'lambda x: np.sum(np.where(x > 0, np.float64(2) * x * x, 0))'\n"
        "step = tg.compile(tg.grad(eval(compile(text, tg.__file__, 'eval'))))\n"
        "done = [step(x) for x in tg.data.batches(None, np.ones(4), 2)]\n"
        "few = {'numpy.ma', 'tapegrad.functions', tg.__file__}\n"
        "print(*done, few & {*sys.modules, *linecache.cache})"
    )
    assert said == "[4. 4.] [4. 4.] set()\n"


# --- size -----------------------------------------------------------------------------------

# growth is a decision: what is not the idea has a room of its own
CORE_LINES, GRADIENT_FILES, GRADIENT_CALLS = 894, 13, 60
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def lines_of_code(file: Path) -> int:
    """The lines that hold more than comments and docstrings."""
    lines = set()
    with file.open() as source:
        for token in tokenize.generate_tokens(source.readline):
            is_docstring = token.type == tokenize.STRING and token.line.lstrip().startswith('"""')
            if token.type not in NO_CODE and token.string and not is_docstring:
                lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def test_the_core_is_as_small_as_the_readme_says():
    found = {file.name: lines_of_code(file) for file in (PACKAGE / "core").glob("*.py")}
    assert found["__init__.py"] == 0
    total = sum(found.values())
    assert total <= CORE_LINES, found
    _, develop = (ROOT / "README.md").read_text(encoding="utf-8").split("## Develop")
    order = re.findall(r"`(\w+\.py)`", develop)
    assert order == [f"{name}.py" for name in reading_order()]
    said = int(re.findall(r"the ([\d,]+) lines of code there", develop)[0].replace(",", ""))
    assert said == pytest.approx(total, rel=0.05)


def test_a_gradient_passes_through_few_files():
    def fn(x):
        return np.sum(np.sin(x) * x)

    gradient, x = tg.grad(fn), np.ones(3)
    gradient(x)
    calls: list[str] = []
    sys.setprofile(
        lambda frame, event, _: calls.append(frame.f_code.co_filename) if event == "call" else None
    )
    try:
        gradient(x)
    finally:
        sys.setprofile(None)
    ours = [file for file in calls if file.startswith(str(PACKAGE))]
    assert str(PACKAGE / "core" / "sweep.py") in ours
    assert len(set(ours)) <= GRADIENT_FILES, sorted(set(ours))
    assert len(ours) <= GRADIENT_CALLS


# --- documentation ------------------------------------------------------------------------


def public(module: ModuleType) -> dict[str, Any]:
    """The things of the package's own that a module shows."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "").startswith("tapegrad")
    }


class Finder(doctest.DocTestFinder):
    """Finds examples in ops too, which are values and not functions to doctest."""

    def find_all(self, module: ModuleType) -> list[doctest.DocTest]:
        tests = self.find(module, extraglobs={"np": np, "tg": tg})
        seen = {test.name for test in tests}
        for name, thing in vars(module).items():
            if isinstance(thing, tg.Op) and thing.__module__ == module.__name__:
                full = f"{module.__name__}.{name}"
                if full not in seen:
                    tests += self.find(
                        thing.__wrapped__, full, module, extraglobs={"np": np, "tg": tg}
                    )
        return tests


@pytest.mark.parametrize("module", MODULES, ids=IMPORTED)
def test_the_examples_in_docstrings_are_true(module):
    for test in Finder().find_all(module):
        # a run looks at each file that was ever read, to see if it has changed
        if not test.examples or ("scipy" in test.docstring and not HAS_SCIPY):
            continue
        report: list[str] = []
        result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
        assert result.failed == 0, "".join(report)


# --- the contract's names ---------------------------------------------------------------


def test_every_method_of_a_tensor_calls_an_op_that_exists():
    x = np.array([[0.25, 0.5], [0.75, 1.0]])
    calls = {"swapaxes": (0, 1), "reshape": (4,), "astype": (np.float32,), "dot": (x,)}
    calls |= {"repeat": (2,), "take": ([0, 3],), "compress": ([True, False, True],)}
    calls |= {"argpartition": (1,)}
    # what is no array's method, or hands out no Tensor, or takes a vector
    others = {"choose", "item", "tolist", "nonzero", "searchsorted"}
    methods = {name for name, method in vars(tg.Tensor).items() if inspect.isfunction(method)}
    assert {"sum", *calls} <= methods
    for name in methods - others:
        if not name.startswith("_"):
            call = operator.methodcaller(name, *calls.get(name, ()))
            output, _ = tg.record(call)(x)
            np.testing.assert_array_equal(output.value, call(x))


# --- the house ----------------------------------------------------------------------------


def test_nothing_global_is_rebound_while_working():
    def snapshot() -> dict[str, dict[str, int]]:
        return {
            module.__name__: {name: id(thing) for name, thing in vars(module).items()}
            for module in MODULES
        }

    before, tables = snapshot(), (len(OPS), len(ANSWERS))
    params = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.Tanh()).init(0)
    tg.grad(lambda p: tg.sum(p[0].weight ** 2))(params)
    tg.hessian(lambda x: tg.sum(tg.sin(x)))(np.ones(2))
    tg.custom_op(vjps=(None,), name="add")(lambda x: x)
    with pytest.raises(TypeError):
        tg.grad(lambda x: x)(1)
    assert snapshot() == before
    assert (len(OPS), len(ANSWERS)) == tables
