"""Writes the policy of a run in the requested formats: rl-export."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli import export
from rl_cli.config.commands import ExportConfig
from rl_cli.core.errors import BadInput, did_you_mean
from rl_cli.core.process_settings import guarded
from rl_cli.core.start_folder import absolute
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.atomic_files import make_output_folder, writing_to
from rl_cli.storage.run_folder import is_new_name, output_root


def formats_of(text: str | None) -> list[str]:
    """The formats of `format=onnx,c`.

    Raises:
        BadInput: there is none, or one is not known.

    """
    known = export.names()
    chosen = [name.strip() for name in (text or "").split(",") if name.strip()]
    if not chosen:
        raise BadInput("no format is named", "format=", f"one or more of: {', '.join(known)}")
    for name in chosen:
        if name not in known:
            near = OTHER_NAMES.get(name.lower())
            fix = f"use format={near}" if near else did_you_mean(name, known)
            raise BadInput(
                f"unknown format {name}", f"format={text}", fix or f"one of: {', '.join(known)}"
            )
    return list(dict.fromkeys(chosen))


OTHER_NAMES = {
    **dict.fromkeys(("torchscript", "jit", "torch", "torch_export", "pytorch", "pt"), "pt2"),
    **dict.fromkeys(("cpp", "c99", "h", "header"), "c"),
    **dict.fromkeys(("web", "page", "js", "javascript"), "html"),
    **dict.fromkeys(("huggingface", "hf"), "hub"),
    **dict.fromkeys(("dataset", "d4rl", "hdf5"), "minari"),
    "ort": "onnx",
}
"""Other words for a format -> ours."""


def run(cfg: ExportConfig, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Run rl-export.

    Args:
        cfg: keys of the command.
        settings: format -> its settings.

    Raises:
        BadInput: the checkpoint does not exist or is broken, or the policy cannot be exported so.
        RunError: an exported policy does not do what the trained one does.

    """
    if cfg.run is None:
        raise BadInput("no run given", "rl-export <run folder> format=onnx", "see rl-export --help")
    chosen = formats_of(cfg.format)
    for name in settings:
        if name not in chosen:
            raise BadInput(
                f"a setting of {name}, which is not exported", f"{name}.*", f"add format={name}"
            )
    with guarded():
        _export(cfg, {name: settings.get(name, {}) for name in chosen})


def _export(cfg: ExportConfig, chosen: Mapping[str, Mapping[str, Any]]) -> None:
    factories = export.REGISTRY.factories(chosen)  # refuses settings before torch is imported
    folder = checkpoint_reader.find(Path(str(cfg.run)), str(cfg.checkpoint))
    from rl_cli.evaluation.agent import load_agent
    from rl_cli.export.base import Context, written

    agent = load_agent(folder, cfg.env, "cpu")
    output = absolute(
        Path(cfg.output) if cfg.output else _output_folder(absolute(folder), agent.manifest.step)
    )
    make_output_folder(output)
    context = Context(agent, absolute(folder), output, cfg.observations, cfg.seed)
    for make in factories:
        with writing_to("output"):
            written(make(context).export())


def _output_folder(checkpoint: Path, step: int) -> Path:
    """A folder outside the run folder, which may be read-only, named by run and step.

    Names that a person chose for runs need not differ: their folders do by a code of the path.
    """
    run = checkpoint.resolve().parent.parent
    name = f"{run.name}_step{step}"
    if not is_new_name(run.name):
        name += f"_{hashlib.sha256(os.fsencode(run)).hexdigest()[:6]}"
    return output_root(checkpoint) / "runs" / "exports" / re.sub(r"[^\w.\-]", "_", name)
