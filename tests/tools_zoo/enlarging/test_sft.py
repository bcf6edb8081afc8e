"""Properties of SFT-Net, of categorical priors, and of their training."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import ENLARGERS
from restoration_toolchain.tools_zoo.encoders.efficientnet import EfficientNetEncoder
from restoration_toolchain.tools_zoo.enlarging import segformer as segformers
from restoration_toolchain.tools_zoo.enlarging import sft as sft_training
from restoration_toolchain.tools_zoo.enlarging.clusters import Clustering, find_clusters
from restoration_toolchain.tools_zoo.enlarging.config import SftTrainConfig
from restoration_toolchain.tools_zoo.enlarging.critic_terms import _cross_entropy
from restoration_toolchain.tools_zoo.enlarging.priors import ConstantPrior, MapPrior, read_map
from restoration_toolchain.tools_zoo.enlarging.segformer import load_segformer
from restoration_toolchain.tools_zoo.enlarging.sft import SftObjective
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from restoration_toolchain.tools_zoo.networks.segmenter import Segmenter
from restoration_toolchain.tools_zoo.networks.sft import (
    SCENES,
    ConditionNet,
    Prior,
    PriorError,
    SftLayer,
    SftNet,
)
from restoration_toolchain.tools_zoo.networks.super_resolution import SrNet
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.training.batches import Batch

SFT = next(spec for spec in ENLARGERS if spec.name == "sr-sft")

Config = Callable[..., SftTrainConfig]


def awake(conditioning: Any = "sft") -> SftNet:
    """A network whose SFT layers do something."""
    torch.manual_seed(0)
    network = SftNet(conditioning)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def shares(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, height, width, generator=generator).softmax(dim=0)


@pytest.mark.parametrize("conditioning", ["sft", "film", "concat"])
def test_it_begins_as_the_network_without_a_prior(conditioning: Any) -> None:
    base, network = SrNet(4), SftNet(conditioning)
    missing, unexpected = network.load_state_dict(base.state_dict(), strict=False)
    assert missing
    assert not unexpected
    lq = torch.rand(2, 3, 17, 23)
    torch.testing.assert_close(network(lq), base(lq))


@pytest.mark.parametrize("conditioning", ["sft", "film", "concat"])
def test_the_prior_changes_the_texture(conditioning: Any) -> None:
    network, lq = awake(conditioning), torch.rand(1, 3, 12, 12)
    restored = []
    for category in (1, 5):
        network.use_prior(ConstantPrior(category))
        restored.append(network(lq))
    assert (restored[0] - restored[1]).abs().max() > 1e-5


def test_modulation_by_nothing_is_the_identity() -> None:
    layer, feat = SftLayer(40), torch.rand(1, 40, 5, 5)
    assert torch.equal(layer(feat, torch.rand(1, 16, 5, 5)), feat)


def test_a_change_of_the_prior_stays_within_its_pixel_of_the_small_image() -> None:
    condition, prior = ConditionNet(4), shares(24, 24)[None]
    changed = prior.clone()
    changed[..., 8:12, 16:20] = changed[..., 8:12, 16:20].flip(1)
    differs = (condition(changed) != condition(prior)).any(dim=1)[0].nonzero()
    assert differs.tolist() == [[2, 4]]


def test_a_prior_that_is_the_same_everywhere_makes_sft_and_film_alike() -> None:
    sft, film = awake("sft"), awake("film")
    film.load_state_dict(sft.state_dict())
    lq = torch.rand(1, 3, 10, 12)
    for network in (sft, film):
        network.use_prior(ConstantPrior(3))
    torch.testing.assert_close(sft(lq), film(lq), atol=1e-5, rtol=0)


def test_its_own_prior_holds_shares() -> None:
    prior = SftNet().prior_of(torch.rand(2, 3, 9, 7))
    assert prior.shape == (2, 8, 36, 28)
    torch.testing.assert_close(prior.sum(dim=1), torch.ones(2, 36, 28))


def test_a_map_of_ones_own_is_used() -> None:
    network, lq = awake(), torch.rand(1, 3, 8, 6)
    own = shares(32, 24)
    network.use_prior(MapPrior(own, kind="clusters"))
    torch.testing.assert_close(network.prior_of(lq)[0], own)
    network.use_prior(None)
    assert not torch.allclose(network.prior_of(lq)[0], own)


def test_a_map_of_another_size_is_refused() -> None:
    network = SftNet()
    network.use_prior(MapPrior(shares(32, 32), kind="clusters"))
    with pytest.raises(PriorError, match="the map has 32x32 pixels, but the enlarged photo has 24"):
        network(torch.rand(1, 3, 8, 6))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (torch.rand(7, 8, 8).softmax(dim=0), "a prior has 8 categories"),
        (torch.rand(8, 8, 8), "shares that sum to 1"),
        (torch.rand(8, 8), "a prior has 8 categories"),
        (torch.zeros(8, 0, 8), "a prior has pixels"),
        (torch.full((8, 8, 8), torch.nan), "shares that sum to 1"),
    ],
)
def test_a_map_of_other_categories_is_refused(shares: Tensor, message: str) -> None:
    with pytest.raises(PriorError, match=message):
        MapPrior(shares)


@pytest.mark.parametrize("kind", ["clusters", "scenes"])
def test_categories_of_another_kind_are_refused(kind: Any) -> None:
    network = SftNet()
    network.has_scenes.fill_(kind == "clusters")
    priors: list[Prior] = [MapPrior(shares(8, 8), kind=kind), ConstantPrior(2, kind=kind)]
    for prior in [*priors, *([ConstantPrior("water")] if kind == "scenes" else [])]:
        with pytest.raises(PriorError, match=f"with {network.kind} .*, and the prior has {kind}"):
            network.use_prior(prior)
    assert not network.has_given


@pytest.mark.parametrize("has_scenes", [False, True])
def test_an_index_is_a_category_of_whatever_kind_the_network_has(has_scenes: bool) -> None:
    network = SftNet()
    network.has_scenes.fill_(has_scenes)
    network.use_prior(ConstantPrior(2))
    assert network.prior_of(torch.rand(1, 3, 4, 4))[0, 2].eq(1.0).all()


def test_one_number_that_is_none_spoils_a_map() -> None:
    spoilt = shares(8, 8)
    spoilt[3, 5, 5] = torch.nan
    with pytest.raises(PriorError, match="shares that sum to 1"):
        MapPrior(spoilt)


def test_a_map_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "map.npy"
    np.save(path, shares(8, 12).numpy().astype(np.float64))
    prior = read_map(path)
    assert prior.kind is None
    seen = prior.look(torch.rand(1, 3, 2, 3), 4)(slice(0, 2), slice(0, 3))
    torch.testing.assert_close(seen[0], shares(8, 12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the map .*No such file"),
        (b"", "is no map"),
        (b"no array", "is no map"),
        (np.array([{}], dtype=object), "is no map"),
        (np.array(["water"]), "is no map"),
        (np.zeros((8, 4, 4)), "map.npy: .*shares that sum to 1"),
    ],
)
def test_a_file_that_holds_no_map_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "map.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(PriorError, match=message):
        read_map(path)


def test_a_mistyped_scene_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'grass'"):
        ConstantPrior("gras")
    with pytest.raises(PriorError, match="categories are 0 to 7"):
        ConstantPrior(8)


def test_images_that_are_not_judged_cost_nothing() -> None:
    nothing = _cross_entropy(torch.rand(2, 8, requires_grad=True), torch.tensor([-1, -1]))
    assert float(nothing.detach()) == 0.0


@pytest.fixture
def sft_config(tiny: Callable[..., Any]) -> Config:
    def build(**values: Any) -> SftTrainConfig:
        defaults = {"prior_patches": 6, "levels": ("clean",)}
        config = tiny(SftTrainConfig, **(defaults | values))
        assert isinstance(config, SftTrainConfig)
        return config

    return build


@pytest.mark.parametrize("interrupted_at", [2, 6])
def test_a_run_resumes_in_either_part(
    sft_config: Config, tmp_path: Path, encoder: EfficientNetEncoder, interrupted_at: int
) -> None:
    config = sft_config(adversarial=0.1, classification=0.1, total_patches=8)
    calls = 0

    def stop(step: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal calls
        calls += 1
        if calls == interrupted_at:  # the first three are the segmentation's
            raise KeyboardInterrupt

    whole = train_sr_tool(SFT, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_sr_tool(SFT, config, tmp_path / "parts", on_step=stop)
    resumed = train_sr_tool(SFT, config, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_at_first_only_the_new_layers_learn(
    sft_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    base = SrNet(4)
    config = sft_config(total_patches=4, warm_steps=2, new_layers_factor=5.0, ema_decay=0.0)
    trained = train_sr_tool(SFT, config, tmp_path / "run", init=base).network.state_dict()
    for name, value in base.state_dict().items():
        assert torch.equal(trained[name], value), name
    assert trained["blocks.0.sft1.beta.2.weight"].any()


def test_without_starting_weights_no_layer_is_newer_than_the_others(
    sft_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    trained = []
    for factor in (1.0, 5.0):
        config = sft_config(total_patches=4, new_layers_factor=factor, warm_steps=1)
        trained.append(train_sr_tool(SFT, config, tmp_path / str(factor)).state_dict())
    for name, value in trained[0].items():
        assert torch.equal(trained[1][name], value), name


def test_the_clusters_are_found_where_the_batch_is(
    sft_config: Config, encoder: EfficientNetEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    objective = SftObjective(sft_config(total_patches=2 * 30), 4, [], encoder)
    task = Clustering(objective, find_clusters(encoder, objective.batches, seed=0))
    objective.to("meta")  # a device without numbers: what lies elsewhere does not mix with it
    lq, gt, step = objective.batches[0]
    batch = Batch(lq.to("meta"), gt.to("meta"), step)
    assert task.loss(Segmenter().to("meta"), batch).device.type == "meta"


def test_a_known_prior_is_taken_as_it_is(
    sft_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    base = Tool(SFT).network
    config = sft_config(total_patches=4, warm_steps=2, ema_decay=0.0)
    trained = train_sr_tool(SFT, config, tmp_path / "run", init=base).network
    assert isinstance(base, SftNet)
    assert isinstance(trained, SftNet)
    for name, value in base.prior.state_dict().items():
        assert torch.equal(trained.prior.state_dict()[name], value), name
    assert not torch.equal(trained.conv_first.weight, base.conv_first.weight)
    assert not (tmp_path / "run" / "prior").exists()


def test_a_prior_of_scenes_is_no_prior_of_clusters(
    sft_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    base = Tool(SFT).network
    assert isinstance(base, SftNet)
    base.has_scenes.fill_(True)
    config = sft_config(total_patches=4)
    trained = train_sr_tool(SFT, config, tmp_path / "run", init=base).network
    assert isinstance(trained, SftNet)
    assert trained.kind == "clusters"
    assert (tmp_path / "run" / "prior").exists()


def test_the_segmentation_learns_the_clusters(
    sft_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    config = sft_config(
        prior_patches=4 * 40, batch_size=4, eval_every=5, total_patches=4, prior_learning_rate=3e-3
    )
    train_sr_tool(SFT, config, tmp_path / "run")
    lines = (tmp_path / "run" / "prior" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["cross_entropy"] for line in lines]
    assert losses[-1] < losses[0] - 0.1


def test_clusters_are_shares_and_the_same_each_time(
    sft_config: Config, encoder: EfficientNetEncoder
) -> None:
    objective = SftObjective(sft_config(total_patches=2 * 30), 4, [], encoder)
    gt = objective.batches[0].gt
    found = [find_clusters(encoder, objective.batches, seed=0).shares(gt) for _ in range(2)]
    assert torch.equal(found[0], found[1])
    assert found[0].shape == (2, 8, 4, 4)
    torch.testing.assert_close(found[0].sum(dim=1), torch.ones(2, 4, 4))


def test_borders_of_clusters_are_sharp(sft_config: Config, encoder: EfficientNetEncoder) -> None:
    objective = SftObjective(sft_config(total_patches=2 * 30), 4, [], encoder)
    found = find_clusters(encoder, objective.batches, seed=0)
    largest = [found.shares(objective.batches[index].gt).amax(dim=1) for index in range(8)]
    assert float(torch.cat(largest).mean()) > 0.5


def test_the_prior_of_some_images_is_what_their_clean_partners_show(
    sft_config: Config, encoder: EfficientNetEncoder
) -> None:
    config = sft_config(total_patches=2 * 30, clean_prior=0.5)
    objective = SftObjective(config, 4, [], encoder)
    network = Tool(SFT).network
    assert isinstance(network, SftNet)
    objective.network = network
    batch = objective.batches[0]
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    objective.make(network, batch)
    objective.clusters = find_clusters(encoder, objective.batches, seed=0)
    made = objective.make(network, batch)
    own, told = seen
    torch.testing.assert_close(own, network.prior_of(batch.lq))
    assert torch.equal(told[1], own[1])
    assert not torch.allclose(told[0], own[0], atol=0.01)
    centre = objective.clusters.shares(batch.gt[:1]).mean(dim=(2, 3))
    torch.testing.assert_close(told[:1].mean(dim=(2, 3)), centre, atol=0.1, rtol=0)
    assert made.category is not None
    assert int(made.category[0]) == int(centre.argmax())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clean_prior": 1.5}, r"clean_prior must lie in \[0, 1\], got 1.5"),
        ({"clean_prior": 0.5, "prior": "somewhere"}, "clean_prior is for a prior of own clusters"),
    ],
)
def test_clean_priors_out_of_range_are_refused(
    sft_config: Config, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sft_config(**values)


def test_categories_without_a_prior_are_refused(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="knows no categories; set classification to 0"):
        train_sr_tool(ENLARGERS[0], tiny(classification=0.1), tmp_path / "run")
    with pytest.raises(ToolchainError, match="'sr-psnr' has no categorical prior"):
        train_sr_tool(ENLARGERS[0], tiny(SftTrainConfig), tmp_path / "run")


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a small SegFormer of random weights with the classes asked for."""
    transformers = pytest.importorskip("transformers")

    def make(names: list[str]) -> Path:
        torch.manual_seed(0)
        config = transformers.SegformerConfig(
            depths=[1] * 4,
            hidden_sizes=[4, 4, 4, 4],
            num_attention_heads=[1] * 4,
            decoder_hidden_size=8,
            id2label=dict(enumerate(names)),
        )
        path = tmp_path_factory.mktemp("segformer")
        transformers.SegformerForSemanticSegmentation(config).save_pretrained(path)
        return path

    return make


