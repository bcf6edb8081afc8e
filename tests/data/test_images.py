"""Properties of the conversions between arrays and tensors."""

import numpy as np
import pytest
import torch

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import (
    check_float_image,
    to_float,
    to_numpy,
    to_tensor,
    to_uint8,
)

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


def test_every_8_bit_value_survives_the_round_trip():
    np.testing.assert_array_equal(to_uint8(to_float(EVERY_BYTE)), EVERY_BYTE)


def test_floats_span_zero_to_one():
    out = to_float(EVERY_BYTE)
    assert out.dtype == np.float32
    assert (out.min(), out.max()) == (0.0, 1.0)


def test_rounding_goes_to_the_nearest_grey_level():
    values = np.float32([99.4, 99.6, 100.4, 100.6]) / 255
    np.testing.assert_array_equal(to_uint8(values), [99, 100, 100, 101])


def test_values_outside_the_range_are_clipped_and_do_not_wrap():
    values = np.float32([-1e9, -0.1, 1.1, 2.0, np.inf])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 255, 255, 255])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int64, np.bool_])
def test_to_float_takes_bytes_only(dtype):
    with pytest.raises(ImageFormatError, match="expected uint8"):
        to_float(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4, 3), np.uint8), ((4, 4, 3), np.float64), ((4, 4), np.float32), ((4, 4, 1), np.float32)],
)
def test_a_wrong_layout_or_dtype_is_an_error_that_names_it(shape, dtype):
    with pytest.raises(ImageFormatError) as error:
        check_float_image(np.zeros(shape, dtype))
    assert str(shape) in str(error.value)
    assert np.dtype(dtype).name in str(error.value)
    assert isinstance(error.value, ToolchainError)


def test_float_rgb_passes_the_check():
    check_float_image(np.zeros((1, 1, 3), np.float32))


def test_a_batch_survives_the_way_to_torch_and_back():
    images = np.random.default_rng(0).random((2, 5, 7, 3), dtype=np.float32)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(to_numpy(tensor), images)


def test_bytes_become_the_same_tensor_as_their_floats():
    images = np.stack([EVERY_BYTE, EVERY_BYTE[::-1]])
    torch.testing.assert_close(to_tensor(images), to_tensor(to_float(images)), rtol=0, atol=0)


def test_making_a_tensor_from_bytes_leaves_them_as_they_were():
    images = EVERY_BYTE[None].copy()
    to_tensor(images)
    np.testing.assert_array_equal(images[0], EVERY_BYTE)


def test_channels_are_not_swapped():
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(to_tensor(red)[0].mean((1, 2)), [1.0, 0.0, 0.0])


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4), (1, 4, 4, 1), (1, 3, 4, 4)])
def test_what_is_no_batch_of_rgb_images_is_refused(shape):
    with pytest.raises(ImageFormatError, match="shape"):
        to_tensor(np.zeros(shape, np.uint8))


def test_half_precision_and_gradients_do_not_stop_the_way_back():
    tensor = torch.rand(1, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    out = to_numpy(tensor)
    assert out.dtype == np.float32
    assert out.shape == (1, 4, 4, 3)
