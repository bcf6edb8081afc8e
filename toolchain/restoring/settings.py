"""What a restoration can be told: everything else that knows of a setting follows from its field.

Options of the command line, arguments of `load` and `Restorer.restore`, sidecars, replays, reports
and the page are derived from the fields of `RestoreSettings`. A new setting is a field here, and
the code that uses it. PyTorch is not needed here, so that ``--help`` can answer at once.
"""

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, Self, TypedDict

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError

DEFAULT_MAX_TILE_PIXELS: Final = 1024 * 1024
"""Widest activations of a tile this size take 64 MiB, and its halo adds 7 % of work."""

OWN_PRIOR: Final = "own"
"""The prior that a network brings along."""

MAX_STEPS_OF_DIFFUSION: Final = 8
"""`tools_zoo.networks.one_step.STEPS`, repeated because that module imports PyTorch."""

DEFAULT_TOOLBOX: Final = "world"
"""`tools_zoo.catalog.DEFAULT_TOOLBOX`, repeated for the same reason, as the next two are."""
GENERATIVE_TOOLBOX: Final = "generative"
X2_TOOLBOX: Final = "generative-x2"


EFFORTS: Final[Mapping[str, float]] = {"low": 0.5, "medium": 0.2, "high": 0.0}
"""Efforts that have a name: prices of arithmetic, in dB per 100,000 multiply-accumulates and pixel
(`agents.policy.decision.PRICED_MACS`)."""


def effort_name(price: float) -> str:
    """Name of an effort, or its price where it has none."""
    return next((name for name, known in EFFORTS.items() if known == price), f"{price:g}")