ADE_NAMES = ["wall", "sky", "tree", "sea", "grass", "hill", "house, home", "animal;fauna", "river"]


def test_the_classes_of_ade20k_become_scenes(segformer: Callable[..., Path]) -> None:
    prior = load_segformer(segformer(ADE_NAMES))
    lq = torch.rand(2, 3, 16, 12)
    made = prior.look(lq, 4)(slice(0, 16), slice(0, 12))
    assert made.shape == (2, 8, 64, 48)
    torch.testing.assert_close(made.sum(dim=1), torch.ones(2, 64, 48))
    gathered = prior._gather.argmax(dim=0).tolist()
    expected = ["background", "sky", "plant", "water", "grass", "mountain", "building", "animal"]
    assert [SCENES[place] for place in gathered] == [*expected, "water"]


def test_a_segmentation_with_other_classes_is_refused(segformer: Callable[..., Path]) -> None:
    with pytest.raises(PriorError, match="has no class for animal, building"):
        load_segformer(segformer(["road", "sky", "tree", "sea", "grass", "hill"]))


def test_a_tool_of_scenes_asks_for_its_prior(
    segformer: Callable[..., Path], sft_config: Config, tmp_path: Path
) -> None:
    path = segformer(ADE_NAMES)
    tool = train_sr_tool(SFT, sft_config(prior=str(path), total_patches=2), tmp_path / "run")
    again = Tool(SFT)
    again.network.load_state_dict(tool.network.state_dict())
    with pytest.raises(PriorError, match="give it a prior of scenes"):
        again(torch.rand(1, 3, 16, 16))
    assert isinstance(again.network, SftNet)
    again.network.use_prior(load_segformer(path))
    assert again(torch.rand(1, 3, 16, 16)).shape == (1, 3, 64, 64)


