"""Composing the runs of a search: the plan that a command line describes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rl_cli import algos
from rl_cli.cli import compose, config_groups, group_names, hydra_errors, user_files
from rl_cli.cli.arguments import split_flags
from rl_cli.cli.config_groups import CONF
from rl_cli.cli.presets import preset_label
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.config.search import SearchConfig
from rl_cli.core import devices, terminal
from rl_cli.core.errors import BadInput, did_you_mean, first_line
from rl_cli.core.start_folder import relative

if TYPE_CHECKING:
    from rl_cli.cli.launcher import JobsLauncher
    from rl_cli.search.plan import Plan
    from rl_cli.search.space import Dimension, Space
    from rl_cli.sweep.executor import Executor

USUAL = {
    "video.episodes": 0,
    "log.tensorboard": False,
    "checkpoint.keep": 1,
    "checkpoint.keep_buffer": False,
}
"""Values of the runs of a search, unless the command line gives others: there are many runs."""

EVALUATIONS = 10
"""Per run, where the preset's interval leaves fewer than MIN_EVALUATIONS: runs are ended early by them."""

MIN_EVALUATIONS = 5

LAUNCHER = re.compile(r"hydra[/.]launcher\b")
"""Words that choose what the runs are started with."""

LAUNCHERS = "hydra/launcher=slurm or ray; without it the runs are child processes"


