"""The documentation holds: its Python runs, and its commands exist with the flags it names."""

import pkgutil
import re
import shlex
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer.main

from restoration_toolchain.agents.learning.drqn import DrqnConfig
from restoration_toolchain.agents.learning.ppo import PpoConfig
from restoration_toolchain.data.damage.steps import STEP_KINDS, graded_kinds
from restoration_toolchain.data.damage.world import KINDS, LIVES
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.learning.joint import JointConfig
from restoration_toolchain.toolchain.learning.world import WorldConfig
from restoration_toolchain.tools_zoo.enlarging.config import (
    OneStepTrainConfig,
    SftTrainConfig,
    SrTrainConfig,
)
from restoration_toolchain.tools_zoo.fitting.fit import FitConfig
from restoration_toolchain.tools_zoo.networks import NETWORKS
from restoration_toolchain.tools_zoo.recipes.joint_tools import JointToolsConfig
from restoration_toolchain.tools_zoo.recipes.prescribed_chains import ChainTrainConfig
from restoration_toolchain.tools_zoo.recipes.specialists import SpecialistConfig
from restoration_toolchain.tools_zoo.training.run_folder import option_names
from restoration_toolchain.tools_zoo.training.supervised import ToolTrainConfig

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page whose info string is ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every line of a shell block that calls ``toolchain``, with the page it is on."""
    return [
        (page.name, line)
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("toolchain ")
    ]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python runnable")], ids=lambda page: page.name
)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python runnable"))
    with patch.dict(NETWORKS), patch.dict(STEP_KINDS):  # a page may add a network, or damage
        exec(compile(code, str(page), "exec"), {"__name__": "example"})


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_documented_command_exists_with_its_flags(page: str, line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        assert words, f"{page}: {line!r} ends before a command is named"
        assert words[0] in command.commands, f"{page}: no command {words[0]!r} in {line!r}"
        command = command.commands[words.pop(0)]
    known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word not in {*known, "--help"}]
    assert not unknown, f"{page}: {line!r} has unknown options"


def settings_of(command: str) -> set[str]:
    """Names of all options that ``--set`` reaches in a command."""
    kinds = {
        "train tools": [ToolTrainConfig, SrTrainConfig, SftTrainConfig, OneStepTrainConfig],
        "train chains": [ChainTrainConfig],
        "train agent": [DrqnConfig, PpoConfig],
        "train joint": [JointConfig],
        "train world": [WorldConfig],
        "fit": [FitConfig],
    }
    if command == "train recipe":
        tables = {"specialists.": SpecialistConfig, "agent.": WorldConfig}
        tables |= {"joint.tools.": JointToolsConfig, "joint.agent.": WorldConfig}
        named = [name for table, kind in tables.items() for name in option_names(kind, table)]
        return {"fresh", "profile_crops", *named}
    return {name for kind in kinds[command] for name in option_names(kind)}


@pytest.mark.parametrize(("page", "line"), [each for each in commands() if "--set" in each[1]])
def test_a_documented_setting_exists(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = " ".join(words[:2]) if words[0] == "train" else words[0]
    given = [words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--set"]
    assert set(given) <= settings_of(command), f"{page}: {line!r} sets what is no option"


def rows(page: Path, heading: str) -> dict[str, list[str]]:
    """Rows of the tables below a heading that begin with a name in code, by that name."""
    _, _, below = page.read_text().partition(f"{heading}\n")
    section = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", section, re.MULTILINE)
    assert len(lines) == len(dict(lines))
    return {name: cells.split(" | ") for name, cells in lines}


def test_the_table_of_damage_says_what_the_classes_say() -> None:
    tables = rows(ROOT / "docs" / "how-it-works.md", "### The world of damage")
    assert tables.keys() == {*KINDS, *LIVES}
    for kind in graded_kinds():
        weakest, strongest = (f"{kind.edges[place]:g}" for place in (0, -1))
        assert tables[kind.name][1:] == [kind.unit, weakest, strongest]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    made_later = {"docs/images/demo.png", "docs/benchmarks.md"}  # by the commands the page names
    targets = [(page.parent / link).resolve() for link in links]
    missing = [path for path in targets if not path.exists()]
    assert {str(path.relative_to(ROOT)) for path in missing} <= made_later


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_and_modules_that_a_page_names_exist(page: Path) -> None:
    storey = r"(?:data|tools_zoo|envs|agents|toolchain)"
    for path in re.findall(rf"`((?:src|benchmarks|{storey})/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists(), path
    for name in re.findall(rf"`(?:restoration_toolchain\.)?({storey}\.[\w.]+)`", page.read_text()):
        pkgutil.resolve_name(f"restoration_toolchain.{name}")
