"""The house: imports run one way, the face shows the contract's names, and all are documented."""

import ast
import doctest
import functools
import importlib.util
import inspect
import operator
import pkgutil
import pydoc
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripts import printed

import tapegrad as tg
import tapegrad.domain
from tapegrad.arraylike.table import ANSWERS, complete
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


def test_every_file_is_a_module_that_imports():
    found = {m.name for m in pkgutil.walk_packages([str(PACKAGE)], "tapegrad.")}
    assert found - {"tapegrad.scipy"} == set(IMPORTED) - {"tapegrad", "tapegrad.scipy"}
    assert len(NAMES) > 15


# --- imports ------------------------------------------------------------------------------


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def teardown_module() -> None:
    """Keep no trees, through which each search for garbage would go."""
    parsed.cache_clear()


@functools.cache
def imports(file: Path) -> dict[str, set[str]]:
    """The modules that a file imports, of the package and others; for types too."""
    ours, others = set(), set()
    for node in ast.walk(parsed(file)):
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


def test_no_count_of_references_decides_anything():
    assert not [file.name for file in FILES if "refcount" in file.read_text(encoding="utf-8")]


def test_the_core_takes_nothing_from_other_rooms():
    """Neither by an import nor by a name that is looked up later."""
    later = re.compile(r"[\"']tapegrad\.\w+|import_module|__import__|sys\.modules")
    rooms = {"core": {"core", "errors", "tree"}, "tree": {"tree", "errors"}, "errors": {"errors"}}
    for room, allowed in rooms.items():
        for file in (PACKAGE / room).rglob("*.py"):
            assert {room_of(name) for name in imports(file)["ours"]} <= allowed, file
            assert room != "core" or not later.search(file.read_text(encoding="utf-8")), file


def room_of(name: str) -> str:
    """A folder of the package, or a loose module; "" for the package itself."""
    return f"{name}..".split(".")[1]


@pytest.mark.thorough
def test_only_the_names_of_users_are_read_out_of_frames():
    """Renaming a local of the package, or a function, must change nothing that it does."""
    for file in FILES:
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Attribute) and node.attr == "f_locals":
                assert file.stem == "observe"
            if isinstance(node, ast.Compare):
                assert ".co_name" not in ast.unparse(node), f"{file}: {ast.unparse(node)}"
    # all variables of the user's functions, none by its name
    assert not re.search(r"\bat\[", (PACKAGE / "program" / "observe.py").read_text())


@pytest.mark.thorough
def test_a_name_with_an_underscore_stays_in_its_module_and_the_face_is_imported_by_none():
    for file in FILES:
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tapegrad"):
                private = [x.name for x in node.names if x.name.startswith("_")]
                assert not private, f"{file} imports {private} of {node.module}"
        assert module_name(file) == "tapegrad" or "tapegrad" not in imports(file)["ours"], file


@pytest.mark.thorough
def test_what_not_every_program_needs_is_imported_when_it_is_asked_for():
    code = (
        "import sys, numpy as np, tapegrad as tg;"
        "from tapegrad.arraylike.table import answer_for;"
        "later = tuple(f'tapegrad.{x}' for x in "
        "'nn optim testing functions program.text ops.scipy_special'.split());"
        "print(*[name for name in sys.modules if name.startswith(later)]);"
        "print(answer_for('scipy.special.xlogy').name, end=' ');"
        "print(tg.grad(lambda x: x @ np.fft.fftshift(x))(np.arange(2.0)), end=' ');"
        "print(tg.grad(lambda x: x.std() + tg.std(x))(np.array([1.0, 3.0])), end=' ');"
        "tg.Program, tg.nn, tg.optim, tg.testing;"
        "print(*[name in sys.modules for name in later])"
    )
    assert printed(code) == "\nxlogy [2. 0.] [-1.  1.]" + " True" * 6 + "\n"


@pytest.mark.parametrize("name", ["bridges", "parallel"])
def test_modules_of_a_room_are_imported_by_their_public_paths(name: str) -> None:
    module = importlib.import_module(f"tapegrad.{name}")
    assert module is getattr(tg, name) is importlib.import_module(f"tapegrad.interop.{name}")


def test_the_face_shows_the_public_names_alone():
    modules = {name for name in tg.__all__ if inspect.ismodule(getattr(tg, name))}
    names = "bridges data errors fft linalg nn optim parallel random show testing tree"
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


def test_what_the_package_needs_for_itself_is_no_part_of_the_face():
    own = """
    from_zero keep pick unpick scatter segment_sum overlap_add linear_recurrence parameter patches
    add_patches index_set clip_both piece contract cofactor thin_svd sinc_derivative QRResult
    """
    assert [name for name in own.split() if name in dir(tg) or hasattr(tg, name)] == []


