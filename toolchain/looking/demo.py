"""The demonstration: one embedded photo, damaged the same way every time, and restored."""

from pathlib import Path
from typing import Final

from restoration_toolchain.data.images import to_float
from restoration_toolchain.data.photos.sources import EMBEDDED, open_source
from restoration_toolchain.toolchain.looking.inspection import Inspection, inspect_degraded
from restoration_toolchain.toolchain.photos.read import Photo
from restoration_toolchain.toolchain.photos.write import write_photo
from restoration_toolchain.toolchain.restoring.restorer import Restorer

PHOTO: Final = "astronaut"
LEVEL: Final = "moderate"
SEED: Final = 9


def write_demo(restorer: Restorer, folder: Path) -> tuple[Inspection, tuple[Path, ...]]:
    """Write ``input.png``, ``restored.png`` and ``sheet.png``, replacing those of an earlier demo.

    Args:
        restorer: Restorer that the demonstration shows.
        folder: Folder of the files, which are returned as well; made if missing.

    Raises:
        PhotoError: The folder cannot be written to.
    """
    clean = Photo(rgb=to_float(dict(open_source(EMBEDDED))[PHOTO]))
    inspection = inspect_degraded(restorer, clean, level=LEVEL, seed=SEED)
    restoration = inspection.restoration
    pictures = {
        folder / "input.png": Photo(rgb=restoration.frames[0]),
        folder / "restored.png": Photo(rgb=restoration.image),
        folder / "sheet.png": inspection.sheet(),
    }
    for path, picture in pictures.items():
        write_photo(path, picture, overwrite=True)
    return inspection, tuple(pictures)
