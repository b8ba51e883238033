"""hydra/launcher=local: the jobs of a sweep as child processes on this machine. The default."""

# without `from __future__ import annotations`: dataclasses could not find this module while Hydra imports it
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from rl_cli.cli import launcher
from rl_cli.sweep.executor import Executor, Wanted


@dataclass
class LocalLauncherConf:
    """Settings: none; see the keys jobs, gpus and retries."""

    _target_: str = "hydra_plugins.rl_train.local.LocalLauncher"


class LocalLauncher(launcher.JobsLauncher):
    """Runs jobs with `LocalExecutor`."""

    def executor(self, wanted: Wanted) -> Executor:
        from rl_cli.sweep import local_executor

        return local_executor.make(wanted)


ConfigStore.instance().store(
    group="hydra/launcher", name="local", node=LocalLauncherConf, provider="rl_cli"
)
