"""The workloads, one a file, each with its loss, the same by hand, and its data."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from bench.workload import Workload
from bench.workloads.attention import attention
from bench.workloads.cell import cell
from bench.workloads.chain import chain
from bench.workloads.embedding import embedding
from bench.workloads.gaussian import gaussian
from bench.workloads.gru import gru, language
from bench.workloads.lenet import lenet
from bench.workloads.lstm import lstm
from bench.workloads.mlp import adamw, mlp
from bench.workloads.ode import ode
from bench.workloads.per_example import per_example
from bench.workloads.physics import physics
from bench.workloads.residual import residual
from bench.workloads.rnn import rnn
from bench.workloads.sparse import sparse
from bench.workloads.spectral import spectral
from bench.workloads.tall import tall
from bench.workloads.xor import xor

__all__ = ["WORKLOADS"]

WORKLOADS: Mapping[str, Callable[[], Workload]] = {
    make.__name__: make
    for make in (
        xor,
        rnn,
        mlp,
        chain,
        lstm,
        gru,
        embedding,
        attention,
        lenet,
        adamw,
        per_example,
        tall,
        cell,
        ode,
        spectral,
        residual,
        language,
        gaussian,
        physics,
        sparse,
    )
    if make is not sparse or find_spec("scipy")
}
