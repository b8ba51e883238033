"""Parts of observations: which there are, how they lie in an array, and what is left out or refused."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import BadInput, NonFinite
from rl_cli.core.obs_layout import ObsLayout, layout_of
from rl_cli.core.types import ObsPart
from rl_cli.envs.observations import ObservationEncoder
from tests.algos.test_algorithms import env_config
from tests.space_envs import Signaled, envs_of

PICTURE = spaces.Box(0, 255, (8, 9, 3), np.uint8)
VEL = spaces.Box(-1, 1, (2,), np.float32)
DICT = spaces.Dict(
    {
        "eye": PICTURE,
        "depth": spaces.Box(0.0, 5.0, (1, 7, 7), np.float32),
        "state": spaces.Dict({"vel": VEL, "gear": spaces.Discrete(3, start=1)}),
        "map": spaces.Box(0, 4, (2, 8, 8), np.int64),
    }
)


def encoder(space, **changes):
    return ObservationEncoder(space, env_config("TestSpaces-v0", **changes))


def shapes(space, **changes):
    return {p.name: (p.shape, p.dtype, p.low, p.high) for p in encoder(space, **changes).parts}


def box(shape, dtype=np.uint8, low=0, high=255):
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (box((7, 7, 3)), ((3, 7, 7), "uint8", 0, 255)),
        (box((3, 7, 9)), ((3, 7, 9), "uint8", 0, 255)),
        (box((7, 9)), ((1, 7, 9), "uint8", 0, 255)),
        (box((9, 8, 20)), ((9, 8, 20), "uint8", 0, 255)),  # 9 is less than 20
        (box((8, 8, 20)), ((20, 8, 8), "uint8", 0, 255)),  # equal axes are height and width
        (box((20, 8, 8)), ((20, 8, 8), "uint8", 0, 255)),
        (box((4, 84, 84)), ((4, 84, 84), "uint8", 0, 255)),
        (box((4, 8, 9, 3)), ((12, 8, 9), "uint8", 0, 255)),
        (box((4, 3, 8, 9)), ((12, 8, 9), "uint8", 0, 255)),
        (box((7, 7, 3), np.uint8, 0, 10), ((3, 7, 7), "uint8", 0, 10)),
        (box((7, 7, 3), np.int32, 0, 10), ((3, 7, 7), "uint8", 0, 10)),
        (box((7, 7, 3), np.int8, -10, 10), ((3, 7, 7), "float32", -10, 10)),
        (box((7, 7, 3), np.uint16, 0, 4_000), ((3, 7, 7), "float32", 0, 4_000)),
        (box((7, 7, 3), np.int64, 0, 2**40), ((3, 7, 7), "float32", 0, 1)),  # bounds say nothing
        (box((7, 7, 3), np.float64, 0, 1), ((3, 7, 7), "float32", 0, 1)),
        (box((7, 7, 3), np.float32, -np.inf, np.inf), ((3, 7, 7), "float32", 0, 1)),
        (box((7, 7), np.float32, 0, 1), ((1, 7, 7), "float32", 0, 1)),
        (box((7, 7, 4), np.bool_, 0, 1), ((4, 7, 7), "uint8", 0, 1)),
        (spaces.MultiBinary((7, 7, 4)), ((4, 7, 7), "uint8", 0, 1)),
        (box((6, 9, 3)), ((162,), "float32", 0, 1)),  # too small
        (box((7, 7), np.float32, -1, 1), ((49,), "float32", 0, 1)),  # a matrix
        (box((4, 4, 4, 4, 4)), ((1024,), "float32", 0, 1)),
    ],
)  # fmt: skip
def test_images_are_known_by_shape_and_dtype(space, expected):
    assert shapes(space) == {"": expected}


def test_images_are_read_with_channels_first():
    rng = np.random.default_rng(0)
    for space in (box((8, 9, 3)), box((3, 8, 9)), box((2, 8, 9, 3)), box((2, 3, 8, 9))):
        obs = rng.integers(0, 256, space.shape, np.uint8)
        found = encoder(space).first(obs)
        last = np.moveaxis(obs, -3, -1) if space.shape[-1] == 9 else obs
        frames = last if last.ndim == 4 else last[None]
        expected = [frame[:, :, c] for frame in frames for c in range(3)]
        assert np.array_equal(found, expected)
        assert found in encoder(space).space


def test_an_array_holds_vectors_then_float_images_then_bytes():
    obs = DICT.sample()
    coder = encoder(DICT)
    row, layout = coder.first(obs), coder.layout
    assert [p.name for p in layout.parts] == ["state.gear", "state.vel", "depth", "eye", "map"]
    assert (row.dtype, row.shape) == (np.uint8, (4 * (5 + 49) + 216 + 128,))
    floats = row.view(np.float32)[: 5 + 49]
    gear = np.eye(3)[obs["state"]["gear"] - 1]
    expected = [*gear, *obs["state"]["vel"], *obs["depth"].ravel()]
    assert np.array_equal(floats, np.array(expected, np.float32))
    pixels = [*obs["eye"].transpose(2, 0, 1).ravel(), *obs["map"].ravel()]
    assert np.array_equal(row[4 * 54 :], pixels)
    assert np.array_equal(layout.as_vectors(row), floats[:5])


def test_rows_of_bytes_end_on_a_multiple_of_four():
    layout = ObsLayout([ObsPart("a", (3, 7, 7), "uint8"), ObsPart("b", (1,), "float32")])
    assert (layout.size, layout.slices) == (4 + 148, [slice(0, 1), slice(4, 151)])


def test_each_part_is_stacked():
    coder = encoder(DICT, frame_stack=2, obs_keys=["eye", "state.vel"])
    first, second = DICT.sample(), DICT.sample()
    coder.first(first)
    row = coder.next(second)
    values = [first["state"]["vel"], second["state"]["vel"]]
    assert np.array_equal(coder.layout.as_vectors(row), np.concatenate(values))
    eyes = [obs["eye"].transpose(2, 0, 1).ravel() for obs in (first, second)]
    assert np.array_equal(row[16:], np.concatenate(eyes))
    again = coder.first(second)  # a new episode
    assert np.array_equal(again[16:], np.concatenate([eyes[1], eyes[1]]))


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["eye"], ["eye"]),
        (["state"], ["state.gear", "state.vel"]),
        (["state.gear", "depth"], ["state.gear", "depth"]),
    ],
)
def test_chosen_parts_are_used(keys, names):
    assert list(shapes(DICT, obs_keys=keys)) == names


def test_parts_of_a_tuple_have_numbers():
    assert list(shapes(spaces.Tuple((PICTURE, VEL)), obs_keys=["0"])) == ["0"]


def test_similar_names_are_distinguished():
    space = spaces.Dict({1: PICTURE, "1": VEL})
    assert len(shapes(space)) == 2


TEXT = spaces.Dict({"image": PICTURE, "mission": spaces.Text(9), "notes": spaces.Sequence(VEL)})


def test_parts_without_a_fixed_size_are_left_out_and_named():
    coder = encoder(TEXT)
    assert [part.name for part in coder.parts] == ["image"]
    assert [part.name for part in coder.dropped] == ["mission", "notes"]
    notes = envs_of(lambda: Signaled(TEXT)).notes
    assert notes[0].startswith("mission of the observations is left out: no network here reads")
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("space", "changes", "words", "fix"),
    [
        (spaces.Text(5), {}, "no fixed size", "supported: Box"),
        (spaces.Dict({"a": spaces.Text(5)}), {}, "no fixed size", "supported: Box"),
        (spaces.Graph(VEL, None), {}, "no fixed size", "supported: Box"),
        (TEXT, {"obs_keys": ["mission"]}, "mission of TestSpaces-v0 has no fixed size", "leave mission out"),
        (TEXT, {"obs_keys": ["imgae"]}, "no part imgae", "image"),
        (VEL, {"obs_keys": ["vel"]}, "have no parts", "leave env.obs_keys out"),
        (VEL, {"resize": 36}, "applies to pixel observations", "leave env.resize out"),
        (PICTURE, {"normalize_obs": True}, "applies to vectors only", "leave env.normalize_obs out"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(space, changes, words, fix):
    with pytest.raises(BadInput) as caught:
        encoder(space, **changes)
    assert words in caught.value.what
    assert fix in caught.value.fix


def test_vectors_are_normalized_and_images_are_not():
    envs = envs_of(lambda: Signaled(DICT), num_envs=3, normalize_obs=True)
    layout = layout_of(envs.spec)
    raw = envs.reset() is not None and envs.raw
    assert np.array_equal(envs.obs[:, 4 * 5 :], raw[:, 4 * 5 :])
    mean, std = envs.obs_normalizer.mean_and_std()
    expected = (layout.as_vectors(raw) - mean) / std
    np.testing.assert_allclose(layout.as_vectors(envs.obs), np.clip(expected, -10, 10), rtol=1e-6)


def test_a_value_that_is_not_finite_is_named_by_its_part():
    class Spoiled(Signaled):
        def step(self, action):
            obs, *rest = super().step(action)
            obs["state"]["vel"] = np.array([0, np.nan], np.float32)
            return obs, *rest

    envs = envs_of(lambda: Spoiled(DICT), num_envs=1)
    envs.reset()
    with pytest.raises(NonFinite, match=r"nan at state\.vel\[1\]"):
        envs.step(np.zeros(1, np.int64))