def test_a_segmentation_that_is_not_here_is_not_downloaded() -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ToolchainError, match="nothing is downloaded unasked"):
        load_segformer("nobody/no-such-segformer")


def test_a_part_of_what_a_segmentation_says_is_that_of_the_whole(
    segformer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segformers, "SEEN_PIXELS", 64 * 64)
    look = load_segformer(segformer(ADE_NAMES)).look(torch.rand(1, 3, 30, 50), 4)
    whole = look(slice(0, 30), slice(0, 50))
    assert whole.shape == (1, 8, 120, 200)
    assert look(slice(7, 30), slice(13, 20)).equal(whole[..., 28:, 52:80])


def test_what_a_segmentation_says_is_interpolated_as_images_are() -> None:
    coarse = torch.rand(1, 8, 7, 5)
    ours = segformers._interpolated(coarse, 2, slice(0, 9), 9, 4)
    ours = segformers._interpolated(ours, 3, slice(0, 6), 6, 4)
    theirs = functional.interpolate(coarse, (36, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, theirs)


def test_a_segmentation_sees_all_of_a_large_image_and_enough_of_a_tiny_one() -> None:
    wide = torch.zeros(1, 3, 300, 1200)
    wide[..., 600:] = 1.0
    shown = segformers._shown(wide, 4)
    assert shown.shape[-2] * shown.shape[-1] <= 1.01 * segformers.SEEN_PIXELS
    assert shown.mean() == pytest.approx(0.5, abs=0.01)
    assert segformers._shown(torch.zeros(1, 3, 1, 2), 4).shape[-2:] == (32, 32)


def test_weights_that_a_segmentation_lacks_are_not_made_up(segformer: Callable[..., Path]) -> None:
    path = segformer(ADE_NAMES)
    weights = load_file(path / "model.safetensors")
    body = {key: value for key, value in weights.items() if not key.startswith("decode_head.")}
    save_file(body, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ToolchainError, match=r"lacks weights, decode_head\."):
        load_segformer(path)


@pytest.mark.parametrize("spoil", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_cannot_be_read_is_not_called_missing(
    segformer: Callable[..., Path], spoil: str, is_there: bool
) -> None:
    path = segformer(ADE_NAMES)
    (path / spoil).unlink()
    if is_there:
        (path / spoil).write_bytes(b"no model")
    with pytest.raises(ToolchainError, match=r"holds no model: |cannot be read: ") as caught:
        load_segformer(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_prior_is_enlarged_without_a_shift() -> None:
    network = SftNet()
    small = network.prior(torch.rand(1, 3, 6, 6).expand(1, 3, 6, 6)).softmax(dim=1)
    large = functional.interpolate(small, (24, 24), mode="bilinear", align_corners=False)
    means = functional.avg_pool2d(large, 4)[..., 1:-1, 1:-1]
    assert (means - small[..., 1:-1, 1:-1]).abs().max() < 0.1


def test_the_name_of_the_part_is_stable() -> None:
    assert sft_training.PRIOR_RUN == "prior"
