"""Refuse descriptions that cannot be read alone: "seed: Of everything drawn", and the like.

Looks at docstrings and their sections, at the strings below constants and fields, and at help
texts. Prints ``file:line: message`` for each, and then exits with 1.

    python .ci/check_language.py            # the whole project
    python .ci/check_language.py data envs  # files and folders
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PLACES: Final = ("src", "data", "tools_zoo", "envs", "agents", "toolchain", "benchmarks")
HEADLESS: Final = re.compile(
    r"(?:(?:Of|That|Whose|With which|From which|In which|By which|To which|For which|Towards"
    r"|As for|Likewise)\b|As `|How\.)"
)
"""Beginnings of a description whose noun is missing."""

_SECTION: Final = re.compile(r"( *)(Args|Attributes|Returns|Yields|Raises):\s*$")
_ENTRY: Final = re.compile(r"[\w*][\w*., ]*(?:\([^)]*\))?:(?:\s+(.*))?$")


def check(source: str) -> list[tuple[int, str]]:
    """Find what is wrong in the text of a module: pairs of a line and a message."""
    found = {}
    for first_line, text in _strings(ast.parse(source)):
        for offset, description in _descriptions(text):
            match = HEADLESS.match(description)
            if match:
                message = f'a description begins with "{match[0]}": name what it is'
                found[first_line + offset] = message
    return sorted(found.items())


def _strings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Docstrings, strings below an assignment and help texts, each with its first line."""
    for node in ast.walk(module):
        if isinstance(node, ast.Expr) or (isinstance(node, ast.keyword) and node.arg == "help"):
            yield from _text(node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "help":
                    yield from _text(value)


def _text(node: ast.expr) -> Iterator[tuple[int, str]]:
    """The string that an expression is or begins with."""
    if isinstance(node, ast.BinOp):
        yield from _text(node.left)
    elif isinstance(node, ast.JoinedStr) and node.values:
        yield from _text(node.values[0])
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value


def _descriptions(text: str) -> Iterator[tuple[int, str]]:
    """What a string says first, and each entry of its sections, with the line it is on."""
    lines = text.splitlines()
    if lines:
        yield 0, lines[0].strip()
    outer = inner = section = None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if heading := _SECTION.match(line):
            outer, inner, section = indent, None, heading[2]
        elif outer is not None and line.strip():
            if indent <= outer:
                outer = None
                continue
            is_first, inner = inner is None, indent if inner is None else inner
            if section in ("Returns", "Yields"):
                if is_first:
                    yield number, line.strip()
            elif indent == inner and (entry := _ENTRY.match(line.strip())):
                following = lines[number + 1] if number + 1 < len(lines) else ""
                yield number, entry[1] or following.strip()


def main(arguments: list[str]) -> int:
    """Check files and folders, or everything; the exit status."""
    places = [Path(argument) for argument in arguments] or [ROOT / place for place in PLACES]
    files = {}
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            files.setdefault(path.resolve(), path)
    n_found = 0
    for path in files.values():
        for line, message in check(path.read_text("utf-8")):
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            sys.stdout.write(f"{shown}:{line}: {message}\n")
            n_found += 1
    return int(n_found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
