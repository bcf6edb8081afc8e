"""Properties of the restoration of one photo."""

import dataclasses
import doctest
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import restoration_toolchain
from restoration_toolchain.agents.policy.guard import Guard
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import LEVELS, LstmState, RecurrentQNet
from restoration_toolchain.agents.policy.storage import WEIGHTS_FOLDER, PolicyError
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restoration import (
    Restoration,
    explain_end,
    explain_passed_over,
)
from restoration_toolchain.toolchain.restoring.restorer import (
    GONE_ON,
    LEFT,
    LEFT_UNFAMILIAR,
    UNFAMILIAR,
    Restorer,
)
from restoration_toolchain.toolchain.restoring.settings import SettingError
from restoration_toolchain.tools_zoo.storage import load_toolbox
from tests.toolchain.conftest import (
    NAMES,
    SEQUENCE,
    MakeRestorer,
    random_samples,
    scripted_policy,
    told,
)


def photo(height: int = 40, width: int = 48) -> FloatImage:
    return to_float(random_samples(height, width))


def test_the_tools_run_in_the_order_that_the_agent_chooses(make_restorer: MakeRestorer) -> None:
    restorer = make_restorer(*SEQUENCE)
    restoration = restorer.restore(photo())
    expected = torch.from_numpy(photo()).permute(2, 0, 1)[None]
    for name in SEQUENCE:
        expected = restorer.toolbox[name](expected).clamp(0, 1)
    assert restoration.sequence == SEQUENCE
    np.testing.assert_allclose(
        restoration.image, expected[0].permute(1, 2, 0).numpy(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("height", "width"), [(70, 90), (61, 131), (20, 150)])
def test_a_tiled_restoration_equals_the_whole_one(
    make_restorer: MakeRestorer, height: int, width: int
) -> None:
    lq = photo(height, width)
    whole = make_restorer(*SEQUENCE).restore(lq)
    tiled = make_restorer(*SEQUENCE, max_tile_pixels=35 * 35).restore(lq)
    assert np.abs(whole.image - lq).max() > 0.01
    np.testing.assert_allclose(tiled.image, whole.image, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 200), (62, 62), (63, 63), (99, 131)])
def test_any_size_is_restored_to_the_same_size(
    make_restorer: MakeRestorer, height: int, width: int
) -> None:
    lq = photo(height, width)
    restoration = make_restorer(*SEQUENCE).restore(lq, gt=lq)
    assert restoration.image.shape == lq.shape
    assert restoration.image.dtype == np.float32
    assert 0.0 <= restoration.image.min() <= restoration.image.max() <= 1.0


def test_stopping_at_once_leaves_every_bit(make_restorer: MakeRestorer) -> None:
    lq = photo()
    restoration = make_restorer().restore(lq)
    assert restoration.sequence == ()
    assert restoration.steps[-1].is_stop
    assert np.array_equal(restoration.image, lq)
    assert not np.shares_memory(restoration.image, lq)


def test_the_photo_itself_is_never_changed(make_restorer: MakeRestorer) -> None:
    lq = photo()
    make_restorer(*SEQUENCE).restore(lq, keep_frames=True)
    assert np.array_equal(lq, photo())


def test_a_gray_photo_stays_gray(make_restorer: MakeRestorer) -> None:
    gray = np.repeat(photo()[:, :, :1], 3, axis=2)
    restored = make_restorer(*SEQUENCE).restore(gray).image
    assert not np.array_equal(restored, gray)
    np.testing.assert_allclose(restored, restored[:, :, :1].repeat(3, axis=2), rtol=0, atol=1e-6)


def test_bytes_and_floats_are_restored_alike(make_restorer: MakeRestorer) -> None:
    restorer = make_restorer(*SEQUENCE)
    from_bytes = restorer.restore(random_samples(40, 48)).image
    assert np.array_equal(from_bytes, restorer.restore(photo()).image)


def test_a_read_only_photo_is_restored_without_a_warning(
    make_restorer: MakeRestorer, recwarn: pytest.WarningsRecorder
) -> None:
    lq = photo()
    lq.flags.writeable = False
    make_restorer(*SEQUENCE).restore(lq)
    assert not list(recwarn)


