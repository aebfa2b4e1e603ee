"""The libraries that compute the workloads, one a file."""

from collections.abc import Callable, Iterator, Mapping

from bench.peers.autograd import autograd_entries
from bench.peers.jax import jax_entries
from bench.peers.mygrad import mygrad_entries
from bench.peers.tapegrad import own_entries
from bench.peers.torch import torch_entries
from bench.workload import Entry, Workload

__all__ = ["MAKERS", "own_entries"]

MAKERS: Mapping[str, Callable[[str, Workload], Iterator[Entry]]] = {
    "autograd": autograd_entries,
    "mygrad": mygrad_entries,
    "torch": torch_entries,
    "jax": jax_entries,
}