class SettingError(ToolchainError, ValueError):
    """A restoration was asked for with a setting that cannot work."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a field of `RestoreSettings` besides its type and its default.

    Attributes:
        help: What the setting does, in words that stand alone.
        low: Least value.
        high: Largest value, where there is a least one.
        words: Words that may stand for a number, with the number.
        commands: Commands that have the option besides ``restore`` and ``inspect``; ``suite`` is
            ``evaluate --suite``. None: neither a command nor `load` can be told.
        flag: Option of the command line; empty is the field's name with dashes.
        metavar: Placeholder of the value in the help; None is its type.
        usual: The default in words, where the value itself says too little.
        identifies: Whether another value gives another result; otherwise the setting changes a
            result by rounding only, or not at all.
        of_call: Whether each call of `Restorer.restore` may choose it.
        row: Heading and words of an unusual value in the report; None leaves it out.
        control: Label and explanation of the control on the page: a switch, a choice between the
            words, or a slider between the bounds. Only settings of a call can have one.
    """

    help: str
    low: float | None = None
    high: float | None = None
    words: Mapping[str, float] | None = None
    commands: tuple[str, ...] | None = ()
    flag: str = ""
    metavar: str | None = None
    usual: str = ""
    identifies: bool = True
    of_call: bool = False
    row: Callable[[Any], tuple[str, str]] | None = None
    control: tuple[str, str] | None = None

    def default(self, value: Any) -> Any:
        """The field of this setting, with its default."""
        return dataclasses.field(default=value, metadata={"setting": self})

    def check(self, name: str, value: float) -> None:
        """Raise SettingError if a number lies outside the bounds; NaN does."""
        if self.high is not None and not (self.low or 0) <= value <= self.high:
            raise SettingError(f"{name} must lie in [{self.low:g}, {self.high:g}], got {value}")
        if self.low is not None and not value >= self.low:
            raise SettingError(f"{name} must be at least {self.low:g}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """Everything that a restoration can be told; each `Setting` says what its field does.

    Paths may be given for names, lists for tuples, and numbers of NumPy for those of Python.

    Raises:
        SettingError: A value is of the wrong type or out of bounds, or two settings do not go
            together.
        UnknownNameError: There is no such effort.
    """

    agent: str | None = Setting(
        "Agent that chooses the tools: a shipped one's name, or a folder.",
        usual="the toolbox's own",
        commands=("evaluate", "suite", "serve", "demo"),
    ).default(None)
    toolbox: str | None = Setting(
        "Tools to choose from: a shipped toolbox's name, or a folder.",
        usual=f"{DEFAULT_TOOLBOX}; to enlarge, {GENERATIVE_TOOLBOX} or {X2_TOOLBOX}",
        commands=("evaluate", "suite", "serve", "demo"),
    ).default(None)
    add_tools: tuple[str, ...] = Setting(
        "Fitted tool (see: toolchain fit) by name or folder, run first on photos whose noise it "
        "suits; may be given repeatedly.",
        flag="--add-tool",
        metavar="NAME",
    ).default(())
    max_steps: int = Setting(
        "Most tools to run on one photo.", low=1, commands=("evaluate", "suite", "serve")
    ).default(3)
    scale: int = Setting(
        "Enlarge by this factor, 2 or 4; a toolbox that is named must have tools that do "
        f"({GENERATIVE_TOOLBOX}: 4, {X2_TOOLBOX}: 2).",
        low=1,
        commands=("evaluate",),
        row=lambda scale: ("Enlarged by", f"{scale}"),
    ).default(1)
    prefer: str | None = Setting(
        "Between a toolbox's own agents: 'fidelity' to the pixels as they were, or 'texture' that "
        "looks likely.",
        usual="fidelity",
        commands=("evaluate",),
    ).default(None)
    strength: float = Setting(
        "How far to go from the photo (0) towards the restored one (1).",
        low=0.0,
        high=1.0,
        of_call=True,
        row=lambda strength: ("Strength", f"{strength:.0%}"),
        control=("Strength", "0 leaves the photo as it is."),
    ).default(1.0)
    regions: bool = Setting(
        "Decide per region: for photos whose damage differs from place to place.",
        of_call=True,
        row=lambda _: ("Decided", "per region"),
        control=("Decide per region", "For photos whose damage differs from place to place."),
    ).default(False)
    forced: tuple[str, ...] = Setting(
        "Names of the first actions, stop included, in place of the agent's choices.",
        commands=None,
        of_call=True,
        row=lambda names: ("Chosen by hand", ", ".join(names)),
    ).default(())
    max_risk: float = Setting(
        "Run no tool that makes the photo worse with a larger probability than this.",
        low=0.0,
        high=1.0,
        commands=("serve",),
        row=lambda risk: ("Largest risk", f"{risk:.0%}"),
    ).default(1.0)
    even_if_unsure: bool = Setting(
        "Go on where the agent is not sure enough, or where the photo is unlike all that it learnt "
        "from: run what promises most.",
        commands=("serve", "evaluate", "suite"),
        of_call=True,
        row=lambda _: ("When unsure", "went on"),
        control=("Go on when unsure", "Run what promises most, even if it may do harm."),
    ).default(False)
    effort: float = Setting(
        "How much computing a photo is worth: low, medium, high (all that helps), or a price from "
        "0 to 100: dB that a tool must promise for each 100,000 multiply-accumulates per pixel.",
        low=0.0,
        high=100.0,
        words=EFFORTS,
        commands=("serve", "evaluate", "suite"),
        metavar="EFFORT",
        usual="high",
        of_call=True,
        row=lambda price: ("Effort", effort_name(price)),
        control=("Effort", "How much computing a photo is worth."),
    ).default(0.0)
    iqa: str | None = Setting(
        "Judge results by SFD-IQA, a score without a clean photo: its folder, or a toolbox that "
        "has one; needs the extra 'perceptual'.",
        metavar="NAME",
        commands=("evaluate",),
        identifies=False,
    ).default(None)
    iqa_encoder: str | None = Setting(
        "CLIP model that the score of --iqa was trained with: a folder, or a name in the local "
        "cache of Hugging Face; never downloaded; needs the extra 'clip'.",
        metavar="NAME",
        commands=("evaluate",),
        identifies=False,
    ).default(None)
    prior: str = Setting(
        "With --scale, what tools with a categorical prior take for shown: 'own', a category (0 to "
        "7) or scene ('water') everywhere, a map of one photo (.npy, 8 x height x width of the "
        "result), or a SegFormer model (folder, or name in the local cache).",
        metavar="PRIOR",
        commands=("evaluate",),
    ).default(OWN_PRIOR)
    steps: int = Setting(
        "With --scale, steps of the tool with a diffusion (sr-vpd): 1 runs its student, 2 to 8 its "
        "teacher, which takes longer.",
        commands=("evaluate",),
    ).default(1)
    device: str = Setting(
        "Where to compute: auto, cpu, cuda, mps.",
        commands=("evaluate", "suite", "serve", "demo"),
        identifies=False,
    ).default("auto")
    precision: str = Setting(
        "Number format of the tools: auto (the faster one), fp32, bf16.",
        commands=("evaluate", "suite", "serve"),
        identifies=False,
    ).default("auto")
    max_tile_pixels: int = Setting(
        "Pixels a tool works on at once; fewer need less memory.",
        low=1,
        commands=("serve",),
        identifies=False,
    ).default(DEFAULT_MAX_TILE_PIXELS)

    def __post_init__(self) -> None:
        """Bring the values into one form, and check what needs nothing but themselves."""
        for name, setting in SETTINGS.items():
            value = _in_form(name, getattr(self, name), DEFAULTS[name])
            object.__setattr__(self, name, value)
            if isinstance(value, int | float):
                setting.check(name, value)
        if not 1 <= self.steps <= MAX_STEPS_OF_DIFFUSION:
            raise SettingError(
                f"steps are 1 (the student) or 2 to {MAX_STEPS_OF_DIFFUSION} (its teacher), "
                f"got {self.steps}"
            )
        if self.effort and self.scale > 1:
            # What an agent that enlarges is rewarded with is not counted in dB.
            raise SettingError(
                "an effort is for photos that keep their size: leave it out, or the scale"
            )
        if self.regions and self.scale > 1:
            raise SettingError("regions keep the size of a photo: leave them out, or the scale")
        if self.regions and self.forced:
            raise SettingError("forced actions are for the whole photo: leave them out, or regions")

    @property
    def asks_enlargers(self) -> bool:
        """Whether tools that enlarge are asked for anything but what they were trained to do."""
        return (self.prior, self.steps) != (OWN_PRIOR, 1)

    def check_photos(self, count: int) -> None:
        """Raise SettingError if the prior is a map of one photo and there are others."""
        if is_map(self.prior) and count != 1:
            raise SettingError(f"{self.prior} is the map of one photo, and there are {count}")

    def changed(self, options: Mapping[str, Any]) -> Self:
        """The same settings but for these fields; None leaves a field as it is."""
        given = {name: value for name, value in options.items() if value is not None}
        return dataclasses.replace(self, **given)

    def recorded(self, known: Mapping[str, Sequence[str]]) -> Self:
        """The same settings for whoever reads them elsewhere: files and folders by absolute paths.

        Args:
            known: Names of places that are no paths, by field; other fields stay as they are.
        """

        def from_root(value: Any, names: Sequence[str]) -> Any:
            if not isinstance(value, str):
                return value if value is None else tuple(from_root(one, names) for one in value)
            is_path = value not in names and Path(value).exists()
            return str(Path(value).absolute()) if is_path else value

        changes = {name: from_root(getattr(self, name), names) for name, names in known.items()}
        return dataclasses.replace(self, **changes)

    def rows(self) -> list[tuple[str, str]]:
        """Rows of a report: heading and words of what is otherwise than usual."""
        values = {name: getattr(self, name) for name in SETTINGS}
        unusual = {name for name, value in values.items() if value != DEFAULTS[name]}
        return [s.row(values[n]) for n, s in SETTINGS.items() if s.row and n in unusual]

    def to_dict(self) -> dict[str, Any]:
        """Arguments of `load`, as plain data for JSON."""
        return self._plain(n for n, setting in SETTINGS.items() if setting.commands is not None)

    def chosen_by_call(self) -> dict[str, Any]:
        """Arguments of `Restorer.restore` (`CallOptions`), as plain data for JSON."""
        return self._plain(n for n, setting in SETTINGS.items() if setting.of_call)

    def _plain(self, names: Iterable[str]) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in names}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from what `to_dict` gave; those that did not exist then are the defaults.

        Raises:
            SettingError: A name is not known, or a value cannot be.
        """
        if unknown := values.keys() - cls().to_dict().keys():
            raise SettingError(f"this version does not know {', '.join(sorted(unknown))}")
        return cls(**values)


_NUMBERS: Final[Mapping[type, tuple[str, Callable[[Any], bool]]]] = {
    bool: ("True or False", lambda value: value in (0, 1)),
    int: ("a whole number", lambda value: value % 1 == 0),
    float: ("a number", lambda _: True),
}


def _in_form(name: str, value: Any, default: Any) -> Any:
    """A value as its field holds it, which is of the default's type; None is a name left out."""
    if getattr(value, "ndim", None) == 0:  # a number of NumPy, which JSON does not know
        value = value.item()
    if isinstance(default, tuple):
        if isinstance(value, Iterable) and not isinstance(value, str):
            return tuple(_in_form(f"each of {name}", one, "") for one in value)
        expected = "a list of names"
    elif isinstance(default, str | None):
        if isinstance(value, str | Path) or (name == "prior" and isinstance(value, Integral)):
            return str(value)
        if value is default is None:
            return None
        expected = "a name or a path"
    else:
        if isinstance(value, str) and (words := SETTINGS[name].words):
            value = _number(name, value, words)
        kind: type = type(default)
        expected, fits = _NUMBERS[kind]
        if isinstance(value, Real) and fits(value):
            return kind(value)
    raise SettingError(f"{name} must be {expected}, got {type(value).__name__}")


def _number(name: str, text: str, words: Mapping[str, float]) -> float:
    """The number that a word or digits stand for; an UnknownNameError if they stand for none."""
    if text in words:
        return words[text]
    try:
        return float(text)
    except ValueError:
        raise UnknownNameError(name, text, words) from None


def check_keywords(call: str, given: Iterable[str], known: Container[str]) -> None:
    """Raise TypeError for keywords that a call does not know, as Python does."""
    for name in given:
        if name not in known:
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}")