def test_tapes_call_ops_by_names_that_their_readers_know():
    """An op that has a name of ours alone is one that has no other, and is added on purpose."""
    known = [np, np.linalg, np.fft, np.ndarray, np.lib.stride_tricks, tg, tg.random]
    complete()
    # what JAX has under this name too
    theirs = {"segment_sum", "scatter", "scatter_add"}
    # what only rules and passes write, and parts of what has no word
    ours = {
        *("check_indices", "flat_indices", "keep", "piece", "inner_product", "add_scaled_rows"),
        *("cofactor", "complement", "linear_recurrence", "sinc_derivative", "i0_derivative"),
        *("index_set", "index_add", "last_writes", "overlap_add", "patches", "add_patches"),
        *("even_edges", "exponent"),
    }
    named = {op.name for op in list(OPS.values()) if op.__module__.startswith("tapegrad.")}
    unknown = {name for name in named if not any(hasattr(x, name) for x in known)}
    assert unknown == theirs | ours


def test_a_family_shows_names_of_numpy_and_those_that_are_added_on_purpose():
    added = {
        *("at", "expand", "getitem", "index_select", "stop_gradient", "sliding_window_view"),
        *("relu", "sigmoid", "softplus", "softmax", "log_softmax", "logsumexp", "erf"),
        *("standardize", "gelu", "silu", "leaky_relu", "elu"),
    }
    import tapegrad.functions
    import tapegrad.ops

    shown = {*tapegrad.ops.__all__, *tapegrad.functions.__all__}
    assert {x for x in shown if not hasattr(np, x) and not hasattr(np.linalg, x)} == added


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
        if module_name(file) not in {
            "tapegrad.testing.strategies",
            "tapegrad.testing.random_programs",
            "tapegrad.testing.random_steps",
        }:
            tops = {name.split(".")[0] for name in imports(file)["others"]}
            # for files of its own format only, and imported there
            tops -= {"safetensors"} if file.name == "files.py" else set()
            # for a plot, and imported where it is drawn
            tops -= {"matplotlib"} if file.name == "drawing.py" else set()
            # whose functions it differentiates, and which nothing else imports
            tops -= {"scipy"} if module_name(file).startswith("tapegrad.scipy") else set()
            assert tops <= allowed, file


def test_importing_the_package_imports_no_test_tool():
    code = "import sys, tapegrad; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in printed(code).split()}
    assert {"tapegrad", "numpy", "attrs"} <= loaded
    optional = "hypothesis pytest _pytest matplotlib torch jax safetensors scipy"
    assert not loaded & set(optional.split())


# --- size -----------------------------------------------------------------------------------

# growth is a decision: what is not the idea has a room of its own
CORE_FILES, CORE_LINES = 11, 1050
SWEEP_FILES, SWEEP_LINES = 18, 1650
GRADIENT_FILES, GRADIENT_CALLS = 10, 60
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def lines_of_code(file: Path) -> int:
    """The lines that hold a token other than comments and docstrings."""
    lines = set()
    with file.open() as source:
        for token in tokenize.generate_tokens(source.readline):
            is_docstring = token.type == tokenize.STRING and token.line.lstrip().startswith('"""')
            if token.type not in NO_CODE and not is_docstring:
                lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def test_the_core_is_small():
    found = {file.stem: lines_of_code(file) for file in (PACKAGE / "core").glob("*.py")}
    assert found.pop("__init__") == 0
    assert len(found) <= CORE_FILES, sorted(found)
    assert sum(found.values()) <= CORE_LINES, found


@pytest.mark.thorough
def test_the_sweep_imports_little():
    # without the package's own __init__, which imports more
    code = (
        "import sys, types;"
        "package = sys.modules['tapegrad'] = types.ModuleType('tapegrad');"
        f"package.__path__ = [{str(PACKAGE)!r}];"
        "import tapegrad.core.sweep;"
        "print(*[m.__file__ for name, m in sys.modules.items() if name.startswith('tapegrad.')])"
    )
    found = {file: lines_of_code(Path(file)) for file in printed(code).split()}
    assert str(PACKAGE / "core" / "sweep.py") in found
    assert len(found) <= SWEEP_FILES, sorted(found)
    assert sum(found.values()) <= SWEEP_LINES, found


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


