"""Properties of decisions per region, and of the strength of a restoration."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restoration_toolchain.agents.players.rollout import rollout
from restoration_toolchain.agents.policy.decision import DARING, Limits
from restoration_toolchain.agents.policy.lstm_policy import Judgement, LstmPolicy
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.toolchain.restoring.regions import (
    CELL,
    Cells,
    RegionChain,
    Smoothing,
    settle,
)
from restoration_toolchain.toolchain.restoring.settings import SettingError
from tests.toolchain.conftest import (
    NAMES,
    SEQUENCE,
    MakePhoto,
    MakeRestorer,
    RunCli,
    random_samples,
)

STOP = 2


def photo(height: int = 100, width: int = 150) -> FloatImage:
    return to_float(random_samples(height, width))


def shift(action: int, part: Tensor) -> Tensor:
    """A tool without a receptive field."""
    return (part + 0.1 * (action + 1)).clamp(0.0, 1.0)


class SidesPolicy(LstmPolicy):
    """Plays tool 0 on dark views, tool 1 on bright ones, then stops."""

    def __init__(self) -> None:
        super().__init__(RecurrentQNet(2), ("dark", "bright"))

    def see(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        bright = seen[:, 0] > 0.5
        values = torch.stack([~bright, bright, torch.zeros_like(bright)], dim=1).float()
        values[last_action != STOP, STOP] = 9.0
        return Judgement(values, None), state


class UnsureSidesPolicy(SidesPolicy):
    """The same, and each tool does harm with a probability of 20 %."""

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        judged, state = super().judge(seen, last_action, state, together=together)
        return Judgement(judged.values, torch.full_like(judged.values[:, :-1], 0.2)), state


def two_sides(height: int = 96, width: int = 192) -> Tensor:
    image = torch.full((1, 3, height, width), 0.2)
    image[..., width // 2 :] = 0.7
    return image


def region_chain(image: Tensor, max_steps: int) -> RegionChain:
    return RegionChain(image, stop=STOP, run_tool=shift, max_steps=max_steps, halo=0, grid=1)


@pytest.mark.parametrize(
    ("limits", "is_held_back"),
    [(Limits(0.1), True), (Limits(caution=10.0), True), (Limits(0.3, 1.0), False)],
)
def test_what_a_risk_or_its_price_holds_back_in_regions_is_told(
    limits: Limits, is_held_back: bool
) -> None:
    chain = region_chain(two_sides(), 3)
    (first, *_) = rollout(chain, Cells(UnsureSidesPolicy(), chain, limits=limits))
    assert first.decision.is_held_back == is_held_back
    assert bool((first.decision.actions == STOP).all()) == is_held_back


class UnsureOfBrightPolicy(UnsureSidesPolicy):
    """The same, but it is sure of dark views; and it counts its looks."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def see(self, images: Tensor) -> Tensor:
        self.looks += 1
        return super().see(images)

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        judged, state = super().judge(seen, last_action, state, together=together)
        assert judged.risks is not None
        return Judgement(judged.values, judged.risks * (seen > 0.5)), state


def test_each_cell_knows_what_the_agent_alone_would_have_held_back() -> None:
    for own_limits in (Limits(0.1), Limits(caution=10.0), DARING):
        chain, policy = region_chain(two_sides(), 3), UnsureOfBrightPolicy()
        look = Cells(policy, chain, limits=DARING, own_limits=own_limits)
        first, second = [move.decision for move in rollout(chain, look)]
        assert policy.looks == 2
        sides = first.actions.reshape(chain.shape)
        assert sides.tolist() == [[0, 0, 0, 1, 1, 1]] * 3  # whatever the agent thinks of it
        if own_limits is DARING:
            assert first.doubted is None
            continue
        assert first.doubted is not None
        assert second.doubted is not None
        doubted = first.doubted.reshape(chain.shape)
        assert doubted[:, 3:].all()
        assert not doubted[:, :2].any()
        # A limit holds for each cell; a price of risk is smoothed, and reaches the neighbours.
        assert doubted[:, 2].any() == (own_limits.caution > 0.0)
        assert not second.doubted.any()


