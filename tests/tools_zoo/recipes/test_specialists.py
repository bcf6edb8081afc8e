"""Properties of the training of tools that know one kind of damage each."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.tools_zoo.recipes.plan import read_recipe
from restoration_toolchain.tools_zoo.recipes.specialists import (
    OnToolStep,
    Specialist,
    SpecialistConfig,
    SpecialistCrops,
    train_specialists,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox, read_notes
from restoration_toolchain.tools_zoo.training.errors import (
    NothingToResumeError,
    RunMismatchError,
    RunTakenError,
)
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict
from tests.tools_zoo.recipes.conftest import small_config

PLAN = {
    "grainless": Specialist(families={"film-grain": 1.0}, network="small", total_crops=6),
    "sharper": Specialist(
        families={"blur": 1.0}, network="small", init="grainless", task="blur", total_crops=6
    ),
    "kept": Specialist(
        families={"jpeg": 2.0, "webp": 1.0}, network="small", init="sharper", total_crops=0
    ),
}


@pytest.fixture
def config() -> SpecialistConfig:
    return small_config(PLAN)


def interrupted(tool: str, at: int) -> OnToolStep:
    def on_step(name: str, step: int, total: int, metrics: dict[str, float]) -> None:
        if (name, step) == (tool, at):
            raise KeyboardInterrupt

    return on_step


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_toolbox(folder)[name].network.state_dict()


def test_tools_are_trained_in_order_each_from_where_the_plan_says(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    folder = train_specialists(config, tmp_path, names=["grainless"])
    begun = (folder / "grainless.safetensors").read_bytes()
    trained: list[str] = []
    train_specialists(config, tmp_path, on_step=lambda name, *_: trained.append(name))
    assert set(trained) == {"sharper"}  # one was finished, and one is only taken
    assert (folder / "grainless.safetensors").read_bytes() == begun
    toolbox = load_toolbox(folder)
    assert toolbox.names == tuple(PLAN)
    assert toolbox["kept"].spec.families == ("jpeg", "webp")
    assert toolbox["kept"].spec.psnr is None
    assert toolbox["kept"].spec.label == "jpeg, webp"
    for key, value in weights(folder, "kept").items():
        assert torch.equal(value, weights(folder, "sharper")[key]), key
    first, second = weights(folder, "grainless"), weights(folder, "sharper")
    assert any(not torch.equal(first[key], second[key]) for key in first)
    notes = read_notes(folder)
    assert notes["sharper"]["plan"]["init"] == "grainless"
    assert {"psnr", "gain"} <= set(notes["sharper"]["validation"])


def test_an_interrupted_run_goes_on_to_what_it_would_have_become(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    whole = train_specialists(config, tmp_path / "whole")
    broken = tmp_path / "broken"
    with pytest.raises(NothingToResumeError):
        train_specialists(config, broken, resume=True)
    with pytest.raises(KeyboardInterrupt):
        train_specialists(config, broken, on_step=interrupted("sharper", 2))
    with pytest.raises(RunTakenError):
        train_specialists(config, broken)
    resumed = train_specialists(config, broken, resume=True)
    for name in PLAN:
        for key, value in weights(whole, name).items():
            torch.testing.assert_close(weights(resumed, name)[key], value, atol=1e-6, rtol=0)


def test_tools_of_another_plan_are_not_gone_on_with(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    train_specialists(config, tmp_path, names=["grainless"])
    other = dataclasses.replace(PLAN["grainless"], families={"jpeg": 1.0})
    for tools in ({**PLAN, "grainless": other}, {"alone": PLAN["grainless"]}):
        with pytest.raises(RunMismatchError, match="another one"):
            train_specialists(dataclasses.replace(config, tools=tools), tmp_path, resume=True)


def test_crops_are_of_the_families_and_as_damaged_as_the_tool_is_for(
    embedded_photos: list[ByteImage],
) -> None:
    rng = np.random.default_rng(0)
    weak = Specialist(families={"noise": 1.0, "photon-noise": 3.0}, psnr=(28.0, 45.0))
    strong = dataclasses.replace(weak, psnr=(0.0, 22.0))
    for specialist in (weak, strong):
        crops = [SpecialistCrops(embedded_photos, specialist, 32).draw(rng) for _ in range(40)]
        assert {crop.family for crop in crops} == set(specialist.families)
        low, high = specialist.psnr
        within = [low <= psnr(crop.lq, crop.gt, data_range=255) <= high for crop in crops]
        assert np.mean(within) > 0.8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"families": {}}, "needs families"),
        ({"families": {"jpeg": 0.0}}, "positive weight"),
        ({"psnr": (30.0, 20.0)}, "goes up"),
        ({"psnr": (30.0,)}, "two ends"),
        ({"total_crops": 0}, "not trained"),
        ({"total_crops": -1}, "not be negative"),
        ({"network": "hugh"}, "no network 'hugh'"),
    ],
)
def test_what_a_plan_cannot_mean_is_one_line(change: dict[str, Any], says: str) -> None:
    table = {"families": {"jpeg": 1.0}, **change}
    with pytest.raises(ToolchainError, match=says):
        config_from_dict(SpecialistConfig, {"photos": ["embedded"], "tools": {"a": table}})


def test_unknown_names_and_too_few_photos_are_refused(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="jepg"):
        Specialist(families={"jepg": 1.0})
    with pytest.raises(UnknownNameError, match="shaper"):
        train_specialists(config, tmp_path, names=["shaper"])
    with pytest.raises(ToolchainError, match="held out"):
        train_specialists(dataclasses.replace(config, eval_photos=99), tmp_path)
    for init, says in (
        ("efficient/nope", "no tool 'nope'"),
        ("nobox/deblur_e4", "no toolbox 'nobox'"),
        ("efficient/deblur_e4", "has the network small, but efficient/deblur_e4"),
    ):
        tools = {**PLAN, "sharper": dataclasses.replace(PLAN["sharper"], init=init)}
        with pytest.raises(ToolchainError, match=says):
            train_specialists(dataclasses.replace(config, tools=tools), tmp_path)
    late = {**PLAN, "sharper": dataclasses.replace(PLAN["sharper"], init="kept")}
    with pytest.raises(ToolchainError, match="no tool before it"):
        train_specialists(dataclasses.replace(config, tools=late), tmp_path)
    with pytest.raises(ToolchainError, match="must hold a batch"):
        dataclasses.replace(
            config, tools={"a": dataclasses.replace(PLAN["grainless"], total_crops=1)}
        )


def test_the_recipe_of_what_ships_has_sixteen_tools_at_most_for_all_kinds_of_damage() -> None:
    table = {**read_recipe("world")["specialists"], "photos": ("embedded",)}
    config = config_from_dict(SpecialistConfig, table)
    assert len(config.tools) <= 16
    treated = {family for plan in config.tools.values() for family in plan.families}
    assert treated == set(FAMILIES)
    assert all(plan.spec(name).macs_per_pixel <= 51_000 for name, plan in config.tools.items())


def test_a_plan_in_a_file_names_what_is_wrong_in_it() -> None:
    for tool, says in (
        ({"families": {"jpeg": "often"}}, "tools.a.families.jpeg must be of type float"),
        ({"family": {"jpeg": 1}}, "tools.a.family"),
        (["jpeg"], "tools.a must be a table"),
    ):
        with pytest.raises(ToolchainError, match=says):
            config_from_dict(SpecialistConfig, {"photos": ["embedded"], "tools": {"a": tool}})
