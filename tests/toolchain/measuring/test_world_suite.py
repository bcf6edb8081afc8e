"""Properties of the suite of the world: who plays, what adds up, what is written."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.agents.policy.guard import Guard
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.world_set import WorldFamily, WorldSetConfig, world_set
from restoration_toolchain.toolchain.measuring.suite.world import (
    Example,
    WorldResults,
    run_world,
)
from restoration_toolchain.toolchain.measuring.suite.world.outcomes import (
    Outcomes,
    best_sequence,
    best_sequence_of_all,
    best_single,
    greedy_oracle,
)
from restoration_toolchain.toolchain.measuring.suite.world.report import (
    PAGE,
    RESULTS,
    SHEET,
    headline,
    to_markdown,
    usage,
    write_report,
)
from restoration_toolchain.toolchain.restoring.restoration import Restoration
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.conftest import make_photo
from tests.toolchain.conftest import scripted_policy, told

FEW = ("severe", "jpeg", "clean", "drawings", "drawings-jpeg")
CONFIG = WorldSetConfig(families=FEW, count=5, photos=2, side=64, photo_side=80)
NAMES = ("smooth", "darken", "sharpen")


class Mixed(nn.Module):
    """A share of the image, and of its mean over neighbours."""

    halo = 1

    def __init__(self, own: float, mean: float) -> None:
        super().__init__()
        self.own, self.mean = own, mean

    def forward(self, images: Tensor) -> Tensor:
        around = functional.pad(images.float(), (1, 1, 1, 1), mode="replicate")
        return self.own * images + self.mean * functional.avg_pool2d(around, 3, stride=1)


def make_toolbox(name: str = "plain", names: tuple[str, ...] = NAMES) -> Toolbox:
    shares = itertools.cycle([(0.2, 0.8), (0.9, 0.0), (1.5, -0.5)])
    tools = [
        Tool(ToolSpec(tool, "mixed", (0.0, 1.0), "small"), Mixed(*shared))
        for tool, shared in zip(names, shares, strict=False)
    ]
    return Toolbox(name, tools).eval()


def make_restorer(*tools: str, guarded: bool = False) -> Restorer:
    guard = None
    if guarded:  # who expects 1 dB, and so claims a risk of 1 / (1 + e^2)
        guard = Guard(-1.0, -1.0, torch.zeros(32), torch.eye(32), 1e9)
    policy = scripted_policy(*tools, names=NAMES, guard=guard)
    return Restorer(make_toolbox(), policy, told(max_steps=3))


@pytest.fixture(scope="module")
def families() -> list[WorldFamily]:
    photos = [(f"photo_{seed}", make_photo(seed, 150, 200)) for seed in range(5)]
    return list(world_set(photos, CONFIG))


@pytest.fixture(scope="module")
def reference() -> Toolbox:
    """A network for one of the families; it happens to be the one that smooths."""
    return make_toolbox("references", ("severe",))


def rival() -> Tool:
    """One network for everything; it happens to be the one that darkens."""
    return make_toolbox()["darken"]


@pytest.fixture(scope="module")
def smoothed(families: list[WorldFamily], reference: Toolbox) -> tuple[WorldResults, list[Example]]:
    """What an agent reaches that always smooths once."""
    restorer = make_restorer("smooth", guarded=True)
    facts: dict[str, str | int | float] = {"command": "toolchain evaluate"}
    return run_world(
        restorer, families, total=len(FEW), reference=reference, rival=rival(), facts=facts
    )


@pytest.fixture(scope="module")
def at_efforts(families: list[WorldFamily], reference: Toolbox) -> WorldResults:
    """What an agent gains that smooths once, or not where arithmetic is dear."""
    few = families[:1]  # damaged
    restorer = make_restorer("smooth")
    efforts = (0.0, 0.01, 100.0, 0.02)
    others = {"reference": reference, "rival": rival()}
    return run_world(restorer, few, total=1, efforts=efforts, **others)[0]


def test_who_stops_at_once_gains_nothing_and_leaves_everything_alone(
    families: list[WorldFamily],
) -> None:
    results, examples = run_world(make_restorer(), families, total=len(FEW))
    for one in results.families:
        assert one.agent == one.input
        assert one.identical == one.count
        assert (one.harmed, one.worst_loss) == (0, 0.0)
        assert one.chains == (((), one.count),)
        assert one.share in (0.0, None)
    assert "below their input: no family" in headline(results)
    assert "clean drawings left bit-identical: 7 of 7 (100.0%)" in headline(results)
    for example in examples:
        np.testing.assert_array_equal(example.restored, example.damaged)


def test_one_network_for_all_runs_on_every_picture_and_its_harm_is_counted(
    smoothed: tuple[WorldResults, list[Example]],
    families: list[WorldFamily],
    at_efforts: WorldResults,
) -> None:
    results, _ = smoothed
    by_name = {family.name: family for family in families}
    for one in results.families:
        pairs = by_name[one.family].of(one.unit)
        outcomes = Outcomes(make_toolbox(), pairs)
        reached = outcomes.alone(rival())
        assert one.rival == pytest.approx(float(reached.mean()))
        assert one.rival_harmed == int((outcomes.inputs - reached > 0.05).sum())
    for unit in results.units:
        mean = results.mean(unit)
        assert mean is not None
        assert mean.rival == pytest.approx(np.mean([o.rival for o in results.damaged(unit)]))
        harmed = sum(one.rival_harmed for one in results.of(unit))
        count = sum(one.count for one in results.of(unit))
        assert harmed > 0
        assert f"of all {count}, clean ones among them, it makes {harmed} worse" in headline(
            results
        )
    assert WorldResults.from_json(results.to_json()) == results
    (spent,) = (one for one in at_efforts.spending("crops") if one.player == "one network for all")
    assert (spent.macs, spent.tools) == (rival().spec.macs_per_pixel, 1.0)


def test_results_of_before_there_was_a_rival_can_be_read(at_efforts: WorldResults) -> None:
    content = json.loads(at_efforts.to_json())
    for entry in content["families"]:
        del entry["rival"], entry["rival_harmed"]
    read = WorldResults.from_json(json.dumps(content))
    assert all(one.rival is None for one in read.families)
    assert "one network for all" not in headline(read)


def test_the_sequence_for_all_is_better_on_average_than_any_tool_alone(
    smoothed: tuple[WorldResults, list[Example]], families: list[WorldFamily]
) -> None:
    results, _ = smoothed
    for unit in results.units:
        damaged = results.damaged(unit)
        assert len(damaged) == 2
        assert all(one.one_for_all is not None for one in damaged)
        mean = results.mean(unit)
        assert mean is not None
        assert mean.one_for_all is not None
        # Every tool alone is a sequence, and none is better for all.
        groups = [Outcomes(make_toolbox(), family.of(unit)) for family in families[:2]]
        alone = [group.after([()] * len(group.inputs)).mean(axis=0) for group in groups]
        best = float(np.mean(alone, axis=0).max())
        assert mean.one_for_all >= max(best, mean.psnr["input"]) - 1e-3
        assert str(results.facts[f"{unit}_sequence"]) in headline(results)
    assert all(one.one_for_all is None for one in results.families if one.kind != "damaged")


def test_groups_of_images_count_alike_for_the_sequence_of_all(families: list[WorldFamily]) -> None:
    pairs = families[0].of("crops")
    # In one group darkening is made to pay; in the others, which are fewer images, it does not.
    bright = [dataclasses.replace(pair, lq=pair.gt, gt=(0.9 * pair.gt).round().astype(np.uint8))
              for pair in pairs]  # fmt: skip
    groups = [Outcomes(make_toolbox(), bright), Outcomes(make_toolbox(), pairs[:1])]
    chain, reached = best_sequence_of_all(groups, max_steps=1)
    means = np.mean([g.after([()] * len(g.inputs)).mean(axis=0) for g in groups], axis=0)
    assert chain == (int(means.argmax()),)
    assert [len(values) for values in reached] == [5, 1]
    alone, _ = best_sequence(Outcomes(make_toolbox(), bright), max_steps=1)
    assert alone == (1,)


def test_the_page_says_how_often_each_tool_ran_on_damaged_images(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    assert usage(results).splitlines()[0].endswith("that a tool ran on: smooth 100.0%")
    severe = next(one for one in results.of("crops") if one.family == "severe")
    few = dataclasses.replace(
        severe, chains=(((), 2), (("smooth", "darken", "smooth"), 1), (("darken",), 2))
    )
    said = usage(WorldResults(facts={}, families=(few,)))
    assert said.endswith("darken 60.0%, smooth 20.0%")


def test_the_ladder_holds_on_every_family(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    assert [(one.family, one.unit) for one in results.families] == [
        *((name, "crops") for name in FEW),
        *((name, "photos") for name in FEW),
    ]
    for one in results.families:
        assert one.count == (5 if one.unit == "crops" else 2)
        assert one.input <= one.single <= one.oracle + 1e-9
        assert one.single <= one.sequence
        assert one.agent <= one.oracle + 1e-3
    (severe, *_) = results.of("crops")
    assert severe.single > severe.input
    assert severe.single_tool == ("smooth",)


def test_the_two_parts_of_the_regret_add_up(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    for one in results.families:
        assert (one.reference is None) == (one.family != "severe")
        if one.reference is not None:
            assert one.tools_regret is not None
            whole = one.decision_regret + one.tools_regret
            assert whole == pytest.approx(one.reference - one.agent)
            assert one.reference == pytest.approx(one.agent, abs=1e-3)  # the same network
    for unit in results.units:
        mean, found = results.mean(unit), results.damaged(unit)
        assert mean is not None
        assert [one.family for one in found] == ["severe", "jpeg"]
        assert mean.decision_regret == pytest.approx(
            np.mean([one.decision_regret for one in found])
        )
        assert mean.tools_regret == found[0].tools_regret


def test_harm_is_counted_where_it_is_done(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    for one in results.families:
        if one.kind in ("clean photos", "clean drawings"):
            assert 1 <= one.greatly_harmed <= one.harmed <= one.count - one.identical
            assert one.worst_loss > 1.0
        assert sum(kept.identical for kept in one.kept) == one.identical
        assert sum(kept.count for kept in one.kept) == one.count


def test_claimed_risks_are_sorted_into_groups(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    for one in results.families:
        assert sum(group.count for group in one.risks) == one.count  # one step each
        for group in one.risks:
            assert group.low * group.count <= group.claimed <= group.high * group.count
            assert group.worse <= group.count
    clean = next(one for one in results.families if one.family == "clean")
    assert clean.low_risk is None  # 12 % were claimed
    assert sum(group.worse for group in clean.risks) == clean.count - clean.identical
    groups = results.risks()
    assert sum(group.count for group in groups) == sum(one.count for one in results.families)


def test_an_agent_that_was_not_calibrated_claims_nothing(families: list[WorldFamily]) -> None:
    results, _ = run_world(make_restorer("darken"), families[:1], total=1)
    assert results.risks() == []
    assert "claims no risk" in to_markdown(results)


def test_outcomes_are_what_the_tools_make_of_the_images(families: list[WorldFamily]) -> None:
    pairs, toolbox = families[0].crops, make_toolbox()
    outcomes = Outcomes(toolbox, pairs)
    chains = [(), (0,), (0,), (2, 0), (0, 0)]
    tried = outcomes.after(chains)
    for row, (pair, chain) in enumerate(zip(pairs, chains, strict=True)):
        image, gt = (to_tensor(side[None]) for side in (pair.lq, pair.gt))
        for action in chain:
            image = toolbox[action](image)
        for action, tool in enumerate(toolbox):
            expected = min(float(batch_psnr(tool(image), gt)[0]), 50.0)
            assert tried[row, action] == pytest.approx(expected, abs=1e-4)


def test_no_chain_is_tried_twice(
    families: list[WorldFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, runs = Outcomes(make_toolbox(), families[0].crops), list[int]()
    run = outcomes._run
    monkeypatch.setattr(
        outcomes, "_run", lambda tool, images: (runs.append(len(images)), run(tool, images))[1]
    )
    chain, _ = best_single(outcomes)
    assert chain == (0,)
    assert sum(runs) == 3 * 5  # every tool on every image
    best_sequence(outcomes, max_steps=1)
    greedy_oracle(outcomes, max_steps=1)
    assert sum(runs) == 3 * 5


def test_the_greedy_oracle_beats_the_best_single_tool_on_every_image(
    families: list[WorldFamily],
) -> None:
    for family in families:
        outcomes = Outcomes(make_toolbox(), family.crops)
        _, single = best_single(outcomes)
        chains, reached = greedy_oracle(outcomes, max_steps=3)
        assert (reached >= np.maximum(single, outcomes.inputs)).all()
        assert all(len(chain) <= 3 for chain in chains)


def test_results_come_back_from_json(smoothed: tuple[WorldResults, list[Example]]) -> None:
    results, _ = smoothed
    assert WorldResults.from_json(results.to_json()) == results
    content = json.loads(results.to_json())
    assert content["means"]["crops"]["psnr"]["agent"] == results.mean("crops").psnr["agent"]  # type: ignore[union-attr]
    for text in ("{", "{}", json.dumps(content | {"format_version": 99})):
        with pytest.raises(ToolchainError):
            WorldResults.from_json(text)


def test_the_page_has_every_family_and_rectangular_tables(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    text = to_markdown(results)
    for name in FEW:
        assert text.count(f"| {name} |") >= 5, name
    assert "of 25 patches, 10 whole photos" in text
    widths: list[int] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            widths.append(line.count("|"))
        else:
            assert len(set(widths)) <= 1, text
            widths.clear()


def test_a_folder_holds_page_figures_and_pictures(
    smoothed: tuple[WorldResults, list[Example]], tmp_path: Path
) -> None:
    results, examples = smoothed
    assert [example.family for example in examples] == list(FEW)
    paths = write_report(results, examples, tmp_path)
    assert {path.name for path in paths} == {PAGE, RESULTS, SHEET, "world.png"}
    assert (tmp_path / "world.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / SHEET).read_bytes().startswith(b"\xff\xd8")
    assert WorldResults.from_json((tmp_path / RESULTS).read_text()) == results
    bare = write_report(results, (), tmp_path / "bare", plots=False)
    assert {path.name for path in bare} == {PAGE, RESULTS}


def test_what_is_gained_has_its_arithmetic_beside_it(at_efforts: WorldResults) -> None:
    network = make_toolbox()["smooth"].spec.macs_per_pixel
    for one in at_efforts.families:
        found = {spent.player: spent for spent in one.spending}
        names = ["best single tool", "best fixed sequence", "reference", "one network for all"]
        agent = ["agent, high", "agent, 0.01", "agent, 100", "agent, 0.02"]
        assert [*found] == [*names, *agent]
        assert [found[name].price for name in agent] == [0.0, 0.01, 100.0, 0.02]
        high, dear, alone = found["agent, high"], found["agent, 100"], found["reference"]
        assert high.gain == pytest.approx(one.gain)
        assert (high.tools, dear.tools, dear.gain) == (1.0, 0.0, 0.0)
        assert alone.macs == found["best single tool"].macs == network
        # Who stops at once has looked once, and who runs a tool has looked twice.
        assert high.macs == pytest.approx(network + 2.0 * dear.macs)
        assert dear.macs > 0.0
        for name in ("agent, 0.01", "agent, 0.02"):
            assert dataclasses.replace(found[name], player="", price=None) == dataclasses.replace(
                high, player="", price=None
            )
    mean = at_efforts.spending("crops")
    assert mean == list(at_efforts.of("crops")[0].spending)


def test_prices_between_two_of_one_chain_are_not_played(
    families: list[WorldFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer, played = make_restorer("smooth"), list[float | None]()
    restore = restorer.restore

    def counted(*arguments: Any, **chosen: Any) -> Restoration:
        played.append(chosen["effort"])
        return restore(*arguments, **chosen)

    monkeypatch.setattr(restorer, "restore", counted)
    one = [dataclasses.replace(families[0], crops=families[0].crops[:1], photos=())]
    run_world(restorer, one, total=1, efforts=(0.0, 0.005, 0.01, 0.015, 0.02))
    assert played == [None, 0.02]  # as it was told, and at the highest price


def test_efforts_have_a_table_and_a_plot_and_come_back_from_json(
    at_efforts: WorldResults, smoothed: tuple[WorldResults, list[Example]], tmp_path: Path
) -> None:
    assert WorldResults.from_json(at_efforts.to_json()) == at_efforts
    paths = write_report(at_efforts, (), tmp_path)
    assert {path.name for path in paths} == {PAGE, RESULTS, "world.png", "effort.png"}
    page = (tmp_path / PAGE).read_text()
    assert "### Quality and arithmetic" in page
    assert "| agent, 0.02 | crops | 0.02 |" in page
    assert "(effort.png)" in page
    assert "Quality and arithmetic" not in to_markdown(smoothed[0])


def test_results_of_before_there_were_efforts_are_read(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    content = json.loads(smoothed[0].to_json())
    for one in content["families"]:
        del one["spending"]
    assert WorldResults.from_json(json.dumps(content)) == smoothed[0]


def test_who_did_not_play_on_all_damaged_families_has_no_mean(at_efforts: WorldResults) -> None:
    (crops, *_) = at_efforts.of("crops")
    bare = tuple(spent for spent in crops.spending if spent.player != "reference")
    other = dataclasses.replace(crops, family="other", spending=bare)
    both = dataclasses.replace(at_efforts, families=(crops, other))
    assert both.spending("crops") == list(bare)


def test_nothing_to_measure_on_is_an_error() -> None:
    with pytest.raises(ToolchainError, match="no picture"):
        run_world(make_restorer(), [WorldFamily("clean", (), ())], total=1)


def test_the_mean_is_over_damaged_families_only(
    smoothed: tuple[WorldResults, list[Example]],
) -> None:
    results, _ = smoothed
    clean = [one for one in results.families if one.kind != "damaged"]
    assert dataclasses.replace(results, families=tuple(clean)).mean("crops") is None
