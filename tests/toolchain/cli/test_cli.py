"""Properties of the program itself: help, version, options from settings, and hints."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner, Result

import restoration_toolchain
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.cli.errors import HINTS, with_hint
from restoration_toolchain.toolchain.cli.options import grouped, is_offered
from restoration_toolchain.toolchain.restoring import restorer
from restoration_toolchain.toolchain.restoring.settings import SETTINGS, RestoreSettings
from tests.toolchain.conftest import MakePhoto, RunCli, assert_one_line

HEAVY = (
    *("torch", "numpy", "cv2", "h5py", "PIL", "gymnasium", "stable_baselines3", "gradio"),
    "transformers",
)


def commands(group: Any = None, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups included."""
    group = typer.main.get_command(app) if group is None else group
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *words, name)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})


def test_help_of_every_command_answers_without_heavy_imports() -> None:
    code = (
        "import sys; from typer.testing import CliRunner\n"
        "from restoration_toolchain.toolchain.cli import app\n"
        f"for words in {list(commands())}:\n"
        "    assert CliRunner().invoke(app, [*words, '--help']).exit_code == 0, words\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("[]", "", 0)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_h_is_help(words: tuple[str, ...]) -> None:
    short, long = run(*words, "-h"), run(*words, "--help")
    assert short.exit_code == 0, short.output
    assert short.stdout == long.stdout


@pytest.mark.parametrize(
    "program",
    [
        (sys.executable, "-m", "restoration_toolchain"),
        (sys.executable, "-c", "from restoration_toolchain.toolchain.cli import main; main()"),
    ],
)
def test_the_program_says_its_name_and_version(program: tuple[str, ...]) -> None:
    result = subprocess.run([*program, "--version"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"restoration-toolchain {restoration_toolchain.__version__}\n"


def test_both_scripts_are_the_program() -> None:
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    if "restoration-toolchain" not in scripts:
        pytest.skip("an older version, or none, is installed")
    assert scripts["toolchain"] == scripts["restoration-toolchain"]


@pytest.mark.parametrize("command", ["restore", "inspect", "serve", "demo", "evaluate"])
def test_a_command_has_the_options_of_its_settings(command: str) -> None:
    program: Any = typer.main.get_command(app)
    options = {option.name: option for option in program.commands[command].params}
    offered = {name for name, setting in SETTINGS.items() if is_offered(setting, command)}
    assert offered == options.keys() & SETTINGS.keys()
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", run(command, "--help").stdout).split())
    for name in offered:
        setting = SETTINGS[name]
        assert options[name].opts == [setting.flag or "--" + name.replace("_", "-")]
        if command in ("restore", "inspect"):
            assert setting.help in shown
            assert f"[default: ({setting.usual})]" in shown or not setting.usual


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("serve", ["[default: (world)]"]),
        ("demo", ["[default: (world)]"]),
        ("fit", ["such as learning_rate=0.001;", "[default: (0)]", "[default: (auto)]"]),
        ("train chains", ["such as learning_rate=0.001;", "or by all chains together."]),
        ("train joint", ["such as agent.gamma=0.99;"]),
        ("calibrate", ["where the program is installed"]),
    ],
)
def test_help_says_what_holds_for_the_command(words: str, says: list[str]) -> None:
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", run(*words.split(), "--help").stdout).split())
    assert [text for text in says if text not in shown] == []


def test_every_setting_that_load_takes_has_an_option_of_restore_and_inspect() -> None:
    for command in ("restore", "inspect"):
        offered = {name for name, setting in SETTINGS.items() if is_offered(setting, command)}
        assert offered == RestoreSettings().to_dict().keys()


def test_a_command_gets_its_dataclasses_made_of_what_was_given() -> None:
    @dataclass(frozen=True, kw_only=True)
    class More:
        size: Annotated[int, typer.Option(help="A number.", min=1)] = 7
        names: Annotated[list[str] | None, typer.Option("--name", help="A word.")] = None

    given: list[Any] = []

    @grouped(
        device=typer.Option(help="Another help text."),
        size=typer.Option(help="A digit.", min=1, max=9),
    )
    def restore(word: str, *, settings: RestoreSettings, more: More) -> None:
        given.extend((word, settings, more))

    program = typer.Typer()
    program.command()(restore)
    words = ["x", "--add-tool", "a", "--add-tool", "b", "--strength", "0.5", "--regions"]
    assert CliRunner().invoke(program, [*words, "--name", "n"]).exit_code == 0
    settings = RestoreSettings(add_tools=("a", "b"), strength=0.5, regions=True)
    assert given == ["x", settings, More(names=["n"])]
    help_text = CliRunner().invoke(program, ["--help"]).stdout
    assert "Another help text." in help_text
    assert "A digit." in help_text
    for size in ("0", "10"):
        assert CliRunner().invoke(program, ["x", "--size", size]).exit_code == 2


# Hints ------------------------------------------------------------------------------------------


def test_a_hint_follows_from_the_class_of_an_error_or_one_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class LostError(ToolchainError):
        def __init__(self, name: str) -> None:
            super().__init__(f"{name} is lost")
            self.name = name

    class SadlyLostError(LostError):
        pass

    monkeypatch.setitem(HINTS, "LostError", "find it with: --find {name}")  # type: ignore[arg-type]
    assert with_hint(SadlyLostError("it")) == "it is lost; find it with: --find it"
    assert with_hint(ToolchainError("{braces}")) == "{braces}"


def test_errors_speak_of_the_library_and_hints_of_the_command_line() -> None:
    error = restorer.LearntToEnlargeError("generative", 4)
    assert "--" not in str(error)
    assert with_hint(error).endswith(
        "add --scale 4 (restore, inspect, evaluate), or leave out --toolbox generative to keep "
        "the size"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scale", 4), "none of its tools does; take one .* such as --toolbox generative"),
        (("--max-risk", 0.5), "its risk is not known; toolchain calibrate does that; or"),
        (("--iqa-encoder", "clip"), "none was named; --iqa names a score"),
        (("--toolbox", "generative", "--agent", "generative"), "to enlarge, by 4; add --scale 4"),
    ],
)
def test_what_to_do_is_said_in_options(
    run_cli: RunCli, make_photo: MakePhoto, options: tuple[object, ...], says: str
) -> None:
    result = run_cli("inspect", make_photo("photo.png"), *options)
    assert_one_line(result, 2, "")
    assert re.search(says, result.stderr), result.stderr
