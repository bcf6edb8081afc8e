"""Properties of ``toolchain train``."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.learning import drqn
from restoration_toolchain.agents.outcomes import record as recording
from restoration_toolchain.agents.policy.storage import load_bundle, load_policy
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.learning.world import WorldConfig
from restoration_toolchain.tools_zoo.catalog import TOOLBOXES
from restoration_toolchain.tools_zoo.recipes import train as train_toolbox
from restoration_toolchain.tools_zoo.recipes.plan import (
    SR_BASE,
    included_toolbox,
    plan_training,
    read_recipe,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox, read_manifest, save_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training import supervised as training
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict
from tests.toolchain.conftest import assert_one_line

TINY = ("--set", "batch_size=2", "--set", "eval_every=2", "--set", "eval_patches=4",
        "--set", "num_workers=0", "--device", "cpu", "--precision", "fp32")  # fmt: skip


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, words)], env={"COLUMNS": "200"})


def train_tools(*words: object, store: Path, folder: Path, patches: int = 8) -> Result:
    flags = ("--store", store, "--run", folder, "--total-patches", patches)
    return run("tools", *words, *flags, *TINY)


def recorded(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())["config"]
    return config


def notes_of(folder: Path) -> dict[str, Any]:
    return {entry["name"]: entry["notes"] for entry in read_manifest(folder)["tools"]}


def interrupt_at(monkeypatch: pytest.MonkeyPatch, tool: str, step: int) -> None:
    """Press Ctrl-C after a step of a tool's training."""
    original = training.train_tool

    def train_tool(spec: Any, config: Any, path: Path, **options: Any) -> Any:
        report = options.pop("on_step")

        def on_step(done: int, total: int, metrics: dict[str, float]) -> None:
            report(done, total, metrics)
            if (spec.name, done) == (tool, step):
                raise KeyboardInterrupt

        return original(spec, config, path, on_step=on_step, **options)

    monkeypatch.setattr(train_toolbox, "train_tool", train_tool)


def test_tools_are_trained_into_a_toolbox(store_path: Path, tmp_path: Path) -> None:
    result = train_tools("denoise_2", "denoise_1", store=store_path, folder=tmp_path / "run")
    assert result.exit_code == 0, result.output
    toolbox = load_toolbox(tmp_path / "run" / "toolbox")
    assert toolbox.names == ("denoise_1", "denoise_2")  # the order of the catalogue
    assert (tmp_path / "run" / "denoise_1" / "metrics.jsonl").exists()
    for word in ("own range", "in a chain", "noise 0-12.5", "noise 12.5-25"):
        assert word in result.output
    notes = notes_of(tmp_path / "run" / "toolbox")["denoise_1"]
    assert notes["trained"]["total_patches"] == 8
    assert set(notes["validation"]) == {"psnr_own", "gain_own", "psnr_chain", "gain_chain"}


def test_a_family_is_warm_started_unless_told_otherwise(store_path: Path, tmp_path: Path) -> None:
    words = ("denoise_1", "denoise_2", "denoise_3")
    for name, flags in (("warm", ()), ("cold", ("--no-warm-start",))):
        result = train_tools(*words, *flags, store=store_path, folder=tmp_path / name, patches=2)
        assert result.exit_code == 0, result.output
    warm = notes_of(tmp_path / "warm" / "toolbox")
    # The third tool has another network, so nothing fits it.
    assert [warm[name]["init"] for name in words] == [None, "denoise_1", None]
    assert all(note["init"] is None for note in notes_of(tmp_path / "cold" / "toolbox").values())


def test_a_recipe_sets_order_starting_weights_and_budgets(store_path: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "seed = 3\n[tools.deblur_1]\ntotal_patches = 4\n"
        '[tools.deblock_1]\ninit = "deblur_1"\ntotal_patches = 6\nlearning_rate = 1e-3\n'
    )
    flags = ("--store", store_path, "--run", tmp_path / "run", "--config", recipe)
    result = run("tools", *flags, *TINY)
    assert result.exit_code == 0, result.output
    second = recorded(tmp_path / "run" / "deblock_1")
    assert (second["total_patches"], second["learning_rate"], second["seed"]) == (6, 1e-3, 3)
    assert recorded(tmp_path / "run" / "deblur_1")["total_patches"] == 4
    assert notes_of(tmp_path / "run" / "toolbox")["deblock_1"]["init"] == "deblur_1"


def test_a_recipe_can_leave_a_tool_out_that_others_only_start_from(
    store_path: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "total_patches = 2\n[tools.generalist_s]\nkeep = false\n"
        '[tools.deblock_e1]\ninit = "generalist_s"\n'
    )
    flags = ("--store", store_path, "--run", tmp_path / "run", "--config", recipe)
    result = run("tools", *flags, *TINY)
    assert result.exit_code == 0, result.output
    assert load_toolbox(tmp_path / "run" / "toolbox").names == ("deblock_e1",)
    assert notes_of(tmp_path / "run" / "toolbox")["deblock_e1"]["init"] == "generalist_s"


