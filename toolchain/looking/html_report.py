"""The story of a restoration as one HTML file that loads nothing, and the parts it is made of."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from restoration_toolchain.data.images import FloatImage, to_uint8
from restoration_toolchain.data.scaling import upsampled
from restoration_toolchain.toolchain.looking.pictures import (
    Picture,
    action_colour,
    detail_box,
    map_picture,
    picture,
)
from restoration_toolchain.toolchain.looking.story import Scene, ValueAxis, scenes, value_axis
from restoration_toolchain.toolchain.restoring.photo_quality import rounded
from restoration_toolchain.toolchain.restoring.regions import CELL
from restoration_toolchain.toolchain.restoring.restoration import (
    STOP,
    Restoration,
    Score,
    Step,
    explain_end,
    explain_passed_over,
)

_HOME: Final = "restoration_toolchain.toolchain.looking"
_PHOTO_SIDE: Final = 1600  # pixels, longest side of the large pictures
_STEP_SIDE: Final = 900  # pixels, longest side of the pictures of the steps
_DETAIL: Final = (960, 540)  # pixels, width and height


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A scene of a story, ready to be rendered.

    Attributes:
        scene: The image, its names, and the decision taken on seeing it.
        score: Score in words; empty where no clean image is known and no score was asked for.
        picture: The image.
        previous: The image that the tool was given; None if no tool made this one.
        bars: The action values, in action order, with places in percent of the track of a bar.
        remarks: A sentence for everything else that is known of the image and the decision.
        region_map: ``picture``, ``entries`` and ``summary`` of what each region got; None where
            one decision served the whole photo.
    """

    scene: Scene
    score: str
    picture: Picture
    previous: Picture | None
    bars: list[dict[str, Any]]
    remarks: list[str]
    region_map: dict[str, Any] | None


def facts(restoration: Restoration) -> list[tuple[str, str, str]]:
    """Name, value and change of each figure: size, gain or the expected one, time."""
    height, width = restoration.image.shape[:2]
    before, after = restoration.score, restoration.final_score
    found = [("Size", f"{width} x {height} pixels", "")]
    if before is not None and after is not None:
        change = f"{signed(after.psnr - before.psnr)} dB"
        found.append(("PSNR", f"{before.psnr:.2f} → {after.psnr:.2f} dB", change))
        if before.ssim is not None and after.ssim is not None:
            found.append(("SSIM", f"{before.ssim:.3f} → {after.ssim:.3f}", ""))
    looked, looks = restoration.quality, restoration.final_quality
    if looked is not None and looks is not None:
        change = signed(looks.score - looked.score)
        value = f"{looked.score:.3f} → {looks.score:.3f}"
        found.append((f"SFD-IQA ({looks.encoder})", value, change))
    made_by, settings = restoration.provenance, restoration.provenance.settings
    if not (settings.forced or settings.regions):  # the first value is then of one free choice
        first = restoration.steps[0]
        value = f"{signed(first.action_values[first.tool])} {made_by.unit}"
        found.append(("Gain that the agent expected", value.rstrip(), ""))
    if settings.strength < 1.0:
        found.append(("Strength", f"{settings.strength:.0%}", ""))
    found.append(("Time", f"{restoration.seconds:.1f} s", ""))
    return found


def panels(
    restoration: Restoration, *, gt: FloatImage | None = None, icc: bytes | None = None
) -> list[Panel]:
    """Lay out every image of a restoration with the decision taken on seeing it.

    Args:
        restoration: Restoration made with ``keep_frames=True``.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1]; laid out last.
        icc: RGB colour profile of the photo; None is sRGB.

    Raises:
        ValueError: The restoration has no frames.
    """
    axis = value_axis(restoration.steps)
    laid_out: list[Panel] = []
    for scene in scenes(restoration, gt):
        before = laid_out[-1] if laid_out else None
        is_alike = before is not None and before.scene.image.shape == scene.image.shape
        laid_out.append(
            Panel(
                scene,
                score=_score_text(scene, before.scene.score if before else None),
                picture=picture(to_uint8(scene.image), max_side=_STEP_SIDE, icc=icc),
                previous=before.picture if before and scene.made_by and is_alike else None,
                bars=_bars(scene.decision, axis) if scene.decision else [],
                remarks=_remarks(scene),
                region_map=_region_map(scene.decision, scene.image) if scene.decision else None,
            )
        )
    return laid_out


