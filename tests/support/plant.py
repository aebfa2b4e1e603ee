"""Changes that the tests would notice: python tests/support/plant.py 200 0

Plants changes in the package, one at a time and as many as the first argument says, drawn by the
seed that the second is: another operator, constant, comparison, a dropped term, a guard that is
gone. Each is judged by the tests that pass the changed line, the nearest and quickest first, until
one fails or a minute is over, and is caught by the default run, by a test marked `thorough`, or by
none. Run it before a test is deleted. It needs Python 3.12, and takes a few seconds for a change.

All tests are collected once, and each change is made in a process forked from that, in the code
of the functions that are there: tests that start a process of their own do not see it.
HYPOTHESIS_PROFILE=thorough with the numbers of some changes behind the seed searches those deeply.
"""

import ast
import copy
import gc
import io
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).parents[2]
# seconds that the tests of a change may take, by their earlier times, and on the clock
BUDGET, PATIENCE = 30.0, 400
# the lines that each test runs, kept from run to run as long as no file is newer
MAP = Path(tempfile.gettempdir()) / f"plant-{os.getuid()}-{ROOT.parent.name}-{ROOT.name}.pickle"

PAIRS: list[tuple[type, type]] = [
    *[(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitOr, ast.BitAnd), (ast.And, ast.Or)],
    *[(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)],
    *[(ast.In, ast.NotIn), (ast.Pow, ast.Mult), (ast.MatMult, ast.Mult)],
]
# each for the other, but a product becomes a quotient
OPERATORS = {y: x for x, y in reversed(PAIRS)} | dict(PAIRS)
# texts and types, which compute nothing
IGNORED = (ast.Raise, ast.JoinedStr, ast.Assert, ast.AnnAssign)


def changes(node: Any) -> Iterator[Any]:
    """The nodes that may stand in the place of one."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
        yield _but(node, op=OPERATORS[type(node.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        yield node.left  # a term or a factor less
    if isinstance(node, ast.Compare):
        yield _but(node, ops=[OPERATORS[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    if isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        x = node.value
        yield _but(node, value=not x if type(x) is bool else x + 1)
        if type(x) is int and x:
            yield _but(node, value=0)
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    if isinstance(node, ast.If):  # with the other branches, so that no code is lost
        yield _but(node, test=ast.BoolOp(ast.And(), [node.test, ast.Constant(0)]))


def _but(node: Any, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def places(tree: Any, inside: bool = False) -> Iterator[tuple[Any, str, Any, Any]]:
    """Each change to code in functions: a node, its field, the place in a list, what comes there."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") and inside:
            continue
        for k, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not isinstance(node, IGNORED):
                if inside and hasattr(node, "lineno"):
                    yield from [(tree, name, k, new) for new in changes(node)]
                is_code = inside or isinstance(tree, ast.FunctionDef | ast.Lambda)
                yield from places(node, is_code and name != "args")


def draw_changes(n: int, seed: int) -> list[tuple[Path, int]]:
    """Draw n changes: files, and the numbers of changes in them."""
    counts = [
        (path, sum(1 for _ in places(ast.parse(path.read_text()))))
        for path in sorted((ROOT / "tapegrad").rglob("*.py"))
    ]
    return random.Random(seed).sample([(path, i) for path, k in counts for i in range(k)], n)


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for x in code.co_consts:
        if isinstance(x, CodeType):
            yield from codes(x)


class Change:
    """The number-th change of a file, as the code that is in place of other code."""

    def __init__(self, path: Path, number: int) -> None:
        before, tree = (ast.parse(path.read_text()) for _ in range(2))
        node, field, k, new = list(places(tree))[number]
        old = getattr(node, field) if k is None else getattr(node, field)[k]
        self.path, self.line = path, old.lineno
        tests = [x.test if isinstance(x, ast.If) else x for x in (old, new)]
        texts = [" ".join(ast.unparse(x).split())[:60] for x in tests]
        self.text = f"{path.relative_to(ROOT)}:{self.line} {texts[0]}  ->  {texts[1]}"
        if k is None:
            setattr(node, field, ast.copy_location(new, old))
        else:
            getattr(node, field)[k] = ast.copy_location(new, old)
        made = [
            [*codes(compile(ast.fix_missing_locations(x), str(path), "exec"))]
            for x in (before, tree)
        ]
        same = [x.co_qualname for x in made[0]] == [x.co_qualname for x in made[1]]
        self.codes = dict(zip(*made, strict=True)) if same else {}

    def plant(self, functions: list[FunctionType]) -> int:
        """Change the functions of the file; how many."""
        n = 0
        for f in functions:
            code = self.codes.get(f.__code__)
            if code and code != f.__code__ and code.co_freevars == f.__code__.co_freevars:
                f.__code__ = code
                n += 1
        return n


