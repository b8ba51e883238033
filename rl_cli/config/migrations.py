"""Configurations of earlier versions, translated to the keys of this version.

For a key that was added later, this module has the value with which a run behaves as before the key
existed. A renamed key is translated. Every change of a key adds an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]

RUN: Values = {
    "compile": False,
    "workers": 0,
    "step_timeout": 300.0,
    "total_episodes": None,
    "callbacks": {},
}
"""Top-level keys that were added later."""

GROUPS: dict[str, Values] = {
    "env": {
        **{"reseed_episodes": False, "sign_reward": False},
        **{"atari": False, "noop_max": 0, "fire_reset": False, "episodic_life": False},
        **{"wrappers": [], "log_info": []},
        **{"channels_first": False, "scale_actions": False},
        **{"obs_keys": None, "flatten": True},
    },
    "eval": {"every_episodes": 0},
    "checkpoint": {"keep_buffer": True},
    "video": {"every_episodes": 0, "background": True},
    "log": {
        **{"window": 100, "every_episodes": 0, "sinks": {}},
        **{"wandb": False, "trackio": False, "mlflow": False, "project": "rl-cli"},
    },
    "stop": {"eval_window": 1},
}
"""Keys of groups that were added later."""

ENCODER: Values = {"encoder": "auto", "encoder_channels": None, "encoder_width": None}
"""Of all algorithms here. `auto` builds what there was before: see `flatten` of the env."""

ALGOS: dict[str, Values] = {
    "dqn": {
        **ENCODER,
        "prefill": None,
        "bootstrap": "q_learning",
        "bootstrap_truncated": True,
        "n_step": 1,
        "dueling": False,
        "noisy": False,
        "distributional": "none",
        "num_atoms": 51,
        "v_min": -10.0,
        "v_max": 10.0,
        "q_l1_coef": 0.0,
        "max_grad_value": None,
        "replay": "uniform",
        "priority_alpha": 0.6,
        "priority_beta": 0.4,
        "sort_every": 0,
        "epsilon_factor": None,
        "average_decay": None,
        "layer_norm": False,
    },
    "ppo": {
        **ENCODER,
        "rollout_episodes": None,
        "advantage": "gae",
        "bootstrap_truncated": True,
        "recompute_advantage": False,
        "anneal_ent_coef": False,
        "vf_learning_rate": None,
        "shared_network": False,
        "std": "learned",
        **{"log_std_final": -1.6, "sde_sample_every": 4},
        "squash_actions": False,
    },
    "reinforce": {
        **ENCODER,
        **{"discount_weighting": False, "sum_over_steps": False, "baseline_decay": 0.9},
    },
}
"""Keys of algorithms that were added later."""

RENAMED_IN_GROUPS: dict[str, dict[str, str]] = {"video": {"beside": "background"}}
"""Group -> old name of a key -> its name now; the value is unchanged."""

RENAMED: dict[tuple[str, str], dict[Any, Values]] = {
    ("dqn", "double_q"): {True: {"bootstrap": "double"}, False: {"bootstrap": "q_learning"}},
    ("ppo", "normalize_advantage"): {
        True: {"normalize_advantage": "minibatch"},
        False: {"normalize_advantage": "none"},
    },
    ("reinforce", "baseline"): {
        True: {"baseline": "value", "bootstrap_truncated": True},
        False: {"baseline": "none", "bootstrap_truncated": False},
    },
}
"""Algorithm and old key -> old value -> the keys and values of this version."""

NOW = {"algo.double_q": "algo.bootstrap=double", "video.beside": "video.background"}
"""Old keys -> what to write on the command line in this version."""


VF_COEF_OF_MSE = 4
"""Format from which `vf_coef` multiplies the mean squared error; before, it multiplied half of it."""


def run(config: Mapping[str, Any]) -> Values:
    """The configuration recorded in a run folder, with the groups and keys of this version.

    Its key `format` is the checkpoint format of that version (none before format 4), and is removed.
    """
    full = {**RUN, **config}
    written = full.pop("format", VF_COEF_OF_MSE - 1)
    for name, added in GROUPS.items():
        if isinstance(full.get(name), Mapping):
            full[name] = {**added, **_renamed(name, full[name])}
    if isinstance(full.get("algo"), Mapping):
        full["algo"] = algo(full["algo"], written)
    return full


def _renamed(group: str, values: Mapping[str, Any]) -> Values:
    names = RENAMED_IN_GROUPS.get(group, {})
    return {names.get(key, key): value for key, value in values.items()}


def env(values: Mapping[str, Any]) -> Values:
    """The keys of an env."""
    return {**GROUPS["env"], **values}


def algo(values: Mapping[str, Any], written: int) -> Values:
    """The keys of an algorithm, recorded by a version of checkpoint format `written`."""
    name = str(values.get("name"))
    translated: Values = {}
    for key, value in values.items():
        meanings = RENAMED.get((name, key), {})
        translated |= meanings[value] if isinstance(value, bool) and meanings else {key: value}
    vf_coef = translated.get("vf_coef")
    is_number = isinstance(vf_coef, int | float) and not isinstance(vf_coef, bool)
    if written < VF_COEF_OF_MSE and is_number:
        translated["vf_coef"] = translated["vf_coef"] / 2
    return {**ALGOS.get(name, {}), **translated}