def test_every_module_and_every_public_name_has_a_docstring():
    checked = 0
    assert [module.__name__ for module in MODULES if not module.__doc__] == []
    faces = [tg, tg.data, tg.nn, tg.optim, tg.parallel, tg.random, tg.tree, tg.errors]
    for face in faces:
        for name, thing in public(face).items():
            assert inspect.getdoc(thing), f"{face.__name__}.{name}"
            checked += 1
    assert checked > 80


@pytest.mark.thorough
def test_every_public_method_has_a_docstring_or_inherits_one():
    for module in MODULES:
        for node in parsed(Path(inspect.getsourcefile(module) or "")).body:
            # a Protocol's members are documented where they are written
            if not isinstance(node, ast.ClassDef) or "Protocol" in map(ast.unparse, node.bases):
                continue
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and "_" not in (
                    node.name[0],
                    member.name[0],
                ):
                    method = getattr(getattr(module, node.name), member.name)
                    # attrs keeps none of a cached property
                    has = ast.get_docstring(member) or inspect.getdoc(method)
                    assert has, f"{module.__name__}.{node.name}.{member.name}"


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


def test_every_layer_loss_check_strategy_and_op_with_a_gradient_has_an_example():
    things = {name: getattr(x, name) for x in (tg.nn, tg.testing) for name in dir(x)}
    things = {name: x for name, x in things.items() if not inspect.ismodule(x)}
    for name, op in public(tg).items():
        if isinstance(op, tg.Op) and (not isinstance(op.vjps, tuple) or any(op.vjps)):
            things[name] = op
    without = {
        name for name, x in things.items() if name[0] != "_" and ">>>" not in (x.__doc__ or "")
    }
    assert not without
    assert len(things) > 100


# --- the contract's names ---------------------------------------------------------------


CONTRACT = """
Tape Tensor record reverse_sweep sweep_steps grad value_and_grad vjp jvp linearize jacobian
value_and_jacobian hessian hessian_diag hvp vmap checkpoint compile implicit_root stop_gradient
custom_op custom_vjp scan fori_loop while_loop cond why_zero profile compare_tapes save load
load_metadata load_program to_jax bridges.torch bridges.jax show.html show.mermaid show.dot
parallel.mean parallel.shard parallel.same_everywhere data.batches errors.TapeError
errors.TraceError errors.TapegradError testing.check_grads testing.check_vjp testing.check_jvp
add subtract multiply divide negative power exp log sin cos tanh sqrt abs maximum minimum matmul
sum mean max min where transpose reshape concatenate stack broadcast_to squeeze expand_dims at
sigmoid relu softmax log_softmax logsumexp softplus gelu silu leaky_relu elu erf expand
index_select
tree.flatten tree.unflatten tree.map tree.leaves tree.paths tree.ravel tree.update tree.size
tree.summary tree.all_close
random.key random.split random.fold_in random.uniform random.normal random.bernoulli
random.integers random.permutation random.choice
nn.Linear nn.Sequential nn.Tanh nn.Embedding nn.Sigmoid nn.RNNCell nn.Dropout nn.LayerNorm
nn.RMSNorm nn.BatchNorm nn.Conv1d nn.Conv2d nn.MaxPool2d nn.AvgPool2d nn.Flatten nn.GRUCell
nn.LSTMCell nn.MultiHeadAttention nn.accuracy nn.mse_loss nn.cross_entropy_loss
nn.binary_cross_entropy_loss nn.huber_loss nn.l1_loss nn.kl_loss
optim.SGD optim.Adam optim.AdamW optim.RMSProp optim.Adagrad optim.warmup_cosine
optim.exponential_decay optim.piecewise optim.linear optim.global_norm optim.clip_by_global_norm
"""


def test_the_contracts_names_are_there():
    missing = []
    for name in CONTRACT.split():
        try:
            thing = functools.reduce(getattr, name.split("."), tg)
        except AttributeError:
            missing.append(name)
        else:
            missing += [] if callable(thing) else [name]
    assert not missing


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


def test_the_top_level_holds_nothing_else_that_shows():
    allowed = {"pyproject.toml", "tapegrad", "tests", "examples", "README.md"}
    assert (PACKAGE / "py.typed").exists()
    for name in _tracked():
        top = name.split("/")[0]
        assert top in allowed or top.startswith("."), name


def _tracked() -> list[str]:
    """The files under version control; those that lie there, where there is none."""
    if shutil.which("git") and (ROOT / ".git").exists():
        done = subprocess.run(
            ["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT
        )
        return done.stdout.split()
    built = re.compile(r"build|dist|.*\.egg-info")
    return [path.name for path in ROOT.iterdir() if not built.fullmatch(path.name)]


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
