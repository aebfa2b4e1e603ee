"""Data-parallel training: the same program on each rank of an MPI communicator.

Every rank holds the same parameters and takes its own part of each batch; `mean` averages the
gradients over the ranks, so that every rank makes the same update and no rank sends parameters. The
communicator belongs to mpi4py, which this module does not import.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tapegrad import tree as trees
from tapegrad.core.tensor import Tensor
from tapegrad.data import count_rows
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.tree import Tree
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array, DType, PyTree

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

T = TypeVar("T")

__all__ = ["mean", "same_everywhere", "shard", "together"]
__dir__ = __all__.copy


# --- means --------------------------------------------------------------------------------


@warns_at_users_line
def mean(tree: Tree, comm: Comm) -> Tree:
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
    A tree of the same structure, with read-only arrays of the same dtypes; with one rank, the
    tree itself.

    Raises
    ------
    TypeError
        If a leaf is not floating, or is a Tensor, which has no value to send yet; the message has
        the leaf's path.
    ValueError
        On every rank, if the trees differ in structure, shapes or dtypes.

    Notes
    -----
    One message holds all leaves of one precision. ``MPI_Allreduce`` may add in any order, so the
    ranks add the numbers in the order of the ranks: each rank receives one part of every other
    rank's numbers, adds these, and sends the mean to all ranks. Each mean is computed once, and the
    ranks send no more than in the best Allreduce. float16 is added in float32.

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
        indices = [i for i, x in enumerate(vectors) if x.dtype == dtype]
        flat = _mean_of_vectors([vectors[i] for i in indices], dtype, comm, n_ranks)
        ends = np.cumsum([vectors[i].size for i in indices])
        for i, part in zip(indices, np.split(flat, ends[:-1]), strict=True):
            means[i] = part.view(arrays[i].dtype).reshape(arrays[i].shape)
    return trees.unflatten(structure, means)


def _as_floating_array(x: object, path: str) -> Array:
    """Convert a leaf to a floating array in the machine's byte order."""
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


def _mean_of_vectors(parts: list[Array], dtype: DType, comm: Comm, n_ranks: int) -> Array:
    """Join vectors, and return the mean over the ranks, read-only."""
    n = sum(x.size for x in parts)
    share = -(-n // n_ranks)
    # a part of the vector for each rank; the last part may end in padding
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
    """View an array as integers, since MPI has no float16."""
    return x.view(f"u{min(x.itemsize, 8)}")


def _check_same_layout(
    structure: trees.Structure, paths: Sequence[str], arrays: Sequence[Array], comm: Comm
) -> None:
    """Raise unless the trees of all ranks have one layout: MPI would mix up the numbers."""
    layout = [(path, x.shape, x.dtype.str) for path, x in zip(paths, arrays, strict=True)]
    digest = np.frombuffer(_digest(repr((structure, layout)).encode()), np.uint8)
    digests = np.empty((comm.Get_size(), digest.size), np.uint8)
    comm.Allgather(digest, digests)
    if (digests != digests[0]).any():
        layouts = comm.allgather([f"{path or 'the leaf'}: {d} {s}" for path, s, d in layout])
        raise ValueError(
            "a mean is taken of trees that are alike, and those of the ranks are not: "
            + "; ".join(f"rank {i} has {', '.join(x)}" for i, x in enumerate(layouts))
        )


# --- parts of the data --------------------------------------------------------------------


def shard(arrays: Tree, comm: Comm) -> Tree:
    """Take a rank's part of the rows: rank 0 gets the first part, rank 1 the second.

    The parts are equal, so that the mean of the ranks' means is the mean of all rows. To avoid
    moving data, shard the row indices of a batch.

    Parameters
    ----------
    arrays
        A tree of arrays with the same number of rows, along their first axes; the same on
        each rank.
    comm
        A communicator of mpi4py.

    Returns
    -------
    A tree of the same structure, with new read-only arrays; with one rank, the tree itself.

    Raises
    ------
    TypeError
        If a leaf is not an array with rows.
    ValueError
        If the numbers of rows differ, or are no multiples of the number of ranks.

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


def same_everywhere(tree: PyTree, comm: Comm) -> None:
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
        On every rank, if leaves differ; the message has the path of each such leaf, and groups the
        ranks with equal values.
    TypeError
        If a leaf is not an array, number or string; the message has its path.

    Notes
    -----
    Each rank sends only sixteen bytes for each leaf.

    Examples
    --------
    Before the first step::

        tg.parallel.same_everywhere((params, state), comm)
    """
    n_ranks = _count_ranks(comm)
    leaves, structure = trees.flatten(tree)
    paths = trees.structure_paths(structure)
    fingerprints = [_fingerprint(x, path) for x, path in zip(leaves, paths, strict=True)]
    if n_ranks == 1:
        return
    by_rank = comm.allgather((repr(structure), paths, fingerprints))
    differences = list(_find_differences(by_rank))
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:10])
        more = len(differences) - 10
        listed += f"\n  and {more} more" if more > 0 else ""
        raise ValueError(f"the trees of the ranks differ:\n{listed}")


