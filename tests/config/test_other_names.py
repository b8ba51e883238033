"""Names of other programs lead to keys that exist; nothing dissimilar is suggested."""

from __future__ import annotations

import difflib

import pytest

from rl_cli import algos
from rl_cli.cli.hydra_errors import advise, training_keys
from rl_cli.config.commands import PlayConfig, ReplayConfig
from rl_cli.config.other_names import OTHER_NAMES
from rl_cli.config.schema import keys
from rl_cli.core.errors import nearest

TRAINING = {name: training_keys([f"algo={name}"]) for name in algos.names()}
EVERY = {key for known in TRAINING.values() for key in known} | set(keys(ReplayConfig))
ISSUED = """n_steps net_arch ent_coef total_steps total-timesteps gpu cuda verbose wandb lr learning-rate gamma
batch_size n_envs num_envs gae_lambda clip_range clip_coef update_epochs n_epochs policy env_id track
capture_video exploration_fraction target_network_frequency tau train_freq LR n_timesteps"""


def test_every_name_of_ours_in_the_table_is_a_key():
    assert len(OTHER_NAMES) > 60
    assert {key for other in OTHER_NAMES.values() for key in other.ours} <= EVERY


@pytest.mark.parametrize("algo", algos.names())
def test_other_names_are_answered_at_the_top_level_and_as_keys_of_the_algorithm(algo):
    for name, other in OTHER_NAMES.items():
        for typed in (name, f"algo.{name}", name.replace("_", "-").upper()):
            if (
                typed not in TRAINING[algo]
            ):  # batch_size is dqn's own, and another program's for ppo
                advice = advise(typed, TRAINING[algo])
                own = f"algo.{name}" if f"algo.{name}" in EVERY else other.ours[0]
                assert any(key in advice for key in (*other.ours, own)), (typed, advice)


def test_names_of_the_field_lead_to_a_key():
    for typed in ISSUED.split():
        words = advise(typed, TRAINING["ppo"]).replace("?", "").replace(";", "").split()
        assert EVERY & set(words), words


@pytest.mark.parametrize(
    ("algo", "typed", "expected"),
    [
        ("ppo", "n_steps", "did you mean algo.rollout_length?"),
        ("dqn", "n_steps", "did you mean algo.n_step?"),
        ("ppo", "algo.batch_size", "did you mean algo.minibatch_size?"),
        ("dqn", "clip_range", "did you mean algo.clip_coef? (a key of algo=ppo)"),
        ("ppo", "tau", "algo.tau is a key of algo=dqn"),
        ("dqn", "algo.exploration_fraction", "env steps, not a fraction of the budget"),
        ("dqn", "total-timesteps", "did you mean total_timesteps?"),
        ("dqn", "algo.double_q", "this is now algo.bootstrap=double"),
        ("dqn", "buffer.size", "did you mean algo.buffer_size?"),
        (
            "ppo",
            "episodes",
            "did you mean total_episodes? (the budget; of an evaluation: eval.episodes)",
        ),
        ("dqn", "save_every", "did you mean checkpoint.every?"),
        ("ppo", "dry_run", "rl-train --cfg job shows the configuration and runs nothing"),
        ("dqn", "eval.qqq", "keys of eval: every, every_episodes, episodes, seed, greedy"),
    ],
)
def test_advice_depends_on_the_algorithm(algo, typed, expected):
    assert expected in advise(typed, TRAINING[algo])


def test_words_below_a_similarity_of_seven_tenths_are_not_suggested():
    known = [key.rsplit(".", 1)[-1] for key in EVERY]
    words = ["warmup", "optimiser", "memory", "layers", "reward_scale", "sticky", "horizons", "qqq"]
    for word in words:
        ratio = max(difflib.SequenceMatcher(None, word, key).ratio() for key in known)
        assert (nearest(word, known) is None) == (ratio < 0.7), (word, nearest(word, known))
    assert nearest("batch", ["batch_size", "gamma"]) == "batch_size"
    assert nearest("epsi", ["epsilon_start", "epsilon_end"]) is None


@pytest.mark.parametrize(
    "known", [keys(ReplayConfig), keys(PlayConfig)], ids=["rl-eval", "rl-play"]
)
def test_commands_advise_only_their_own_keys(known):
    for name in OTHER_NAMES:
        if "did you mean" in (advice := advise(name, known)) and "a key of algo" not in advice:
            assert advice.split()[3].strip("?") in known
