"""From what an env returns to the array that the network reads: `ObservationEncoder`.

The parts of an observation are the leaves of its space: the whole, or what Dict and Tuple spaces hold, named
by their path (`state.vel`, `0`). Images become (C, H, W), everything else of a fixed size a vector. Parts
of no fixed size (texts, sequences, graphs) are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput, did_you_mean, plain
from rl_cli.core.obs_layout import ObsLayout
from rl_cli.core.types import ObsPart
from rl_cli.envs.images import ImageForm, image_form

Env = gym.Env[Any, Any]
Space = gym.Space[Any]

SUPPORTED = (
    "supported: Box, Discrete, MultiBinary, MultiDiscrete, and Dict or Tuple of these; a wrapper "
    "(env.wrappers) can turn others into one of them"
)


class Leaf(NamedTuple):
    """A part of an observation as the env returns it."""

    path: tuple[Any, ...]  # keys of Dict, indices of Tuple
    space: Space

    @property
    def name(self) -> str:
        return plain(".".join(map(str, self.path)))

    def of(self, obs: Any) -> Any:
        """This part of an observation."""
        for key in self.path:
            obs = obs[key]
        return obs


class ObservationEncoder:
    """Turns observations of one env, one after the other, into arrays.

    Attributes:
        parts: of an observation, each with the stacked frames.
        space: of the arrays.
        dropped: parts of the env's space that are left out because no network here reads them.

    Args:
        space: of the env's observations.
        cfg: of the env: `obs_keys`, `flatten`, `frame_stack`, and the keys of images.

    Raises:
        BadInput: there is nothing that a network reads, or a key does not apply to the space.

    """

    def __init__(self, space: Space, cfg: EnvConfig) -> None:
        leaves, self.dropped = _chosen(space, cfg)
        self.forms = [image_form(leaf.space, cfg, alone=len(leaf.path) == 0) for leaf in leaves]
        _refuse_unused(cfg, self.forms)
        self.has_images = any(self.forms)
        self.whole = not self.has_images and len(leaves) == len(list(_leaves(space)))
        self.source, self.leaves, self.stack = space, leaves, cfg.frame_stack
        self.flatten = cfg.flatten
        self.frames: deque[list[np.ndarray]] = deque(maxlen=cfg.frame_stack)
        vectors = [space] if self.whole else [leaf.space for leaf in leaves]
        self.layout: ObsLayout | None = None
        if not self.has_images:
            self.space = _stacked_vector(vectors, self.stack)
            self.parts = _vector_parts(leaves, self.stack, self.space.shape[0])
            return
        parts = [_part(*pair, self.stack) for pair in zip(leaves, self.forms, strict=True)]
        self.parts = tuple(_with_own_names(parts))
        if len(parts) > 1:
            self._order()
        self.space = _array_space(self.parts, self.layout)

    def _order(self) -> None:
        """Bring the parts into the order in which they lie in an array."""
        self.layout = ObsLayout(self.parts)
        order = [self.parts.index(part) for part in self.layout.parts]
        self.parts = self.layout.parts
        self.leaves, self.forms = [self.leaves[i] for i in order], [self.forms[i] for i in order]

    @property
    def is_identity(self) -> bool:
        """Whether arrays equal the env's observations, vectors of one frame."""
        plain_box = isinstance(self.source, spaces.Box) and len(self.source.shape) == 1
        return plain_box and self.stack == 1

    def first(self, obs: Any) -> np.ndarray:
        """The array (*obs_shape) of the first observation of an episode: all its frames are this one."""
        frame = self._frame(obs)
        self.frames.extend([frame] * self.stack)
        return self._joined()

    def next(self, obs: Any) -> np.ndarray:
        """The array (*obs_shape) of the next observation of the episode."""
        self.frames.append(self._frame(obs))
        return self._joined()

    def _frame(self, obs: Any) -> list[np.ndarray]:
        """The values of the parts of one observation, copied: an env may reuse its arrays."""
        if self.whole:
            return [np.asarray(spaces.flatten(self.source, obs))]
        pairs = zip(self.leaves, self.forms, strict=True)
        return [
            np.asarray(spaces.flatten(leaf.space, leaf.of(obs)))
            if form is None
            else form.read(leaf.of(obs))
            for leaf, form in pairs
        ]

    def _joined(self) -> np.ndarray:
        if not self.has_images:
            rows = [part for frame in self.frames for part in frame]
            return rows[0] if len(rows) == 1 else np.concatenate(rows)
        values = self.frames[0]
        if self.stack > 1:
            values = [np.concatenate(column) for column in zip(*self.frames, strict=True)]
        return values[0] if self.layout is None else self.layout.pack(values)


