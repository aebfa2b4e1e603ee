"""Keys never repeat, whether made from seeds, by split or by fold_in, also compiled."""

import itertools

import numpy as np
import pytest
from alike import same_bits
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.types import Key

SEEDS = st.integers(0, 2**70)


def test_fold_in_takes_a_varying_step() -> None:
    compiled = tg.compile(lambda k, i: tg.random.fold_in(k, i))
    key = tg.random.key(0)
    for i in (0, 1, -1, 2**62, -(2**63)):
        want = tg.random.fold_in(key, i)
        assert same_bits(compiled(key, i), want)
        assert same_bits(tg.random.fold_in(key, np.int64(i)), want)
        assert same_bits(compiled(key, np.array(i)), want)


def key_words(key: Key, n: int = 64) -> set[int]:
    """Return the random words of draws with a key."""
    return set(np.random.Philox(key=key).random_raw(n).tolist())


@given(SEEDS, st.integers(0, 8))
def test_split_keys_share_no_words(seed: int, n: int) -> None:
    parent = tg.random.key(seed)
    children = tg.random.split(parent, n)
    np.testing.assert_array_equal(children, tg.random.split(parent, 9)[:n])
    folded = [tg.random.fold_in(parent, i) for i in range(-4, 4)]
    grandchildren = [k for child in children for k in tg.random.split(child)]
    keys = [parent, *children, *folded, *grandchildren]
    words_by_key = [key_words(k) for k in keys]
    for a, b in itertools.combinations(words_by_key, 2):
        assert not a & b
    # no key is among the words of another key's draws
    words = {word for k in keys for word in k.tolist()}
    assert len(words) == 2 * len(keys)
    assert not words & set.union(*words_by_key)


def test_key_is_read_only_and_a_leaf() -> None:
    key = tg.random.key(0)
    for k in (key, tg.random.split(key), tg.random.split(key)[0], tg.random.fold_in(key, 0)):
        with pytest.raises(ValueError, match="read-only"):
            k[0] = 1
    assert tg.tree.leaves({"key": key}) == [key]
    # a key is no parameter
    assert tg.record(lambda state: state["key"])({"key": key, "w": 1.0})[1].parameters[0].name == (
        "state.w"
    )
