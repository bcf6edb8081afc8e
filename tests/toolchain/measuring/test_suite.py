"""Properties of the suite: who plays, what it costs, what is seen, what is written."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.reference import FixedPlayer
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import LEVELS, RecurrentQNet
from restoration_toolchain.data.damage.degradation import mixture, strength_levels
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.toolchain.measuring.evaluation import (
    evaluate_players,
    evaluation_patches,
)
from restoration_toolchain.toolchain.measuring.suite import (
    Cast,
    LevelSet,
    SuiteConfig,
    SuiteResults,
    degraded_levels,
    run_suite,
)
from restoration_toolchain.toolchain.measuring.suite.behaviour import decisions_on, usage_of
from restoration_toolchain.toolchain.measuring.suite.cast import Bundle
from restoration_toolchain.toolchain.measuring.suite.contenders import Contender
from restoration_toolchain.toolchain.measuring.suite.cost import agent_macs, cost_of, decisions_of
from restoration_toolchain.toolchain.measuring.suite.plots import draw_plots
from restoration_toolchain.toolchain.measuring.suite.report import to_markdown
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NamedPhotos = list[tuple[str, ByteImage]]
COUNT, ORACLE_COUNT = 6, 4
SMALL_MACS = 21_776 * 63**2  # of the three-layer network, by hand
STOP = 3


def make_policy(toolbox: Toolbox) -> LstmPolicy:
    """Values that differ between images and between actions."""
    torch.manual_seed(1)
    q_net = RecurrentQNet(len(toolbox))
    assert q_net.shortcut is not None
    torch.nn.init.normal_(q_net.shortcut.weight, std=0.3)
    return LstmPolicy(q_net, toolbox.names, stop_margin=0.2)


@pytest.fixture(scope="module")
def cast() -> Cast:
    torch.manual_seed(0)
    tools = [Tool(CLASSIC[i]) for i in (0, 4, 8)]
    for tool in tools:  # so that they change an image mildly
        tool.network.conv3.weight.data.mul_(0.05)  # type: ignore[union-attr,operator]
    toolbox = Toolbox("tiny", tools).requires_grad_(False).eval()
    ours = Bundle(toolbox, make_policy(toolbox))
    baselines = Toolbox("baselines", [Tool(ToolSpec("single", "mixed", (9.0, 20.0), "small"))])
    return Cast(
        ours=ours,
        rivals={"rival": ours},
        before=ours,
        baselines=baselines.requires_grad_(False).eval(),
        remarks=("Something: left out.",),
    )


@pytest.fixture(scope="module")
def levels(photos: NamedPhotos) -> list[LevelSet]:
    return degraded_levels(evaluation_patches(photos, COUNT, seed=0), ["mild", "severe"], seed=0)


@pytest.fixture(scope="module")
def results(cast: Cast, levels: list[LevelSet]) -> SuiteResults:
    config = SuiteConfig(oracle_count=ORACLE_COUNT, max_steps=2)
    return run_suite(cast, levels, config, facts={"command": "toolchain evaluate"})


def test_every_row_is_there_on_every_level_with_its_cost(results: SuiteResults) -> None:
    agents = ["rival", "before-joint", "agent", "agent-without-stop"]
    agents += [f"agent-{limit}" for limit in (1, 2, 3, 4)]
    expected = ["input", "single-tool", "fixed-sequence", "random", "single", *agents]
    expected += ["greedy-oracle", "oracle"]
    assert results.levels == ("mild", "severe")
    for level in results.levels:
        rows = results.of_level(level)
        assert [row.key for row in rows] == expected
        for row in rows:
            assert row.count == (ORACLE_COUNT if row.key == "oracle" else COUNT)
            assert row.ssim is not None
            assert row.psnr > 0.0
            assert row.gain_after_step[-1] == pytest.approx(row.gain, abs=1e-3)
            assert (row.milliseconds is None) == (row.macs == 0.0)
            assert row.parameters >= row.parameters_run >= 0.0
            assert row.tools < len(row.gain_after_step)


def test_the_ladder_holds_on_the_same_patches(results: SuiteResults) -> None:
    for share in results.oracle:
        assert share.count == ORACLE_COUNT
        assert share.oracle >= share.greedy - 1e-4
        assert share.greedy >= -1e-6
        assert share.oracle >= share.agent - 1e-4
        if share.oracle > 0.0:
            assert share.share == pytest.approx(share.agent / share.oracle)
    for level in results.levels:
        rows = {row.key: row for row in results.of_level(level)}
        assert rows["greedy-oracle"].psnr >= rows["input"].psnr - 1e-6
        assert rows["input"].gain == pytest.approx(0.0)


def test_rows_of_the_same_player_agree(results: SuiteResults) -> None:
    for level in results.levels:
        rows = {row.key: row for row in results.of_level(level)}
        for twin in ("rival", "before-joint", "agent-2"):
            assert rows[twin].psnr == pytest.approx(rows["agent"].psnr)
            assert rows[twin].macs == rows["agent"].macs
        assert rows["agent-without-stop"].tools == 2.0
        assert rows["agent-1"].tools <= rows["agent-4"].tools


def test_a_suite_meets_the_patches_that_players_meet(
    results: SuiteResults, photos: NamedPhotos, tiny_toolbox: Toolbox
) -> None:
    windows = evaluation_patches(photos, COUNT, seed=0)
    (stop,) = evaluate_players(["stop"], ["severe"], windows, tiny_toolbox, None, seed=0)
    (row, *_) = results.of_level("severe")
    assert row.psnr == pytest.approx(stop.psnr_after)
    assert row.ssim == pytest.approx(stop.ssim_after)


def test_costs_are_those_counted_by_hand(tiny_toolbox: Toolbox) -> None:
    policy = make_policy(tiny_toolbox)
    # Two tools; one tool and a stop; a stop at once; the limit with the same tool twice.
    actions = np.array([[0, 1], [2, STOP], [STOP, STOP], [1, 1]])
    contender = Contender("agent", "", tiny_toolbox, policy, max_steps=2)
    look = agent_macs(policy)
    agent = sum(p.numel() for p in policy.q_net.parameters())
    cost = cost_of(contender, actions, 63)
    assert cost.macs == pytest.approx((5 * SMALL_MACS + (2 + 2 + 1 + 2) * look) / 4)
    assert cost.parameters == agent + 3 * 21_827
    assert cost.parameters_run == pytest.approx(agent + (2 + 1 + 0 + 1) * 21_827 / 4)
    single = dataclasses.replace(contender, player=FixedPlayer((1,), stop=STOP), tools=(1,))
    assert cost_of(single, np.array([[1, STOP]]), 63) == (21_827, 21_827, SMALL_MACS)
    greedy = dataclasses.replace(single, lookahead="next")
    assert cost_of(greedy, actions, 63).macs == pytest.approx(7 * 3 * SMALL_MACS / 4)
    oracle = dataclasses.replace(single, lookahead="all")
    assert cost_of(oracle, actions, 63).macs == (3 + 9) * SMALL_MACS


def test_the_looks_of_both_encoders_are_counted_as_by_hand() -> None:
    names = tuple("abcdefghijkl")
    original = LstmPolicy(RecurrentQNet(12, "rl_restore"), names)
    convs = 32**2 * 32 * 3 * 81 + 25 * 24 * (16**2 * 32 + 8**2 * 24 + 4**2 * 24)
    rest = 384 * 32 + 4 * 50 * (32 + 12 + 50) + 50 * 13
    assert agent_macs(original) == convs + rest
    statistics = LstmPolicy(RecurrentQNet(12, "statistics"), names)
    convs = 32**2 * 24 * 3 * 49 + 9 * (15**2 * 32 * 24 + 7**2 * 48 * 32 + 3**2 * 64 * 48)
    width = 24 + 32 + 48 + 64 + 64
    rest = width * 64 + 64 * 64 + 4 * 50 * (64 + 12 + 50) + 50 * 13 + 64 * 13
    assert agent_macs(statistics) == convs + rest


def test_what_a_pooled_encoder_concludes_and_what_tells_distributions_counts_too() -> None:
    names = tuple("abcdefghijkl")
    plain, knowing = (
        LstmPolicy(RecurrentQNet(12, "pooled_statistics", quantiles=knows), names)
        for knows in (False, True)
    )
    spread = (50 + 128) * 12 * len(LEVELS)
    assert agent_macs(knowing) == agent_macs(plain) + spread
    convs = 9 * (63**2 * 12 * 3 + 32**2 * 24 * 12 + 16**2 * (48 * 24 + 64 * 48) + 8**2 * 96 * 64)
    width = 12 + 24 + 48 + 64 + 96 + 96 + 2 * (12 + 24 + 48 + 64)
    said = width * 128 + 128 * 64 + 2 * 64 * 128
    rest = 4 * 50 * (128 + 12 + 50) + 50 * 13 + 128 * 13
    assert agent_macs(plain) == convs + said + rest


def test_what_follows_a_stop_was_not_chosen() -> None:
    actions = np.array([[0, 1, 2], [0, STOP, STOP], [STOP, STOP, STOP]])
    expected = [[True, True, True], [True, True, False], [True, False, False]]
    np.testing.assert_array_equal(decisions_of(actions, STOP), expected)


def test_stops_and_gains_are_told_per_step(tiny_toolbox: Toolbox, levels: list[LevelSet]) -> None:
    pairs = levels[0].pairs
    played = play(FixedPlayer((1,), stop=STOP), tiny_toolbox, pairs, max_steps=3)
    played = dataclasses.replace(played, values=np.full(played.actions.shape, 0.25))
    seen = decisions_on("mild", played, STOP)
    assert seen.stops == (0.0, 1.0, 0.0)
    assert seen.steps == (1,) * COUNT
    assert seen.values == (0.25,) * COUNT
    np.testing.assert_allclose(seen.gains, played.psnr_after - played.psnr_before, atol=1e-3)
    assert seen.gains == seen.gains_to_end


def test_usage_is_counted_by_the_strength_of_the_input() -> None:
    actions = np.array([[0, 1], [STOP, STOP], [1, STOP]])
    strengths = tuple(
        strength_levels(mixture(*each)) for each in ((0.4, 18, 10), (0.8, 18, 10), (0.4, 22, 10))
    )
    usages = {usage.by: usage for usage in usage_of([actions], [strengths], STOP)}
    assert list(usages) == ["blur", "noise", "jpeg"]  # no other kind occurs
    noise = usages["noise"]
    assert noise.columns == tuple(str(level) for level in range(1, 11))
    four, five = noise.columns.index("4"), noise.columns.index("5")
    assert [row[four] for row in noise.first] == [1, 0, 0, 1]
    assert [row[four] for row in noise.every] == [1, 1, 0, 1]
    assert [row[five] for row in noise.first] == [0, 1, 0, 0]
    assert [row[five] for row in noise.every] == [0, 1, 0, 1]
    assert sum(map(sum, usages["blur"].first)) == 3
    for nothing_known in (None, (strength_levels(mixture()),) * 3):
        (unknown,) = usage_of([actions], [nothing_known], STOP)
        assert unknown.columns == ("all",)
        assert unknown.first == ((1,), (1,), (0,), (1,))


def test_results_go_to_json_as_they_are(results: SuiteResults) -> None:
    content = json.loads(results.to_json())
    assert (content.pop("suite"), content.pop("format_version")) == ("paper", 1)
    assert content == json.loads(json.dumps(dataclasses.asdict(results)))


def test_the_tables_are_rectangular_and_name_every_row(results: SuiteResults) -> None:
    text = to_markdown(results, images=["stops.png"])
    for row in results.rows:
        assert row.label in text
    for remark in results.remarks:
        assert remark in text
    assert "(stops.png)" in text
    widths: list[int] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            widths.append(line.count("|"))
        else:
            assert len(set(widths)) <= 1, text
            widths.clear()


def test_every_plot_is_a_png(results: SuiteResults) -> None:
    plots = draw_plots(results)
    assert set(plots) == {"gain_per_step.png", "tool_usage.png", "calibration.png", "stops.png"}
    assert all(content.startswith(b"\x89PNG") for content in plots.values())


def test_plots_of_an_agent_that_stops_at_once_can_be_drawn(
    cast: Cast, levels: list[LevelSet]
) -> None:
    toolbox, policy = cast.ours
    idle = Cast(ours=Bundle(toolbox, policy.with_stop_margin(math.inf)))
    results = run_suite(idle, levels[:1], SuiteConfig(oracle_count=1, max_steps=1))
    assert results.decisions[0].stops == (1.0,)
    assert results.decisions[0].values == ()
    assert json.loads(results.to_json())["decisions"][0]["values"] == []
    assert len(draw_plots(results)) == 4


def test_strengths_that_nobody_knows_leave_one_column(cast: Cast, levels: list[LevelSet]) -> None:
    pairs: ArrayPairs = levels[0].pairs
    config = SuiteConfig(oracle_count=1, max_steps=1)
    results = run_suite(Cast(ours=cast.ours), [LevelSet("given", pairs)], config)
    (usage,) = results.usage
    assert usage.columns == ("all",)
    assert len(draw_plots(results)) == 4


@pytest.mark.parametrize("values", [{"oracle_count": 0}, {"max_steps": 0}])
def test_numbers_that_cannot_work_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        SuiteConfig(**values)
