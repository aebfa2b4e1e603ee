"""Learning rate schedules."""

import math
import pickle

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.types import Array, ArrayLike

SCHEDULES = {
    "constant": tg.optim.constant(0.25),
    "linear": tg.optim.linear(1.0, 0.25, 4),
    "warmup_cosine": tg.optim.warmup_cosine(1.0, 4, 12, 0.125),
    "warmup_cosine without warm-up": tg.optim.warmup_cosine(1.0, 0, 12),
    "exponential_decay": tg.optim.exponential_decay(1.0, 0.5, 3),
    "piecewise": tg.optim.piecewise([1.0, 0.5, 0.25], [2, 5]),
    "piecewise of one piece": tg.optim.piecewise([0.5], []),
}


def expected_rate(name: str, t: int) -> float:
    """Return the rate of a step by the schedule's definition."""
    if name == "constant":
        return 0.25
    if name == "linear":
        return 1 - 0.75 * min(t, 4) / 4
    if name == "exponential_decay":
        return 0.5 ** (t / 3)
    if name == "piecewise":
        return 1.0 if t < 2 else 0.5 if t < 5 else 0.25
    if name == "piecewise of one piece":
        return 0.5
    warmup, end = (0, 0.0) if "without" in name else (4, 0.125)
    if t < warmup:
        return (t + 1) / warmup
    x = min((t - warmup) / (12 - warmup), 1)
    return end + (1 - end) * (1 + math.cos(math.pi * x)) / 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_matches_its_definition(name: str) -> None:
    schedule, steps = SCHEDULES[name], range(20)
    want = [expected_rate(name, t) for t in steps]
    compiled = tg.compile(schedule)
    for t in steps:
        for given_ in (t, np.int64(t), np.array(t)):
            np.testing.assert_allclose(schedule(given_), want[t], atol=1e-15)
            np.testing.assert_allclose(compiled(given_), want[t], atol=1e-15)
            assert np.shape(schedule(given_)) == np.shape(compiled(given_)) == ()
    assert len(compiled.signatures) == 2
    for f in (schedule, compiled):
        got = np.broadcast_to(f(np.arange(20)), 20)
        np.testing.assert_allclose(got, want, atol=1e-15)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_schedule_has_gradients_with_respect_to_its_numbers() -> None:
    def sum_of_rates(peak: ArrayLike, end: ArrayLike) -> Array:
        return tg.optim.warmup_cosine(peak, 2, 6, end)(3) + tg.optim.linear(peak, end, 4)(1)

    tg.testing.check_grads(sum_of_rates, (0.5, 0.25))
