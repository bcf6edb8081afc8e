"""The public photo sets that can be fetched by name, with what each promises to contain."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

import platformdirs

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.photos.download import Progress, extract, fetch, no_progress

_DIV2K: Final = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_DIV2K_LICENCE: Final = "Academic research only; each photo remains its owner's."
_BSDS: Final = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/"
_BSDS_LICENCE: Final = "Non-commercial research and education only."


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A file on somebody's server.

    Attributes:
        url: Address of the file.
        sha256: Checksum of the whole file, in hexadecimal.
        size: Length in bytes.
    """

    url: str
    sha256: str
    size: int

    @property
    def folder(self) -> str:
        """Name of the folder that the archive is unpacked into."""
        return PurePosixPath(self.url).stem


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A named set of photos inside an archive.

    Attributes:
        archive: File to fetch.
        subfolder: Folder of its photos, inside the archive.
        licence: Use that the publishers allow, in one sentence.
    """

    archive: Archive
    subfolder: str
    licence: str


_DIV2K_TRAIN: Final = Archive(
    url=_DIV2K + "DIV2K_train_HR.zip",
    sha256="9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
    size=3_530_603_713,
)
_DIV2K_VALID: Final = Archive(
    url=_DIV2K + "DIV2K_valid_HR.zip",
    sha256="20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
    size=448_993_893,
)
_BSDS500: Final = Archive(
    url=_BSDS + "BSR_bsds500.tgz",
    sha256="97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e",
    size=70_763_455,
)


def _bsds500(split: str) -> PublicSet:
    return PublicSet(
        archive=_BSDS500, subfolder=f"BSR/BSDS500/data/images{split}", licence=_BSDS_LICENCE
    )


PUBLIC_SETS: Final = MappingProxyType(
    {
        "div2k-train": PublicSet(
            archive=_DIV2K_TRAIN, subfolder="DIV2K_train_HR", licence=_DIV2K_LICENCE
        ),
        "div2k-valid": PublicSet(
            archive=_DIV2K_VALID, subfolder="DIV2K_valid_HR", licence=_DIV2K_LICENCE
        ),
        "bsds500": _bsds500(""),
        # The splits by themselves: whoever validates on one must be able to train without it.
        "bsds500-train": _bsds500("/train"),
        "bsds500-test": _bsds500("/test"),
        "bsds500-val": _bsds500("/val"),
    }
)
"""Every set that `fetch_public_set` knows, by name."""


def fetch_public_set(
    name: str,
    *,
    cache_dir: Path | None = None,
    offline: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Return the folder with the photos of a set, fetching and unpacking its archive if needed.

    An unpacked set is kept, its archive is not.

    Args:
        name: Key of `PUBLIC_SETS`.
        cache_dir: Folder of all sets; None is the user's cache folder, as the platform wants it.
        offline: Never touch the network.
        progress: Called during a download with the bytes so far and in total (None: unknown).

    Raises:
        UnknownNameError: There is no such set.
        DownloadError: The archive could not be fetched or unpacked.
        ChecksumError: The file that was fetched is another one.
    """
    if name not in PUBLIC_SETS:
        raise UnknownNameError("public set", name, PUBLIC_SETS)
    chosen = PUBLIC_SETS[name]
    user_cache = platformdirs.user_cache_path("restoration-toolchain", appauthor=False)
    cache = user_cache / "sets" if cache_dir is None else cache_dir
    unpacked = cache / chosen.archive.folder
    if not unpacked.is_dir():
        packed = cache / PurePosixPath(chosen.archive.url).name
        fetch(
            chosen.archive.url,
            chosen.archive.sha256,
            packed,
            size=chosen.archive.size,
            progress=progress,
            offline=offline,
        )
        extract(packed, unpacked)
        packed.unlink()
    return unpacked / chosen.subfolder
