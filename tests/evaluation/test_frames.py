"""Frames of every kind become a right picture, or a line that says why there is none."""

import numpy as np
import pytest

from rl_cli.evaluation.frames import FrameConverter, VideoUnavailable

RGB = np.random.default_rng(0).integers(1, 256, (8, 6, 3)).astype(np.uint8)
GRAY = RGB[..., 0]
EXPANDED = np.stack([GRAY] * 3, axis=-1)
READ_ONLY = RGB.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (RGB, RGB),
        (RGB[::-1, ::-1], RGB[::-1, ::-1]),  # negative strides
        (np.asfortranarray(RGB), RGB),
        (READ_ONLY, RGB),
        (RGB.tolist(), RGB),
        (RGB.transpose(2, 0, 1), RGB),  # channels first
        (np.dstack([RGB, np.full((8, 6), 7, np.uint8)]), RGB),  # RGBA
        (GRAY, EXPANDED),
        (GRAY[..., None], EXPANDED),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.float64), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        ((RGB / 255).astype(np.float16), RGB),
        (GRAY > 100, np.where(EXPANDED > 100, 255, 0)),
    ],
)
def test_pixels(frame, expected):
    found = FrameConverter()(frame)
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
    assert found.tolist() == expected.tolist()


def test_scale_of_floats_is_that_of_the_first_frame_with_light():
    convert, black = FrameConverter(), np.zeros((2, 2))
    assert convert(black).max() == 0
    assert not convert.visible
    assert convert(np.full((2, 2), 0.5)).tolist() == [[[128] * 3] * 2] * 2
    assert convert.visible
    assert convert(np.full((2, 2), 0.1)).max() == 26  # 25.5
    with pytest.raises(VideoUnavailable, match="from 200 to 200"):
        convert(np.full((2, 2), 200.0))
    bytes_first = FrameConverter()
    bytes_first(np.full((2, 2), 200.0))
    assert bytes_first(np.full((2, 2), 1.0)).max() == 1  # dark, not white


def test_odd_sides_repeat_their_last_row_and_column():
    found = FrameConverter()(RGB[:7, :5])
    assert found.shape == (8, 6, 3)
    assert np.array_equal(found[:7, :5], RGB[:7, :5])
    assert np.array_equal(found[7, :5], RGB[6, :5])
    assert np.array_equal(found[:7, 5], RGB[:7, 4])


def test_frames_of_another_size_are_scaled_into_the_first_size():
    convert = FrameConverter()
    convert(np.full((40, 60, 3), 9, np.uint8))
    twice = convert(np.full((80, 120, 3), 200, np.uint8))
    assert twice.shape == (40, 60, 3)
    assert (twice == 200).all()
    narrow = convert(np.full((20, 10), 200, np.uint8))  # scaled by 2: 40 x 20, margins of 20
    assert (narrow[:, 20:40] == 200).all()
    assert not narrow[:, :20].any()
    assert not narrow[:, 40:].any()
    assert convert(np.full((1, 500), 200, np.uint8)).max() == 200  # at least one row


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (None, "returned None"),
        ("text", "renders str"),
        ([RGB, GRAY], "renders list"),
        ({"rgb": RGB}, "renders dict"),
        (RGB.astype(object), "renders ndarray"),
        (RGB * 1j, "complex"),
        (np.float32(1), r"shape \(\)"),
        (np.zeros((0, 0, 3), np.uint8), r"shape \(0, 0, 3\)"),
        (np.zeros((4, 8, 6, 3), np.uint8), r"shape \(4, 8, 6, 3\)"),
        (np.zeros((8, 6, 2), np.uint8), r"shape \(8, 6, 2\)"),
        (np.full((8, 6), np.nan), "not finite"),
        (RGB / 255 * 2 - 1, "from -"),
        (RGB.astype(np.uint16) * 256, "uint16 frames from"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(frame, why):
    with pytest.raises(VideoUnavailable, match=why) as caught:
        FrameConverter()(frame)
    assert len(str(caught.value).splitlines()) == 1
