"""``toolchain replay``: a result made again from its sidecar, and compared."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from restoration_toolchain.toolchain.cli.errors import STATUS_FAILED, fail
from restoration_toolchain.toolchain.cli.options import OverwriteOption
from restoration_toolchain.toolchain.errors import printable


def replay(
    sidecar: Annotated[
        Path, typer.Argument(help="Sidecar of a result (NAME.EXT.json).", metavar="SIDECAR")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the result here as well.")
    ] = None,
    photo: Annotated[
        Path | None, typer.Option("--input", help="The photo, if it was moved.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Restore a photo again as its sidecar says, and compare.

    Status 0: every sample is bit-identical. Status 1: some differ. Status 2: the photo, a tool or
    the agent is missing or has changed, and nothing was done.
    """
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.batches.replay import replay as restore_again
    from restoration_toolchain.toolchain.photos.write import check_target, write_photo

    if output is not None:
        check_target(output, photo, overwrite=overwrite)
        check_writable(output)
    result = restore_again(sidecar, source=photo)
    if output is not None:
        write_photo(output, result.photo, overwrite=overwrite)
    name = result.sidecar.target.name
    if not result.is_identical:
        why = "; ".join(result.differences) or "nothing that was recorded is otherwise"
        fail(f"{name}: the pixels are not those recorded ({why})", STATUS_FAILED)
    tools = ", ".join(result.sequence) or "left as it is"
    Console().print(
        f"{printable(name)}: bit-identical ({tools})", soft_wrap=True, highlight=False, markup=False
    )
