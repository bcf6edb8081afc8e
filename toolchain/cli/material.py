"""What ``toolchain evaluate`` measures on: two folders of photos, or clean patches to degrade."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restoration_toolchain.toolchain.cli.errors import fail
from restoration_toolchain.toolchain.cli.levels import NAMES

if TYPE_CHECKING:
    from restoration_toolchain.data.patches.store import Patches

ALL_LEVELS = ("mild", "moderate", "severe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Options that say what is measured on."""

    source: Annotated[
        str | None,
        typer.Argument(
            help="Clean photos: a folder, 'embedded', a public set, a store (.h5), or with --suite "
            "world a set of it (.h5, see: data world)."
        ),
    ] = None
    lq: Annotated[Path | None, typer.Option(help="Degraded photos, to compare with --gt.")] = None
    gt: Annotated[Path | None, typer.Option(help="Clean photos with the names of --lq.")] = None
    restore: Annotated[bool, typer.Option("--restore", help="Restore --lq first.")] = False
    level: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Damage, repeatable: {NAMES}; where photos are enlarged, also slight and real.",
            show_default=", ".join(ALL_LEVELS),
        ),
    ] = None
    count: Annotated[
        int,
        typer.Option(
            help="Patches per level, or per family.",
            min=1,
            show_default="64; with --suite world 48",
        ),
    ] = 64
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0

    @property
    def levels(self) -> list[str]:
        """Levels of damage that clean patches get."""
        return self.level or list(ALL_LEVELS)

    @property
    def folders(self) -> tuple[Path, Path] | None:
        """Degraded photos and clean ones to compare; None where clean patches are degraded."""
        return None if self.lq is None or self.gt is None else (self.lq, self.gt)

    def check(self) -> None:
        """End the command if these options do not go together."""
        if (self.lq is None) != (self.gt is None):
            fail("give both --lq and --gt, or neither")
        if (self.lq is None) == (self.source is None):
            fail("give either clean photos (a folder, 'embedded', ...) or --lq and --gt")
        if self.restore and self.lq is None:
            fail("--restore goes with --lq and --gt; photos to degrade are always restored")

    def clean_windows(self, side: int | None = None) -> "Patches":
        """Draw clean patches with their surroundings.

        Args:
            side: Pixels a side, where they are cut from photos; None is what an agent looks at.
        """
        from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
        from restoration_toolchain.data.photos.sources import open_source
        from restoration_toolchain.toolchain.cli.progress import Download
        from restoration_toolchain.toolchain.measuring.evaluation import (
            evaluation_patches,
            store_patches,
        )

        source = self.source or ""
        if source.endswith((".h5", ".hdf5")):
            return store_patches(Path(source), self.count, self.seed)
        with Download(source) as bar:
            photos = open_source(source, progress=bar.update)
        return evaluation_patches(photos, self.count, self.seed, patch_size=side or VIEW_SIZE)
