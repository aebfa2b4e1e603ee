"""A filter in the frequency domain, as in deblurring."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload


def spectral_loss(ops: Ops, params: Any, spectrum: Any, image: Any) -> Any:
    """The squared distance of a filtered picture from an image."""
    fft = ops.numpy.fft
    difference = fft.irfft2(fft.rfft2(params[0]) * spectrum) - image
    return ops.numpy.sum(difference * difference)


def spectral_by_hand(params: Any, spectrum: Array, image: Array) -> tuple[Any, list[Array]]:
    """`spectral_loss` and its gradient: the adjoint of a filter is that of the conjugate."""
    difference = np.fft.irfft2(np.fft.rfft2(params[0]) * spectrum) - image
    back = np.fft.irfft2(np.fft.rfft2(difference) * spectrum.conj())
    return (difference * difference).sum(), [2 * back]


def spectral() -> Workload:
    """Make a picture, the spectrum of a filter, and an image."""
    rng = np.random.default_rng(11)
    picture, image = rng.standard_normal((2, 256, 256))
    data = np.fft.rfft2(rng.standard_normal((256, 256)) / 256), image
    title = "value and gradient of a filter through rfft2 and irfft2, 256 by 256, f64"
    peers = ("autograd", "torch", "jax")
    return Workload(title, [picture], data, spectral_loss, spectral_by_hand, None, peers=peers)
