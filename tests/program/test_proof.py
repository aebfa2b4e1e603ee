"""Each pass proved: what it makes of functions as users write them computes the same."""

import functools
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH, depth, examples
from hypothesis import given
from hypothesis import strategies as st
from proving import DISTINCT, Survey, fault_of_writing, proof_of, small_blocks, surveyed
from user_programs import NAMES, drawn, user_programs

import tapegrad as tg
from tapegrad.testing.trials import KINDS

# where passes fire that seldom do
MORE = (("cells", 4), ("embeddings", 3), ("stacks", 15))


@functools.cache
def survey() -> Survey:
    """Programs of each family, and each pass on them in the order of the compiler."""
    some = [drawn(name, seed) for seed in range(examples("program, proved")) for name in NAMES]
    times = range(24 if THOROUGH else 1)
    more = [drawn(name, seed + 1000 * k) for name, seed in MORE for k in times]
    return surveyed([*some, *more], len(KINDS) if THOROUGH else 2, alone=THOROUGH)


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
def test_passes_are_right_in_any_order(drawn: Any, passes: Any) -> None:
    proof = proof_of(drawn, 2)
    last = [proof.program]
    faults = list(proof.faults(passes, lambda _, after: last.append(after)))
    assert not faults
    assert fault_of_writing(proof, last[-1]) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_program_computes_what_was_saved(name: str, tmp_path: Any) -> None:
    for seed in range(100, 100 + (10 if THOROUGH else 1)):
        one = drawn(name, seed)
        with np.errstate(all="ignore"), small_blocks():
            program = tg.compile(one.fn).program(*one.args)
            program.save(tmp_path / "program.npz")
            loaded = tg.load_program(tmp_path / "program.npz")
            assert loaded == program
            for known in proof_of(one, len(KINDS)).known:
                args = tg.tree.unflatten(tg.tree.flatten(one.args)[1], known.inputs)
                first, again = program(*args), loaded(*args)
                for a, b in zip(*map(tg.tree.leaves, (first, again)), strict=True):
                    np.testing.assert_array_equal(a, b)