def _fingerprint(x: object, path: str) -> tuple[str, bytes]:
    """Return a leaf's dtype and shape in words, and a digest of its content."""
    array = np.asarray(x) if type(x) is not Tensor else None
    if array is None or array.dtype.kind not in "biufcSU":
        raise TypeError(
            f"arrays, numbers and strings are compared; {path or 'the leaf'} is a "
            f"{type(x).__name__}"
        )
    return f"{array.dtype} {array.shape}", _digest(array.tobytes())


def _find_differences(
    by_rank: Sequence[tuple[str, list[str], list[tuple[str, bytes]]]],
) -> Iterator[str]:
    """Yield a line for each leaf that differs between ranks."""
    structures, rank_paths, rank_fingerprints = zip(*by_rank, strict=True)
    if len(set(structures)) > 1:
        all_paths = dict.fromkeys(path for paths in rank_paths for path in paths)
        has = {x: ["there" if x in y else "missing" for y in rank_paths] for x in all_paths}
        differ = [(path or "a lone leaf", x) for path, x in has.items() if len(set(x)) > 1]
        for where, texts in differ or [("the containers", list(structures))]:
            yield f"{where}: {_describe_ranks(texts)}"
        return
    for path, *fingerprints in zip(rank_paths[0], *rank_fingerprints, strict=True):
        kinds, contents = zip(*fingerprints, strict=True)
        if len(set(kinds)) > 1:
            yield f"{path or 'the leaf'}: {_describe_ranks(kinds)}"
        elif len(set(contents)) > 1:
            ranks = [ranks for _, ranks in _group_ranks(contents)]
            yield f"{path or 'the leaf'}: other values on {' than on '.join(reversed(ranks))}"


def _describe_ranks(texts: Sequence[str]) -> str:
    return "; ".join(f"{text} on {ranks}" for text, ranks in _group_ranks(texts))


def _group_ranks(values: Sequence[T]) -> list[tuple[T, str]]:
    """Return each value with the names of its ranks, the most frequent value first."""
    ranks: dict[T, list[int]] = {}
    for i, x in enumerate(values):
        ranks.setdefault(x, []).append(i)
    by_count = sorted(ranks.items(), key=lambda item: -len(item[1]))
    return [(x, _name_ranks(numbers)) for x, numbers in by_count]


def _name_ranks(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


# --- errors -------------------------------------------------------------------------------


# when a rank aborts, mpiexec drops output that it has not read yet
_PRINT_SECONDS = 0.5


@contextlib.contextmanager
def together(comm: Comm) -> Iterator[None]:
    """Guard a block: when it fails on one rank, end all ranks, which would otherwise wait forever.

    An exception that leaves the block is printed with its traceback and the rank's number, and then
    ``comm.Abort`` ends all ranks. With one rank, the exception is raised as usual.

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
            # one write, so that the lines of several ranks do not mix
            sys.stderr.write(f"rank {comm.Get_rank()} of {n_ranks} failed:\n{reason.rstrip()}\n")
            sys.stderr.flush()
        time.sleep(_PRINT_SECONDS)
        status = code if isinstance(code, int) else 1
        comm.Abort(status)
        # in case `Abort` returns before this rank has ended
        raise SystemExit(status) from None


def _format_traceback(error: BaseException) -> str:
    """Format a traceback without the frame of this module."""
    frames = error.__traceback__
    return "".join(traceback.format_exception(error.with_traceback(frames and frames.tb_next)))


def _count_ranks(comm: Comm) -> int:
    """The number of ranks."""
    if not callable(getattr(comm, "Get_size", None)):
        raise TypeError(
            f"comm is a communicator of mpi4py, such as MPI.COMM_WORLD; {comm!r} is a "
            f"{type(comm).__name__}"
        )
    return comm.Get_size()
