"""What each tool of a toolbox is worth on each family of damage: measured, and kept beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.tool import UNITS, ToolSpec

PROFILE: Final = "profile.json"
"""Name of the file, in the folder of the toolbox."""

FORMAT_VERSION: Final = 1

AS_GOOD: Final = 0.1
"""dB by which a tool may fall behind the best one and still count as good."""

LEAST: Final = 0.1
"""dB that a tool has to gain on a family to be said to treat it."""

MOST_NAMED: Final = 3
"""Families that a tool is named after."""


class ProfileError(ToolchainError):
    """A profile is malformed, or of another version."""


class NoProfileError(ProfileError):
    """The tools of a toolbox were not measured."""


class OtherToolsError(ProfileError):
    """A profile was measured for other weights than those that lie beside it."""


@dataclass(frozen=True, slots=True)
class FamilyGains:
    """What the tools do to crops of one family.

    Attributes:
        count: Number of crops.
        psnr: Mean PSNR of the crops as they came, in dB.
        gains: Mean PSNR gain of each tool in dB, by name.
    """

    count: int
    psnr: float
    gains: Mapping[str, float]

    @property
    def best(self) -> str:
        """The tool that gains most, or loses least."""
        return max(self.gains, key=lambda tool: self.gains[tool])

    def is_good(self, tool: str) -> bool:
        """Whether a tool gains something, and as much as the best one or nearly so."""
        gain = self.gains[tool]
        return gain >= max(LEAST, self.gains[self.best] - AS_GOOD)


@dataclass(frozen=True, slots=True)
class ToolProfile:
    """What every tool that keeps the size of images does to every family.

    Attributes:
        checksums: SHA-256 of the weight file of each tool that was measured, in action order.
        families: What was measured, by name of the family; *clean* is photos without damage.
        photos: Name of the set or folder of the photos, which no tool learnt from.
        side: Side of the crops in pixels.
        seed: Seed of the crops.
        psnr_cap: dB that an image scores at most.
        own: What all tools do to the crops that one of them is for, by its name: crops of its
            families, as damaged as it was trained for.
    """

    checksums: Mapping[str, str]
    families: Mapping[str, FamilyGains]
    photos: str
    side: int
    seed: int
    psnr_cap: float
    own: Mapping[str, FamilyGains] = field(default_factory=dict)

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools, in action order."""
        return tuple(self.checksums)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "ToolProfile":
        """Read what `to_dict` wrote.

        Raises:
            ProfileError: It is of another version, or something is missing or malformed.
        """
        try:
            version = entries["format_version"]
            if version == FORMAT_VERSION:
                checksums = dict(entries["checksums"])
                families, own = (
                    {
                        name: FamilyGains(
                            int(family["count"]),
                            float(family["psnr"]),
                            {tool: float(family["gains"][tool]) for tool in checksums},
                        )
                        for name, family in entries.get(key, {}).items()
                    }
                    for key in ("families", "own")
                )
                return cls(
                    checksums,
                    families,
                    str(entries["photos"]),
                    int(entries["side"]),
                    int(entries["seed"]),
                    float(entries["psnr_cap"]),
                    own,
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"it is no profile ({type(error).__name__}: {error})") from error
        raise ProfileError(f"it has format version {version}, this program reads {FORMAT_VERSION}")


def write_profile(profile: ToolProfile, folder: Path) -> None:
    """Put a profile into the folder of its toolbox, in place of one that is there."""
    write_atomically(folder / PROFILE, json.dumps(profile.to_dict(), indent=2).encode())


def read_profile(folder: Path, checksums: Mapping[str, str]) -> ToolProfile:
    """Read the profile of a toolbox.

    Args:
        folder: Folder of the toolbox.
        checksums: SHA-256 of the weight file of each of its tools that keeps the size of images.

    Raises:
        NoProfileError: There is none.
        OtherToolsError: It was measured for other weights.
        ProfileError: It is malformed, or of another version.
    """
    path = folder / PROFILE
    try:
        content = path.read_text()
    except FileNotFoundError as error:
        raise NoProfileError(f"{folder} has no profile: its tools were not measured") from error
    except (OSError, ValueError) as error:
        raise ProfileError(f"{path} cannot be read") from error
    try:
        profile = ToolProfile.from_dict(json.loads(content))
    except (ValueError, ProfileError) as error:
        raise ProfileError(f"{path} cannot be read: {error}") from error
    if dict(profile.checksums) != dict(checksums):
        raise OtherToolsError(f"{path} is out of date: it was measured for other tools")
    return profile


def find_profile(folder: Path, checksums: Mapping[str, str]) -> ToolProfile | None:
    """Read the profile of a toolbox as `read_profile` does; None if there is none of its tools."""
    try:
        return read_profile(folder, checksums)
    except ProfileError:
        return None


def treats(profile: ToolProfile, tool: str) -> tuple[str, ...]:
    """Name the families that a tool is good at: no other gains more on them, or hardly more.

    Args:
        profile: Profile of the toolbox.
        tool: Name of the tool.

    Returns:
        At most `MOST_NAMED` families, largest gain first; none of a tool that was not measured.
    """
    if tool not in profile.checksums:
        return ()
    good = [name for name, family in profile.families.items() if family.is_good(tool)]
    return tuple(sorted(good, key=lambda name: -profile.families[name].gains[tool])[:MOST_NAMED])


def treatment(spec: ToolSpec, profile: ToolProfile | None = None) -> str:
    """Say what a tool treats: ``motion-blur, shaken``, or ``noise 25-37.5 (sigma /255)``.

    Args:
        spec: Specification of the tool.
        profile: Profile of its toolbox, if it was measured. Of a tool that is good at nothing
            there, what it was trained for is said.
    """
    measured = () if profile is None else treats(profile, spec.name)
    if measured:
        return ", ".join(measured)
    return spec.label if spec.families else f"{spec.label} ({UNITS[spec.task]})"


@dataclass(frozen=True, slots=True)
class NameCheck:
    """Whether a tool is what it was trained to be.

    Attributes:
        tool: Name of the tool.
        gain: Mean gain in dB on what it was trained for.
        best: Name of the tool whose mean gain there is largest.
        best_gain: Mean gain of that one in dB.
    """

    tool: str
    gain: float
    best: str
    best_gain: float

    @property
    def is_true(self) -> bool:
        """Whether it is the best tool there, or nearly so."""
        return self.gain >= self.best_gain - AS_GOOD


def check_names(profile: ToolProfile) -> tuple[NameCheck, ...]:
    """Compare each specialist with all other tools, on what it was trained for."""
    return tuple(
        NameCheck(tool, own.gains[tool], own.best, own.gains[own.best])
        for tool, own in profile.own.items()
    )
