"""Properties of the networks that know one family of damage each."""

import dataclasses
from pathlib import Path

import pytest
import torch

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.recipes import references
from restoration_toolchain.tools_zoo.recipes.references import ReferenceConfig, train_references
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.training.errors import NothingToResumeError, RunTakenError
from restoration_toolchain.tools_zoo.training.run_folder import recorded_config

TWO = ("webp", "jpeg")


@pytest.fixture
def config(store_path: Path) -> ReferenceConfig:
    return ReferenceConfig(
        store=str(store_path),
        total_patches=6,
        batch_size=2,
        eval_patches=2,
        eval_every=1,
        num_workers=0,
        device="cpu",
        precision="fp32",
    )


def interrupted(family: str, at: int) -> references.OnFamilyStep:
    def on_step(name: str, step: int, total: int, metrics: dict[str, float]) -> None:
        if (name, step) == (family, at):
            raise KeyboardInterrupt

    return on_step


def test_every_family_gets_a_network_and_those_finished_are_skipped(
    config: ReferenceConfig, tmp_path: Path
) -> None:
    trained: list[str] = []
    folder = train_references(TWO[:1], config, tmp_path)
    before = (folder / "webp.safetensors").read_bytes()
    train_references(TWO, config, tmp_path, on_step=lambda name, *_: trained.append(name))
    assert set(trained) == {"jpeg"}
    assert load_toolbox(folder).names == TWO
    assert (folder / "webp.safetensors").read_bytes() == before


def test_an_interrupted_run_goes_on_to_what_it_would_have_become(
    config: ReferenceConfig, tmp_path: Path
) -> None:
    whole = load_toolbox(train_references(TWO, config, tmp_path / "whole"))
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train_references(TWO, config, broken, on_step=interrupted("jpeg", 2))
    with pytest.raises(RunTakenError):
        train_references(TWO, config, broken)
    resumed = load_toolbox(train_references(TWO, config, broken, resume=True))
    for name in TWO:
        theirs = resumed[name].network.state_dict()
        for key, value in whole[name].network.state_dict().items():
            torch.testing.assert_close(theirs[key], value, atol=1e-6, rtol=0)


def test_the_time_decides_on_the_patches_and_a_resumed_run_keeps_to_them(
    config: ReferenceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "count_steps_within", lambda seconds, *_: int(seconds))
    timed = dataclasses.replace(config, total_patches=0, minutes=5 / 60)
    with pytest.raises(KeyboardInterrupt):
        train_references(TWO[:1], timed, tmp_path, on_step=interrupted("webp", 2))
    assert recorded_config(tmp_path / "webp")["total_patches"] == 5 * 2
    monkeypatch.delattr(references, "count_steps_within")
    train_references(TWO[:1], timed, tmp_path, resume=True)
    assert load_toolbox(tmp_path / "toolbox").names == ("webp",)


def test_what_cannot_be_trained_is_refused(config: ReferenceConfig, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no family 'clean'"):
        train_references(("clean",), config, tmp_path)
    with pytest.raises(NothingToResumeError):
        train_references(TWO, config, tmp_path, resume=True)
    with pytest.raises(ValueError, match="minutes must be positive"):
        ReferenceConfig(store="x.h5", minutes=0.0)
    assert not list(tmp_path.iterdir())
