"""The story of a restoration as one HTML file that loads nothing, and the parts it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data.images import FloatImage
from data.scaling import upsampled
from toolchain.display import Picture, action_colour, detail_box, map_picture, picture
from toolchain.regions import CELL
from toolchain.restoration import STOP, Restoration, Score, Step, explain_end
from toolchain.scenes import Scene, ValueAxis, scenes, value_axis

_PHOTO_SIDE: Final = 1600  # pixels; of the large pictures
_STEP_SIDE: Final = 900  # pixels; of the pictures of the steps
_DETAIL: Final = (960, 540)  # pixels


@dataclass(frozen=True, slots=True)
class Bar:
    """One action value, drawn.

    Attributes:
        name: Of the action.
        text: The value.
        left: Where the bar begins, in percent of its track; where it ends is ``width`` further.
        width: In percent of the track.
        zero: Where 0 lies, in percent of the track.
        is_chosen: The agent took this action.
        is_off: The value lies to the left of the track.
    """

    name: str
    text: str
    left: float
    width: float
    zero: float
    is_chosen: bool
    is_off: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure with its name, and by how much it has changed."""

    name: str
    value: str
    change: str = ""


def bars(step: Step, axis: ValueAxis) -> list[Bar]:
    """Lay out the action values of a step, in action order, on an axis shared with other steps."""
    zero = 100.0 * axis.share(0.0)
    laid_out = []
    for name, value in step.action_values.items():
        start, stop = sorted((zero, 100.0 * axis.share(value)))
        laid_out.append(
            Bar(
                name=name,
                text=signed(value),
                left=round(start, 2),
                width=round(stop - start, 2),
                zero=round(zero, 2),
                is_chosen=name == step.tool,
                is_off=value < axis.low,
            )
        )
    return laid_out


def facts(restoration: Restoration) -> list[Fact]:
    """The figures of a restoration: size, what was gained or expected, time."""
    height, width = restoration.image.shape[:2]
    before, after = restoration.score, restoration.final_score
    found = [Fact("Size", f"{width} x {height} pixels")]
    if before is not None and after is not None:
        change = f"{signed(after.psnr - before.psnr)} dB"
        found.append(Fact("PSNR", f"{before.psnr:.2f} → {after.psnr:.2f} dB", change))
        if before.ssim is not None and after.ssim is not None:
            found.append(Fact("SSIM", f"{before.ssim:.3f} → {after.ssim:.3f}"))
    made_by = restoration.provenance
    if not (made_by.forced or made_by.regions):  # the first value is then of one free choice
        first = restoration.steps[0]
        value = f"{signed(first.action_values[first.tool])} {made_by.unit}"
        found.append(Fact("Gain that the agent expected", value.rstrip()))
    found.append(Fact("Time", f"{restoration.seconds:.1f} s"))
    return found


