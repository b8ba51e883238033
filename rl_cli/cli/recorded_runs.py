"""rl-train resume=<run> and reproduce=<run>: runs with a recorded configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli import algos
from rl_cli.cli import compose, config_groups, hydra_errors
from rl_cli.cli.arguments import value_of
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import SEE_HELP, keys
from rl_cli.core.command_line import override, pasted
from rl_cli.core.errors import BadInput
from rl_cli.core.start_folder import relative
from rl_cli.storage import run_names

if TYPE_CHECKING:
    from rl_cli.training.outcome import Outcome

SAME_BITS = ("device", "threads", "workers", "step_timeout", "compile", "display", "quiet")
"""Keys that may be typed with reproduce=, besides run_dir and those that `envs.trust` requires."""


def resume(argv: list[str]) -> Outcome:
    """Resume an interrupted run with its recorded configuration.

    Raises:
        BadInput: an argument would change what the run is.

    """
    folder = _folder(argv, "resume")
    from rl_cli.training import resume as resuming

    config, labels = resuming.recorded(folder)
    typed = _overrides(argv, "resume", labels, folder)
    return _train(config, typed, labels, {"resume": str(folder), "run_dir": None})


def reproduce(argv: list[str]) -> int:
    """Run a recorded run again in a new folder, and compare. -> the exit code; 1: the bits differ.

    Raises:
        BadInput: an argument would change what the run is.

    """
    folder = _folder(argv, "reproduce")
    from rl_cli.training import resume as resuming

    config, labels = resuming.recorded(folder)
    typed = _overrides(argv, "reproduce", labels, folder)
    for key in typed:
        if key not in SAME_BITS and not key.startswith("env."):
            raise BadInput(
                "a reproduced run keeps its configuration",
                f"{key}={typed[key]}",
                f"leave it out; these may be given: run_dir, {', '.join(SAME_BITS)}",
            )
    run_dir = value_of(argv, "run_dir")
    where = None if run_dir in (None, "null") else hydra_errors.unquoted(run_dir or "")
    folder = folder.absolute()
    outcome = _train(config, typed, labels, {"resume": None, "run_dir": where}, folder)
    return outcome.exit_code or _compare(folder, Path(outcome.run_dir))


def _compare(before: Path, now: Path) -> int:
    from rl_cli.tracking.console import say_fitted
    from rl_cli.training import reproduction

    try:
        found = reproduction.compare(before, now)
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be compared: {error}", str(before), "restore its files") from None
    compared = f"{relative(now)} with {relative(before)}: {', '.join(found.compared)}"
    if found.difference is None:
        say_fitted(f"reproduced: the same bits; compared {compared}")
        return 0
    say_fitted(f"not reproduced; compared {compared}; first difference: {found.difference}")
    if not found.explanations:
        say_fitted("may explain it: nothing that both runs recorded")
    for words in found.explanations:
        say_fitted(f"may explain it: {words}")
    return 1


def _folder(argv: Sequence[str], key: str) -> Path:
    typed = hydra_errors.unquoted(value_of(list(argv), key) or "")
    folder = Path(run_names.note_run(typed, f"{key}={typed}"))
    if folder == Path():
        raise BadInput("no folder is named", f"{key}=", f"rl-train {key}=<run folder>")
    return folder


def _train(
    config: dict[str, Any],
    typed: dict[str, Any],
    labels: Labels,
    how: dict[str, Any],
    repeats: Path | None = None,
) -> Outcome:
    from rl_cli.envs import trust
    from rl_cli.training import experiment

    for name, value in typed.items():
        set_value(config, name, value)
    config |= {"jobs": 1, **how}
    cfg = algos.build_run_config(config)
    typed_env: dict[str, Any] = {}
    for name, value in typed.items():
        if name.startswith("env."):
            set_value(typed_env, name.removeprefix("env."), value)
    trust.require_confirmed(cfg.env, typed_env)
    return experiment.train(cfg, config, labels, repeats)


def _overrides(argv: list[str], own_key: str, labels: Labels, folder: Path) -> dict[str, Any]:
    """Keys and values typed besides `own_key`, without those that repeat the run's own groups."""
    known, typed = keys(RunConfig), dict[str, Any]()
    own = {("algo", labels[0]), ("env", labels[1])}
    for arg in argv:
        key, equals, value = arg.partition("=")
        if key in (own_key, "run_dir") or (key, value) in own:
            continue
        if not equals or key in config_groups.GROUPS:
            raise BadInput(
                f"a {own_key}d run keeps its configuration",
                arg,
                pasted("rl-train", override(own_key, str(folder))),
            )
        open_keys = ("algo.", "env.kwargs.", "callbacks.", "log.sinks.")
        if key not in known and not key.startswith(open_keys):
            raise BadInput(f"unknown key {key}", arg, hydra_errors.advise(key, known))
        name, parsed = hydra_errors.parsed(arg, known)
        typed[name] = compose.resolved(parsed)
    return typed


def set_value(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its dotted key. Raises BadInput if a part of the key is no group."""
    *path, leaf = key.split(".")
    node = config
    for i, part in enumerate(path):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise BadInput(
                f"{'.'.join(path[: i + 1])} is not a group of keys", f"{key}={value}", SEE_HELP
            )
    node[leaf] = value
