"""hub/: a folder for the Hugging Face Hub, which rl-eval reads. Settings: episodes, push, private. Extra for push: hub."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, RunError, first_line
from rl_cli.core.types import Episode
from rl_cli.envs.faults import note_of
from rl_cli.evaluation import video
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.replay import evaluation_values
from rl_cli.evaluation.watchdog import close_in_time
from rl_cli.export.base import Context, Exporter
from rl_cli.export.model_card import model_card
from rl_cli.storage.atomic_files import storing, write_atomic, write_json
from rl_cli.storage.policy_only import copy_policy
from rl_cli.storage.run_folder import read_config, read_status
from rl_cli.tracking.statistics import summarize

CONFIG = "run_config.yaml"
"""Not config.yaml, by which rl-runs and rl-report find runs: an export is none."""

FILES = {
    CONFIG: "configuration of the run",
    "evaluation.json": "returns of all episodes of the evaluation",
    "replay.mp4": "the first episode of the evaluation",
}


REFUSED = {
    401: "the Hub does not know this token (hf auth login, or HF_TOKEN=<token>); ",
    403: "the token may not write there: use one with that right, or another <owner>/<name>; ",
}
"""What the Hub answers to a token -> advice."""


class Hub(Exporter):
    """A folder with the policy, its evaluation, a video and a model card.

    Settings:
        episodes: of the evaluation.
        push: repository to push to, <owner>/<name>; empty: nothing leaves this machine.
        private: whether a new repository is private.

    """

    def __init__(
        self, context: Context, episodes: int = 100, push: str = "", private: bool = False
    ) -> None:
        super().__init__(context)
        if type(episodes) is not int or episodes < 1:
            raise BadInput(
                "the evaluation needs episodes", f"hub.episodes={episodes}", "at least 1"
            )
        self.episodes, self.repository, self.private = episodes, str(push), bool(private)
        self.hub = _hub(self.repository) if push else None  # refuses before anything is played

    def export(self) -> list[Path]:
        target = self.context.output / "hub"
        _require_own(target)
        part = target.with_name(".hub.part")
        with storing(part):
            shutil.rmtree(part, ignore_errors=True)
            try:
                self._write(part)
                shutil.rmtree(target, ignore_errors=True)
                part.replace(target)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        if self.hub is not None:
            self._push(target)
        return [target]

    def _write(self, folder: Path) -> None:
        agent, seed = self.context.agent, self.context.seed
        checkpoint = folder / "checkpoints" / f"{agent.manifest.step:09d}"
        copy_policy(self.context.checkpoint, agent.manifest, checkpoint)
        config = self.context.checkpoint.parent.parent / "config.yaml"
        if config.is_file() and not config.is_symlink():
            shutil.copyfile(config, folder / CONFIG)
        episodes, success_at = self._played()
        summary = summarize(episodes, success_at)
        name = str(checkpoint.relative_to(folder))
        values = evaluation_values(agent, name, episodes, summary, seed, greedy=True)
        write_json(folder / "evaluation.json", values)
        try:
            predict, path = agent.algo.predict, folder / "replay.mp4"
            video.record(agent.env_cfg, agent.normalizer, predict, [path], seed, greedy=True)
        except VideoUnavailable as problem:
            terminal.warn(f"note: no video: {problem}")
        files = {k: text for k, text in FILES.items() if (folder / k).exists()}
        files[f"{name}/policy.safetensors"] = "weights and observation statistics"
        files[f"{name}/manifest.json"] = "algorithm, env, versions, and checksums"
        used = _training_seeds(self.context.checkpoint.parent.parent)
        write_atomic(folder / "README.md", model_card(agent, summary, seed, files, used).encode())
        terminal.say(
            f"evaluation: {summary.mean:.2f} ± {summary.std:.2f} over {summary.episodes} episodes, "
            f"interquartile mean {summary.iqm:.2f} [{summary.iqm_low:.2f}, {summary.iqm_high:.2f}]"
        )

    def _played(self) -> tuple[list[Episode], float | None]:
        agent = self.context.agent
        evaluator = Evaluator(agent.env_cfg, agent.normalizer)
        try:
            episodes = evaluate(
                evaluator, agent.algo.predict, self.episodes, self.context.seed, greedy=True
            )
        finally:
            if problem := close_in_time(evaluator.env):
                terminal.warn(note_of(problem))
        return episodes, evaluator.success_at

    def _push(self, folder: Path) -> None:
        """Upload the folder. Raises RunError: the Hub refuses, or there is no connection."""
        assert self.hub is not None
        agent = self.context.agent
        message = f"{agent.algo.cfg.title} on {agent.env_cfg.id}, step {agent.manifest.step:,}"
        try:
            api = self.hub.HfApi()
            api.create_repo(self.repository, private=self.private, exist_ok=True)
            found = api.upload_folder(
                folder_path=folder,
                repo_id=self.repository,
                commit_message=message,
                delete_patterns=["checkpoints/*"],  # of an earlier push: rl-eval would find two
            )
        except Exception as error:  # of the network, of the Hub, of the package
            code = getattr(getattr(error, "response", None), "status_code", 0)
            raise RunError(
                f"the folder could not be pushed: {type(error).__name__}: {first_line(error)}",
                f"hub.push={self.repository}",
                f"{REFUSED.get(code, '')}the folder is complete; later: "
                f"hf upload {self.repository} {folder}",
            ) from None
        terminal.say(f"pushed: {found}")


def _require_own(folder: Path) -> None:
    """Refuse to replace a folder with anything that an export does not write, such as .git."""
    try:
        inside = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInput(error.strerror or "no folder", str(folder), "output=<folder>") from None
    others = [name for name in inside if name not in (*FILES, "README.md", "checkpoints")]
    if others:
        what = f"this folder would be replaced, and it holds {others[0]}"
        raise BadInput(what, str(folder), "output=<another folder>")


def _hub(repository: str) -> Any:
    """The package huggingface_hub.

    Raises:
        BadInput: it is not installed, the name is no repository, or there is no token.

    """
    where = f"hub.push={repository}"
    if not re.fullmatch(r"[\w.\-]+/[\w.\-]+", repository):
        raise BadInput("this is no repository of the Hub", where, "hub.push=<owner>/<name>")
    try:
        import huggingface_hub
    except ImportError:
        raise BadInput(
            "a push needs the package huggingface_hub", where, "pip install 'rl-cli[hub]'"
        ) from None
    if not huggingface_hub.get_token():
        raise BadInput(
            "there is no token for the Hub",
            where,
            "hf auth login, or HF_TOKEN=<token>; or leave hub.push out and push the folder later",
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return huggingface_hub


def _training_seeds(run: Path) -> range | None:
    """Seeds of the evaluations during training; None: not known."""
    with contextlib.suppress(BadInput, LookupError, TypeError, ValueError, AttributeError):
        resumed = read_status(run).get("resumed") or ()
        if any(key.startswith("eval.") for each in resumed for key in each["changed"]):
            return None  # the checkpoint may have been chosen by other seeds
        found = read_config(run)["eval"]
        return range(int(found["seed"]), int(found["seed"]) + int(found["episodes"]))
    return None