def signed(value: float) -> str:
    """A value with its sign, which is a real minus, and two decimals."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def part(name: str, *arguments: object) -> str:
    """Render one of the parts that reports and pages are made of; text in it is escaped.

    Args:
        name: Of a macro of ``assets/parts.html``.
        arguments: What it is given.
    """
    macro = getattr(_environment().get_template("parts.html").module, name)
    return str(macro(*arguments))


def style() -> str:
    """The style sheet of the parts, for elements inside one of class ``story``."""
    return files("toolchain").joinpath("assets/story.css").read_text("utf-8")


def render_report(
    restoration: Restoration,
    *,
    name: str,
    gt: FloatImage | None = None,
    caption: str = "",
    icc: bytes | None = None,
) -> str:
    """Tell a restoration in one HTML file with everything in it, for sharing.

    Large photos are scaled down, and the page says so; a detail is then shown pixel for pixel.

    Args:
        restoration: Made with ``keep_frames=True``.
        name: Of the photo; any text.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1]; shown last.
        caption: What is known about the input, such as how it was degraded.
        icc: RGB colour profile of the photo; None is sRGB.

    Raises:
        ValueError: The restoration has no frames.
    """
    story = scenes(restoration, gt)
    before, after = before_and_after(restoration)
    made_by = restoration.provenance
    return (
        _environment()
        .get_template("report.html")
        .render(
            css=Markup(style()),
            name=name,
            caption=caption,
            steps=restoration.steps,
            facts=facts(restoration),
            before=picture(before, max_side=_PHOTO_SIDE, icc=icc),
            after=picture(after, max_side=_PHOTO_SIDE, icc=icc),
            detail=detail(before, after, icc),
            scenes=_scene_entries(story, restoration, icc),
            unit=made_by.unit,
            end=explain_end(restoration),
            notes=restoration.notes,
            provenance=_origin(restoration),
            checksums=[("agent", made_by.agent_checksum), *made_by.tool_checksums.items()],
            version=made_by.version,
        )
    )


def before_and_after(restoration: Restoration) -> tuple[FloatImage, FloatImage]:
    """The input, enlarged as the result is, and the result."""
    before = restoration.frames[0]
    if before.shape != restoration.image.shape:
        before = upsampled(before, restoration.provenance.scale)
    return before, restoration.image


def detail(
    before: FloatImage, after: FloatImage, icc: bytes | None = None
) -> dict[str, Any] | None:
    """Cut out what changed most, where the whole photo is shown smaller than it is.

    Args:
        before: Shape (H, W, 3), float32, range [0, 1].
        after: Of the same shape.
        icc: RGB colour profile of both.

    Returns:
        ``before`` and ``after`` as pictures and ``where``, in words; None for a small photo.
    """
    height, width = after.shape[:2]
    if max(height, width) <= _PHOTO_SIDE:
        return None
    across, down = min(width, _DETAIL[0]), min(height, _DETAIL[1])
    left, top = detail_box(before, after, across, down)
    box = (slice(top, top + down), slice(left, left + across))
    return {
        "before": picture(before[box], max_side=_PHOTO_SIDE, icc=icc),
        "after": picture(after[box], max_side=_PHOTO_SIDE, icc=icc),
        "where": f"{across} x {down} pixels, {left} from the left and {top} from the top",
    }


def map_of(step: Step, image: FloatImage) -> dict[str, Any] | None:
    """Draw what each region of an image was decided to get.

    Args:
        step: The decision.
        image: The one it was taken on, shape (H, W, 3), float32, range [0, 1].

    Returns:
        ``picture``, ``entries`` (name, colour and share of each action) and ``summary`` in words;
        None where one decision served the whole photo.
    """
    actions = step.region_actions
    if actions is None:
        return None
    names = list(step.action_values)  # all of them: regions do not go with tools that enlarge
    counts = np.bincount(actions.ravel(), minlength=len(names))
    n_tools = names.index(STOP)
    entries = [
        {
            "name": names[action],
            "colour": "#8a8a8a" if action == n_tools else f"rgb{action_colour(action, n_tools)}",
            "share": f"{counts[action] / actions.size:.0%}",
        }
        for action in np.argsort(-counts, kind="stable")
        if counts[action]
    ]
    return {
        "picture": map_picture(image, actions, cell=CELL, n_tools=n_tools, max_side=_STEP_SIDE),
        "entries": entries,
        "summary": ", ".join(f"{entry['name']} {entry['share']}" for entry in entries),
    }


def score_text(score: Score | None, before: Score | None = None) -> str:
    """PSNR, its change to an earlier one, and SSIM; empty if the score is not known."""
    if score is None:
        return ""
    change = "" if before is None else f" ({signed(score.psnr - before.psnr)})"
    ssim = "" if score.ssim is None else f", SSIM {score.ssim:.3f}"
    return f"PSNR {score.psnr:.2f} dB{change}{ssim}"


def _scene_entries(
    story: Sequence[Scene], restoration: Restoration, icc: bytes | None
) -> list[dict[str, Any]]:
    axis = value_axis(restoration.steps)
    entries: list[dict[str, Any]] = []
    before: tuple[Scene, Picture] | None = None
    for scene in story:
        shown = picture(scene.image, max_side=_STEP_SIDE, icc=icc)
        same_size = before is not None and before[0].image.shape == scene.image.shape
        entries.append(
            {
                "title": scene.title,
                "subtitle": scene.subtitle,
                "score": score_text(scene.score, before[0].score if before else None),
                "picture": shown,
                "previous": before[1] if before and scene.made_by and same_size else None,
                "bars": bars(scene.decision, axis) if scene.decision else [],
                "note": scene.note,
                "map": map_of(scene.decision, scene.image) if scene.decision else None,
            }
        )
        before = (scene, shown)
    return entries


def _origin(restoration: Restoration) -> list[tuple[str, str]]:
    made_by = restoration.provenance
    most = f"{made_by.max_steps} tool{'s' if made_by.max_steps > 1 else ''}"
    scale = [("Enlarged by", f"{made_by.scale}")] if made_by.scale > 1 else []
    strength = [("Strength", f"{made_by.strength:.0%}")] if made_by.strength < 1.0 else []
    forced = [("Chosen by hand", ", ".join(made_by.forced))] if made_by.forced else []
    return [
        ("Version", made_by.version),
        ("Toolbox", made_by.toolbox),
        ("Agent", made_by.agent),
        ("Computed on", f"{made_by.device}, {made_by.precision}"),
        ("At most", most),
        *scale,
        *strength,
        *([("Decided", "per region")] if made_by.regions else []),
        *forced,
        ("Action values in", made_by.unit or f"reward “{made_by.reward}”"),
    ]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("toolchain", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