class EncodedObservations(gym.Wrapper[Any, Any, Any, Any]):
    """Observations as arrays; see `ObservationEncoder`."""

    def __init__(self, env: Env, encoder: ObservationEncoder) -> None:
        super().__init__(env)
        self.encoder, self.observation_space = encoder, encoder.space

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        return self.encoder.first(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self.encoder.next(obs), reward, terminated, truncated, info


def encoded(env: Env, cfg: EnvConfig) -> Env:
    """The env with observations as arrays; unwrapped if they are such already. Raises BadInput."""
    encoder = ObservationEncoder(env.observation_space, cfg)
    return env if encoder.is_identity else EncodedObservations(env, encoder)


def parts_of(env: Env) -> tuple[ObsPart, ...]:
    """The parts of the observations of an env that `encoded` returned; empty: one vector."""
    return env.encoder.parts if isinstance(env, EncodedObservations) else ()


def _leaves(space: Space, path: tuple[Any, ...] = ()) -> Iterator[Leaf]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        pairs = space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in pairs:
            yield from _leaves(part, (*path, key))
    else:
        yield Leaf(path, space)


def _chosen(space: Space, cfg: EnvConfig) -> tuple[list[Leaf], list[Leaf]]:
    """The parts that are read, and those that are left out without a request in `env.obs_keys`."""
    leaves = list(_leaves(space))
    if cfg.obs_keys is not None:
        leaves = _selected(leaves, cfg)
    kept = [leaf for leaf in leaves if _has_fixed_size(leaf.space, cfg)]
    left_out = [leaf for leaf in leaves if leaf not in kept]
    if left_out and cfg.obs_keys is not None:
        names = ", ".join(leaf.name for leaf in left_out)
        what = f"{names} of {cfg.id} has no fixed size: {left_out[0].space}"
        where = f"env.obs_keys=[{','.join(cfg.obs_keys)}]"
        raise BadInput(what, where, f"leave {left_out[0].name} out; {SUPPORTED}")
    if not kept:
        what = f"observations of {cfg.id} have no fixed size: {space}"
        raise BadInput(what, f"env.id={cfg.id}", SUPPORTED)
    return kept, left_out


def _selected(leaves: list[Leaf], cfg: EnvConfig) -> list[Leaf]:
    """The parts that `obs_keys` names, in the order of the space."""
    keys = cast(list[str], cfg.obs_keys)
    where = f"env.obs_keys=[{','.join(keys)}]"
    known = [leaf.name for leaf in leaves]
    if known == [""]:
        what = f"observations of {cfg.id} have no parts: {leaves[0].space}"
        raise BadInput(what, where, "leave env.obs_keys out")
    for key in keys:
        if not any(_is_in(name, key) for name in known):
            fix = did_you_mean(key, known, f"its parts: {', '.join(known)}")
            raise BadInput(f"observations of {cfg.id} have no part {key}", where, fix)
    return [leaf for leaf in leaves if any(_is_in(leaf.name, key) for key in keys)]


def _is_in(name: str, key: str) -> bool:
    """Whether `key` names a part or a Dict or Tuple that holds it."""
    return name == key or name.startswith(f"{key}.")


def _has_fixed_size(space: Space, cfg: EnvConfig) -> bool:
    if (
        isinstance(space, spaces.Text) and not cfg.flatten
    ):  # gymnasium would give numbers of letters
        return False
    try:
        return bool(space.is_np_flattenable)
    except NotImplementedError:  # a space of the env's own
        return False


def _refuse_unused(cfg: EnvConfig, forms: Sequence[ImageForm | None]) -> None:
    """Refuse keys of images where there are none, and normalization where there are no vectors."""
    if not any(forms) and (cfg.grayscale or cfg.resize is not None):
        key = "env.grayscale" if cfg.grayscale else "env.resize"
        raise BadInput(f"{key} applies to pixel observations only", key, f"leave {key} out")
    if cfg.normalize_obs and all(forms):
        raise BadInput(
            "the network scales pixels to [0, 1]; normalize_obs applies to vectors only",
            "env.normalize_obs=true",
            "leave env.normalize_obs out",
        )


def _stacked_vector(vectors: list[Space], stack: int) -> spaces.Box:
    boxes = [cast(spaces.Box, spaces.flatten_space(space)) for space in vectors]
    low, high = (
        np.concatenate([getattr(b, end) for b in boxes] * stack) for end in ("low", "high")
    )
    return spaces.Box(low, high, dtype=cast(Any, np.result_type(*[b.dtype for b in boxes])))


def _vector_parts(leaves: list[Leaf], stack: int, size: int) -> tuple[ObsPart, ...]:
    """Names and sizes of vectors, for a description; as one where frames are stacked."""
    if stack > 1 or len(leaves) == 1:
        return (ObsPart(leaves[0].name if len(leaves) == 1 else "", (size,), "float32"),)
    return tuple(ObsPart(x.name, (spaces.flatdim(x.space),), "float32") for x in leaves)


def _part(leaf: Leaf, form: ImageForm | None, stack: int) -> ObsPart:
    if form is None:
        return ObsPart(leaf.name, (stack * spaces.flatdim(leaf.space),), "float32")
    channels, *size = form.shape
    return ObsPart(leaf.name, (stack * channels, *size), form.dtype, form.low, form.high)


def _with_own_names(parts: list[ObsPart]) -> Iterator[ObsPart]:
    """The parts with different names: two keys of a Dict may look alike, such as 1 and "1"."""
    names: set[str] = set()
    for i, part in enumerate(parts):
        name = part.name if part.name not in names else f"{part.name}_{i}"
        names.add(name)
        yield part._replace(name=name)


def _array_space(parts: tuple[ObsPart, ...], layout: ObsLayout | None) -> spaces.Box:
    shape, dtype = (
        (parts[0].shape, parts[0].dtype) if layout is None else ((layout.size,), layout.dtype)
    )
    low, high = (0, 255) if dtype == "uint8" else (-np.inf, np.inf)
    return spaces.Box(low, high, shape, cast(Any, np.dtype(dtype).type))
