"""What tests of proofs share: a proof of a function drawn, and what became of many."""

import collections
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import attrs
import numpy as np
from user_programs import Drawn

import tapegrad as tg
from tapegrad.program import PASSES
from tapegrad.program.compiled import trace
from tapegrad.testing.proof import Fault, Known, Proof, written_fault
from tapegrad.testing.trials import KINDS, inputs_like

DISTINCT = tuple(dict.fromkeys(PASSES))


@attrs.frozen(eq=False)
class Found:
    """A fault, and what it was found in."""

    fault: Fault
    inputs: Any
    drawn: Drawn
    size: int

    def __str__(self) -> str:
        return f"{self.fault}\n{self.drawn}\ninputs: {self.inputs}"


@attrs.frozen(eq=False)
class Survey:
    """What became of the programs drawn: how often each pass fires, and its faults.

    Attributes
    ----------
    n
        The number of programs.
    fired, twice
        By pass, in how many it fires, and in how many more than once.
    faults
        By pass, and for the writer, the faults found.
    """

    n: list[int] = attrs.Factory(lambda: [0])
    fired: collections.Counter[str] = attrs.Factory(collections.Counter)
    twice: collections.Counter[str] = attrs.Factory(collections.Counter)
    faults: dict[str, list[Found]] = attrs.Factory(lambda: collections.defaultdict(list))

    def shortest(self, name: str) -> str:
        """What is told of the faults of a pass: how many of each kind, and the shortest."""
        found = self.faults.get(name, [])
        kinds = collections.Counter(x.fault.kind for x in found)
        return f"{dict(kinds)}, the shortest: {min(found, key=lambda x: x.size)}"


def proof_of(drawn: Drawn, n_kinds: int) -> Proof:
    """What is known of a program for the arguments drawn and for others."""
    with np.errstate(all="ignore"):
        program = trace(drawn.fn, drawn.args, {})
    given = [
        x if type(x) in (int, float, complex) else np.asarray(x) for x in tg.tree.leaves(drawn.args)
    ]
    first = len(program.instructions)
    kinds = [KINDS[(first + k) % len(KINDS)] for k in range(n_kinds)]
    return Proof(program, [given, *[inputs_like(program.inputs, given, kind) for kind in kinds]])


# what pays for many elements is done with few, too
@mock.patch("tapegrad.program.cost.EINSUM_ELEMENTS", 1)
@mock.patch("tapegrad.program.cost.ORDERED_BYTES", 1)
def surveyed(draws: Iterable[Drawn], n_kinds: int, alone: bool = False) -> Survey:
    """What becomes of these programs: after all passes, and after each of them alone."""
    survey = Survey()
    for drawn in draws:
        proof = proof_of(drawn, n_kinds)
        size = len(proof.program.instructions)
        counts: collections.Counter[str] = collections.Counter()
        last = [proof.program]

        def fired(improve: Any, after: Any, counts: Any = counts, last: Any = last) -> None:
            counts[improve.__name__] += 1
            last[0] = after

        faults = list(proof.faults(PASSES, fired))
        for improve in DISTINCT if alone else ():
            faults += proof.faults((improve,))
        for improve, fault, inputs in faults:
            survey.faults[improve.__name__].append(Found(fault, inputs, drawn, size))
        survey.n[0] += 1
        survey.fired.update(counts.keys())
        survey.twice.update(name for name, n in counts.items() if n > 1)
        found = None if faults else fault_of_writing(proof, last[0])
        if found is not None:
            survey.faults["writer"].append(Found(*found[1:], drawn, size))
    return survey


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    """Few elements are written in blocks, and freed as soon as they can be, as many are."""
    blocks = {"BLOCKED_ELEMENTS": 64, "BLOCK_BYTES": 128, "DROPPED_BYTES": 1}
    with mock.patch.multiple("tapegrad.program.cost", **blocks):
        yield


def fault_of_writing(proof: Proof, program: Any) -> Any:
    """How a program that is written differs from one evaluated; None if it does not."""
    known = [found for x in proof.known if (found := Known.of(program, x.inputs))]
    with small_blocks():
        return written_fault(program, known, proof.paths)
