"""hydra/sweeper=grid: every combination of the values given. The default."""

# without `from __future__ import annotations`: dataclasses could not find this module while Hydra imports it
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from rl_cli.cli import launcher


@dataclass
class GridSweeperConf:
    """Settings, as of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.rl_train.grid.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


class GridSweeper(launcher.GridSweeper):
    """As its base; here, where Hydra finds it."""


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="rl_cli"
)