def signed(value: float) -> str:
    """Write a value with two decimals and its sign; a minus is a real one."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def part(name: str, *arguments: object) -> str:
    """Render one of the parts that reports and pages are made of; text in it is escaped.

    Args:
        name: Name of a macro of ``assets/parts.html``.
        arguments: Arguments of the macro.
    """
    macro = getattr(_environment().get_template("parts.html").module, name)
    return str(macro(*arguments))


def style(name: str = "story") -> str:
    """A style sheet; that of the parts is for elements inside one of class ``story``."""
    return (files(_HOME) / f"assets/{name}.css").read_text("utf-8")


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
        restoration: Restoration made with ``keep_frames=True``.
        name: Name of the photo; any text.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1]; shown last.
        caption: Remark on the input, such as how it was degraded.
        icc: RGB colour profile of the photo; None is sRGB.

    Raises:
        ValueError: The restoration has no frames.
    """
    laid_out, made_by = panels(restoration, gt=gt, icc=icc), restoration.provenance
    template = _environment().get_template("report.html")
    return template.render(
        css=Markup(style()),
        name=name,
        caption=caption,
        steps=restoration.steps,
        facts=facts(restoration),
        comparison=comparison(restoration, icc),
        panels=laid_out,
        unit=made_by.unit,
        end=explain_end(restoration),
        notes=(*explain_passed_over(restoration), *restoration.notes),
        provenance=_origin(restoration),
        checksums=[("agent", made_by.agent_checksum), *made_by.tool_checksums.items()],
        version=made_by.version,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The photo before and after and, where they are shown smaller than they are, a detail.

    Attributes:
        before: The input, enlarged as the result is.
        after: The result.
        detail: Cut-outs of both; empty for a small photo.
        where: Place of the detail, in words.
    """

    before: Picture
    after: Picture
    detail: tuple[Picture, ...] = ()
    where: str = ""


def comparison(restoration: Restoration, icc: bytes | None = None) -> Comparison:
    """Set the input beside the result, and cut out a detail where a large photo changed most.

    Args:
        restoration: Restoration made with ``keep_frames=True``.
        icc: RGB colour profile of the photo; None is sRGB.
    """
    before, after = restoration.frames[0], restoration.image
    if before.shape != after.shape:
        before = upsampled(before, restoration.provenance.settings.scale)

    def pair(*box: slice) -> tuple[Picture, Picture]:
        first, second = (
            picture(to_uint8(image[box]), max_side=_PHOTO_SIDE, icc=icc)
            for image in (before, after)
        )
        return first, second

    height, width = after.shape[:2]
    if max(height, width) <= _PHOTO_SIDE:
        return Comparison(*pair())
    across, down = min(width, _DETAIL[0]), min(height, _DETAIL[1])
    left, top = detail_box(before, after, across, down)
    detail = pair(slice(top, top + down), slice(left, left + across))
    where = f"{across} x {down} pixels, {left} from the left and {top} from the top"
    return Comparison(*pair(), detail, where)


def _bars(step: Step, axis: ValueAxis) -> list[dict[str, Any]]:
    """Lay out the action values of a step on an axis shared with other steps."""
    zero, laid_out = 100.0 * axis.share(0.0), []
    for name, value in step.action_values.items():
        start, stop = sorted((zero, 100.0 * axis.share(value)))
        laid_out.append(
            {
                "name": name,
                "text": signed(value),
                "left": round(start, 2),
                "width": round(stop - start, 2),
                "zero": round(zero, 2),
                "is_chosen": name == step.tool,
                "is_off": value < axis.low,
            }
        )
    return laid_out


def _remarks(scene: Scene) -> list[str]:
    made_by, decision, remarks = scene.made_by, scene.decision, []
    if decision is not None and decision.risk is not None:
        which = "the best tool" if decision.is_stop else decision.tool
        remarks.append(f"Risk that {which} makes it worse: {decision.risk:.0%}.")
    if made_by is not None and made_by.colour_drift is not None:
        moved = f"{made_by.colour_drift:.1f} of 255 grey levels"
        remarks.append(f"The colour of an area moved by at most {moved}.")
    return remarks


def _region_map(step: Step, image: FloatImage) -> dict[str, Any] | None:
    """Draw what each region of an image was decided to get, as `Panel.region_map` says."""
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


def _score_text(scene: Scene, before: Score | None) -> str:
    """What is known of PSNR, its change to an earlier one, SSIM and SFD-IQA."""
    score, words = scene.score, []
    if score is not None:
        change = "" if before is None else f" ({signed(score.psnr - before.psnr)})"
        words.append(f"PSNR {score.psnr:.2f} dB{change}")
        words += [] if score.ssim is None else [f"SSIM {score.ssim:.3f}"]
    return ", ".join([*words, *([] if scene.quality is None else [rounded(scene.quality)])])


def _origin(restoration: Restoration) -> list[tuple[str, str]]:
    made_by, settings = restoration.provenance, restoration.provenance.settings
    return [
        ("Version", made_by.version),
        ("Toolbox", made_by.toolbox),
        ("Agent", made_by.agent),
        ("Computed on", f"{settings.device}, {settings.precision}"),
        ("At most", f"{settings.max_steps} tool{'s' if settings.max_steps > 1 else ''}"),
        *settings.rows(),
        ("Action values in", made_by.unit or f"reward “{made_by.reward}”"),
    ]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(_HOME, "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
