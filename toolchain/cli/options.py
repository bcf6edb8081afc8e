"""Options of the commands: those that stand for settings follow from `RestoreSettings`."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeAlias, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from restoration_toolchain.toolchain.restoring.settings import DEFAULT_TOOLBOX as DEFAULT_TOOLBOX
from restoration_toolchain.toolchain.restoring.settings import SETTINGS, RestoreSettings, Setting


def option_of(name: str, help: str = "", usual: str = "") -> OptionInfo:
    """Option of the command line for a field of `RestoreSettings`.

    Args:
        name: Name of the field.
        help: Words in place of the field's own, where a command means something special.
        usual: Default in words, in place of the field's own.
    """
    setting = SETTINGS[name]
    option: OptionInfo = typer.Option(
        setting.flag or f"--{name.replace('_', '-')}",
        help=help or setting.help,
        min=setting.low,
        max=setting.high,
        metavar=setting.metavar,
        show_default=usual or setting.usual or True,
    )
    return option


AgentOption: TypeAlias = Annotated[str | None, option_of("agent")]
ToolboxOption: TypeAlias = Annotated[
    str, typer.Option(help="Tools to choose from: a shipped toolbox's name, or a folder.")
]
DeviceOption: TypeAlias = Annotated[str, option_of("device")]
OverwriteOption: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that exist; never an input.")
]


def grouped(**own: OptionInfo) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of its parameters that are dataclasses.

    The command gets the dataclasses, made of what was given. Fields of `RestoreSettings` have
    options in the commands that their `Setting` names; in other dataclasses, each field is
    annotated as the parameter of a command would be.

    Args:
        **own: Options of single fields, where the command means something special.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        groups = {
            name: {option.name: option for option in _options(parameter.annotation, command, own)}
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


def is_offered(setting: Setting, command: str) -> bool:
    """Whether a command has an option for a setting."""
    everywhere = setting.commands is not None and command in ("restore", "inspect")
    return everywhere or command in (setting.commands or ())


def _options(
    group: Any, command: Callable[..., None], own: Mapping[str, OptionInfo]
) -> Iterator[inspect.Parameter]:
    """Parameters of a command for the fields of a dataclass."""
    plain, hints = get_type_hints(group), get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        hint, default = hints[field.name], field.default
        if group is RestoreSettings:
            if not is_offered(SETTINGS[field.name], command.__name__):
                continue
            if get_origin(hint) is tuple:  # an option that may be given repeatedly
                hint, default = list[str] | None, None
            if SETTINGS[field.name].words:  # a number, or a word for it
                hint, default = str | None, None
            hint = Annotated[hint, own.get(field.name) or option_of(field.name)]
        elif field.name in own:
            hint = Annotated[plain[field.name], own[field.name]]
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hint,
            default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
        )
