"""Properties of the benchmark of photos with one kind of damage."""

import cv2
import numpy as np
import pytest
import torch

from benchmarks import single_damage
from benchmarks.single_damage import DAMAGES, STRENGTHS, non_local_means, run
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.images import ByteImage, to_float, to_numpy, to_tensor, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load


@pytest.fixture(scope="module")
def crops() -> list[ByteImage]:
    """Small parts of two photos."""
    photos = [photo for _, photo in open_source("embedded")][:2]
    return [np.ascontiguousarray(photo[:64, :64]) for photo in photos]


def test_a_row_says_what_a_user_gets_and_what_the_best_tool_would_reach(
    crops: list[ByteImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("nothing", "noise 25", "weak camera")
    monkeypatch.setattr(single_damage, "DAMAGES", {name: DAMAGES[name] for name in kept})
    restorer = load(None, "world", precision="fp32")
    nothing, noise, camera = run(restorer, crops).rows
    assert nothing["input"] == nothing["restored"] == "50.00"
    assert (nothing["worse"], nothing["largest loss"]) == ("0 %", "0.00")
    assert nothing["non-local means"] == noise["non-local means"] == ""
    assert float(noise["gain"]) > 5.0
    assert float(noise["restored"]) - float(noise["input"]) == pytest.approx(
        float(noise["gain"]), abs=0.011
    )
    # One tool alone, in 8 bits as what a user gets is.
    name, gain = str(noise["best tool"]).split()
    damaged = []
    for index, crop in enumerate(crops):
        rng = np.random.default_rng(index)
        damaged.append(to_uint8(DAMAGES["noise 25"](rng).apply(to_float(crop), rng)))
    gains = []
    for lq, gt in zip(damaged, crops, strict=True):
        with torch.inference_mode():
            restored = to_uint8(to_numpy(restorer.toolbox[name](to_tensor(lq[None])))[0])
        gains.append(psnr(restored, gt, data_range=255) - psnr(lq, gt, data_range=255))
    assert np.mean(gains) == pytest.approx(float(gain), abs=0.02)
    assert float(camera["non-local means"]) > 20.0


def test_non_local_means_tells_brightness_from_colour_and_is_capped(crops: list[ByteImage]) -> None:
    rng = np.random.default_rng(0)
    noise = Degradation((Noise(6.0),))
    reddish = [crop * np.array([1.0, 0.5, 0.2]) for crop in crops]
    clean = [crop.astype(np.uint8) for crop in reddish]
    lq = [to_uint8(noise.apply(to_float(crop), rng)) for crop in clean]
    found = []
    for image, gt in zip(lq, clean, strict=True):
        bgr = np.ascontiguousarray(image[..., ::-1])
        tried = [cv2.fastNlMeansDenoisingColored(bgr, None, h, h, 7, 21) for h in STRENGTHS]
        found.append(max(psnr(np.asarray(one)[..., ::-1], gt, data_range=255) for one in tried))
    assert non_local_means(lq, clean) == pytest.approx(np.mean(found))
    black = [np.zeros((32, 32, 3), np.uint8)]
    assert non_local_means(black, black) == 50.0


@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_counts_that_mean_nothing_are_one_line(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--count", "--side"):
        with pytest.raises(SystemExit):
            single_damage.main(["embedded", f"{option}={wrong}"])
        assert f"{wrong} is no positive number" in capsys.readouterr().err
