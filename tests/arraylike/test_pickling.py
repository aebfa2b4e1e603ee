"""An unpickled tape is the same tape, of any length and with its branches."""

import pickle
import sys

import numpy as np
import pytest
from pickled import X, mixture
from tapes import check_tape

import tapegrad as tg
from tapegrad.types import PyTree

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def pickle_and_load(tree: PyTree, protocol: int = pickle.HIGHEST_PROTOCOL) -> PyTree:
    return pickle.loads(pickle.dumps(tree, protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unpickled_tape_equals_the_tape(protocol):
    output, tape = tg.record(mixture)(X, 2.0)
    copy_output, copy = pickle_and_load((output, tape), protocol)
    check_tape(copy)
    assert copy is not tape
    assert str(copy) == str(tape)
    assert copy.last is copy_output
    gradients, copies = tg.reverse_sweep(tape, output), tg.reverse_sweep(copy, copy_output)
    for p, q in zip(tape.parameters, copy.parameters, strict=True):
        assert gradients[p].tobytes() == copies[q].tobytes()


def test_unpickled_tape_is_independent():
    tape, x = tg.Tape().parameter([1.0, 2.0])
    copy, y = pickle_and_load((tape, x))
    longer, z = copy.write(tg.multiply, y, y)
    assert tg.reverse_sweep(longer, z, np.ones(2))[y].tolist() == [2.0, 4.0]
    with pytest.raises(tg.errors.TapeError):
        copy.write(tg.multiply, x, y)
    with pytest.raises(ValueError, match="read-only"):
        y.value[0] = 9.0


def test_unpickled_tapes_share_their_stem():
    stem, x = tg.Tape().parameter(2.0)
    left, a = stem.write(tg.sin, x)
    right, b = stem.write(tg.cos, x)
    x2, left2, a2, right2, b2 = pickle_and_load((x, left, a, right, b))
    assert next(iter(left2)) is next(iter(right2)) is x2
    assert tg.reverse_sweep(left2, a2)[x2] == np.cos(2.0)
    assert tg.reverse_sweep(right2, b2)[x2] == -np.sin(2.0)


@pytest.mark.parametrize("length", [15, 16, 17, 255, 256, 257, 4097])
def test_unpickled_tape_of_any_length_has_every_record(length):
    tape, x = tg.Tape().parameter(1.0)
    y = x
    for _ in range(length - 1):
        tape, y = tape.write(tg.add, y, x)
    limit = sys.getrecursionlimit()
    copy, copy_y = pickle_and_load((tape, y))
    assert sys.getrecursionlimit() == limit
    check_tape(copy)
    assert len(copy) == length
    assert tg.reverse_sweep(copy, copy_y)[copy.parameters[0]] == length
    # unpickled from any record, not only from a tape
    middle = tape[length // 2]
    assert pickle_and_load(middle).index == middle.index