def test_each_side_gets_its_tool_and_the_border_fades() -> None:
    image = two_sides()
    chain = region_chain(image, 3)
    look = Cells(SidesPolicy(), chain)
    first, second = [(move.decision.actions, chain.image) for move in rollout(chain, look)]
    assert first[0].reshape(chain.shape).tolist() == [[0, 0, 0, 1, 1, 1]] * 3
    change = (first[1] - image)[0, 0, 0]
    assert change[: 96 - CELL // 2].allclose(torch.tensor(0.1), atol=1e-6)
    assert change[96 + CELL // 2 :].allclose(torch.tensor(0.2), atol=1e-6)
    assert (change.diff() >= -1e-6).all()
    assert change.diff().max() < 0.1 / CELL * 1.5  # no step anywhere
    assert (second[0] == STOP).all()
    assert torch.equal(second[1], first[1])
    assert image.equal(two_sides())


def test_a_part_with_its_context_is_restored_like_the_whole() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 3, 9, padding=4).requires_grad_(False)
    image = torch.rand(1, 3, 130, 170)
    actions = torch.full((5, 6), STOP)
    actions[1:3, 2] = 0
    seen: list[torch.Size] = []

    def run(action: int, part: Tensor) -> Tensor:
        seen.append(part.shape)
        return conv(part)  # type: ignore[no-any-return]

    chain = RegionChain(image, stop=STOP, run_tool=run, max_steps=1, halo=4, grid=2)
    chain.advance(actions.flatten())
    in_part = chain.image
    whole = conv(image)
    mask = (actions == 0).float()[None, None]
    weight = torch.nn.functional.interpolate(mask, scale_factor=CELL, mode="bilinear")
    expected = image + weight[..., :130, :170] * (whole - image)
    assert torch.allclose(in_part, expected.clamp(0, 1), atol=1e-6)
    assert seen[0][-1] < 170  # work is done where it is needed
    untouched = weight[0, 0, :130, :170] == 0
    assert torch.equal(in_part[..., untouched], image[..., untouched])


def test_a_lone_cell_follows_its_neighbours_and_a_half_keeps_its_own() -> None:
    values = torch.zeros(8, 8, 3)
    values[..., 0] = 0.5
    values[4, 4, 1] = 0.7
    active = torch.ones(8, 8, dtype=torch.bool)
    assert (settle(values, active, Smoothing()) == 0).all()
    values[:, 4:, 1] = 1.5
    actions = settle(values, active, Smoothing())
    assert (actions[:, :3] == 0).all()
    assert (actions[:, 5:] == 1).all()
    alone = Smoothing(share=0.0, sigma=0.01, coupling=0.0)
    values = torch.rand(8, 8, 3)
    assert torch.equal(settle(values, active, alone), values.argmax(dim=-1))


def test_the_agent_looks_at_few_views_at_a_time_so_that_a_large_photo_takes_little_memory() -> None:
    looks = []

    class Counting(SidesPolicy):
        def see(self, images: Tensor) -> Tensor:
            looks.append(len(images))
            return super().see(images)

    chain = region_chain(two_sides(320, 640), 1)
    (first,) = rollout(chain, Cells(Counting(), chain))
    assert sum(looks) == 10 * 20 == len(first.decision.actions)
    assert max(looks) <= 64


def test_a_cell_that_stopped_stays_stopped_and_says_nothing() -> None:
    values = torch.zeros(4, 4, 3)
    values[..., 0] = 0.1
    values[:2, :, 1] = 50.0  # were they asked, they would convince the others
    active = torch.ones(4, 4, dtype=torch.bool)
    active[:2] = False
    actions = settle(values, active, Smoothing())
    assert (actions[:2] == STOP).all()
    assert (actions[2:] == 0).all()
    assert (settle(values, torch.zeros_like(active), Smoothing()) == STOP).all()


def test_where_all_regions_agree_the_result_is_that_of_one_chain(
    make_restorer: MakeRestorer,
) -> None:
    restorer = make_restorer(*SEQUENCE)
    whole, regions = restorer.restore(photo()), restorer.restore(photo(), regions=True)
    assert regions.sequence == whole.sequence == SEQUENCE
    np.testing.assert_allclose(regions.image, whole.image, rtol=0, atol=1e-5)
    actions = regions.steps[0].region_actions
    assert actions is not None
    assert actions.shape == (4, 5)
    assert (actions == NAMES.index(SEQUENCE[0])).all()
    entry = regions.trace()["steps"][0]
    assert entry["region_actions"] == actions.tolist()
    assert whole.steps[0].region_actions is None
    assert regions.trace()["regions"] is True


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 200), (33, 64), (99, 131)])
def test_regions_take_any_size(make_restorer: MakeRestorer, height: int, width: int) -> None:
    lq = photo(height, width)
    restored = make_restorer(*SEQUENCE).restore(lq, regions=True).image
    assert restored.shape == lq.shape
    assert 0.0 <= restored.min() <= restored.max() <= 1.0


