"""hydra/launcher=ray: the jobs of a sweep as tasks of Ray, on this machine or a cluster."""

# without `from __future__ import annotations`: dataclasses could not find this module while Hydra imports it
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from rl_cli.cli import launcher
from rl_cli.sweep.executor import Executor, Wanted


@dataclass
class RayLauncherConf:
    """Settings, named as in Ray; docs/clusters.md says what they do."""

    _target_: str = "hydra_plugins.rl_train.ray.RayLauncher"
    _convert_: str = "all"
    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_gb: float | None = None
    resources: dict[str, float] = field(default_factory=dict)
    max_retries: int = 3
    runtime_env: dict[str, Any] = field(default_factory=dict)


class RayLauncher(launcher.JobsLauncher):
    """Runs jobs with `RayExecutor`."""

    def executor(self, wanted: Wanted) -> Executor:
        from rl_cli.sweep import ray_executor

        return ray_executor.make(self.settings, wanted)


ConfigStore.instance().store(
    group="hydra/launcher", name="ray", node=RayLauncherConf, provider="rl_cli"
)