def test_no_more_tools_run_than_allowed(make_restorer: MakeRestorer) -> None:
    restoration = make_restorer(*SEQUENCE, max_steps=1).restore(photo())
    assert restoration.sequence == SEQUENCE[:1]
    assert not restoration.steps[-1].is_stop
    assert explain_end(restoration) == "Ended at the limit of 1 tool."


def test_the_frames_are_the_input_and_what_each_tool_made_of_it(
    make_restorer: MakeRestorer,
) -> None:
    lq, seen = photo(), []
    restoration = make_restorer(*SEQUENCE).restore(
        lq, keep_frames=True, on_step=lambda step, image: seen.append((step, image))
    )
    assert len(restoration.frames) == 1 + len(SEQUENCE)
    assert np.array_equal(restoration.frames[0], lq)
    assert np.array_equal(restoration.frames[-1], restoration.image)
    assert tuple(step for step, _ in seen) == restoration.steps
    assert all(np.array_equal(a, b[1]) for a, b in zip(restoration.frames[1:], seen, strict=False))


def test_the_trace_is_json_and_its_gains_add_up(make_restorer: MakeRestorer) -> None:
    gt = photo()
    lq = np.clip(gt + np.float32(0.1), 0, 1)
    restoration = make_restorer(*SEQUENCE).restore(lq, gt=gt)
    trace = json.loads(json.dumps(restoration.trace(), allow_nan=False))
    gain = psnr(restoration.image, gt) - psnr(lq, gt)
    assert sum(step["psnr_gain"] for step in trace["steps"]) == pytest.approx(gain)
    assert trace["psnr_after"] - trace["psnr_before"] == pytest.approx(gain)
    assert [step["tool"] for step in trace["steps"]] == [*SEQUENCE, "stop"]
    assert list(trace["steps"][0]["action_values"]) == [*NAMES, "stop"]
    assert (trace["width"], trace["height"]) == (48, 40)
    assert set(trace["toolbox"]["sha256"]) == set(NAMES)


def test_the_chosen_action_has_the_highest_value_and_is_no_runner_up(
    make_restorer: MakeRestorer,
) -> None:
    for step in make_restorer(*SEQUENCE).restore(photo()).steps:
        values = step.action_values
        assert values[step.tool] == max(values.values())
        runners_up = step.runners_up(3)
        assert step.tool not in dict(runners_up)
        assert [value for _, value in runners_up] == sorted(dict(runners_up).values())[::-1]


def test_the_decision_is_that_of_the_mean_value_and_not_of_the_majority(
    make_restorer: MakeRestorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = make_restorer()
    played = []

    def judge(
        seen: torch.Tensor, last_action: torch.Tensor, state: LstmState
    ) -> tuple[torch.Tensor, None, LstmState]:
        played.append(last_action.tolist())
        votes = torch.zeros(len(last_action), len(NAMES) + 1)
        votes[1:, 3] = 0.1  # most views like tool 3 a little
        votes[0, 3], votes[0, 5] = -9.0, 9.0  # one would be ruined by it, and saved by tool 5
        votes[:, -1] = 0.05 if len(played) == 1 else 99.0
        return votes, None, state

    monkeypatch.setattr(restorer._policy.q_net, "judge", judge)
    restoration = restorer.restore(photo(63, 63 * 4))
    assert restoration.sequence == (NAMES[5],)
    n_views = len(played[0])
    assert n_views > 2
    assert played == [[len(NAMES)] * n_views, [5] * n_views]


def test_a_photo_of_one_view_is_played_as_the_agent_would_play_it(
    toolbox_folder: Path,
) -> None:
    torch.manual_seed(3)
    q_net = RecurrentQNet(len(NAMES), "rl_restore")
    torch.nn.init.normal_(q_net.head.weight)
    policy, toolbox = LstmPolicy(q_net, NAMES), load_toolbox(toolbox_folder)
    lq = photo(63, 63)
    restoration = Restorer(toolbox, policy, told(max_steps=3)).restore(lq)

    images, state = torch.from_numpy(lq).permute(2, 0, 1)[None], policy.initial_state(1)
    last_action = torch.tensor([toolbox.stop])
    for step in restoration.steps:
        values, state = policy.action_values(images, last_action, state)
        assert step.action == int(values.argmax())
        last_action = torch.tensor([step.action])
        images = toolbox.restore(images, last_action).clamp(0, 1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.float32),
        np.zeros((8, 8, 3), np.float64),
        np.zeros((0, 8, 3), np.float32),
        np.full((8, 8, 3), 255, np.float32),
        np.full((8, 8, 3), np.nan, np.float32),
    ],
)
def test_what_is_no_image_is_refused(make_restorer: MakeRestorer, image: FloatImage) -> None:
    with pytest.raises(ImageFormatError):
        make_restorer().restore(image)


