"""hydra/launcher=slurm: the jobs of a sweep as job arrays of Slurm, through submitit."""

# without `from __future__ import annotations`: dataclasses could not find this module while Hydra imports it
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from rl_cli.cli import launcher
from rl_cli.sweep.executor import Executor, Wanted


@dataclass
class SlurmLauncherConf:
    """Settings, named as in hydra-submitit-launcher; docs/clusters.md says what they do."""

    _target_: str = "hydra_plugins.rl_train.slurm.SlurmLauncher"
    _convert_: str = "all"
    name: str = "rl-cli"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    timeout_min: int = 60
    mem_gb: float | None = None
    cpus_per_task: int | None = 1
    gpus_per_node: int | None = None
    gres: str | None = None
    array_parallelism: int | None = None
    signal_delay_s: int = 120
    max_num_timeout: int = 3
    setup: list[str] | None = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    poll_seconds: float = 10.0


class SlurmLauncher(launcher.JobsLauncher):
    """Runs jobs with `SlurmExecutor`."""

    def executor(self, wanted: Wanted) -> Executor:
        from rl_cli.sweep import slurm_executor

        return slurm_executor.make(self.settings, wanted)


ConfigStore.instance().store(
    group="hydra/launcher", name="slurm", node=SlurmLauncherConf, provider="rl_cli"
)
