"""Composes the jobs of a sweep: what Hydra would compose for each, without composing each from its files.

Jobs that choose the same members of groups are made from one composition, to which their values are applied
with Hydra's own function. This module imports Hydra; import it where it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rl_cli.cli.compose import HYDRA_RESOLVER, as_typed
from rl_cli.cli.job_config import JobConfig


class JobComposer:
    """Composes jobs of one sweep.

    Args:
        loader: Hydra's.
        master: the configuration of the sweep.

    Attributes:
        task_words: the command line, without keys of Hydra.

    """

    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create()
        self.parsed: dict[str, Override] = {}
        self.task_words = as_typed(master.hydra.overrides.task)
        self.hydra_words = as_typed(master.hydra.overrides.hydra)
        name = master.hydra.job.config_name
        _, self.repository = loader._parse_overrides_and_create_caching_repo(name, self.hydra_words)
        self.bases: dict[tuple[str, ...], _Base] = {}

    def compose(self, number: int, overrides: Sequence[str]) -> JobConfig:
        """The configuration of the job with this number and these overrides.

        Raises:
            CompositionError: an interpolation cannot be resolved.
            Exception: of Hydra's, as `load_sweep_config` raises it.

        """
        words = [self._parse(word) for word in overrides]
        ConfigLoaderImpl.validate_sweep_overrides_legal(words, RunMode.RUN, from_shell=True)
        choices = [word for word in words if self._chooses(word)]
        base = self._base(tuple(str(word.input_line) for word in choices))
        own = any(HYDRA_RESOLVER in word or "hydra" in word.split("=")[0] for word in overrides)
        if own or base.needs_hydra:
            return self._by_hydra(number, overrides)
        cfg = copy.deepcopy(base.cfg)
        try:
            values = [word for word in words if word not in choices]
            ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException from error
        return JobConfig.of(number, cfg, base.hydra, list(overrides))

    def _parse(self, word: str) -> Override:
        if word not in self.parsed:
            self.parsed[word] = self.parser.parse_override(word)
        return self.parsed[word]

    def _chooses(self, word: Override) -> bool:
        """Whether Hydra takes an override as the choice of a group's member."""
        return bool(
            not isinstance(word.value(), dict) and self.repository.group_exists(word.key_or_group)
        )

    def _base(self, choices: tuple[str, ...]) -> _Base:
        if choices not in self.bases:
            self.bases[choices] = _Base(self.loader.load_sweep_config(self.master, list(choices)))
        return self.bases[choices]

    def _by_hydra(self, number: int, overrides: Sequence[str]) -> JobConfig:
        """As Hydra does it: with its own node, for interpolations such as ${hydra:job.num}."""
        cfg = self.loader.load_sweep_config(self.master, list(overrides))
        with open_dict(cfg):
            cfg.hydra.job.id = cfg.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)
        try:
            return JobConfig.of(number, _without_hydra(cfg), HydraConfig.get(), list(overrides))
        finally:
            HydraConfig.instance().cfg = before


class _Base:
    """A composition that several jobs share.

    Attributes:
        hydra: its node of Hydra.
        cfg: all else.
        needs_hydra: whether a value of it is an interpolation of Hydra's node.

    """

    def __init__(self, cfg: DictConfig) -> None:
        self.hydra = cfg.hydra
        self.cfg = _without_hydra(cfg)
        self.needs_hydra = HYDRA_RESOLVER in OmegaConf.to_yaml(self.cfg)


def _without_hydra(cfg: DictConfig) -> DictConfig:
    result = copy.deepcopy(cfg)
    with open_dict(result):
        del result["hydra"]
    return result
