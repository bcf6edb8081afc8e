"""Properties of `.ci/check_language.py`, which refuses descriptions that cannot be read alone."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "check_language.py"


@pytest.fixture(scope="module")
def lint() -> Any:
    spec = importlib.util.spec_from_file_location("check_language", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function(section: str, entry: str) -> str:
    return f'def f():\n    """Do.\n\n    {section}:\n        {entry}\n    """\n'


@pytest.mark.parametrize(
    ("line", "source"),
    [
        (5, function("Args", "seed: Of everything drawn.")),
        (5, function("Args", "*parts: Likewise.")),
        (5, function("Args", "noise, shift: That is put on them.")),
        (5, function("Args", "config: How.")),
        (5, function("Args", "config:\n            Towards what.")),
        (6, function("Args", "a: Fine, and\n        b: Whose features.")),
        (5, function("Attributes", "task: For which it was trained.")),
        (5, function("Returns", "In which it counts.")),
        (5, function("Yields", "Of each photo a part.")),
        (5, function("Raises", "ValueError: As `g`.")),
        (1, '"""Towards what a generator is trained."""\n'),
        (2, 'STRIDE = 3\n"""Of the sub-images, in pixels."""\n'),
        (3, 'class A:\n    size: int = 1\n    """From which it is made."""\n'),
        (1, 'option = Option(help="Of everything drawn.")\n'),
        (1, 'option = Option(help="Of everything " + drawn)\n'),
        (1, 'option = Option(help=f"Of {what}")\n'),
        (1, 'size = field(metadata={"help": "As for the other."})\n'),
    ],
)
def test_a_description_without_its_noun_is_refused(lint: Any, line: int, source: str) -> None:
    ((found, message),) = lint.check(source)
    assert found == line
    assert "begins with" in message


@pytest.mark.parametrize(
    "source",
    [
        function("Args", "seed: Seed of every random draw."),
        function("Args", "offset: Offset, in pixels.\n            Of the two, the left one."),
        function("Args", "n: How many there are."),
        function("Args", "low: As low as it gets."),
        function("Args", "often: Often 3."),
        function("Returns", "An image.\n        Of two, the first."),
        function("Example", "seed: Of everything drawn."),
        function("Args", "a: One.\n\n    Likewise for all: Of them."),
        'text = "Of everything drawn."\n',
        'print(title="Of everything drawn.")\n',
    ],
)
def test_others_pass(lint: Any, source: str) -> None:
    assert lint.check(source) == []


def test_files_are_named_with_their_lines(
    lint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").write_text('"""Good."""\n')
    (tmp_path / "bad.py").write_text('"""Good."""\n\nX = 1\n"""Of nothing."""\n')
    assert lint.main([str(tmp_path / "good.py")]) == 0
    assert capsys.readouterr().out == ""
    assert lint.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'bad.py'}:4: ")