def test_flags_win_over_settings_and_settings_over_the_file(
    store_path: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("seed = 1\nweight_decay = 0.1\nloss = 'mse'\n[tools.deblur_1]\nseed = 2\n")
    words = ("--config", recipe, "--set", "seed=3", "--set", "weight_decay=0.2", "--seed", 4)
    result = train_tools(*words, store=store_path, folder=tmp_path / "run", patches=2)
    assert result.exit_code == 0, result.output
    config = recorded(tmp_path / "run" / "deblur_1")
    assert (config["seed"], config["weight_decay"], config["loss"]) == (4, 0.2, "mse")


def test_starting_weights_come_from_a_file_or_a_toolbox(store_path: Path, tmp_path: Path) -> None:
    train_tools("deblur_1", store=store_path, folder=tmp_path / "first", patches=2)
    toolbox = tmp_path / "first" / "toolbox"
    for number, init in enumerate((toolbox, toolbox / "deblur_1.safetensors")):
        words = ("deblur_1", "--init", init, "--set", "learning_rate=1e-9")
        folder = tmp_path / str(number)
        assert train_tools(*words, store=store_path, folder=folder, patches=2).exit_code == 0
        first, again = load_toolbox(toolbox), load_toolbox(folder / "toolbox")
        for name, value in first[0].network.state_dict().items():
            torch.testing.assert_close(again[0].network.state_dict()[name], value)


def test_an_existing_toolbox_keeps_its_other_tools(store_path: Path, tmp_path: Path) -> None:
    out = ("--toolbox-out", tmp_path / "box")
    for name in ("deblock_1", "deblur_1"):
        result = train_tools(name, *out, store=store_path, folder=tmp_path / name, patches=2)
        assert result.exit_code == 0, result.output
    assert load_toolbox(tmp_path / "box").names == ("deblur_1", "deblock_1")
    assert all(notes_of(tmp_path / "box").values())


def test_an_interrupted_training_says_how_to_go_on_and_does(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("denoise_1", "denoise_2")
    interrupt_at(monkeypatch, "denoise_2", 3)
    result = train_tools(*words, store=store_path, folder=tmp_path / "parts")
    assert result.exit_code == 130
    assert "add --resume to the same command" in result.output
    assert "Traceback" not in result.output
    assert load_toolbox(tmp_path / "parts" / "toolbox").names == ("denoise_1",)
    monkeypatch.undo()
    result = train_tools(*words, "--resume", store=store_path, folder=tmp_path / "parts")
    assert result.exit_code == 0, result.output
    train_tools(*words, store=store_path, folder=tmp_path / "whole")
    parts, whole = (load_toolbox(tmp_path / name / "toolbox") for name in ("parts", "whole"))
    assert parts.checksums == whole.checksums


def test_a_run_is_not_overwritten(store_path: Path, tmp_path: Path) -> None:
    train_tools("deblur_1", store=store_path, folder=tmp_path / "run", patches=2)
    result = train_tools("deblur_1", store=store_path, folder=tmp_path / "run", patches=2)
    assert result.exit_code == 2
    assert "--resume" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["denoize_1"], "did you mean 'denoise_1'"),
        (["deblur_1", "--set", "learning_rat=1"], "did you mean 'learning_rate'"),
        (["deblur_1", "--set", "learning_rate"], "--set takes KEY=VALUE"),
        (["deblur_1", "--set", "loss=psnrr"], "did you mean 'psnr'"),
        (["deblur_1", "--set", "batch_size=many"], "batch_size"),
        (["deblur_1", "--config", "absent.toml"], "cannot read the config"),
        (["deblur_1", "--init", "nothing"], "no starting weights 'nothing'"),
        (["deblur_1", "--resume"], "nothing to resume"),
        (["deblur_1", "--device", "abacus"], "no device 'abacus'"),
        (["deblur_1", "--precision", "fp61"], "no precision 'fp61'"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    store_path: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    flags = ("--store", store_path, "--run", tmp_path / "run", "--set", "num_workers=0")
    result = run("tools", *flags, *words)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_training_needs_a_store(tmp_path: Path) -> None:
    for words in (("tools", "deblur_1"), ("joint",), ("agent", "--algo", "drqn")):
        result = run(*words, "--run", tmp_path / "run")
        assert result.exit_code == 2
        assert "no patch store given" in result.output
        assert ("--store embedded" in result.output) == (words[0] == "agent")
    result = train_tools("deblur_1", store=tmp_path / "absent.h5", folder=tmp_path / "run")
    assert result.exit_code == 2
    assert "toolchain data prepare" in result.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("joint", "--set", "tools.persistence=2"), "tools.persistence must lie in [0, 1]"),
        (("joint", "--set", "agent.task=real-sr"), "agent.task must be 'restore'"),
        (("chains", "--set", "agent.gamma=1"), "no option 'agent.gamma'; known:"),
        (("agent", "--algo", "drqn", "--set", "agent.gamma=1"), "did you mean 'gamma'"),
        (
            ("agent", "--algo", "drqn", "--set", 'levels=["real"]', "--total-timesteps", "1"),
            "inspect and evaluate take --scale 4, and train agent --set task=real-sr",
        ),
    ],
)
def test_the_option_that_is_wrong_is_named(
    words: tuple[str, ...], says: str, store_path: Path, tmp_path: Path
) -> None:
    assert_one_line(run(*words, "--store", store_path, "--run", tmp_path / "run"), 2, says)


