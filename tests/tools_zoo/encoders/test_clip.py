"""Properties of CLIP as an encoder and of prompts, with a small CLIP model of random weights."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.catalog import ENLARGERS
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.encoders.clip import ClipEncoder
from restoration_toolchain.tools_zoo.encoders.digest import encoder_digest
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import load_iqa, open_named
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from tests.conftest import save_tiny_clip

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tiny_clip: Path) -> Path:
    """Where a small CLIP model lies, as Hugging Face saves it."""
    return tiny_clip


@pytest.fixture(scope="module")
def clip(folder: Path) -> ClipEncoder:
    encoder = load_encoder(str(folder))
    assert isinstance(encoder, ClipEncoder)
    return encoder


def test_loading_draws_nothing_on_the_terminal(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_encoder(str(folder))
    assert capfd.readouterr() == ("", "")


def test_the_maps_lie_on_the_grid_of_patches(clip: ClipEncoder) -> None:
    seen = clip(torch.rand(2, 3, 32, 48))
    assert [tuple(map_.shape) for map_ in seen.maps] == [(2, 24, 4, 6)] * 2
    assert seen.embedding.shape == (2, 12)
    assert clip.map_channels == (24, 24)
    assert clip.name == "clip:tiny-clip"


def test_at_its_own_size_it_sees_what_transformers_sees(clip: ClipEncoder) -> None:
    images = torch.rand(2, 3, 32, 32)
    mean, std = clip._mean, clip._std
    expected = clip.model.get_image_features(pixel_values=(images - mean) / std)
    expected = getattr(expected, "pooler_output", expected)
    torch.testing.assert_close(clip(images).embedding, expected)


def test_other_sizes_become_whole_patches(clip: ClipEncoder) -> None:
    assert clip(torch.rand(1, 3, 35, 29)).maps[0].shape[2:] == (4, 4)


def test_prompts_of_word_vectors_are_what_the_words_are(clip: ClipEncoder) -> None:
    words = torch.tensor([[5, 6, 7], [8, 9, 10]])
    edges = torch.tensor([97, 98]).expand(2, 2)
    ids = torch.cat([edges[:, :1], words, edges[:, 1:]], dim=1)
    expected = clip.model.get_text_features(input_ids=ids)
    expected = getattr(expected, "pooler_output", expected)
    table = clip.model.text_model.embeddings.token_embedding.weight
    torch.testing.assert_close(clip.embed_prompts(table[words]), expected)


def test_the_prompts_learn_and_the_encoder_stays(clip: ClipEncoder) -> None:
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    pair = PromptPair(clip)
    assert pair.kind == "text"
    assert [name for name, _ in pair.named_parameters()] == ["offset"]
    embedding = clip(torch.rand(3, 3, 32, 32)).embedding
    torch.testing.assert_close(pair(embedding).exp(), torch.full((3, 2), 0.5))
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-2)
    for _ in range(5):
        loss = -pair(embedding)[:, 0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    good = pair(embedding).exp()
    assert bool((good[:, 0] > 0.5).all())
    torch.testing.assert_close(good.sum(dim=1), torch.ones(3))
    for name, value in clip.state_dict().items():
        assert torch.equal(before[name], value), name


def test_exchanging_the_prompts_exchanges_the_verdict(clip: ClipEncoder) -> None:
    pair, embedding = PromptPair(clip), torch.rand(3, 12)
    torch.nn.init.normal_(pair.offset)
    before = pair(embedding)
    pair.offset.data = pair.offset.data.flip(0)
    torch.testing.assert_close(pair(embedding), before.flip(1))


def test_a_tool_and_a_score_are_trained_with_clip(
    tiny: Callable[..., SrTrainConfig], folder: Path, tmp_path: Path
) -> None:
    weights = dict.fromkeys(
        ("perceptual", "semantic", "feature_discrimination", "text_guided"), 0.1
    )
    config = tiny(**weights, encoder=str(folder), total_patches=4, damaged_negatives=0.5)
    train_sr_tool(ENLARGERS[0], config, tmp_path / "run")
    iqa = load_iqa(tmp_path / "run" / "sfd_iqa", load_encoder(str(folder)))
    quality = iqa.score(torch.rand(3, 40, 33))
    assert quality.encoder == "clip:tiny-clip"
    assert quality.prompt_kind == "text"
    assert 0.0 <= quality.score <= 1.0
    with pytest.raises(
        ToolchainError, match="needs the encoder clip:tiny-clip, and none was given"
    ):
        load_iqa(tmp_path / "run" / "sfd_iqa")


def test_a_digest_tells_models_apart_and_is_of_the_weights_alone(
    clip: ClipEncoder, folder: Path, tmp_path: Path
) -> None:
    digest = encoder_digest(clip)
    assert len(digest) == 16
    same = load_encoder(str(folder))
    assert isinstance(same, ClipEncoder)
    same.model.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    assert encoder_digest(same) == digest
    with torch.no_grad():
        same.model.logit_scale.add_(1e-3)
    assert encoder_digest(same) != digest


def test_a_score_refuses_another_model_of_the_same_name(
    clip_score: Path, folder: Path, tmp_path: Path
) -> None:
    other = save_tiny_clip(tmp_path / folder.name, seed=1)
    image = torch.rand(3, 40, 40)
    iqa = open_named(clip_score, folder)
    assert iqa is not None
    assert iqa.score(image).encoder == f"clip:{folder.name}"
    with pytest.raises(ToolchainError, match="another encoder of the name clip:tiny-clip"):
        open_named(clip_score, other)


def test_an_older_score_without_a_digest_takes_any_model_of_its_name(
    clip_score: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(clip_score, tmp_path / "score")
    path = tmp_path / "score" / "sfd_iqa.json"
    facts = json.loads(path.read_text())
    del facts["encoder_digest"]
    path.write_text(json.dumps(facts))
    other = save_tiny_clip(tmp_path / folder.name, seed=1)
    assert open_named(tmp_path / "score", other) is not None


def test_an_encoder_without_a_score_is_refused(folder: Path) -> None:
    assert open_named(None) is None
    with pytest.raises(ToolchainError, match="none was named"):
        open_named(None, folder)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[4, 4, 4, 4], num_attention_heads=[1] * 4
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    with pytest.raises(ToolchainError, match="holds a model of type 'segformer', not CLIP"):
        load_encoder(str(tmp_path))


def test_a_model_that_lacks_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ToolchainError, match=r"lacks weights, visual_projection\.weight"):
        load_encoder(str(tmp_path))


def test_a_model_that_is_not_here_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(ToolchainError, match="nothing is downloaded unasked"):
        load_encoder("nobody/no-such-clip")


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ToolchainError, match=r'pip install "restoration-toolchain\[clip\]"'):
        load_encoder("openai/clip-vit-base-patch32")
