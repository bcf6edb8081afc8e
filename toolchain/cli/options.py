"""Options that several commands share, worded once."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

DEFAULT_TILE_PIXELS = 1024 * 1024
"""`restoring.restorer.DEFAULT_MAX_TILE_PIXELS`, repeated because that module imports PyTorch."""

DEFAULT_TOOLBOX = "efficient"
"""`tools_zoo.catalog.DEFAULT_TOOLBOX`, repeated for the same reason."""

GENERATIVE_TOOLBOX = "generative"
"""`tools_zoo.catalog.GENERATIVE_TOOLBOX`, likewise."""

X2_TOOLBOX = "generative-x2"
"""`tools_zoo.catalog.X2_TOOLBOX`, likewise."""

AgentOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Agent that chooses the tools: a shipped one's name, or a folder.  "
        "[default: the toolbox's own]"
    ),
]
ToolboxOption: TypeAlias = Annotated[
    str, typer.Option(help="Tools to choose from: a shipped toolbox's name, or a folder.")
]
ScaledToolboxOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Tools to choose from: a shipped toolbox's name, or a folder.  "
        f"[default: {DEFAULT_TOOLBOX}; with --scale, {GENERATIVE_TOOLBOX} or {X2_TOOLBOX}]"
    ),
]
DeviceOption: TypeAlias = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, mps.")
]
PrecisionOption: TypeAlias = Annotated[
    str, typer.Option(help="Number format of the tools: auto (the faster one), fp32, bf16.")
]
MaxStepsOption: TypeAlias = Annotated[
    int, typer.Option(help="Most tools to run on one photo.", min=1)
]
MaxTilePixelsOption: TypeAlias = Annotated[
    int, typer.Option(help="Pixels a tool works on at once; fewer need less memory.", min=1)
]
AddToolOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--add-tool",
        help="Fitted tool (see: toolchain fit) by name or folder, run first on photos whose noise "
        "it suits; may be given repeatedly.",
        metavar="NAME",
    ),
]
ScaleOption: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Enlarge by this factor, 2 or 4; a toolbox that is named must have tools that do "
        f"({GENERATIVE_TOOLBOX}: 4, {X2_TOOLBOX}: 2).",
        min=1,
    ),
]
PreferOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Between a toolbox's own agents: 'fidelity' to the pixels as they were, or 'texture' "
        "that looks likely.  [default: fidelity]"
    ),
]
StrengthOption: TypeAlias = Annotated[
    float,
    typer.Option(
        help="How far to go from the photo (0) towards the restored one (1).", min=0.0, max=1.0
    ),
]
RegionsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--regions", help="Decide per region: for photos whose damage differs from place to place."
    ),
]
MaxRiskOption: TypeAlias = Annotated[
    float,
    typer.Option(
        help="Stop rather than run a tool that makes the photo worse with a larger probability "
        "than this.",
        min=0.0,
        max=1.0,
    ),
]
IqaOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--iqa",
        help="Judge results by SFD-IQA, a score without a clean photo: its folder, or a toolbox "
        "that has one; needs the extra 'perceptual'.",
        metavar="NAME",
    ),
]
IqaEncoderOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="CLIP model that the score of --iqa was trained with: a folder, or a name in the "
        "local cache of Hugging Face; never downloaded; needs the extra 'clip'.",
        metavar="NAME",
    ),
]
PriorOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--prior",
        help="With --scale, what tools with a categorical prior take for shown: 'own', a category "
        "(0 to 7) or scene ('water') everywhere, a map of one photo (.npy, 8 x height x width of "
        "the result), or a SegFormer model (folder, or name in the local cache).",
        metavar="PRIOR",
    ),
]
StepsOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--steps",
        help="With --scale, steps of the tool with a diffusion (sr-vpd): 1 runs its student, 2 to "
        "8 its teacher, which takes longer.",
    ),
]
OverwriteOption: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that exist; never an input.")
]
InputArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="The photo.", show_default=False, metavar="INPUT")
]


def grouped() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of its parameters that are dataclasses.

    The command gets the dataclasses, made of what was given. Each of their fields is annotated as
    the parameter of a command would be.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        groups = {
            name: {option.name: option for option in _options(parameter.annotation)}
            for name, parameter in signature.parameters.items()
            if dataclasses.is_dataclass(parameter.annotation)
        }

        @functools.wraps(command)
        def run(**given: Any) -> None:
            for name, options in groups.items():
                fields = {field: given.pop(field) for field in options}
                make = signature.parameters[name].annotation
                given[name] = make(**{n: v for n, v in fields.items() if v is not None})
            command(**given)

        flat = [
            option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
            for option in groups.get(name, {name: parameter}).values()
        ]
        run.__signature__ = signature.replace(parameters=flat)  # type: ignore[attr-defined]
        run.__annotations__ = {option.name: option.annotation for option in flat}
        return run

    return decorate


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=field.default,
        )
        for field in dataclasses.fields(group)
    ]
