"""Properties of PSNR and SSIM; the reference values come from scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restoration_toolchain.data.errors import ImageFormatError
from restoration_toolchain.data.images import FloatImage, to_tensor, to_uint8
from restoration_toolchain.data.metrics import PSNR_CAP, batch_psnr, psnr, ssim


def pair(noise: float = 0.1, height: int = 24, width: int = 20) -> tuple[FloatImage, FloatImage]:
    rng = np.random.default_rng(0)
    reference = rng.random((height, width, 3), dtype=np.float32)
    image = reference + noise * rng.standard_normal(reference.shape, dtype=np.float32)
    return np.clip(image, 0.0, 1.0), reference


def test_equal_images_score_the_cap():
    _, reference = pair()
    assert psnr(reference, reference) == pytest.approx(PSNR_CAP)
    assert PSNR_CAP == 100.0
    as_bytes = to_uint8(reference)
    assert psnr(as_bytes, as_bytes, data_range=255) == pytest.approx(100.0)


@pytest.mark.parametrize("noise", [0.003, 0.05, 0.5])
def test_psnr_agrees_with_scikit_image(noise):
    image, reference = pair(noise)
    expected = peak_signal_noise_ratio(reference, image, data_range=1.0)
    assert psnr(image, reference) == pytest.approx(expected, abs=1e-3)


def test_an_error_of_a_tenth_everywhere_is_20_db():
    reference = np.full((8, 8, 3), 0.5, np.float32)
    assert psnr(reference + np.float32(0.1), reference) == pytest.approx(20.0, abs=1e-4)


def test_the_scale_of_the_images_does_not_matter_when_its_range_is_given():
    image, reference = pair()
    expected = psnr(image, reference)
    assert psnr(255 * image, 255 * reference, data_range=255.0) == pytest.approx(expected, abs=1e-4)


def test_bytes_do_not_wrap_around():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white, data_range=255) == pytest.approx(0.0, abs=1e-6)
    assert psnr(white, black, data_range=255) == pytest.approx(0.0, abs=1e-6)


def test_the_batch_form_scores_each_image_as_the_single_form_does():
    pairs = [pair(noise) for noise in (0.0, 0.01, 0.1, 0.4)]
    images, references = (np.stack(stack) for stack in zip(*pairs, strict=True))
    expected = [psnr(image, reference) for image, reference in pairs]
    scores = batch_psnr(to_tensor(images), to_tensor(references))
    assert scores.shape == (4,)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_the_batch_form_counts_in_float32_whatever_it_is_given():
    reference = torch.rand(2, 3, 16, 16)
    image = (reference + 0.05).bfloat16()
    expected = batch_psnr(image.float(), reference)
    torch.testing.assert_close(batch_psnr(image, reference), expected)


def test_what_lies_outside_the_range_is_scored_as_it_is():
    reference = np.ones((8, 8, 3), np.float32)
    assert psnr(reference + 1, reference) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_ssim_agrees_with_scikit_image(noise):
    image, reference = pair(noise)
    expected = structural_similarity(image, reference, data_range=1.0, channel_axis=2)
    assert ssim(image, reference) == pytest.approx(expected)
    assert 0.0 < ssim(image, reference) < 1.0


def test_ssim_of_equal_images_is_one():
    _, reference = pair()
    assert ssim(reference, reference) == pytest.approx(1.0)


def test_more_noise_lowers_both_scores():
    for score in (psnr, ssim):
        scores = [score(*pair(noise)) for noise in (0.01, 0.05, 0.2)]
        assert scores == sorted(scores, reverse=True)


def test_images_of_different_shapes_are_refused():
    image, reference = pair()
    for score in (psnr, ssim):
        with pytest.raises(ImageFormatError, match="shapes differ"):
            score(image[1:], reference)


def test_ssim_refuses_an_image_smaller_than_its_window_and_takes_one_as_large():
    image, reference = pair(height=6, width=20)
    with pytest.raises(ImageFormatError, match="at least 7"):
        ssim(image, reference)
    assert np.isfinite(ssim(*pair(height=7, width=7)))
