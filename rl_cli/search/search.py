"""A search from its plan to its answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rl_cli.config.run import Display
from rl_cli.core import terminal
from rl_cli.core.start_folder import relative
from rl_cli.report import report, table
from rl_cli.report.comparison import MIN_SEEDS
from rl_cli.report.wording import interval
from rl_cli.search import parts, record, verify
from rl_cli.search.parts import FreshPart, SearchPart
from rl_cli.search.plan import Plan
from rl_cli.search.progress import Progress, counted, say, summary
from rl_cli.search.run_processes import RunProcesses
from rl_cli.search.study import open_storage, open_study, quiet_optuna, require_own_folder
from rl_cli.search.trials import RunResult, counts, label, ranked, results
from rl_cli.search.verify import Checked
from rl_cli.search.worker import Worker
from rl_cli.tracking.formatting import number

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

WORDS = {
    "final": "Return of the last evaluation",
    "best": "Return of the best evaluation",
    "auc": "Mean return over the budget",
    "steps": "Env steps to the threshold",
}
"""What an objective is."""

WritePreset = Callable[[Mapping[str, Any], Sequence[str]], str]
"""The winner's values of keys, and notes for the header -> the file that was written."""


@dataclasses.dataclass
class Search:
    """A search.

    Args:
        plan: what to search.
        display: `RunConfig.shown`.
        write_preset: writes the winner as a preset.
        runs: processes for its runs.

    """

    plan: Plan
    display: Display
    write_preset: WritePreset
    runs: RunProcesses

    def run(self) -> int:
        """Search, check the best trials, and write the answer. -> exit code."""
        with quiet_optuna():
            storage = open_storage(self.plan)
            study = open_study(storage, self.plan)
            require_own_folder(self.plan, study)
            if self.display != "none":
                self._announce(study)
            with self.runs:
                return self._run(storage, study)

    def _run(self, storage: BaseStorage, study: Study) -> int:
        part = SearchPart(self.plan, study)
        if not self._work(part, Progress(self.plan, self.display, "search", self.plan.cfg.trials)):
            return self._interrupted(study, part)
        trials = part.trials.every()
        record.write(
            self.plan, record.describe(self.plan, study, trials)
        )  # should the rest be killed
        checked, winner, preset = list[Checked](), None, ""
        chosen = parts.candidates(self.plan, trials)
        if self.plan.cfg.verify and len(chosen) > 1:
            found = self._check(storage, chosen)
            if found is None:
                return self._interrupted(study, part)
            checked, best = found, verify.winner(found)
            if best is not None:
                winner = best.trial
                trial = next(each for each in chosen if label(each) == winner)
                values = parts.values_of(self.plan, trial)
                preset = self.write_preset(values, self._notes(checked, best))
        content = record.describe(self.plan, study, trials, checked, winner, preset)
        record.write(self.plan, content)
        files = report.write(report.make([self.plan.folder]), self.plan.folder)
        if self.display != "none":
            self._answer(trials, checked, winner, preset)
            table.show_files(files)
        return 0

    def _work(self, part: parts.SearchPart | FreshPart, shown: Progress) -> bool:
        try:
            return Worker(self.plan, part, self.runs, shown).work()
        finally:
            shown.close()

    def _check(self, storage: BaseStorage, chosen: Sequence[FrozenTrial]) -> list[Checked] | None:
        """Run the candidates on fresh seeds. None: a stop signal arrived."""
        labels = [label(trial) for trial in chosen]
        name = f".fresh{self.plan.cfg.fresh_seed}_{'_'.join(map(str, labels))}"
        part = FreshPart(self.plan, open_study(storage, self.plan, name), chosen)
        if not self._work(
            part, Progress(self.plan, self.display, "fresh seeds", part.trials.limit, names=False)
        ):
            return None
        found: dict[int, list[RunResult]] = {number: [] for number in labels}
        for trial in part.trials.every():
            found[label(part.candidate(label(trial)))] += results(trial).values()
        return verify.check(found, self.plan.cfg.objective == "steps")

    def _interrupted(self, study: Study, part: SearchPart) -> int:
        record.write(self.plan, record.describe(self.plan, study, part.trials.every()))
        terminal.say("stopped; the runs have saved checkpoints: repeat the command to continue")
        return 128 + (self.runs.signum or 2)

    def _announce(self, study: Study) -> None:
        plan, cfg = self.plan, self.plan.cfg
        name = f"{plan.labels.algo} on {plan.labels.env}"
        say(
            f"search:  {name}, {counted(cfg.trials, 'trial')} of {counted(cfg.seeds, 'run')} of {plan.budget:,} steps"
        )
        say(f"keys:    {', '.join(plan.space)}")
        known = sum(map(counts, study.get_trials(deepcopy=False)))
        continued = f", continues after {counted(known, 'trial')}" if known else ""
        terminal.say(f"folder:  {relative(plan.folder)} (study {plan.name}{continued})")

    def _answer(
        self,
        trials: Sequence[FrozenTrial],
        checked: Sequence[Checked],
        winner: int | None,
        preset: str,
    ) -> None:
        say(f"trials:  {summary(trials)}")
        best = ranked(trials, self.plan.cfg.objective == "steps")
        first = next((t for t in best if label(t) == parts.DEFAULTS), None)
        if best:
            against = f"; the defaults: {number(first.values[0])}" if first else ""
            say(f"best:    trial {label(best[0])}, {number(best[0].values[0])}{against}")
        for each in checked:
            say(f"{'fresh:   ' if each is checked[0] else ' ' * 9}{_fresh(each)}")
        if winner is None:
            say(f"answer:  {_why_none(checked, self.plan.cfg.verify)}; no preset was written")
            return
        say(f"answer:  trial {winner} is better than the defaults on fresh seeds")
        say(f"preset:  {preset}")
        name = preset.rpartition("/")[2].removesuffix(".yaml")
        run = f"rl-train algo={self.plan.labels.algo} env={self.plan.labels.env}"
        own = name == f"{self.plan.labels.algo}_{self.plan.labels.env}"
        say(f"use:     {run}{'' if own else f' hparams={name}'}")

    def _notes(self, checked: Sequence[Checked], best: Checked) -> list[str]:
        cfg, plan = self.plan.cfg, self.plan
        first = checked[0]
        what = WORDS[cfg.objective]
        return [
            f"Chosen from {cfg.trials} trials on seeds {plan.seeds[0]} to {plan.seeds[-1]}.",
            f"{what}, IQM on seeds {plan.fresh[0]} to {plan.fresh[-1]}: {interval(best.iqm)};",
            f"with the values it replaces: {interval(first.iqm)}.",
        ]


def _why_none(checked: Sequence[Checked], verify: int) -> str:
    """Why no trial is better than the defaults."""
    if not verify:
        return "verify=0: nothing ran on fresh seeds"
    if not checked:
        return "no trial besides the defaults is complete"
    if verify < MIN_SEEDS:
        return f"too few fresh seeds to tell: verify={MIN_SEEDS} or more gives an interval"
    return "no trial is better than the defaults on fresh seeds"


def _fresh(each: Checked) -> str:
    name = "defaults" if each.trial == parts.DEFAULTS else f"trial {each.trial}"
    failed = f", {each.failed} failed" if each.failed else ""
    text = f"{name}: {interval(each.iqm)} (IQM of {counted(len(each.values), 'run')}{failed})"
    if each.gain is None or not math.isfinite(each.gain.value):
        return text
    return f"{text}, gain {interval(each.gain)}"
