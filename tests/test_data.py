"""Batches have every row once, in an order that the key decides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from messages import Refusal, check_refusals

import tapegrad as tg
from tapegrad.types import Key


@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_epoch_has_every_row_once_with_arrays_aligned(
    n: int, size: int, drop_last: bool, seed: int
) -> None:
    arrays = {"x": np.arange(2.0 * n).reshape(n, 2), "y": (np.arange(n),)}
    found = list(tg.data.batches(seed, arrays, size, drop_last))
    sizes = [len(batch["y"][0]) for batch in found]
    whole, rest = divmod(n, size)
    assert sizes == [size] * whole + [rest] * (rest > 0 and not drop_last)
    rows = [int(i) for batch in found for i in batch["y"][0]]
    assert len(set(rows)) == len(rows) == sum(sizes)
    for batch in found:
        np.testing.assert_array_equal(batch["x"], arrays["x"][batch["y"][0]])
        assert batch["x"].dtype == np.float64
        assert not batch["x"].flags.writeable


def test_key_decides_order_and_no_key_keeps_it() -> None:
    def shuffled_rows(key: "Key | None") -> list[int]:
        return np.concatenate(list(tg.data.batches(key, np.arange(50), 8))).tolist()

    assert shuffled_rows(None) == list(range(50))
    assert shuffled_rows(3) == shuffled_rows(tg.random.key(3)) != shuffled_rows(4)
    assert shuffled_rows(3) == tg.random.permutation(3, 50).tolist()


ERRORS: list[Refusal] = [
    (
        ValueError,
        lambda: tg.data.batches(0, {"x": np.ones(3), "y": np.ones(4)}, 2),
        "arrays.x has 3, arrays.y has 4",
    ),
    (TypeError, lambda: tg.data.batches(0, {"x": np.ones(3), "y": 1.0}, 2), "arrays.y"),
    (TypeError, lambda: tg.data.batches(0, np.ones(()), 2), "arrays"),
    (ValueError, lambda: tg.data.batches(0, [], 2), "no arrays"),
    (ValueError, lambda: tg.data.batches(0, np.ones(3), 0), "size is 0"),
    (ValueError, lambda: tg.data.batches(0, np.ones(3), 1.5), "size is 1.5"),  # type: ignore
]


def test_invalid_arguments_raise_before_first_batch() -> None:
    check_refusals(ERRORS)