def test_a_clean_photo_of_another_size_is_refused(make_restorer: MakeRestorer) -> None:
    with pytest.raises(ImageFormatError, match="shapes differ"):
        make_restorer().restore(photo(40, 48), gt=photo(48, 40))


def test_settings_that_cannot_work_are_refused(make_restorer: MakeRestorer) -> None:
    with pytest.raises(SettingError, match="max_steps must be at least 1, got 0"):
        make_restorer(max_steps=0)
    with pytest.raises(SettingError, match="max_tile_pixels must be at least"):
        make_restorer(max_tile_pixels=100)


def test_an_agent_for_other_tools_is_refused(toolbox_folder: Path) -> None:
    policy = LstmPolicy(RecurrentQNet(2), ("one", "two"))
    with pytest.raises(PolicyError, match="trained for the tools one, two"):
        Restorer(load_toolbox(toolbox_folder), policy)


def test_bf16_changes_little(make_restorer: MakeRestorer) -> None:
    full = make_restorer(*SEQUENCE).restore(photo())
    half = make_restorer(*SEQUENCE, precision="bf16").restore(photo())
    assert 0 < np.abs(half.image - full.image).max() < 0.02


def test_the_reason_of_the_end_is_given_in_words(make_restorer: MakeRestorer) -> None:
    left = explain_end(make_restorer().restore(photo()))
    assert left.startswith("Left as it is: the agent expects no tool to help")
    assert explain_end(make_restorer(*SEQUENCE).restore(photo())).startswith("Stopped:")


def test_of_a_photo_that_is_left_alone_it_says_how_sure_it_is(make_restorer: MakeRestorer) -> None:
    clean = to_float(dict(open_source("embedded"))["chelsea"][:256, :256])
    shipped = load()
    untouched = shipped.restore(clean)
    (step,) = untouched.steps
    assert step.is_stop
    assert step.clean is not None
    assert step.clean > 0.5
    assert f"undamaged, with a probability of {step.clean:.0%}" in explain_end(untouched)
    assert untouched.trace()["steps"][0]["clean_probability"] == step.clean
    noisy = shipped.restore(Noise(25.0).apply(clean, np.random.default_rng(0)))
    assert [step.clean for step in noisy.steps] == [None] * len(noisy.steps)
    assert make_restorer().restore(photo()).steps[0].clean is None  # it does not ask


def test_load_takes_folders(
    toolbox_folder: Path, agent_folder: Path, idle_agent_folder: Path
) -> None:
    restorer = load(agent_folder, toolbox_folder, device="cpu", precision="fp32")
    restoration = restorer.restore(photo())
    assert restoration.sequence == SEQUENCE
    assert restoration.trace()["agent"]["name"] == str(agent_folder)
    other = load(idle_agent_folder, toolbox_folder, device="cpu", precision="fp32")
    checksums = {r.restore(photo()).provenance.agent_checksum for r in (restorer, other)}
    assert len(checksums) == 2