class Composer:
    """Composes the runs of a search.

    Args:
        words: of the runs.
        folders: of configuration files, ours first.

    Raises:
        BadInput: the command line or a file is wrong.

    """

    def __init__(self, words: list[str], folders: list[Path]) -> None:
        self.folders = folders

        self.words = [word for word in words if not LAUNCHER.match(word)]
        user_files.check(self.words)
        group_names.note_left_behind(self.words, self.folders)
        self.raw, self.choices = self._composed(self.words)
        self.config = self.configure({})
        algo, env, hparams = (self.choices[group] for group in ("algo", "env", "hparams"))
        config_groups.refuse_foreign_values(algo, env, hparams, self.config["env"]["id"])
        self.run: RunConfig = algos.build_run_config(self.config)
        devices.require_driver(self.run.device)
        self.launcher = self._launcher([word for word in words if LAUNCHER.match(word)])

    def _composed(self, words: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The configuration with interpolations, and the members of groups."""
        found: list[tuple[dict[str, Any], dict[str, str]]] = []

        def keep(cfg: Any) -> None:
            from hydra.core.hydra_config import HydraConfig
            from hydra.types import RunMode
            from omegaconf import OmegaConf

            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise BadInput("a search starts no sweep", " ".join(words), "leave the sweep out")
            choices = {str(k): str(v) for k, v in HydraConfig.get().runtime.choices.items()}
            found.append((OmegaConf.to_container(cfg, resolve=False), choices))  # type: ignore[arg-type]

        compose.run_hydra("config", compose.prepare(words), keep)
        return found[0]

    def configure(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of a run with these values of keys, as plain values."""
        from omegaconf import OmegaConf

        return compose.values(OmegaConf.create(self._with(values)))

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As `configure`. Raises BadInput if a run cannot have these values."""
        config = self.configure(values)
        algos.build_run_config(config)
        return config

    def _with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As `configure`, with interpolations."""
        from omegaconf import OmegaConf

        cfg = OmegaConf.create(self.raw)
        for key, value in self._usual().items():
            OmegaConf.update(cfg, key, value)
        for key, value in values.items():
            OmegaConf.update(cfg, key, value, merge=False)
        return OmegaConf.to_container(cfg, resolve=False)  # type: ignore[return-value]

    def _usual(self) -> dict[str, Any]:
        typed = {word.lstrip("+").partition("=")[0] for word in self.words}
        usual = {key: value for key, value in USUAL.items() if key not in typed}
        budget, every = int(self.raw["total_timesteps"]), int(self.raw["eval"]["every"])
        if "eval.every" not in typed and (not every or budget / every < MIN_EVALUATIONS):
            usual["eval.every"] = max(1, budget // EVALUATIONS)
        return usual

    def executor(self, plan: Plan) -> Executor:
        """The executor that starts the runs. Raises BadInput: the launcher cannot work here."""
        from rl_cli.sweep import local_executor
        from rl_cli.sweep.executor import Wanted

        tensorboard = bool(plan.config["log"]["tensorboard"])
        gpus = getattr(self.run, "gpus", None)
        wanted = Wanted(plan.jobs, plan.folder, tuple(gpus or ()), tensorboard)
        if self.launcher is None:
            return local_executor.make(wanted)
        return self.launcher.executor(wanted)

    def _launcher(self, chosen: list[str]) -> JobsLauncher | None:
        """The launcher that the words choose; None: there are none."""
        if not chosen:
            return None
        from hydra.core.plugins import Plugins
        from hydra.types import HydraContext

        from rl_cli.cli import hydra_app
        from rl_cli.cli.launcher import JobsLauncher

        where = " ".join(chosen)
        try:
            cfg = hydra_app.composed("config", [*compose.prepare(self.words), *chosen])
            launcher = Plugins.instance().instantiate_launcher(
                HydraContext(cast(Any, None), cast(Any, None)), lambda _: None, cfg
            )
        except Exception as error:
            raise BadInput(f"no such launcher: {first_line(error)}", where, LAUNCHERS) from None
        if not isinstance(launcher, JobsLauncher):
            raise BadInput("this launcher cannot run a search", where, LAUNCHERS)
        return launcher

    def labels(self) -> Labels:
        """Of the runs."""
        env = config_groups.env_label(self.choices["env"], self.config)
        preset = preset_label(self.choices["hparams"], self.folders)
        return Labels(self.choices["algo"], env, preset, tuple(split_flags(self.words)[1]))

    def plan(self, cfg: SearchConfig) -> Plan:
        """The search. Raises BadInput: names what is wrong with its space, or the missing threshold."""
        from rl_cli.search.plan import ROOT, Plan

        labels = self.labels()
        space, defaults = self._space(cfg, labels.algo)
        name = cfg.study or f"{labels.algo}_{labels.env}"
        self.preset, self.study = cfg.preset, name
        if (
            cfg.fresh_seed < self.run.seed + cfg.seeds
            and self.run.seed < cfg.fresh_seed + cfg.verify
        ):
            where = f"fresh_seed={cfg.fresh_seed} seed={self.run.seed} seeds={cfg.seeds}"
            raise BadInput("the fresh seeds are those of the trials", where, "another fresh_seed")
        return Plan(
            name=name,
            folder=ROOT / name,
            cfg=cfg,
            seed=self.run.seed,
            jobs=self.run.jobs,
            space=space,
            defaults=defaults,
            threshold=self._threshold(cfg),
            config=self.config,
            configure=self.checked,
            labels=labels,
        )

    def _space(self, cfg: SearchConfig, algo: str) -> tuple[Space, dict[str, Any]]:
        """The space with the defaults in it, and the defaults."""
        from rl_cli.search import space

        name = cfg.space or algo
        known = config_groups.members("space", self.folders)
        if name not in known:
            fix = did_you_mean(
                name, known, f"one of: {', '.join(known)}; yours: conf/space/<name>.yaml"
            )
            raise BadInput(f"no space called {name}", f"space={name}", fix)
        path = next(p for f in self.folders if (p := f / "space" / f"{name}.yaml").is_file())
        found, where = space.load(path), f"space={name}"
        training = hydra_errors.training_keys(self.words)
        defaults, notes = dict[str, Any](), list[str]()
        for key, dimension in found.items():
            if key not in training or ("." not in key and not key.startswith("total_")):
                fix = hydra_errors.advise(key, training)
                raise BadInput(f"unknown key {key}", f"{relative(path)}: {key}", fix)
            defaults[key] = _lookup(self.config, key)
            try:
                found[key] = dimension.widened(defaults[key])
            except ValueError as error:
                what = f"the value of {key} without a search is not in the space: {error}"
                fix = f"give another value: {key}=<value>; or use another kind of range"
                raise BadInput(what, where, fix) from None
            if found[key] != dimension:
                notes.append(f"{key}={defaults[key]}")
            self._try_ends(found[key], relative(path))
        if notes:
            shown = ", ".join(notes)
            terminal.warn(f"note: the space is widened to contain the default values: {shown}")
        return found, defaults

    def _try_ends(self, dimension: Dimension, where: str) -> None:
        """Raise BadInput if the schema refuses an end of a range because of this key alone."""
        for value in dimension.ends():
            try:
                self.checked({dimension.key: value})
            except BadInput as error:
                if error.where.startswith(f"{dimension.key}=") and " " not in error.where:
                    raise BadInput(error.what, f"{where}: {error.where}", error.fix) from None

    def _threshold(self, cfg: SearchConfig) -> float | None:
        if cfg.threshold is not None:
            return cfg.threshold
        found = self.run.env.success_at
        if "steps" not in (cfg.objective, cfg.second) or found is not None:
            return found
        import gymnasium

        try:
            found = gymnasium.spec(self.run.env.id).reward_threshold
        except Exception:  # an env of another module, which may fail with anything
            found = None
        if found is None:
            key = "objective" if cfg.objective == "steps" else "second"
            raise BadInput(f"{key}=steps needs a threshold", f"{key}=steps", "threshold=<return>")
        return float(found)

    def write_preset(self, values: Mapping[str, Any], notes: Sequence[str]) -> str:
        """Write values of keys as a preset. -> the file."""
        from rl_cli.search import preset

        ours = self._with(values)
        bare = [word for word in self.words if not word.startswith(("hparams=", "experiment="))]
        kept = [w for w in bare if w.split("=")[0] in ("algo", "env", "env.id") or w[:1] == "-"]
        base, _ = self._composed([*kept, "hparams=none"])
        labels = self.labels()
        name = self.preset or f"{labels.algo}_{labels.env}"
        shipped = (CONF / "hparams" / f"{name}.yaml").is_file()
        path = preset.path_for(Path("conf/hparams"), name, self.study, shipped)
        preset.write(path, preset.text_of(self.study, list(notes), preset.difference(base, ours)))
        return relative(path)


def _lookup(values: Mapping[str, Any], key: str) -> Any:
    node: Any = values
    for part in key.split("."):
        node = node[part]
    return node
