"""Means over ranks, by threads in place of processes, and by MPI."""

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.testing import parameter_trees
from tapegrad.types import Array, PyTree

# --- threads in place of ranks ------------------------------------------------------------


class World:
    """The state that the ranks share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=300)
        self.slots: list[Any] = [None] * size
        self.messages: list[str] = []


class Rank:
    """The methods of an mpi4py communicator that tapegrad calls."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank = world, rank

    def Get_size(self) -> int:
        return self.world.size

    def Get_rank(self) -> int:
        return self.rank

    def allgather(self, x: Any) -> list[Any]:
        self.world.slots[self.rank] = x
        self.world.barrier.wait()
        gathered = list(self.world.slots)
        self.world.barrier.wait()
        return gathered

    def Allgather(self, sent: Array, received: Array) -> None:
        self.world.messages.append("Allgather")
        gathered = self.allgather(sent.copy())
        assert {(x.size, x.dtype) for x in gathered} == {(sent.size, received.dtype)}
        received.reshape(-1)[:] = np.concatenate([x.reshape(-1) for x in gathered])

    def Alltoall(self, sent: Array, received: Array) -> None:
        self.world.messages.append("Alltoall")
        gathered = self.allgather(sent.copy())
        assert {(x.size, x.dtype) for x in gathered} == {(received.size, received.dtype)}
        parts = [np.split(x.reshape(-1), self.world.size)[self.rank] for x in gathered]
        received.reshape(-1)[:] = np.concatenate(parts)


def run_on_ranks(size: int, run: Callable[[Any, int], Any]) -> list[Any]:
    """Return the result or the exception of `run` on each rank."""
    world = World(size)

    def run_rank(rank: int) -> Any:
        try:
            return run(Rank(world, rank), rank)
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run_rank, range(size)))


def vary_by_rank(tree: PyTree, rank: int) -> PyTree:
    """Return a tree of the same structure, with numbers that depend on the rank."""
    with np.errstate(all="ignore"):
        return tg.tree.map(lambda x: (np.asarray(x) * (1 + rank / 3) + rank).astype(x.dtype), tree)


def real_parts(x: Array) -> list[Array]:
    return [x.real, x.imag] if x.dtype.kind == "c" else [x]


sizes = st.integers(2, 4)
shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2)
reals = tg.testing.arrays(shapes)
# transposed, with infinite parts, which a complex product would spread to the other part
complexes = st.sampled_from("FD").flatmap(lambda c: hnp.arrays(c, shapes)).map(np.transpose)
trees_of_numbers = parameter_trees(reals | complexes)


@given(trees_of_numbers, sizes)
def test_mean_is_summed_in_rank_order_on_every_rank(tree: PyTree, size: int) -> None:
    trees = [vary_by_rank(tree, rank) for rank in range(size)]
    before = [[x.tobytes() for x in tg.tree.leaves(t)] for t in trees]
    with np.errstate(all="ignore"):
        found = run_on_ranks(size, lambda comm, rank: tg.parallel.mean(trees[rank], comm))
        for result in found:
            assert tg.tree.flatten(result)[1] == tg.tree.flatten(tree)[1]
            for x, *parts in zip(*map(tg.tree.leaves, [result, *trees]), strict=True):
                assert (x.shape, x.dtype) == (parts[0].shape, parts[0].dtype)
                for got, *numbers in zip(*map(real_parts, [x, *parts]), strict=True):
                    total = numbers[0].astype(np.result_type(got.dtype, np.float32))
                    for number in numbers[1:]:
                        total = total + number
                    np.testing.assert_array_equal(got, (total / size).astype(got.dtype))
                with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
                    x.setflags(write=True)
    assert before == [[x.tobytes() for x in tg.tree.leaves(t)] for t in trees]


def test_single_rank_keeps_its_tree() -> None:
    comm = Rank(World(1), 0)
    tree = {"w": np.ones(2), "n": 1.0}
    assert tg.parallel.mean(tree, comm) is tree
    rows = np.arange(3)
    assert tg.parallel.shard(rows, comm) is rows
    tg.parallel.same_everywhere(tree, comm)


MEAN, SHARD, SAME = tg.parallel.mean, tg.parallel.shard, tg.parallel.same_everywhere
W2, W3 = {"w": np.ones(2)}, {"w": np.ones(3)}

