"""Initializers draw the variance for the fans, or orthonormal rows or columns."""

import numpy as np
import pytest

from tapegrad.nn import initializers

# of 12 inputs and 40 outputs with 3 by 3 places: fan-in 108, fan-out 360
KERNELS = ((40, 12, 3, 3), {"in_axis": 1, "out_axis": 0})


IMAGES_LAST = ((3, 3, 12, 40), {})


@pytest.mark.parametrize(("shape", "axes"), [KERNELS, IMAGES_LAST])
@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (initializers.he_normal, 2 / 108),
        (initializers.lecun_normal, 1 / 108),
        (initializers.glorot_normal, 2 / 468),
        (initializers.glorot_uniform, 2 / 468),
    ],
)
def test_variance_of_kernels_depends_on_their_fans(initializer, variance, shape, axes):
    drawn = initializer(0, shape, **axes)
    np.testing.assert_allclose(np.var(drawn), variance, rtol=0.1)
    np.testing.assert_allclose(np.mean(drawn), 0, atol=0.01)
    assert initializer(0, shape, np.float32, **axes).dtype == np.float32


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (2, 3, 4), (1, 5)])
@pytest.mark.parametrize("out_axis", [0, -1])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(shape, out_axis):
    drawn = initializers.orthogonal(3, shape, out_axis=out_axis)
    assert drawn.shape == shape
    matrix = np.moveaxis(drawn, out_axis, -1).reshape(-1, shape[out_axis])
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_weights_take_either_sign():
    signs = {float(np.sign(initializers.orthogonal(key, (1, 1))[0, 0])) for key in range(20)}
    assert signs == {-1.0, 1.0}


def test_complex_arrays_have_the_variance_of_real_ones_and_unitary_columns():
    x = initializers.he_normal(0, (400, 30), np.complex64)
    assert x.dtype == np.complex64
    np.testing.assert_allclose(np.mean(np.abs(x) ** 2) * 400, 2, rtol=0.05)
    for shape in ((5, 3), (3, 5)):
        q = initializers.orthogonal(0, shape, complex)
        q = q if shape[0] > shape[1] else q.T
        np.testing.assert_allclose(q.conj().T @ q, np.eye(3), atol=1e-12)
        assert np.abs(q.imag).max() > 0.1
