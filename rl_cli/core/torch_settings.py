"""Settings of torch that belong to the process, for the time of a run or an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rl_cli.core.imports import without_collection


@contextmanager
def torch_settings(threads: int, seed: int | None = None) -> Iterator[None]:
    """In the body torch uses `threads` CPU threads, float32 and gradients; what was set before is restored.

    Args:
        threads: of torch's operations on the CPU.
        seed: of torch's own generator, from which only an env or a plugin may draw; None: as it is.

    """
    with without_collection():
        import torch

    before = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    state = torch.get_rng_state()
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)  # an env may have changed these for its own use
    torch.set_grad_enabled(True)
    if seed is not None:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_default_dtype(before[1])
        torch.set_grad_enabled(before[2])
        torch.set_rng_state(state)