# a function, the tree of each rank, and the error that each rank raises
ERRORS: list[tuple[Any, list[Any], type[Exception], str]] = [
    *[
        (MEAN, [tree] * ranks, TypeError, words)
        for ranks in (1, 2)
        for tree, words in (
            ({"w": 1.0, "key": np.arange(2)}, "key is int64"),
            ({"w": "text"}, "w is <U4"),
            (np.ones(2, bool), "the leaf is bool"),
            ({"w": np.ma.masked_array([1.0, 2.0], [True, False])}, "w: masked arrays"),
        )
    ],
    *[
        (MEAN, [W2, {name: other}], ValueError, "rank 0 has w: <f8 (2,); rank 1 has ")
        for name, other in (
            ("w", np.ones(3)),
            ("w", np.ones((2, 1))),
            ("v", np.ones(2)),
            ("w", np.ones(2, np.float32)),
        )
    ],
    (
        SHARD,
        [np.arange(11)] * 3,
        ValueError,
        "11 rows have no equal parts for 3 ranks|leave out 2 of them",
    ),
    *[
        (SAME, [W3, other, W3], ValueError, words)
        for other, words in (
            ({"w": np.ones((3, 1))}, "w: float64 (3,) on ranks 0 and 2; float64 (3, 1) on rank 1"),
            ({"w": np.ones(3), "b": 1.0}, "b: missing on ranks 0 and 2; there on rank 1"),
            ({"w": [np.ones(3)]}, "w: there on ranks 0 and 2; missing on rank 1"),
            ({"w": np.ones(3), "b": None}, "the containers: {'w': *} on ranks 0 and 2; {'w': *, "),
            ({"w": "text"}, "w: float64 (3,) on ranks 0 and 2; <U4 () on rank 1"),
        )
    ],
    *[
        (SAME, [{"f": leaf}] * 2, TypeError, "f is a ")
        for leaf in (object(), np.array([None]), len)
    ],
]


def test_every_rank_raises_for_trees_that_differ() -> None:
    for f, trees, kind, words in ERRORS:
        for error in run_on_ranks(len(trees), lambda comm, rank, f=f, t=trees: f(t[rank], comm)):
            with pytest.raises(kind) as caught:
                raise error
            assert [x for x in words.split("|") if x not in str(caught.value)] == []


def test_tensor_or_wrong_communicator_raises() -> None:
    with pytest.raises(TypeError, match=r"w is a Tensor; .* compiled"):
        tg.grad(lambda p: tg.parallel.mean(p, Rank(World(2), 0))["w"])({"w": 1.0})
    for f in (MEAN, SHARD, SAME):
        with pytest.raises(TypeError, match=r"MPI\.COMM_WORLD; 2 is a int"):
            f(np.ones(2), 2)


# --- shards -------------------------------------------------------------------------------


@given(sizes, st.integers(0, 5), st.booleans())
def test_shards_are_equal_and_make_up_all_rows(size: int, share: int, by_column: bool) -> None:
    n = size * share
    x = np.arange(3.0 * n).reshape(n, 3, order="F" if by_column else "C")
    data = {"x": x, "y": [np.arange(n)]}
    shards = run_on_ranks(size, lambda comm, _: tg.parallel.shard(data, comm))
    joined = tg.tree.map(lambda *parts: np.concatenate(parts), *shards)
    assert tg.tree.all_close(joined, data, rtol=0, atol=0)
    for leaf in tg.tree.leaves(shards):
        assert len(leaf) == share
        assert not leaf.flags.writeable
        assert not np.shares_memory(leaf, x)


# --- same_everywhere ----------------------------------------------------------------------


@given(trees_of_numbers, sizes, st.data())
def test_error_names_leaf_that_differs_and_its_ranks(
    tree: PyTree, size: int, data: st.DataObject
) -> None:
    paths = tg.tree.paths(tree)
    leaves, structure = tg.tree.flatten(tree)
    filled = [i for i, x in enumerate(leaves) if x.size]
    found = run_on_ranks(size, lambda comm, _: tg.parallel.same_everywhere((tree, "adam", 3), comm))
    assert found == [None] * size
    if not filled:
        return
    i, odd = data.draw(st.sampled_from(filled)), data.draw(st.integers(0, size - 1))
    changed = np.array(leaves[i], order="C")
    changed.reshape(-1).view(np.uint8)[-1] ^= 1
    other = tg.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]])
    found = run_on_ranks(
        size, lambda comm, rank: tg.parallel.same_everywhere(other if rank == odd else tree, comm)
    )
    for error in found:
        assert isinstance(error, ValueError)
        (line,) = str(error).splitlines()[1:]
        assert line.startswith(f"  {paths[i] or 'the leaf'}: other values on rank")
        if size > 2:
            assert f"other values on rank {odd} than on ranks " in line


