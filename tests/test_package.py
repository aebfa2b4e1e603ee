"""Imports have no cycles, modules have public names alone, and examples in docstrings are true."""

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
def imported_modules(file: Path) -> dict[str, set[str]]:
    """Return the modules of the package that a file imports, and others at run time."""
    internal, external = set(), set()
    nodes = [*ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    blocks = [x for x in nodes if isinstance(x, ast.If) and "TYPE_CHECKING" in ast.unparse(x.test)]
    for_types = {node for block in blocks for node in ast.walk(block)}
    for node in nodes:
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
            if name.split(".")[0] == "tapegrad":
                internal.add(name)
            elif node not in for_types:
                external.add(name)
    return {"internal": internal, "external": external}


@pytest.mark.thorough
def test_imports_between_files_and_between_subpackages_have_no_cycle():
    """An import of a subpackage's module runs the subpackage's __init__ as well."""
    files = {module_name(file): imported_modules(file)["internal"] for file in FILES}
    subpackages: dict[str, set[str]] = {subpackage_of(name): set() for name in files}
    for name in files:
        if name != "tapegrad":
            subpackages[subpackage_of(name)] |= {subpackage_of(other) for other in files[name]} - {
                subpackage_of(name),
                "",
            }
    assert {"core", "arraylike", "tree", "ops"} <= set(subpackages)
    assert sum(map(len, files.values())) > 30
    for graph in (files, subpackages):
        # remove the nodes without imports of remaining nodes, until none is left
        while outermost := {name for name, found in graph.items() if not found & set(graph)}:
            graph = {name: found for name, found in graph.items() if name not in outermost}
        assert not graph


def test_package_reads_no_reference_counts_and_no_frame_locals():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert "refcount" not in text, file
        # messages that rewrite the caller's code may look up the functions it calls
        assert "f_locals" not in text or file.stem in ("observe", "rewriting"), file


def test_core_imports_no_other_subpackage():
    """The core has neither imports of others nor module names to import later."""
    lazy = re.compile(r"[\"']tapegrad\.\w+|import_module|__import__|sys\.modules")
    subpackages = {
        "core": {"core", "errors", "tree"},
        "tree": {"tree", "errors"},
        "errors": {"errors"},
    }
    # the types are names for a type checker, below all subpackages
    for subpackage, allowed in subpackages.items():
        for file in (PACKAGE / subpackage).rglob("*.py"):
            assert {
                subpackage_of(name) for name in imported_modules(file)["internal"]
            } <= allowed | {"types"}, file
            assert subpackage != "core" or not lazy.search(file.read_text(encoding="utf-8")), file


def test_errors_imports_no_later_subpackage() -> None:
    """Only the function `load_module` imports a module that is not of errors."""
    loading = []
    for file in (PACKAGE / "errors").rglob("*.py"):
        assert {subpackage_of(name) for name in imported_modules(file)["internal"]} <= {
            "errors",
            "types",
        }, file
        for scope in ast.parse(file.read_text(encoding="utf-8")).body:
            words = {getattr(x, "id", getattr(x, "attr", "")) for x in ast.walk(scope)}
            if words & {"import_module", "__import__", "find_spec", "exec", "eval"}:
                loading.append((file.name, getattr(scope, "name", "")))
    assert loading == [("names.py", "load_module")]


def subpackage_of(name: str) -> str:
    """Return the subpackage or top-level module of a name; "" for the package itself."""
    return f"{name}..".split(".")[1]


def reading_order() -> list[str]:
    """Return the files of the core in the order in which its docstring says to read them."""
    _, order = (tapegrad.core.__doc__ or "").split("reading order")
    return re.findall(r"`(\w+)`", order)


def test_core_file_imports_only_files_read_before_it() -> None:
    order = reading_order()
    assert sorted(order) == sorted(x.stem for x in (PACKAGE / "core").glob("[a-z]*.py"))
    for i, name in enumerate(order):
        internal = imported_modules(PACKAGE / "core" / f"{name}.py")["internal"]
        used = {x.removeprefix("tapegrad.core.") for x in internal if subpackage_of(x) == "core"}
        assert used <= set(order[:i]), name


@pytest.mark.parametrize("name", ["bridges", "parallel"])
def test_interop_modules_are_imported_by_their_public_paths(name: str) -> None:
    module = importlib.import_module(f"tapegrad.{name}")
    assert module is getattr(tg, name) is importlib.import_module(f"tapegrad.interop.{name}")


def test_package_has_public_names_alone():
    modules = {name for name in tg.__all__ if inspect.ismodule(getattr(tg, name))}
    names = "bridges data errors fft linalg nn optim parallel polynomial random show testing tree"
    assert modules == set(names.split())
    lazy = {"Program", "compile", "load", "load_metadata", "load_program", "save", "to_jax"}
    lazy |= {"cond", "fori_loop", "scan", "while_loop"}
    lazy |= {"custom_op", "custom_vjp", "hessian", "hessian_diag", "implicit_root", "jacobian"}
    lazy |= {"sweep_steps", "value_and_jacobian", "vmap", "why_zero"}
    assert set(public_names(tg)) | modules | lazy == set(tg.__all__)
    assert set(dir(tg)) == {"__version__", *tg.__all__}
    star: dict[str, Any] = {}
    exec("from tapegrad import *", star)
    assert set(star) - {"__builtins__"} == set(tg.__all__)


PUBLIC_MODULES = [
    *(thing for name in dir(tg) if inspect.ismodule(thing := getattr(tg, name))),
    *(tg.nn.initializers, tapegrad.domain, tapegrad.program),
]
# with nested modules, such as sparse.linalg
PUBLIC_MODULES += [m for m in MODULES if m.__name__.startswith("tapegrad.scipy")]


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_public_module_has_public_names_alone(module):
    names = dir(module)
    assert len(names) == len(set(names)) > 0
    for name in names:
        thing = getattr(module, name)
        assert not name.startswith("_")
        if inspect.ismodule(thing):
            assert thing in PUBLIC_MODULES, name
            continue
        # no helper of typing, NumPy or an internal subpackage
        values = (str, tuple)  # the type of keys, and the passes
        where = getattr(thing, "__module__", "") or type(thing).__module__
        assert where.startswith("tapegrad") or isinstance(thing, values) or name == "Domain", name
        assert not where.startswith(("tapegrad.core.", "tapegrad.arraylike.")) or name == "Op", name
    star: dict[str, Any] = {}
    exec(f"from {module.__name__} import *", star)
    assert module is tg.testing or set(star) - {"__builtins__"} == set(names)


def test_op_names_are_names_of_numpy_or_listed():
    """An op is listed here if neither NumPy nor the package has a function of its name."""
    namespaces = [np, np.linalg, np.fft, np.ndarray, np.lib.stride_tricks, tg, tg.random]
    full_table()
    # names that JAX has too
    jax_names = {"scatter", "scatter_add"}
    # ops that only rules and passes write, and parts of functions that have no other name
    listed = {
        *("check_indices", "flat_indices", "keep", "piece", "inner_product", "add_scaled_rows"),
        *("cofactor", "complement", "linear_recurrence", "sinc_derivative", "i0_derivative"),
        *("index_set", "index_add", "last_writes", "overlap_add", "patches", "add_patches"),
        *("index_max", "index_min", "index_multiply"),
        *("even_edges", "exponent", "sigmoid_derivative"),
    }
    named = {op.name for op in list(OPS.values()) if op.__module__.startswith("tapegrad.")}
    unknown = {name for name in named if not any(hasattr(x, name) for x in namespaces)}
    assert unknown == jax_names | listed


def test_help_of_an_op_shows_signature_and_docstring():
    for thing, line in [(tg.sum, "sum(a: "), (tg.var, "var(a: ")]:
        text = pydoc.plain(pydoc.render_doc(thing))
        # from Python 3.13 on, a long signature has a line for each parameter
        assert line in text.replace("(\n    ", "(")
        assert inspect.getdoc(thing).split("\n")[0] in text


def test_repr_of_transformed_function_names_transform_and_function():
    def loss(x):
        return x * x

    for name in ("grad", "value_and_grad", "hessian", "jacobian", "checkpoint"):
        assert repr(getattr(tg, name)(loss)) == f"<{name} of loss>"
    assert repr(tg.value_and_grad(tg.grad(loss))) == "<value_and_grad of grad of loss>"
    step = tg.compile(tg.grad(loss))
    assert repr(step) == "<compiled grad of loss, 0 programs>"
    step(2.0)
    assert repr(step) == "<compiled grad of loss, 1 program>"


def test_version_is_the_version_in_pyproject():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    # the version is either written there too, or read from the package
    assert project.get("version", tg.__version__) == tg.__version__
    assert ("version" in project) != ("version" in project.get("dynamic", ()))
    assert re.fullmatch(r"\d+\.\d+\.\d+", tg.__version__)


@pytest.mark.thorough
def test_package_requires_only_numpy_and_attrs():
    allowed = {"numpy", "attrs", *sys.stdlib_module_names}
    for file in FILES:
        if module_name(file) != "tapegrad.testing.strategies":
            tops = {name.split(".")[0] for name in imported_modules(file)["external"]}
            # needed and imported only for safetensors files
            tops -= {"safetensors"} if file.name == "files.py" else set()
            # needed and imported only for plots
            tops -= {"matplotlib"} if file.name == "drawing.py" else set()
            # its functions are differentiated in tapegrad.scipy alone
            tops -= {"scipy"} if module_name(file).startswith("tapegrad.scipy") else set()
            assert tops <= allowed, file


def test_import_loads_no_test_tool_and_no_optional_subpackage():
    loaded = print_of_script("import sys, tapegrad; print(*sys.modules)").split()
    assert {"tapegrad", "numpy", "attrs"} <= set(loaded)
    optional = "hypothesis pytest _pytest matplotlib torch jax safetensors scipy"
    assert not {name.split(".")[0] for name in loaded} & set(optional.split())
    lazy = "nn optim testing functions program.text ops.scipy_special"
    assert not [x for x in loaded if x.startswith(tuple(f"tapegrad.{y}" for y in lazy.split()))]


def test_first_call_reads_no_source_and_imports_no_optional_subpackage():
    output = print_of_script(
        "import linecache, sys, numpy as np, tapegrad as tg\n"
        "text = 'lambda x: np.sum(np.where(x > 0, np.float64(2) * x * x, 0))'\n"
        "step = tg.compile(tg.grad(eval(compile(text, tg.__file__, 'eval'))))\n"
        "done = [step(x) for x in tg.data.batches(None, np.ones(4), 2)]\n"
        "few = {'numpy.ma', 'tapegrad.functions', tg.__file__}\n"
        "print(*done, few & {*sys.modules, *linecache.cache})"
    )
    assert output == "[4. 4.] [4. 4.] set()\n"


# --- size -----------------------------------------------------------------------------------

# the core grows by decision only: other features have their own subpackages
CORE_LINES, GRADIENT_FILES, GRADIENT_CALLS = 894, 13, 60
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def lines_of_code(file: Path) -> int:
    """Return the lines that hold more than comments and docstrings."""
    lines = set()
    with file.open() as source:
        for token in tokenize.generate_tokens(source.readline):
            is_docstring = token.type == tokenize.STRING and token.line.lstrip().startswith('"""')
            if token.type not in NO_CODE and token.string and not is_docstring:
                lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def test_core_is_as_small_as_the_guide_says():
    found = {file.name: lines_of_code(file) for file in (PACKAGE / "core").glob("*.py")}
    assert found["__init__.py"] == 0
    total = sum(found.values())
    assert total <= CORE_LINES, found
    guide = (ROOT / "examples" / "contributing.md").read_text(encoding="utf-8")
    reading = guide.split("## The order in which to read")[1].split("\n## ")[0]
    order = re.findall(r"`core/(\w+\.py)`", reading)
    assert order == [f"{name}.py" for name in reading_order()]
    (stated,) = re.findall(r"the ([\d,]+) lines of code in `core/`", reading)
    assert int(stated.replace(",", "")) == pytest.approx(total, rel=0.05)


def test_gradient_runs_code_of_few_files():
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
    internal = [file for file in calls if file.startswith(str(PACKAGE))]
    assert str(PACKAGE / "core" / "sweep.py") in internal
    assert len(set(internal)) <= GRADIENT_FILES, sorted(set(internal))
    assert len(internal) <= GRADIENT_CALLS


# --- documentation ------------------------------------------------------------------------


def public_names(module: ModuleType) -> dict[str, Any]:
    """Return the package's objects that a module exports, by name."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "").startswith("tapegrad")
    }


class Finder(doctest.DocTestFinder):
    """A finder of examples in ops too, which doctest does not count as functions."""

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
def test_docstring_examples_are_true(module):
    for test in Finder().find_all(module):
        # doctest checks each file that was ever read for changes
        if not test.examples or ("scipy" in test.docstring and not HAS_SCIPY):
            continue
        report: list[str] = []
        result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
        assert result.failed == 0, "".join(report)


# --- the contract's names ---------------------------------------------------------------


def test_every_tensor_method_calls_an_existing_op():
    x = np.array([[0.25, 0.5], [0.75, 1.0]])
    calls = {"swapaxes": (0, 1), "reshape": (4,), "astype": (np.float32,), "dot": (x,)}
    calls |= {"repeat": (2,), "take": ([0, 3],), "compress": ([True, False, True],)}
    calls |= {"argpartition": (1,)}
    # methods that no array has, that return no Tensor, or that take a vector
    exceptions = {"choose", "item", "tolist", "nonzero", "searchsorted"}
    methods = {name for name, method in vars(tg.Tensor).items() if inspect.isfunction(method)}
    assert {"sum", *calls} <= methods
    for name in methods - exceptions:
        if not name.startswith("_"):
            call = operator.methodcaller(name, *calls.get(name, ()))
            output, _ = tg.record(call)(x)
            np.testing.assert_array_equal(output.value, call(x))


# --- global state -------------------------------------------------------------------------


def test_no_global_is_rebound_by_calls():
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
