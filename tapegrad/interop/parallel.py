"""Data-parallel training: the same program on each rank of an MPI communicator.

Every rank holds the same parameters and takes its own part of each batch; `mean` brings the
gradients together, so that every rank makes the same update and parameters never travel.
The communicator is one of mpi4py, which this module does not import.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad import tree as trees
from tapegrad.core.tensor import Tensor
from tapegrad.data import count_rows
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.tree import Tree
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array

__all__ = ["mean", "same_everywhere", "shard", "together"]
__dir__ = __all__.copy


# --- means --------------------------------------------------------------------------------


@warns_at_users_line
def mean(tree: Tree, comm: Any) -> Tree:
    """The mean of a tree over the ranks, the same to the last bit on each rank and in each run.

    All ranks must call it, with trees of the same structure, shapes and dtypes. If the parts
    of a batch are equal, the mean over the ranks is the mean over the batch.

    Parameters
    ----------
    tree
        This rank's tree of floating or complex arrays or numbers, such as a loss and its
        gradients.
    comm
        A communicator of mpi4py, such as ``MPI.COMM_WORLD``.

    Returns
    -------
    A tree like it of read-only arrays of the same dtypes; with one rank, the tree itself.

    Raises
    ------
    TypeError
        If a leaf is not floating, with its path, or is a Tensor: inside a recording there
        is nothing to send yet.
    ValueError
        On every rank, if the trees differ in structure, shapes or dtypes.

    Notes
    -----
    All leaves of one precision travel in one message. ``MPI_Allreduce`` may add in any order,
    so the numbers are added here, in the order of the ranks: each rank receives one part of
    every other rank's numbers, adds it up, and sends its mean to all. Each number is computed
    once, and no more is sent than in the best Allreduce. float16 is added up in float32.

    Examples
    --------
    A loss and its gradients on two ranks, each with half of the batch::

        value, grads = step(params, tg.parallel.shard(batch, comm))
        value, grads = tg.parallel.mean((value, grads), comm)
    """
    n_ranks = _count_ranks(comm)
    leaves, structure = trees.flatten(tree)
    paths = trees.structure_paths(structure)
    arrays = [_as_floating_array(x, path) for x, path in zip(leaves, paths, strict=True)]
    if n_ranks == 1:
        return tree
    _check_same_layout(structure, paths, arrays, comm)
    # a complex number is two real ones
    vectors = [np.ascontiguousarray(x).reshape(-1).view(x.real.dtype) for x in arrays]
    means = list(arrays)
    for dtype in dict.fromkeys(x.dtype for x in vectors):
        numbers = [i for i, x in enumerate(vectors) if x.dtype == dtype]
        flat = _mean_of_vectors([vectors[i] for i in numbers], dtype, comm, n_ranks)
        ends = np.cumsum([vectors[i].size for i in numbers])
        for i, part in zip(numbers, np.split(flat, ends[:-1]), strict=True):
            means[i] = part.view(arrays[i].dtype).reshape(arrays[i].shape)
    return trees.unflatten(structure, means)


def _as_floating_array(x: Any, path: str) -> Array:
    """A leaf as an array of a dtype that the machine has."""
    where = path or "the leaf"
    if type(x) is Tensor:
        raise TypeError(
            f"{where} is a Tensor; take the mean of arrays, between a compiled gradient and a "
            "compiled update"
        )
    refuse_unreal(where, (x,), True)
    array = np.asarray(x)
    if array.dtype.kind not in "fc":
        raise TypeError(
            f"a mean is taken of floating leaves; {where} is {array.dtype}. Leave integers, such "
            "as keys and counts, out of the tree: they are the same on each rank"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _mean_of_vectors(parts: list[Array], dtype: Any, comm: Any, n_ranks: int) -> Array:
    """The mean over the ranks of vectors, joined to one, read-only."""
    n = sum(x.size for x in parts)
    share = -(-n // n_ranks)
    # a part of the vector for each rank; the last may end in zeros that are not used
    packed = np.zeros(share * n_ranks, dtype)
    np.concatenate(parts, out=packed[:n])
    if share:
        received = np.empty((n_ranks, share), dtype)
        comm.Alltoall(_as_integers(packed), _as_integers(received))
        total = received[0].astype(np.result_type(dtype, np.float32))
        for part in received[1:]:
            total += part
        total /= n_ranks
        comm.Allgather(_as_integers(total.astype(dtype, copy=False)), _as_integers(packed))
    whole = readonly_array(packed)
    return whole[:n]


def _as_integers(x: Array) -> Array:
    """The same memory as numbers that MPI knows: it has no float16."""
    return x.view(f"u{min(x.itemsize, 8)}")


def _check_same_layout(
    structure: trees.Structure, paths: Sequence[str], arrays: Sequence[Array], comm: Any
) -> None:
    """Raise if another rank's tree is not like this one: MPI would mix up the numbers."""
    known = [(path, x.shape, x.dtype.str) for path, x in zip(paths, arrays, strict=True)]
    mine = np.frombuffer(_digest(repr((structure, known)).encode()), np.uint8)
    everyones = np.empty((comm.Get_size(), mine.size), np.uint8)
    comm.Allgather(mine, everyones)
    if (everyones != everyones[0]).any():
        layouts = comm.allgather([f"{path or 'the leaf'}: {d} {s}" for path, s, d in known])
        raise ValueError(
            "a mean is taken of trees that are alike, and those of the ranks are not: "
            + "; ".join(f"rank {i} has {', '.join(x)}" for i, x in enumerate(layouts))
        )