def is_map(prior: str) -> bool:
    """Whether a prior is the file of a map, which fits one photo only."""
    return Path(prior).suffix.lower() == ".npy"


class LoadOptions(TypedDict, total=False):
    """Fields of `RestoreSettings` that `load` takes by keyword."""

    add_tools: Sequence[str | Path]
    max_steps: int
    scale: int
    prefer: str | None
    strength: float
    regions: bool
    max_risk: float
    even_if_unsure: bool
    effort: float | str
    iqa: str | Path | None
    iqa_encoder: str | Path | None
    prior: str | Path
    steps: int
    device: str
    precision: str
    max_tile_pixels: int


class CallOptions(TypedDict, total=False):
    """Fields of `RestoreSettings` that a call of `Restorer.restore` takes by keyword."""

    strength: float | None
    regions: bool | None
    even_if_unsure: bool | None
    effort: float | str | None
    forced: Sequence[str]


SETTINGS: Final[Mapping[str, Setting]] = {
    field.name: field.metadata["setting"] for field in dataclasses.fields(RestoreSettings)
}
"""What is known of each field, by its name."""

DEFAULTS: Final[Mapping[str, Any]] = {
    field.name: field.default for field in dataclasses.fields(RestoreSettings)
}
"""Default of each field: what every restoration was told before the setting existed."""
