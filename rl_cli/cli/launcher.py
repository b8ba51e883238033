"""The base of our Hydra launchers. This module imports Hydra; import it where it is used.

A launcher is a file in `hydra_plugins/rl_train/`: a dataclass with its settings, registered as
`hydra/launcher=<name>`, and a class that makes an executor from them (`sweep/executor.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from rl_cli.storage.atomic_files import storing, writing_to
from rl_cli.sweep.executor import Executor, Wanted


class JobsLauncher(Launcher):
    """Composes and checks all jobs, then runs them with the executor that a subclass makes.

    Args:
        settings: of `hydra.launcher`.

    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.task_function = hydra_context, task_function
        self.config = config

    @abstractmethod
    def executor(self, wanted: Wanted) -> Executor:
        """The executor of this launcher. Raises BadInput if it cannot work here."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        run_jobs = getattr(self.task_function, "run_jobs", None)
        if run_jobs is None:  # a function that is called once per job, in this process
            basic = BasicLauncher()
            basic.setup(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=self.config,
            )
            return basic.launch(job_overrides, initial_job_idx)
        from rl_cli.cli.job_composer import JobComposer

        setup_globals()
        loader = cast(ConfigLoaderImpl, self.hydra_context.config_loader)
        composer = JobComposer(loader, self.config)
        found = [composer.compose(i, o) for i, o in enumerate(job_overrides, initial_job_idx)]
        results = run_jobs(found, composer.task_words, self.executor)
        return [
            _returned(job.overrides, result) for job, result in zip(found, results, strict=True)
        ]


def _returned(overrides: list[str], result: float | Exception) -> JobReturn:
    """Result of a job for a sweeper: its return, or an exception that is raised when the sweeper reads it."""
    if isinstance(result, Exception):
        return FailedJob(overrides=overrides, status=JobStatus.FAILED, _return_value=result)
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=result)


class FailedJob(JobReturn):
    """A job without a return: reading it raises, without the line that Hydra prints. The sweep has reported it."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class GridSweeper(BasicSweeper):
    """Hydra's sweeper over every combination. Jobs are composed once, and a failed one does not end it."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not isinstance(self.launcher, JobsLauncher):  # others compose jobs in other processes
            super().validate_batch_is_legal(batch)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        folder = Path(self.config.hydra.sweep.dir)
        with writing_to("hydra.sweep.dir"), storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with writing_to("hydra.sweep.dir"), storing(folder / "multirun.yaml"):
            OmegaConf.save(self.config, folder / "multirun.yaml")
        returns: list[Sequence[JobReturn]] = []
        number = 0
        for batch in batches:
            self.validate_batch_is_legal(batch)
            returns.append(self.launcher.launch(batch, initial_job_idx=number))
            number += len(batch)
        return returns