# --- parts of the data --------------------------------------------------------------------


def shard(arrays: Tree, comm: Any) -> Tree:
    """Take a rank's part of the rows: the first part is rank 0's, the second rank 1's.

    The parts are equal, so that the mean of the ranks' means is the mean of all rows. To avoid
    moving data, shard the indices of the rows of a batch.

    Parameters
    ----------
    arrays
        A tree of arrays with the same number of rows, along their first axes; the same on
        each rank.
    comm
        A communicator of mpi4py.

    Returns
    -------
    A tree like it of new, read-only arrays; with one rank, the tree itself.

    Raises
    ------
    TypeError
        If a leaf is not an array with rows.
    ValueError
        If the numbers of rows differ, or cannot be divided by the number of ranks.

    Examples
    --------
    Each rank reads its own rows of a batch that all ranks draw with the same key::

        for rows in tg.data.batches(key, np.arange(len(x)), 256, drop_last=True):
            batch = x[tg.parallel.shard(rows, comm)]
    """
    n_ranks = _count_ranks(comm)
    n = count_rows(arrays)
    if n % n_ranks:
        raise ValueError(
            f"{n} rows have no equal parts for {n_ranks} ranks, and a mean over unequal parts "
            f"would be wrong; leave out {n % n_ranks} of them (drop_last=True does so in "
            "tg.data.batches)"
        )
    if n_ranks == 1:
        return arrays
    share = n // n_ranks
    start = comm.Get_rank() * share
    return trees.map(lambda x: readonly_array(x[start : start + share]), arrays)


# --- the same everywhere ------------------------------------------------------------------


def same_everywhere(tree: Any, comm: Any) -> None:
    """Check that a tree is the same on each rank, to the last bit; all ranks must call it.

    Parameters
    ----------
    tree
        A tree of arrays, numbers and strings: parameters, an optimizer's state, a key.
    comm
        A communicator of mpi4py.

    Raises
    ------
    ValueError
        On every rank, if there is a difference: with the path of each leaf that differs and
        the ranks that hold the same.
    TypeError
        If a leaf is not an array, number or string; the message has its path.

    Notes
    -----
    Only sixteen bytes for each leaf are sent.

    Examples
    --------
    Before the first step::

        tg.parallel.same_everywhere((params, state), comm)
    """
    n_ranks = _count_ranks(comm)
    leaves, structure = trees.flatten(tree)
    paths = trees.structure_paths(structure)
    prints = [_fingerprint(x, path) for x, path in zip(leaves, paths, strict=True)]
    if n_ranks == 1:
        return
    everyones = comm.allgather((repr(structure), paths, prints))
    differences = list(_find_differences(everyones))
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:10])
        more = len(differences) - 10
        listed += f"\n  and {more} more" if more > 0 else ""
        raise ValueError(f"the trees of the ranks differ:\n{listed}")


