"""The device of a run."""

from __future__ import annotations

import pytest
import torch

from rl_cli.algos.factory import pick_device
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec

ACTION = ActionSpec("discrete", (), (2,))
VECTORS = EnvSpec((4,), "float32", ACTION, 1)
IMAGES = EnvSpec((4, 84, 84), "uint8", ACTION, 1)


def refuse():
    raise AssertionError("CUDA was queried")


@pytest.mark.parametrize(("device", "spec"), [("cpu", VECTORS), ("cpu", IMAGES), ("auto", VECTORS)])
def test_a_run_on_the_cpu_does_not_query_cuda(monkeypatch, device, spec):
    """The query starts CUDA, and a forked child process (a build, a video) then cannot use torch's."""
    monkeypatch.setattr(torch.cuda, "is_available", refuse)
    assert pick_device(device, spec) == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "spec", "available", "expected"),
    [
        ("auto", IMAGES, True, "cuda"),
        ("auto", IMAGES, False, "cpu"),
        ("cuda", VECTORS, True, "cuda"),
    ],
)
def test_cuda_is_used_for_images_or_on_request(monkeypatch, device, spec, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert pick_device(device, spec) == torch.device(expected)


def test_requested_cuda_that_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="no CUDA device"):
        pick_device("cuda", VECTORS)


def test_numbered_device_is_used_if_it_exists(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1", VECTORS) == torch.device("cuda:1")
    with pytest.raises(BadInput) as caught:
        pick_device("cuda:2", VECTORS)
    assert (caught.value.where, caught.value.fix) == ("device=cuda:2", "one of: cuda:0, cuda:1")


@pytest.mark.parametrize("exists", [True, False])
def test_metal_device_is_used_if_it_exists(monkeypatch, exists):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: exists)
    if exists:
        assert pick_device("mps", IMAGES) == torch.device("mps")
    else:
        with pytest.raises(BadInput, match="no Metal device"):
            pick_device("mps", IMAGES)