def test_gray_stays_gray_in_regions(make_restorer: MakeRestorer) -> None:
    gray = np.repeat(photo()[:, :, :1], 3, axis=2)
    restored = make_restorer(*SEQUENCE).restore(gray, regions=True).image
    np.testing.assert_allclose(restored, restored[:, :, :1].repeat(3, axis=2), rtol=0, atol=1e-6)


def test_regions_that_stop_at_once_leave_every_bit(make_restorer: MakeRestorer) -> None:
    restoration = make_restorer().restore(photo(), regions=True)
    assert restoration.sequence == ()
    assert np.array_equal(restoration.image, photo())


def test_strength_zero_leaves_every_bit_and_the_distance_grows(make_restorer: MakeRestorer) -> None:
    restorer = make_restorer(*SEQUENCE)
    lq, distances = photo(), []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        restoration = restorer.restore(lq, gt=lq, strength=strength, keep_frames=True)
        distances.append(float(np.abs(restoration.image - lq).mean()))
        assert restoration.sequence == SEQUENCE  # decided by what the tools did
        assert restoration.trace()["strength"] == strength
        np.testing.assert_array_equal(restoration.frames[-1], restoration.image)
    assert np.array_equal(restorer.restore(lq, strength=0.0).image, lq)
    assert distances[0] == 0.0
    assert all(np.diff(distances) > 0.0)
    half, whole = (restorer.restore(lq, strength=s).image for s in (0.5, 1.0))
    np.testing.assert_allclose(half, (lq + whole) / 2, rtol=0, atol=1e-6)


def test_the_first_actions_can_be_forced(make_restorer: MakeRestorer) -> None:
    first, *_ = SEQUENCE
    restorer = make_restorer(*SEQUENCE)
    other = next(name for name in NAMES if name not in SEQUENCE)
    restoration = restorer.restore(photo(), forced=[other])
    assert restoration.sequence[0] == other
    assert restoration.trace()["forced"] == [other]
    assert first in restoration.steps[0].action_values
    assert restorer.restore(photo(), forced=["stop"]).sequence == ()
    assert restorer.restore(photo(), forced=[first, "stop"]).sequence == (first,)
    with pytest.raises(UnknownNameError, match="sharpen"):
        restorer.restore(photo(), forced=["sharpen"])


def test_settings_that_cannot_work_are_refused(
    make_restorer: MakeRestorer, toolbox_folder: Path
) -> None:
    restorer = make_restorer(*SEQUENCE)
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(SettingError, match="strength"):
            restorer.restore(photo(), strength=bad)
        with pytest.raises(SettingError, match="strength"):
            make_restorer(*SEQUENCE, strength=bad)
    with pytest.raises(SettingError, match="regions"):
        restorer.restore(photo(), regions=True, forced=["stop"])


def test_the_command_line_knows_strength_and_regions(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, trace = make_photo("in.png", 70, 90), tmp_path / "trace.json"
    result = run_cli("restore", source, "-o", tmp_path / "same.png", "--strength", 0)
    assert result.exit_code == 0, result.output
    assert np.array_equal(read_photo(tmp_path / "same.png").rgb, read_photo(source).rgb)
    result = run_cli("restore", source, "-o", tmp_path / "out.png", "--regions", "--trace", trace)
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(trace.read_text())
    assert np.shape(entry["steps"][0]["region_actions"]) == (3, 3)
    result = run_cli("restore", source, "-o", tmp_path / "bad.png", "--strength", 2)
    assert result.exit_code == 2
    assert "--strength" in result.stderr