def _fingerprint(x: Any, path: str) -> tuple[str, bytes]:
    """The identity of a leaf in comparisons: its kind in words and a digest of its content."""
    array = np.asarray(x) if type(x) is not Tensor else None
    if array is None or array.dtype.kind not in "biufcSU":
        raise TypeError(
            f"arrays, numbers and strings are compared; {path or 'the leaf'} is a "
            f"{type(x).__name__}"
        )
    return f"{array.dtype} {array.shape}", _digest(array.tobytes())


def _find_differences(
    everyones: Sequence[tuple[str, list[str], list[tuple[str, bytes]]]],
) -> Iterator[str]:
    """A line for each leaf that differs between ranks."""
    structures, everyones_paths, everyones_prints = zip(*everyones, strict=True)
    if len(set(structures)) > 1:
        paths = dict.fromkeys(path for paths in everyones_paths for path in paths)
        has = {x: ["there" if x in y else "missing" for y in everyones_paths] for x in paths}
        differ = [(path or "a lone leaf", x) for path, x in has.items() if len(set(x)) > 1]
        for where, texts in differ or [("the containers", list(structures))]:
            yield f"{where}: {_describe_ranks(texts)}"
        return
    for path, *prints in zip(everyones_paths[0], *everyones_prints, strict=True):
        kinds, contents = zip(*prints, strict=True)
        if len(set(kinds)) > 1:
            yield f"{path or 'the leaf'}: {_describe_ranks(kinds)}"
        elif len(set(contents)) > 1:
            ranks = [ranks for _, ranks in _group_ranks(contents)]
            yield f"{path or 'the leaf'}: other values on {' than on '.join(reversed(ranks))}"


def _describe_ranks(texts: Sequence[str]) -> str:
    return "; ".join(f"{text} on {ranks}" for text, ranks in _group_ranks(texts))


def _group_ranks(values: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each value with the ranks that have it in words, the most frequent first."""
    ranks: dict[Any, list[int]] = {}
    for i, x in enumerate(values):
        ranks.setdefault(x, []).append(i)
    by_size = sorted(ranks.items(), key=lambda item: -len(item[1]))
    return [(x, _name_ranks(numbers)) for x, numbers in by_size]


def _name_ranks(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


# --- errors -------------------------------------------------------------------------------


# Seconds between a rank's message and its abort: mpiexec drops what it has not yet read from
# the ranks when one of them aborts.
_PRINT_SECONDS = 0.5


@contextlib.contextmanager
def together(comm: Any) -> Iterator[None]:
    """A block that ends all ranks when it fails on one, instead of leaving the others waiting.

    An exception that leaves the block is printed with its traceback and the rank's number,
    and then all ranks are ended, by ``comm.Abort``. With one rank, the exception is raised as
    usual.

    Parameters
    ----------
    comm
        A communicator of mpi4py.

    Examples
    --------
    The whole of a script::

        with tg.parallel.together(MPI.COMM_WORLD):
            train()
    """
    n_ranks = _count_ranks(comm)
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        if n_ranks == 1 or not code:
            raise
        reason = _format_traceback(error) if not isinstance(error, SystemExit) else f"{code}"
        with contextlib.suppress(OSError, ValueError):  # stderr may be closed
            sys.stdout.flush()
            # in one piece, so that the lines of several ranks do not mix
            sys.stderr.write(f"rank {comm.Get_rank()} of {n_ranks} failed:\n{reason.rstrip()}\n")
            sys.stderr.flush()
        time.sleep(_PRINT_SECONDS)
        status = code if isinstance(code, int) else 1
        comm.Abort(status)
        # in case it returns before this rank has ended
        raise SystemExit(status) from None


def _format_traceback(error: BaseException) -> str:
    """The traceback without the frame of this module."""
    frames = error.__traceback__
    return "".join(traceback.format_exception(error.with_traceback(frames and frames.tb_next)))


def _count_ranks(comm: Any) -> int:
    """The number of ranks."""
    if not callable(getattr(comm, "Get_size", None)):
        raise TypeError(
            f"comm is a communicator of mpi4py, such as MPI.COMM_WORLD; {comm!r} is a "
            f"{type(comm).__name__}"
        )
    size: int = comm.Get_size()
    return size
