"""Properties of the inspection picture."""

import numpy as np
import pytest

from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.toolchain.looking.sheet import draw_sheet
from tests.toolchain.conftest import SEQUENCE, MakeRestorer, random_samples

CHOSEN = (28, 99, 173)


def photo(height: int, width: int) -> FloatImage:
    return to_float(random_samples(height, width))


def test_a_small_photo_is_enlarged_without_inventing_pixels(make_restorer: MakeRestorer) -> None:
    lq = photo(63, 63)
    sheet = np.asarray(draw_sheet(make_restorer().restore(lq, keep_frames=True)))
    enlarged = np.repeat(np.repeat(random_samples(63, 63), 6, axis=0), 6, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, enlarged.shape)
    left = 32
    assert any(np.array_equal(windows[top, left, 0], enlarged) for top in range(len(windows)))


def test_there_is_a_column_for_the_input_each_tool_and_the_clean_photo(
    make_restorer: MakeRestorer,
) -> None:
    lq = photo(63, 63)
    restorer = make_restorer(*SEQUENCE)
    widths = {
        n_columns: draw_sheet(restoration, gt=gt).width
        for n_columns, restoration, gt in (
            (1, make_restorer().restore(lq, keep_frames=True), None),
            (3, restorer.restore(lq, keep_frames=True), None),
            (4, restorer.restore(lq, gt=lq, keep_frames=True), lq),
        )
    }
    column = widths[4] - widths[3]
    assert widths[3] - widths[1] == 2 * column


def test_one_action_is_highlighted_per_decision(make_restorer: MakeRestorer) -> None:
    lq = np.full((63, 63, 3), 0.5, np.float32)
    for n_decisions, max_steps in ((1, 1), (2, 2), (3, 3)):
        restorer = make_restorer(*SEQUENCE, max_steps=max_steps)
        sheet = np.asarray(draw_sheet(restorer.restore(lq, keep_frames=True)))
        is_chosen = (sheet == CHOSEN).all(axis=2)
        # A bar is solid, which tells it from the strokes of letters in its colour.
        bars = np.lib.stride_tricks.sliding_window_view(is_chosen, (8, 8)).all(axis=(2, 3))
        starts = bars[:, 1:] & ~bars[:, :-1]
        columns = set(np.nonzero(starts)[1] // 406)
        assert len(columns) == n_decisions


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 700), (700, 2), (900, 300), (97, 1500)])
def test_any_shape_of_photo_fits(make_restorer: MakeRestorer, height: int, width: int) -> None:
    lq = photo(height, width)
    restoration = make_restorer(SEQUENCE[1]).restore(lq, gt=lq, keep_frames=True)
    sheet = draw_sheet(restoration, gt=lq, caption="degraded by nothing at all")
    assert sheet.width == 2 * 32 + 3 * 378 + 2 * 28
    assert sheet.height < 1100


def test_the_caption_makes_room_for_itself(make_restorer: MakeRestorer) -> None:
    restoration = make_restorer().restore(photo(63, 63), keep_frames=True)
    assert draw_sheet(restoration, caption="blur").height > draw_sheet(restoration).height


def test_without_frames_there_is_nothing_to_draw(make_restorer: MakeRestorer) -> None:
    with pytest.raises(ValueError, match="keep_frames=True"):
        draw_sheet(make_restorer().restore(photo(9, 9)))
