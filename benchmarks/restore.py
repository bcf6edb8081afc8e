"""Megapixels per second through a restorer and a chain of three tools."""

from benchmarks.material import (
    LARGE_CHAIN,
    SMALL_CHAIN,
    ScriptedPolicy,
    make_toolbox,
    synthetic_photo,
)
from benchmarks.report import Report, Row, median_seconds
from toolchain.restorer import Restorer
from tools_zoo.precision import FABRIC_PRECISION

_SIZES = ((500, 500), (1500, 2000))
_QUICK_SIZES = ((100, 100), (150, 200))


def run(*, quick: bool) -> Report:
    """Restore two photos with small tools and with large ones, in both number formats."""
    sizes, repeats = (_QUICK_SIZES, 1) if quick else (_SIZES, 3)
    return Report(
        title="Restoring a photo",
        method=(
            "Restorer.restore with a policy that plays a fixed sequence of three tools; "
            "what counts is the photo's pixels, once, over the time of all three tools and of "
            "the agent's decisions."
        ),
        rows=tuple(
            _row(name, chain, height, width, repeats)
            for height, width in sizes
            for name, chain in (("small", SMALL_CHAIN), ("large", LARGE_CHAIN))
        ),
    )


def _row(name: str, chain: tuple[str, ...], height: int, width: int, repeats: int) -> Row:
    photo = synthetic_photo(height, width)
    row: Row = {"photo": f"{width}x{height}", "tools": f"{name}: {', '.join(chain)}"}
    for precision in FABRIC_PRECISION:
        toolbox = make_toolbox()
        restorer = Restorer(toolbox, ScriptedPolicy(toolbox, chain), precision=precision)
        seconds = median_seconds(lambda restorer=restorer: restorer.restore(photo), repeats)  # type: ignore[misc]
        row[f"{precision} MP/s"] = height * width / 1e6 / seconds
    return row
