"""What weights were learnt from, and what they may be used for: as the manifest says it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

UNKNOWN: Final = "unknown"
"""Value of what nobody recorded, as in manifests of before."""

_SEPARATORS: Final = {"license": " AND "}
_SEPARATOR: Final = "; "  # of all others


@dataclass(frozen=True, slots=True)
class Origin:
    """Licence of weights, and the data that they were learnt from.

    Attributes:
        license: SPDX expression for the weights.
        data: Names of the data sets.
        data_license: Use that their publishers allow, in one sentence.
        data_sha256: Checksum of the archive that they come in.
    """

    license: str = UNKNOWN
    data: str = UNKNOWN
    data_license: str = UNKNOWN
    data_sha256: str = UNKNOWN

    def to_dict(self) -> dict[str, str]:
        """Plain data for a manifest; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, manifest: Mapping[str, Any]) -> "Origin":
        """Read what a manifest says of it; what it does not say is unknown."""
        return cls(**{field.name: str(manifest.get(field.name, UNKNOWN)) for field in fields(cls)})

    def sentence(self) -> str:
        """Licence and data in one line."""
        if self == Origin():
            return f"licence of the weights: {UNKNOWN}"
        return f"licence of the weights: {self.license}; learnt from {self.data}: " + (
            self.data_license
        )


def joined(origins: Iterable[Origin]) -> Origin:
    """The origin of weights that come from several: all that is said of any, each once."""
    parts: dict[str, list[str]] = {field.name: [] for field in fields(Origin)}
    for origin in origins:
        for name, value in origin.to_dict().items():
            parts[name] += value.split(_SEPARATORS.get(name, _SEPARATOR))
    return Origin(
        **{
            name: _SEPARATORS.get(name, _SEPARATOR).join(dict.fromkeys(values)) or UNKNOWN
            for name, values in parts.items()
        }
    )


def origin_of(sources: Sequence[str]) -> Origin:
    """The origin of weights that learn from photos: known if all of these are public sets.

    Args:
        sources: Names and folders, as `data.photos.sources.open_source` takes them.
    """
    # A restoration reads manifests, too, and needs nothing that downloads.
    from restoration_toolchain.data.photos.public_sets import PUBLIC_SETS

    if not sources or any(source not in PUBLIC_SETS for source in sources):
        return Origin()
    splits: dict[str, list[str]] = {}
    for source in dict.fromkeys(sources):
        found = PUBLIC_SETS[source]
        splits.setdefault(found.title, []).extend(filter(None, [found.split]))
    named = _SEPARATOR.join(
        f"{title} ({', '.join(of_it)})" if of_it else title for title, of_it in splits.items()
    )
    return joined(
        Origin(found.weights_license, named, found.licence, found.sha256)
        for found in (PUBLIC_SETS[source] for source in sources)
    )


def origin_of_store(path: str | Path) -> Origin:
    """The origin of weights that learn from a patch store, as far as the store names its sources.

    Raises:
        StoreError: The store cannot be read.
    """
    from restoration_toolchain.data.patches.store import PatchStore

    with PatchStore(Path(path)) as store:
        return origin_of(store.attrs["sources"])