@pytest.fixture
def toolbox_folder_of_one(store_path: Path, tmp_path: Path) -> Path:
    train_tools("denoise_1", store=store_path, folder=tmp_path / "tools", patches=2)
    return tmp_path / "tools" / "toolbox"


def train_agent(algo: str, store: Path, toolbox: Path, folder: Path, *words: object) -> Result:
    return run(
        "agent", "--algo", algo, "--store", store, "--toolbox", toolbox, "--run", folder,
        "--total-timesteps", 64, "--device", "cpu", "--set", "n_envs=4", "--set", "eval_every=32",
        "--set", "eval_pairs=4", "--set", "batch_size=8", *words,
    )  # fmt: skip


@pytest.mark.parametrize("algo", ["drqn", "ppo"])
def test_an_agent_is_trained_and_kept(
    algo: str, store_path: Path, toolbox_folder_of_one: Path, tmp_path: Path
) -> None:
    result = train_agent(algo, store_path, toolbox_folder_of_one, tmp_path / "agent")
    assert result.exit_code == 0, result.output
    assert load_policy(tmp_path / "agent" / "best").tool_names == ("denoise_1",)
    assert str(tmp_path / "agent" / "best") in result.output.replace("\n", "")


def test_an_interrupted_agent_says_how_to_go_on_and_does(
    store_path: Path, toolbox_folder_of_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = drqn.train_drqn

    def train_drqn(config: Any, path: Path, *, on_step: Any, **options: Any) -> Any:
        def stop(done: int, total: int, metrics: dict[str, float]) -> None:
            if done >= 32:
                raise KeyboardInterrupt

        return original(config, path, on_step=stop, **options)

    monkeypatch.setattr(drqn, "train_drqn", train_drqn)
    arguments = ("drqn", store_path, toolbox_folder_of_one, tmp_path / "agent")
    result = train_agent(*arguments)
    assert result.exit_code == 130
    assert "add --resume to the same command" in result.output
    monkeypatch.undo()
    result = train_agent(*arguments, "--resume")
    assert result.exit_code == 0, result.output


def test_a_mistyped_algorithm_gets_a_suggestion(store_path: Path, tmp_path: Path) -> None:
    result = run("agent", "--algo", "drqnn", "--store", store_path, "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert "did you mean 'drqn'" in result.output


def chained() -> list[str]:
    """The tools that the recipes of chains train."""
    stages = read_recipe("efficient_chains")["stages"]
    return [rule.partition(":")[0] for rules in stages for rule in rules]


@pytest.mark.parametrize(
    "name",
    ["classic", "efficient", "baselines", "generative", "generative-x2", "enlarger_controls"],
)
def test_a_shipped_recipe_plans_every_tool_after_the_one_it_starts_from(name: str) -> None:
    recipe = read_recipe(name)
    jobs = plan_training([], recipe, {"store": "store.h5"})
    included = [spec.name for spec in TOOLBOXES.get(included_toolbox(recipe) or "", ())]
    names = [job.spec.name for job in jobs]
    kept = [job.spec.name for job in jobs if job.keep]
    later = chained() if name == "efficient" else []
    assert sorted(kept + included + later) == sorted(spec.name for spec in TOOLBOXES[name])
    networks = {job.spec.name: job.spec.network for job in jobs}
    for place, job in enumerate(jobs):
        if job.init is not None:
            assert job.init in names[:place] or name == "enlarger_controls"
            # Only what all networks that enlarge begin as fits into others.
            assert job.init == SR_BASE or networks[job.init] == job.spec.network


def test_chains_are_trained_into_a_toolbox_that_says_so(store_path: Path, tmp_path: Path) -> None:
    stages = 'stages=[["denoise_2"],["deblur_2"]]'
    flags = ("--store", store_path, "--toolbox", "classic", "--total-patches", 4)
    result = run("chains", *flags, "--run", tmp_path / "run", *TINY, "--set", stages)
    assert result.exit_code == 0, result.output
    notes = notes_of(tmp_path / "run" / "toolbox")
    (facts,) = notes["denoise_2"]["chains"]
    assert facts["stages"] == [["denoise_2"], ["deblur_2"]]
    assert facts["total_patches"] == 4
    assert "store" not in facts
    assert notes["denoise_2"]["continued"]  # what was noted before stays
    assert "chains" not in notes["deblock_2"]
    again = run("chains", *flags, "--run", tmp_path / "run", *TINY, "--set", stages)
    assert again.exit_code == 2
    assert "--resume" in again.output


def test_an_agent_for_the_world_is_trained_from_photos_and_a_recipe(
    tiny_toolbox: Toolbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "CROPS_PER_SHARD", 8)
    save_toolbox(tiny_toolbox, tmp_path / "tiny")
    first, second, _ = tiny_toolbox.names
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'toolbox = "{tmp_path / "tiny"}"\nrounds = 1\nnum_crops = 800\nheld_out_crops = 8\n'
        f'chains = [["{first}", "{second}"]]\n[learning]\nbatch_size = 4\nnum_workers = 0\n'
    )
    words = ("world", "embedded", "--held-out", "embedded", "--config", recipe, "--device", "cpu")
    small = ("--num-crops", 8, "--set", "precision=fp32", "--set", "learning.epochs=1")
    folder = tmp_path / "run"
    result = run(*words, *small, "--run", folder)
    assert result.exit_code == 0, result.output
    assert f"agent: {folder / 'best'}" in result.output
    assert recorded(folder)["num_crops"] == 8  # the flag wins over the file
    assert recorded(folder)["chains"] == [[first, second]]
    assert load_policy(folder / "best").tool_names == tiny_toolbox.names
    assert_one_line(run(*words, *small, "--run", folder), 2, "--resume")


def test_what_an_agent_for_the_world_cannot_be_trained_from_is_one_line(tmp_path: Path) -> None:
    where = ("--run", tmp_path / "run", "--device", "cpu")
    for words, says in (
        (("embedded",), "photos to learn from must be named, and others that are held out"),
        (("--held-out", "embedded"), "photos to learn from must be named"),
        (("--config", "efficient_wrld"), "cannot read the config efficient_wrld"),
        (("embedded", "--held-out", "embedded", "--set", "learning.epoch=1"), "learning.epochs"),
        (("embedded", "--held-out", "embedded", "--set", "rounds=0"), "must be positive"),
        (("embedded", "--held-out", "embedded", "--resume"), "nothing to resume"),
    ):
        assert_one_line(run("world", *words, *where), 2, says)


def test_the_recipe_of_the_agent_that_ships_fits_its_tools() -> None:
    recipe = read_recipe("efficient_world")
    names = load_toolbox(recipe["toolbox"]).names
    chosen = {"photos": ("embedded",), "held_out": "embedded"}
    config = config_from_dict(WorldConfig, {**recipe, **chosen})
    assert all(name in names for chain in config.chains for name in chain)


RECIPE = """
profile_crops = 1
[specialists]
batch_size = 2
side = 32
eval_crops = 2
eval_photos = 1
num_workers = 0
[specialists.tools.a]
families = { noise = 1 }
network = "small"
total_crops = 4
[agent]
num_crops = 8
held_out_crops = 8
rounds = 1
[agent.learning]
epochs = 1
batch_size = 4
num_workers = 0
"""


def test_a_recipe_is_made_by_one_command_which_says_before_what_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "CROPS_PER_SHARD", 8)
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    folder = tmp_path / "run"
    words = ("recipe", path, "embedded", "--held-out", "embedded", "--device", "cpu")
    words = (*words, "--set", "precision=fp32", "--run", folder)
    costs = run(*words, "--dry-run")
    assert costs.exit_code == 0, costs.output
    assert [stage in costs.output for stage in ("a ", "recording", "learning", "all")] == [True] * 4
    assert not folder.exists()
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert f"toolbox with its agent: {folder / 'toolbox'}" in result.output
    toolbox, policy = load_bundle(folder / "toolbox")
    assert (toolbox.name, policy.tool_names) == ("small", ("a",))
    assert_one_line(run(*words), 2, "--resume")
    assert run(*words, "--resume").exit_code == 0


def test_what_is_no_recipe_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[agent]\n")
    photos = ("embedded", "--held-out", "embedded", "--device", "cpu", "--run", tmp_path / "run")
    for name, says in (("wrold", "cannot read the config wrold"), (path, "no table [specialists]")):
        assert_one_line(run("recipe", name, *photos), 2, says)
