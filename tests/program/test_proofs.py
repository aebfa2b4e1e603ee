"""Each pass proved: what it makes of functions as users write them computes the same."""

import collections
import functools
from typing import Any
from unittest import mock

import attrs
import hypothesis.strategies as st
import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import given
from user_programs import NAMES, Drawn, user_programs

import tapegrad as tg
from tapegrad.program import PASSES
from tapegrad.program.compiled import trace
from tapegrad.program.proof import Fault, Known, Proof, written_fault
from tapegrad.program.trials import KINDS, inputs_like

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
    given = [x if type(x) in (int, float) else np.asarray(x) for x in tg.tree.leaves(drawn.args)]
    first = len(program.instructions)
    kinds = [KINDS[(first + k) % len(KINDS)] for k in range(n_kinds)]
    return Proof(program, [given, *[inputs_like(program.inputs, given, kind) for kind in kinds]])


def survey_of(draws: Any, n_kinds: int, passes: Any = None) -> Survey:
    survey = Survey()

    def collect(drawn: Drawn) -> None:
        proof = proof_of(drawn, n_kinds)
        size = len(proof.program.instructions)
        counts: collections.Counter[str] = collections.Counter()
        last = [proof.program]

        def fired(improve: Any, after: Any) -> None:
            counts[improve.__name__] += 1
            last[0] = after

        faulty = False
        for improve, fault, inputs in proof.faults(passes or PASSES, fired):
            survey.faults[improve.__name__].append(Found(fault, inputs, drawn, size))
            faulty = True
        survey.n[0] += 1
        survey.fired.update(counts.keys())
        survey.twice.update(name for name, n in counts.items() if n > 1)
        if not faulty and passes is None:
            found = fault_of_writing(proof, last[0])
            if found is not None:
                survey.faults["writer"].append(Found(*found[1:], drawn, size))

    # so that few elements are as many
    with mock.patch("tapegrad.program.passes.late.LARGE", 64):
        draws(collect)
    return survey


def fault_of_writing(proof: Proof, program: Any) -> Any:
    """How a program that is written, in blocks of few elements, differs from one evaluated."""
    known = [found for x in proof.known if (found := Known.of(program, x.inputs))]
    with mock.patch.multiple("tapegrad.program.plan", LARGE=64, _BLOCK_BYTES=128):
        return written_fault(program, known, proof.paths)


@functools.cache
def survey() -> Survey:
    """Programs of each family, and each pass on them in the order of the compiler."""

    def draws(collect: Any) -> None:
        for name in (*NAMES, "ops"):
            depth("program, proved")(given(user_programs(name))(collect))()

    return survey_of(draws, len(KINDS) if THOROUGH else 3)


@pytest.mark.parametrize("name", [x.__name__ for x in DISTINCT])
def test_a_pass_computes_what_the_program_before_does(name: str) -> None:
    assert name not in survey().faults, survey().shortest(name)


def test_what_is_written_computes_what_was_recorded() -> None:
    assert "writer" not in survey().faults, survey().shortest("writer")


def test_each_pass_fires_on_what_users_write(capsys: Any) -> None:
    found = survey()
    if THOROUGH:
        with capsys.disabled():
            print(f"\nof {found.n[0]} programs, how many each pass fires on, and more than once:")
            for improve in DISTINCT:
                name = improve.__name__
                print(f"  {name:20}{found.fired[name]:6}{found.twice[name]:6}")
    least = 10 if THOROUGH else 1
    seldom = {x.__name__: n for x in DISTINCT if (n := found.fired[x.__name__]) < least}
    assert not seldom


@depth("program, proved in any order")
@given(user_programs(), st.permutations(DISTINCT))
def test_passes_are_right_in_any_order(drawn: Drawn, passes: Any) -> None:
    found = survey_of(lambda collect: collect(drawn), 2, passes)
    assert not found.faults, {name: found.shortest(name) for name in found.faults}
