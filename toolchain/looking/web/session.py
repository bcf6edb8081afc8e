"""What the page shows of a photo, and how a restoration becomes that; it knows no browser."""

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from restoration_toolchain.toolchain.errors import PhotoError, PhotoTooLargeError
from restoration_toolchain.toolchain.looking.html_report import (
    comparison,
    facts,
    panels,
    part,
    signed,
)
from restoration_toolchain.toolchain.looking.inspection import Inspection, inspect_photo
from restoration_toolchain.toolchain.photos.paths import WRITABLE_FORMATS
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.toolchain.photos.write import write_photo
from restoration_toolchain.toolchain.restoring.restoration import (
    explain_end,
    explain_passed_over,
)
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import CallOptions

DEFAULT_MAX_PIXELS: Final = 24_000_000
"""Most pixels of a photo on the page, which is restored while somebody waits."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to restore, and how.

    Attributes:
        source: The photo's file.
        gt: File of the clean photo, where it is known.
        chosen: Settings of this restoration, as `Restorer.restore` takes them.
    """

    source: Path
    gt: Path | None = None
    chosen: CallOptions = field(default_factory=CallOptions)


@dataclass(frozen=True, slots=True)
class StepView:
    """One image of the chain, and the decision taken on seeing it.

    Attributes:
        title: What the image is.
        html: The image, beside the one before it, and the action values.
        actions: Label and name of each action that can be chosen here in place of the agent's;
            empty where there is nothing to choose.
        chosen: Name of the action that was taken; empty where none was.
    """

    title: str
    html: str
    actions: tuple[tuple[str, str], ...]
    chosen: str


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows of a restoration. It holds no pixels but those in its HTML.

    Attributes:
        request: What was asked for.
        summary: HTML: name, sequence, figures.
        comparison: HTML: before and after, and a detail of a large photo.
        steps: The images of the chain, the input first.
        ending: HTML: why the chain ended, and remarks.
        result: File of the restored photo.
    """

    request: Request
    summary: str
    comparison: str
    steps: tuple[StepView, ...]
    ending: str
    result: Path

    def overridden(self, index: int, action: str) -> Request:
        """The same request with another decision, after which the agent goes on by itself.

        Args:
            index: Place in `steps` of the image on which the decision is taken.
            action: Name of a tool, or ``stop``.
        """
        forced = (*(step.chosen for step in self.steps[:index]), action)
        chosen: CallOptions = {**self.request.chosen, "regions": False, "forced": forced}
        return dataclasses.replace(self.request, chosen=chosen)


def show(
    restorer: Restorer,
    request: Request,
    folder: Path,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_progress: Callable[[str], None] = lambda _: None,
) -> View:
    """Restore a photo, write the result with the photo's metadata, and lay out what to show.

    Args:
        restorer: What restores.
        request: What to do.
        folder: A new folder is made in it for the result.
        max_pixels: Larger photos are refused.
        on_progress: Told after every step, in a few words, what has just been done.

    Raises:
        PhotoError: The photo cannot be read, which is said without the folder it lies in, or the
            memory does not suffice.
        SettingError: What was asked for does not go together.
        UnknownNameError: A forced action is no tool.
    """
    source = request.source
    try:
        photo = read_photo(source, max_pixels=max_pixels)
    except PhotoError as error:
        hint = ", or raise the limit (toolchain serve --max-megapixels)"
        more = hint if isinstance(error, PhotoTooLargeError) else ""
        raise PhotoError(str(error).replace(str(source), source.name) + more) from error
    try:
        inspection = inspect_photo(
            restorer,
            photo,
            gt=None if request.gt is None else read_photo(request.gt),
            on_step=lambda step, _: on_progress(step.tool),
            **request.chosen,
        )
    except (MemoryError, RuntimeError) as error:
        # PyTorch reports a failed allocation on the CPU as a plain RuntimeError.
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise PhotoError(f"{source.name}: not enough memory; scale it down") from error
    restoration = inspection.restoration
    suffix = source.suffix.lower() if source.suffix.lower() in WRITABLE_FORMATS else ".png"
    result = folder / secrets.token_hex(8) / f"{source.stem}-restored{suffix}"
    remarks = (
        *explain_passed_over(restoration),
        *(note.replace(str(source), source.name) for note in photo.notes),
        *restoration.notes,
        *write_photo(result, photo.with_rgb(restoration.image)),
    )
    return View(
        request=request,
        summary=part("summary", source.name, restoration.steps, facts(restoration)),
        comparison=part("comparison", comparison(restoration, photo.icc)),
        steps=_steps(inspection, by_hand=not request.chosen.get("regions")),
        ending=part("ending", explain_end(restoration), remarks),
        result=result,
    )


def _steps(inspection: Inspection, *, by_hand: bool) -> tuple[StepView, ...]:
    restoration, unit = inspection.restoration, inspection.restoration.provenance.unit
    views = []
    for panel in panels(restoration, gt=inspection.gt, icc=inspection.icc):
        step = panel.scene.decision
        values = step.action_values.items() if step is not None and by_hand else ()
        labels = tuple((f"{name} ({signed(value)} {unit})", name) for name, value in values)
        chosen = "" if step is None else step.tool
        views.append(StepView(panel.scene.title, part("panel", panel, unit), labels, chosen))
    return tuple(views)
