"""The public photo sets that can be fetched by name, with what each promises to contain."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

import platformdirs

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.photos.download import (
    Progress,
    check_can_extract,
    extract,
    fetch,
    no_progress,
)

_DIV2K: Final = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_DIV2K_LICENCE: Final = "Academic research only; each photo remains its owner's."


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSet:
    """A named set of photos inside an archive on somebody's server.

    Attributes:
        url: Address of the archive, in a version that stays as it is.
        sha256: Checksum of the whole archive, in hexadecimal.
        size: Length of the archive in bytes.
        is_size_exact: Whether another length means that the publisher has changed it.
        subfolder: Folder of the photos, inside the archive.
        licence: Use that the publishers allow, in one sentence.
        title: Name of the whole set, for people.
        weights_license: SPDX identifier for weights that are learnt from it.
        split: Name of the part of the set; empty is all of it.
        archive: Name of the archive in the cache; empty is that of the address.
    """

    url: str
    sha256: str
    size: int
    subfolder: str
    licence: str
    title: str
    weights_license: str
    split: str = ""
    archive: str = ""
    is_size_exact: bool = True

    @property
    def file_name(self) -> str:
        """Name of the archive in the cache."""
        return self.archive or PurePosixPath(self.url).name


_BSDS500: Final = PublicSet(
    url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
    sha256="97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e",
    size=70_763_455,
    subfolder="BSR/BSDS500/data/images",
    licence="Non-commercial research and education only.",
    title="BSDS500",
    weights_license="LicenseRef-BSDS500-research",
)

# The first of the two files of the set: about 2,000 of its 3,999 photos.
_STOCK_IMAGES: Final = PublicSet(
    url="https://huggingface.co/datasets/KoalaAI/StockImages-CC0/resolve/"
    "206f3575579f1187548c6f47042ae9174c0a51fc/data/train-00000-of-00002.parquet",
    sha256="8d0ab6f1c1da83682e752c00b96db0f9c00db9f3364622e776a65a54e49dad1a",
    size=422_000_000,
    is_size_exact=False,  # its publisher states it in MB
    subfolder="train",
    licence="Public domain (CC0 1.0).",
    title="StockImages-CC0",
    weights_license="CC0-1.0",
    split="train",
    archive="stockimages-cc0.parquet",
)

PUBLIC_SETS: Final = MappingProxyType(
    {
        "div2k-train": PublicSet(
            url=_DIV2K + "DIV2K_train_HR.zip",
            sha256="9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
            size=3_530_603_713,
            subfolder="DIV2K_train_HR",
            licence=_DIV2K_LICENCE,
            title="DIV2K",
            weights_license="LicenseRef-DIV2K-research",
            split="train",
        ),
        "div2k-valid": PublicSet(
            url=_DIV2K + "DIV2K_valid_HR.zip",
            sha256="20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
            size=448_993_893,
            subfolder="DIV2K_valid_HR",
            licence=_DIV2K_LICENCE,
            title="DIV2K",
            weights_license="LicenseRef-DIV2K-research",
            split="valid",
        ),
        "bsds500": _BSDS500,
        # The splits by themselves: whoever validates on one must be able to train without it.
        **{
            f"bsds500-{split}": replace(
                _BSDS500, subfolder=f"{_BSDS500.subfolder}/{split}", split=split
            )
            for split in ("train", "test", "val")
        },
        # As free as weights can be. Of the photos in a table, one in 20 is for validation.
        "stockimages-cc0": _STOCK_IMAGES,
        "stockimages-cc0-val": replace(_STOCK_IMAGES, subfolder="val", split="val"),
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
        DownloadError: The archive could not be fetched or unpacked, or what unpacks it is missing.
        ChecksumError: The file that was fetched is another one.
    """
    if name not in PUBLIC_SETS:
        raise UnknownNameError("public set", name, PUBLIC_SETS)
    found = PUBLIC_SETS[name]
    user_cache = platformdirs.user_cache_path("restoration-toolchain", appauthor=False)
    cache = user_cache / "sets" if cache_dir is None else cache_dir
    packed = cache / found.file_name
    unpacked = packed.with_suffix("")
    if not unpacked.is_dir():
        check_can_extract(packed)  # before it is fetched
        size = found.size if found.is_size_exact else None
        fetch(found.url, found.sha256, packed, size=size, progress=progress, offline=offline)
        extract(packed, unpacked)
        packed.unlink()
    return unpacked / found.subfolder