# --- errors on one rank -------------------------------------------------------------------


class AbortRecordingRank(Rank):
    """A rank that keeps the status with which it is aborted."""

    status: Any = None

    def Abort(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize(
    ("error", "status", "ending"),
    [
        (KeyError("weight"), 1, "KeyError: 'weight'"),
        (KeyboardInterrupt(), 1, "KeyboardInterrupt"),
        (SystemExit(3), 3, "failed:\n3"),
        (SystemExit("no data"), 1, "failed:\nno data"),
    ],
)
def test_error_on_one_rank_aborts_all(error: BaseException, status: int, ending: str) -> None:
    comm = AbortRecordingRank(World(2), 1)
    stderr = io.StringIO()
    with (
        redirect_stderr(stderr),
        pytest.raises(SystemExit) as caught,
        tg.parallel.together(comm),
    ):
        raise error
    assert comm.status == caught.value.code == status
    assert stderr.getvalue().startswith("rank 1 of 2 failed:\n")
    assert stderr.getvalue().endswith(f"{ending}\n")
    assert "in together" not in stderr.getvalue()


def test_no_abort_without_error_or_without_other_ranks() -> None:
    comm = AbortRecordingRank(World(2), 1)
    with pytest.raises(SystemExit), tg.parallel.together(comm):
        raise SystemExit(0)
    with tg.parallel.together(comm):
        pass
    single = AbortRecordingRank(World(1), 0)
    with pytest.raises(KeyError), tg.parallel.together(single):
        raise KeyError("weight")
    assert comm.status is single.status is None


# --- MPI ----------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "train_parallel.py"
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or ""

mpi = pytest.mark.skipif(
    not (MPIEXEC and find_spec("mpi4py")), reason="needs mpi4py and an mpiexec beside Python"
)


def run_command(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command in the root folder; a hang is an error."""
    words = [str(word) for word in command]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def example_command(*options: object) -> list[object]:
    return [sys.executable, "-W", "error", EXAMPLE, "--rows", 64, *options]


@pytest.mark.thorough
@mpi
def test_two_processes_train_as_one() -> None:
    single = run_command(*example_command("--steps", 4))
    both = run_command(MPIEXEC, "-n", 2, *example_command("--steps", 4))
    losses = []
    for done, n in [(single, "1 process,"), (both, "2 processes,")]:
        assert (done.returncode, done.stderr) == (0, "")
        *steps, last = done.stdout.splitlines()
        assert last.startswith(f"{n} 64 rows a step")
        losses.append([float(line.split()[-1]) for line in steps])
    assert len(losses[0]) == 4
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)


@mpi
def test_different_initial_parameters_raise() -> None:
    done = run_command(
        MPIEXEC, "-n", 1, *example_command(), ":", "-n", 1, *example_command("--seed", 1)
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert "params.0.weight: other values on rank 1 than on rank 0" in done.stderr


RANK = """
import os, signal, sys
import numpy as np
import tapegrad as tg
from mpi4py import MPI

comm = MPI.COMM_WORLD
rank = comm.Get_rank()
with tg.parallel.together(comm):
    for dtype in ("e", "f", "d", "g"):
        tree = {"w": np.full((3, 5), 1 + rank, dtype), "b": np.array(rank, dtype)}
        tree["n"] = np.ones((0, 2), np.float32)
        got = tg.parallel.mean(tree, comm)
        assert got["w"].dtype == dtype and (got["w"] == 1.5).all() and got["b"] == 0.5, got
        assert got["n"].shape == (0, 2)
    rows = tg.parallel.shard(np.arange(6), comm)
    assert rows.tolist() == [[0, 1, 2], [3, 4, 5]][rank]
    tg.parallel.same_everywhere(got, comm)
    if rank == 1 and sys.argv[1] == "fails":
        raise KeyError("this is the end of it")
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    tg.parallel.mean(1.0, comm)
    print("not reached")
"""


@mpi
@pytest.mark.parametrize("how", ["fails", "is killed"])
def test_dying_rank_ends_the_others(how: str, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    done = run_command(MPIEXEC, "-n", 2, sys.executable, script, how)
    assert done.returncode != 0
    assert "not reached" not in done.stdout
    if how == "fails":
        assert "rank 1 of 2 failed:" in done.stderr
        assert "KeyError: 'this is the end of it'" in done.stderr
        # MPI may print a message about the waiting rank
        assert "rank 0 of 2 failed" not in done.stderr