def run_forked(work: Any, patience: float) -> Any:
    """The result of a function in a forked process; None if that takes too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(int(patience))
        null = os.open(os.devnull, os.O_RDWR)
        for i in (0, 1, 2):
            os.dup2(null, i)
        try:
            with os.fdopen(writing, "wb") as file:
                file.write(pickle.dumps(work()))
        finally:  # whatever comes, this is not the process that pytest began
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        found = file.read()
    status = os.waitpid(child, 0)[1]
    assert found or os.WTERMSIG(status), "the process failed"
    return pickle.loads(found) if found else None


def first_failure(items: list[pytest.Item]) -> str:
    """The first of some tests that fails; "" if none does."""
    with redirect_stdout(io.StringIO()):
        for item, following in zip_longest(items, items[1:]):
            reports = runtestprotocol(item, log=False, nextitem=following)
            if any(x.failed for x in reports):
                return item.nodeid
    return ""


def map_lines_to_tests(
    items: list[pytest.Item],
) -> tuple[dict[tuple[str, int], set[str]], dict[str, float]]:
    """The tests that run each line of the package, and each test's seconds."""
    monitoring = sys.monitoring
    tests: dict[tuple[str, int], set[str]] = defaultdict(set)
    times: dict[str, float] = {}
    now = ""
    monitoring.use_tool_id(2, "plant")

    def on_line(code: CodeType, line: int) -> Any:
        if code.co_filename.startswith(package):
            tests[code.co_filename, line].add(now)
        return monitoring.DISABLE

    package = str(ROOT / "tapegrad")
    monitoring.register_callback(2, monitoring.events.LINE, on_line)
    monitoring.set_events(2, monitoring.events.LINE)
    for item, following in zip_longest(items, items[1:]):
        now, since = item.nodeid, time.process_time()
        monitoring.restart_events()
        if any(x.failed for x in runtestprotocol(item, log=False, nextitem=following)):
            times[now] = float("inf")  # no judge
            continue
        times[now] = time.process_time() - since
    return dict(tests), times


class Planter:
    """In place of the loop that runs the tests."""

    def __init__(self, n: int, seed: int, only: list[int]) -> None:
        self.n, self.seed, self.only = n, seed, only

    def map(self, items: list[pytest.Item]) -> Any:
        newest = max(x.stat().st_mtime for x in ROOT.glob("t*/**/*.py"))
        if not MAP.exists() or (MAP.stat().st_mtime < newest and not self.only):
            found = run_forked(lambda: map_lines_to_tests(items), 1e5)
            MAP.write_bytes(pickle.dumps(found))
        return pickle.loads(MAP.read_bytes())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        tests, times = self.map(session.items)
        gc.unfreeze()
        functions = defaultdict(list)
        for x in gc.get_objects():
            if isinstance(x, FunctionType):
                functions[x.__code__.co_filename].append(x)
        gc.freeze()
        items = defaultdict(list)  # in the thorough run tests have other cases
        for item in session.items:
            items[item.nodeid].append(item)
            items[item.nodeid.split("[")[0]].append(item)
        counts: dict[str, int] = defaultdict(int)
        for i, place in enumerate(draw_changes(self.n, self.seed)):
            if self.only and i not in self.only:
                continue
            change = Change(*place)

            def cost(name: str, change: Change = change) -> float:
                near = name.split("::")[0].split("/")[1:]
                room = change.path.parts[len(ROOT.parts) + 1]
                own = f"test_{change.path.stem}.py" == near[-1]
                return times[name] * (0.1 if own else 0.5 if near[0] == room else 1.0)

            # the first lines of what goes over several
            lines = [(str(change.path), change.line - k) for k in range(6)]
            names = sorted(next((tests[x] for x in lines if x in tests), ()), key=cost)
            chosen: dict[str, list[pytest.Item]] = {"default": [], "thorough": []}
            for kind, is_left in (("default", False), ("thorough", True)):
                total = 0.0
                for name in names:
                    for item in items[name] or items[name.split("[")[0]]:
                        marked = item.get_closest_marker("thorough") is not None
                        total += times[name] * (marked == is_left)
                        if marked == is_left and total < BUDGET:
                            chosen[kind].append(item)

            def judge_change(change: Change = change, chosen: Any = chosen) -> tuple[str, str]:
                if not change.plant(functions[str(change.path)]):
                    return "not planted", ""
                for kind, some in chosen.items():
                    if name := first_failure(some):
                        return kind, name
                return "none", ""

            kind, name = run_forked(judge_change, PATIENCE) or ("default", "it ends no more")
            counts[kind] += 1
            n = len(chosen["default"]), len(chosen["thorough"])
            print(f"{i:4d} {kind:11s} {change.text}  [{n[0]} + {n[1]}] {name}", flush=True)
        print(", ".join(f"{kind}: {n}" for kind, n in sorted(counts.items())))
        return True


if __name__ == "__main__":
    numbers = [int(x) for x in sys.argv[1:]]
    os.environ.setdefault("HYPOTHESIS_PROFILE", "all")
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    options = ["-q", "-s", "-p", "no:cacheprovider", f"--rootdir={ROOT}", "tests"]
    sys.exit(pytest.main(options, [Planter(numbers[0], numbers[1], numbers[2:])]))
