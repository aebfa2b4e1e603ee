"""A tape that is unpickled is the same tape, of any length and with its branches."""

import pickle
import sys

import numpy as np
import pytest
from pickled import X, mixture
from tapes import check_tape

import tapegrad as tg
from tapegrad.types import PyTree

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def through(thing: PyTree, protocol: int = pickle.HIGHEST_PROTOCOL) -> PyTree:
    return pickle.loads(pickle.dumps(thing, protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_tape_goes_through_pickle(protocol):
    output, tape = tg.record(mixture)(X, 2.0)
    copy_output, copy = through((output, tape), protocol)
    check_tape(copy)
    assert copy is not tape
    assert str(copy) == str(tape)
    assert copy.last is copy_output
    gradients, copies = tg.reverse_sweep(tape, output), tg.reverse_sweep(copy, copy_output)
    for p, q in zip(tape.parameters, copy.parameters, strict=True):
        assert gradients[p].tobytes() == copies[q].tobytes()


def test_a_copy_is_a_tape_of_its_own():
    tape, x = tg.Tape().parameter([1.0, 2.0])
    copy, y = through((tape, x))
    longer, z = copy.write(tg.multiply, y, y)
    assert tg.reverse_sweep(longer, z, np.ones(2))[y].tolist() == [2.0, 4.0]
    with pytest.raises(tg.errors.TapeError):
        copy.write(tg.multiply, x, y)
    with pytest.raises(ValueError, match="read-only"):
        y.value[0] = 9.0


def test_tapes_that_share_a_stem_share_it_in_the_copy():
    stem, x = tg.Tape().parameter(2.0)
    left, a = stem.write(tg.sin, x)
    right, b = stem.write(tg.cos, x)
    x2, left2, a2, right2, b2 = through((x, left, a, right, b))
    assert next(iter(left2)) is next(iter(right2)) is x2
    assert tg.reverse_sweep(left2, a2)[x2] == np.cos(2.0)
    assert tg.reverse_sweep(right2, b2)[x2] == -np.sin(2.0)


@pytest.mark.parametrize("length", [15, 16, 17, 255, 256, 257, 4097])
def test_tapes_of_any_length_keep_every_record(length):
    tape, x = tg.Tape().parameter(1.0)
    y = x
    for _ in range(length - 1):
        tape, y = tape.write(tg.add, y, x)
    limit = sys.getrecursionlimit()
    copy, copy_y = through((tape, y))
    assert sys.getrecursionlimit() == limit
    check_tape(copy)
    assert len(copy) == length
    assert tg.reverse_sweep(copy, copy_y)[copy.parameters[0]] == length
    # from any record, not only from a tape
    middle = tape[length // 2]
    assert through(middle).index == middle.index