def test_the_checksum_in_the_trace_is_that_of_the_agents_file(
    toolbox_folder: Path, agent_folder: Path
) -> None:
    recorded = json.loads((agent_folder / "config.json").read_text())["sha256"]
    restorer = load(agent_folder, toolbox_folder, device="cpu", precision="fp32")
    assert restorer.restore(photo()).provenance.agent_checksum == recorded


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"agent": "clasic"}, UnknownNameError),
        ({"toolbox": "clasic"}, UnknownNameError),
        ({"precision": "bf61"}, UnknownNameError),
        ({"device": "gpu"}, ToolchainError),
        ({"device": "meta"}, ToolchainError),
    ],
)
def test_a_wrong_name_is_one_line(
    toolbox_folder: Path, agent_folder: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        load(**{"agent": agent_folder, "toolbox": toolbox_folder, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["max_steps", "scale", "device", "typo"])
def test_a_call_refuses_what_it_cannot_choose(make_restorer: MakeRestorer, name: str) -> None:
    options: Any = {name: 1}
    with pytest.raises(TypeError, match=rf"^restore\(\) got an unexpected .* '{name}'$"):
        make_restorer().restore(photo(), **options)


def test_the_package_offers_what_it_promises_and_nothing_else() -> None:
    assert restoration_toolchain.load is load
    assert restoration_toolchain.Restorer is Restorer
    assert restoration_toolchain.Restoration is Restoration
    assert set(restoration_toolchain.__all__) <= set(dir(restoration_toolchain))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        restoration_toolchain.lod  # type: ignore[attr-defined]  # noqa: B018


def test_the_example_of_the_package_runs() -> None:
    if not (WEIGHTS_FOLDER / "classic" / "config.json").exists():
        pytest.skip("the trained weights are not in this tree")
    assert "load(max_steps=2)" in (restoration_toolchain.__doc__ or "")
    assert doctest.testmod(restoration_toolchain).failed == 0


def test_scripted_policies_do_what_the_tests_rely_on() -> None:
    policy, state = scripted_policy(*SEQUENCE), scripted_policy().initial_state(1)
    last_action = torch.tensor([len(NAMES)])
    for name in (*SEQUENCE, "stop"):
        values, state = policy.action_values(torch.rand(1, 3, 63, 63), last_action, state)
        last_action = values.argmax(dim=1)
        assert (*NAMES, "stop")[int(last_action)] == name


def guard_of(intercept: float, limit: float) -> Guard:
    """A guard with one risk for everything, and a limit of what is familiar."""
    return Guard(intercept, 0.0, torch.zeros(32), torch.eye(32), limit)


@pytest.mark.parametrize("regions", [False, True])
def test_a_tool_that_is_too_risky_does_not_run(toolbox_folder: Path, regions: bool) -> None:
    policy = scripted_policy(*SEQUENCE, guard=guard_of(0.0, 1e9))  # a risk of one half
    toolbox = load_toolbox(toolbox_folder)
    dared = Restorer(toolbox, policy, told(max_risk=0.6)).restore(photo(), regions=regions)
    assert dared.sequence == SEQUENCE
    careful = Restorer(toolbox, policy, told(max_risk=0.4)).restore(photo(), regions=regions)
    assert careful.sequence == ()
    assert np.array_equal(careful.image, photo())
    assert careful.trace()["max_risk"] == 0.4
    if not regions:
        assert dared.steps[0].risk == careful.steps[0].risk == pytest.approx(0.5)
        assert "probability of 50%, more than the 40% permitted" in explain_end(careful)


@pytest.mark.parametrize("regions", [False, True])
def test_a_tool_that_is_not_worth_its_arithmetic_does_not_run(
    toolbox_folder: Path, regions: bool
) -> None:
    toolbox, policy = load_toolbox(toolbox_folder), scripted_policy(*SEQUENCE)
    worth = 1e5 / min(tool.spec.macs_per_pixel for tool in toolbox)  # dB, of about 1 dB promised
    restorer = Restorer(toolbox, policy, told(effort=2.0 * worth))
    left = restorer.restore(photo(), regions=regions)
    assert left.sequence == ()
    assert np.array_equal(left.image, photo())
    assert left.trace()["effort"] == 2.0 * worth
    assert not left.steps[0].is_held_back
    whatever = Restorer(toolbox, policy, told()).restore(photo(), regions=regions)
    assert left.steps[0].action_values == whatever.steps[0].action_values
    called = restorer.restore(photo(), regions=regions, effort="high")
    assert called.sequence == whatever.sequence == SEQUENCE
    assert called.provenance.agent_checksum == left.provenance.agent_checksum
    if not regions:
        assert "too little for the arithmetic at this effort" in explain_end(left)
        assert restorer.restore(photo(), forced=SEQUENCE[:1]).sequence == SEQUENCE[:1]


def test_a_strange_photo_is_said_to_be_one(toolbox_folder: Path) -> None:
    toolbox = load_toolbox(toolbox_folder)
    for limit, strange in ((1e-6, True), (1e9, False)):
        policy = scripted_policy(*SEQUENCE, guard=guard_of(0.0, limit))
        restoration = Restorer(toolbox, policy).restore(photo())
        assert (UNFAMILIAR in restoration.notes) == strange
        assert restoration.unfamiliarity is not None
        assert (restoration.unfamiliarity > 1.0) == strange
        assert restoration.trace()["unfamiliarity"] == restoration.unfamiliarity


def test_the_risk_of_an_agent_that_was_not_calibrated_is_unknown(
    make_restorer: MakeRestorer,
) -> None:
    with pytest.raises(PolicyError, match="not calibrated"):
        make_restorer(*SEQUENCE, max_risk=0.5)
    with pytest.raises(SettingError, match="max_risk"):
        make_restorer(*SEQUENCE, max_risk=1.5)
    restoration = make_restorer(*SEQUENCE).restore(photo())
    assert restoration.steps[0].risk is None
    assert restoration.unfamiliarity is None


def sure_policy(lowest: float, *, limit: float = 1e9, **limits: float) -> LstmPolicy:
    """Plays `SEQUENCE`, and says that every tool gains ``lowest`` dB at least, and evenly more."""
    script = scripted_policy(*SEQUENCE)
    q_net = RecurrentQNet(len(NAMES), "rl_restore", quantiles=True)
    q_net.load_state_dict(script.q_net.state_dict(), strict=False)
    assert q_net.spread is not None
    with torch.no_grad():
        q_net.spread.weight.zero_()
        # Steps of a tenth dB from one level to the next, and where the middle one lies.
        step = math.log(math.expm1(0.1))
        bias = torch.full((len(NAMES), len(LEVELS)), step)
        bias[:, LEVELS.index(0.5)] = lowest + 0.1 * LEVELS.index(0.5)
        q_net.spread.bias.copy_(bias.flatten())
    guard = Guard(0.0, 1.0, torch.zeros(32), torch.eye(32), limit)  # as the network has it
    return LstmPolicy(q_net, NAMES, guard=guard, **limits)


@pytest.mark.parametrize("regions", [False, True])
def test_where_the_agent_is_not_sure_a_photo_is_left_as_it_is_unless_told_otherwise(
    toolbox_folder: Path, regions: bool
) -> None:
    toolbox = load_toolbox(toolbox_folder)
    # Gains from -0.35 dB on: a risk of about 8 %.
    restorer = Restorer(toolbox, sure_policy(-0.35, max_risk=0.05), told(regions=regions))
    left = restorer.restore(photo())
    assert left.sequence == ()
    assert np.array_equal(left.image, photo())
    assert left.notes == (LEFT,)
    assert left.permitted_risk == 0.05
    says = "has a risk above 5%" if regions else "more than the 5% permitted"
    assert says in explain_end(left)
    trace = left.trace()
    assert trace["permitted_risk"] == 0.05
    assert [step["held_back"] for step in trace["steps"]] == [True]
    gone_on = restorer.restore(photo(), even_if_unsure=True)
    assert gone_on.sequence == SEQUENCE
    assert gone_on.notes == (GONE_ON.format(tool=SEQUENCE[0], risk=0.08),)
    assert gone_on.trace()["permitted_risk"] == 1.0
    assert not any(step["held_back"] for step in gone_on.trace()["steps"])
    daring = Restorer(toolbox, sure_policy(-0.35, max_risk=0.2), told(regions=regions))
    assert daring.restore(photo()).sequence == SEQUENCE


@pytest.mark.parametrize("regions", [False, True])
def test_on_a_strange_photo_an_agent_is_surer_or_leaves_it(
    toolbox_folder: Path, regions: bool
) -> None:
    toolbox = load_toolbox(toolbox_folder)
    limits = {"max_risk": 0.2, "unfamiliar_risk": 0.05}

    def restorer(lowest: float, limit: float) -> Restorer:
        policy = sure_policy(lowest, limit=limit, **limits)
        return Restorer(toolbox, policy, told(regions=regions))

    known = restorer(-0.35, 1e9).restore(photo())
    assert (known.sequence, known.permitted_risk, known.notes) == (SEQUENCE, 0.2, ())
    strange = restorer(-0.35, 1e-6).restore(photo())
    assert (strange.sequence, strange.permitted_risk) == ((), 0.05)
    assert strange.notes == (LEFT_UNFAMILIAR,)
    all_the_same = restorer(-0.35, 1e-6).restore(photo(), even_if_unsure=True)
    assert (all_the_same.sequence, all_the_same.permitted_risk) == (SEQUENCE, 1.0)
    assert all_the_same.notes == (UNFAMILIAR, GONE_ON.format(tool=SEQUENCE[0], risk=0.08))
    sure = restorer(0.5, 1e-6).restore(photo())  # a risk below the half percent
    assert (sure.sequence, sure.permitted_risk) == (SEQUENCE, 0.05)
    assert sure.notes == (UNFAMILIAR,)


def test_the_largest_risk_that_a_user_permits_counts_in_any_case(toolbox_folder: Path) -> None:
    toolbox, policy = load_toolbox(toolbox_folder), sure_policy(-0.35, max_risk=0.2)
    careful = Restorer(toolbox, policy, told(max_risk=0.01))
    for even_if_unsure in (False, True):
        left = careful.restore(photo(), even_if_unsure=even_if_unsure)
        assert (left.sequence, left.permitted_risk) == ((), 0.01)
        assert "more than the 1% permitted" in explain_end(left)
    daring = Restorer(toolbox, policy, told(max_risk=0.5)).restore(photo())
    assert daring.permitted_risk == 0.2


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(
    ("limits", "held_back"),
    [
        ({"max_risk": 0.05}, SEQUENCE[0]),
        ({"caution": 100.0}, SEQUENCE[0]),
        ({"later_caution": 100.0}, SEQUENCE[1]),
        ({"max_risk": 0.2, "caution": 1.0}, None),
        ({}, None),
    ],
)
def test_that_a_tool_ran_which_the_agent_would_have_held_back_is_said(
    toolbox_folder: Path, limits: dict[str, float], held_back: str | None, regions: bool
) -> None:
    policy = sure_policy(-0.35, **limits)
    restorer = Restorer(load_toolbox(toolbox_folder), policy, told(regions=regions))
    gone_on = restorer.restore(photo(), even_if_unsure=True)
    assert gone_on.sequence == SEQUENCE
    said = () if held_back is None else (GONE_ON.format(tool=held_back, risk=0.08),)
    assert gone_on.notes == said
    alone = restorer.restore(photo())
    assert (alone.sequence == SEQUENCE) == (held_back is None)


@pytest.mark.parametrize("regions", [False, True])
def test_nothing_is_said_where_the_agent_would_have_preferred_another_tool(
    toolbox_folder: Path, regions: bool
) -> None:
    toolbox, policy = load_toolbox(toolbox_folder), sure_policy(0.5, caution=20.0)
    first, other = NAMES.index(SEQUENCE[0]), NAMES.index("deblock_2")
    assert policy.q_net.spread is not None
    middle = policy.q_net.spread.bias.view(len(NAMES), len(LEVELS))[:, LEVELS.index(0.5)]
    middle[first] -= 0.85  # so that it alone is risky
    restorer = Restorer(toolbox, policy, told(regions=regions))
    no_other = restorer.restore(photo(), even_if_unsure=True)
    assert no_other.sequence == SEQUENCE
    assert [SEQUENCE[0] in note for note in no_other.notes] == [True]
    policy.q_net.head.bias[other] = 0.6
    assert restorer.restore(photo()).sequence[0] == "deblock_2"
    preferred = restorer.restore(photo(), even_if_unsure=True)
    assert preferred.sequence == SEQUENCE
    assert preferred.notes == ()


def test_tools_chosen_by_hand_are_not_said_to_be_held_back(toolbox_folder: Path) -> None:
    restorer = Restorer(load_toolbox(toolbox_folder), sure_policy(-0.35, max_risk=0.01))
    first, second = SEQUENCE
    by_hand = restorer.restore(photo(), forced=[first, "stop"], even_if_unsure=True)
    assert (by_hand.sequence, by_hand.notes) == ((first,), ())
    in_part = restorer.restore(photo(), forced=[first], even_if_unsure=True)
    assert in_part.sequence == SEQUENCE
    assert in_part.notes == (GONE_ON.format(tool=second, risk=0.08),)


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({}, ["risks more than its gain is worth to the agent"]),
        ({"max_risk": 0.5}, ["risks more than the 50% permitted, or than its gain"]),
        ({"effort": 0.1}, ["costs more than its gain is worth, in risk or in arithmetic"]),
        ({"effort": 0.1, "even_if_unsure": True}, ["costs more arithmetic than its gain"]),
        ({"forced": ["deblock_2"]}, []),
        ({"regions": True}, []),
    ],
)
def test_why_a_runner_up_of_a_larger_value_did_not_run_is_explained(
    toolbox_folder: Path, options: dict[str, Any], reasons: list[str]
) -> None:
    policy = sure_policy(-0.35)
    restorer = Restorer(load_toolbox(toolbox_folder), policy, told(max_steps=1, **options))
    restoration = restorer.restore(photo())
    (step,) = restoration.steps
    if not options.get("forced"):
        assert explain_passed_over(restoration) == ()
    values = {**step.action_values, "deblur_3": 9.0}
    steps = (dataclasses.replace(step, action_values=values),)
    passed_over = dataclasses.replace(restoration, steps=steps)
    said = explain_passed_over(passed_over)
    assert len(said) == len(reasons)
    assert all(reason in sentence for reason, sentence in zip(reasons, said, strict=True))


def test_a_photo_that_is_stopped_by_hand_was_not_held_back(toolbox_folder: Path) -> None:
    policy = sure_policy(-0.35, max_risk=0.2)
    stopped = Restorer(load_toolbox(toolbox_folder), policy).restore(photo(), forced=["stop"])
    assert not stopped.steps[0].is_held_back
    assert stopped.notes == ()
    forced = Restorer(load_toolbox(toolbox_folder), sure_policy(-0.35, max_risk=0.01))
    assert forced.restore(photo(), forced=[NAMES[4]]).sequence == (NAMES[4],)  # risky, but asked


def test_a_photo_is_judged_strange_before_a_tool_runs(toolbox_folder: Path) -> None:
    policy = sure_policy(0.5, limit=1.0, max_risk=0.2, unfamiliar_risk=0.05)
    restoration = Restorer(load_toolbox(toolbox_folder), policy).restore(photo())
    assert restoration.sequence == SEQUENCE
    stopped = Restorer(load_toolbox(toolbox_folder), policy).restore(photo(), forced=["stop"])
    assert restoration.unfamiliarity == stopped.unfamiliarity


def test_on_a_large_photo_a_risk_is_taken_that_a_small_one_is_spared(toolbox_folder: Path) -> None:
    toolbox, sure = load_toolbox(toolbox_folder), sure_policy(-0.5)
    small, large = photo(128, 128), photo(512, 512)
    first = Restorer(toolbox, sure).restore(small).steps[0]
    promised = first.action_values[first.tool] - first.action_values["stop"]
    assert first.risk is not None
    # Dearer than the gain is worth on a crop of the size that the price was learnt on.
    cautious = sure.changed(caution=1.5 * promised / first.risk, later_caution=0.0)
    restorer = Restorer(toolbox, cautious)
    assert restorer.restore(small).sequence == ()
    assert restorer.restore(small).steps[0].is_held_back
    assert restorer.restore(large).sequence == SEQUENCE


def test_an_agent_with_other_limits_is_another_agent(toolbox_folder: Path) -> None:
    toolbox, sure = load_toolbox(toolbox_folder), sure_policy(0.5, max_risk=0.2)
    assert sure.guard is not None
    corrected = dataclasses.replace(sure.guard, intercept=1.0)
    policies = (
        sure,
        sure.changed(max_risk=0.1),
        sure.changed(unfamiliar_risk=0.1),
        sure.changed(caution=2.0),
        sure.changed(guard=corrected),
        sure.changed(max_risk=1.0),
    )
    told_apart = {Restorer(toolbox, each).provenance.agent_checksum for each in policies}
    assert len(told_apart) == len(policies)
    # Where nothing is limited, a guard tells and decides nothing.
    plain = sure.changed(max_risk=1.0, guard=corrected)
    assert Restorer(toolbox, plain).provenance.agent_checksum in told_apart
