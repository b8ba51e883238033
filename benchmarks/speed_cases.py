"""The cases of speed.py: training calls with the same hyper-parameters for rl-cli and for another library."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Case:
    """The same training call for rl-cli and for a peer, another library."""

    ours: str
    peer: str  # sb3, sheeprl, or the name of a script of CleanRL
    theirs: dict[str, Any]
    env: str
    steps: int
    target: float  # ratio of env steps per second that the project aims at
    sizes: tuple[int, ...]  # of the layers, to count operations
    batch: int
    updates: float  # per env step
    twin: bool = False  # actor and critic: two networks
    num_envs: int = field(default=1)


def dqn(env: str, group: str, sizes: tuple[int, ...], target: float, steps: int, **k: Any) -> Case:
    """DQN against SB3; `k`: keyword arguments of SB3."""
    width, fraction = sizes[1], 0.1
    every, rounds = k["train_freq"], k["gradient_steps"]
    ours = (
        f"algo=dqn env={group} hparams=none algo.hidden_sizes=[{width},{width}] "
        f"algo.batch_size={k['batch_size']} algo.buffer_size={k['buffer_size']} "
        f"algo.learning_starts={k['learning_starts']} algo.train_every={every} "
        f"algo.gradient_steps={rounds} algo.target_update_every={k['target_update_interval']} "
        f"algo.learning_rate={k['learning_rate']} algo.gamma={k['gamma']} "
        f"algo.epsilon_end={k['exploration_final_eps']} algo.epsilon_steps={int(fraction * steps)}"
    )
    policy = {"policy_kwargs": {"net_arch": [width, width]}}
    theirs = {"algo": "DQN", "kwargs": {**k, "exploration_fraction": fraction, **policy}}
    return Case(ours, "sb3", theirs, env, steps, target, sizes, k["batch_size"], rounds / every)


def ppo(
    env: str,
    group: str,
    sizes: tuple[int, ...],
    target: float,
    steps: int,
    num_envs: int,
    **k: Any,
) -> Case:
    """PPO against SB3; `k`: keyword arguments of SB3."""
    ours = (
        f"algo=ppo env={group} hparams=none env.num_envs={num_envs} algo.hidden_sizes=[64,64] "
        f"algo.activation=tanh algo.rollout_length={k['n_steps']} algo.num_epochs={k['n_epochs']} "
        f"algo.minibatch_size={k['batch_size']} algo.gae_lambda={k['gae_lambda']} "
        f"algo.gamma={k['gamma']} algo.ent_coef={k['ent_coef']} algo.learning_rate={k['learning_rate']} "
        "algo.vf_coef=0.5 algo.max_grad_norm=0.5 algo.clip_value_loss=false"
    )
    updates = k["n_epochs"] / k["batch_size"]
    theirs = {"algo": "PPO", "kwargs": k}
    return Case(
        ours, "sb3", theirs, env, steps, target, sizes, k["batch_size"], updates, True, num_envs
    )


ZOO_DQN = {
    "cartpole": {
        "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1_000,
        "gamma": 0.99, "target_update_interval": 10, "train_freq": 256, "gradient_steps": 128,
        "exploration_final_eps": 0.04,
    },
    "mountaincar": {
        "learning_rate": 4e-3, "batch_size": 128, "buffer_size": 10_000, "learning_starts": 1_000,
        "gamma": 0.98, "target_update_interval": 600, "train_freq": 16, "gradient_steps": 8,
        "exploration_final_eps": 0.07,
    },
    "lunarlander": {
        "learning_rate": 6.3e-4, "batch_size": 128, "buffer_size": 50_000, "learning_starts": 0,
        "gamma": 0.99, "target_update_interval": 250, "train_freq": 4, "gradient_steps": 4,
        "exploration_final_eps": 0.1,
    },
}  # fmt: skip
SMALL = {**ZOO_DQN["lunarlander"], "batch_size": 64, "gradient_steps": 1, "learning_starts": 1_000}
NOTEBOOK = {
    **ZOO_DQN["mountaincar"],
    "train_freq": 1,
    "gradient_steps": 1,
    "target_update_interval": 10,
}
ZOO_PPO = {"learning_rate": 1e-3, "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98,
           "gae_lambda": 0.8, "ent_coef": 0.0}  # fmt: skip
LANDER = {"learning_rate": 3e-4, "n_steps": 1024, "batch_size": 64, "n_epochs": 4, "gamma": 0.999,
          "gae_lambda": 0.98, "ent_coef": 0.01}  # fmt: skip
ONE = {"learning_rate": 3e-4, "n_steps": 128, "batch_size": 64, "n_epochs": 10, "gamma": 0.99,
       "gae_lambda": 0.95, "ent_coef": 0.0}  # fmt: skip
CLEAN_DQN = (
    "algo=dqn env=cartpole hparams=none algo.hidden_sizes=[120,84] algo.batch_size=128 algo.loss=mse "
    "algo.buffer_size=10000 algo.learning_starts=10000 algo.train_every=10 algo.gradient_steps=1 "
    "algo.target_update_every=500 algo.learning_rate=2.5e-4 algo.max_grad_norm=null"
)
CLEAN_PENDULUM = (
    "algo=ppo env=pendulum hparams=none env.normalize_obs=true env.normalize_reward=true "
    "algo.hidden_sizes=[64,64] algo.activation=tanh algo.rollout_length=2048 algo.num_epochs=10 "
    "algo.minibatch_size=64 algo.learning_rate=3e-4 algo.anneal_learning_rate=true "
    "algo.clip_value_loss=true algo.max_grad_norm=0.5 algo.vf_coef=0.25 algo.ent_coef=0.0"
)
CASES = {
    "dqn_cartpole_zoo": dqn("CartPole-v1", "cartpole", (4, 256, 256, 2), 3.0, 16_000, **ZOO_DQN["cartpole"]),
    "dqn_mountaincar_zoo": dqn("MountainCar-v0", "mountaincar", (2, 256, 256, 3), 2.3, 12_000, **ZOO_DQN["mountaincar"]),
    "dqn_lunarlander_zoo": dqn("LunarLander-v3", "lunarlander", (8, 256, 256, 4), 2.5, 5_000, **ZOO_DQN["lunarlander"]),
    "dqn_lunarlander_64": dqn("LunarLander-v3", "lunarlander", (8, 64, 64, 4), 8.0, 50_000, **SMALL),
    "dqn_mountaincar_notebook": dqn("MountainCar-v0", "mountaincar", (2, 128, 128, 3), 4.0, 8_000, **NOTEBOOK),
    "dqn_cartpole_cleanrl": Case(CLEAN_DQN, "dqn.py", {}, "CartPole-v1", 60_000, 4.0, (4, 120, 84, 2), 128, 0.1),
    "ppo_cartpole_zoo": ppo("CartPole-v1", "cartpole", (4, 64, 64, 2), 6.0, 60_000, 8, **ZOO_PPO),
    "ppo_lunarlander_zoo": ppo("LunarLander-v3", "lunarlander", (8, 64, 64, 4), 2.8, 65_536, 16, **LANDER),
    "ppo_cartpole_1x128": ppo("CartPole-v1", "cartpole", (4, 64, 64, 2), 10.0, 65_536, 1, **ONE),
    "ppo_cartpole_1x128_sheeprl": replace(
        ppo("CartPole-v1", "cartpole", (4, 64, 64, 2), 20.0, 65_536, 1, **ONE), peer="sheeprl", theirs={}
    ),
    "ppo_pendulum_cleanrl": Case(CLEAN_PENDULUM, "ppo_continuous_action.py", {}, "Pendulum-v1", 30_720, 6.0, (3, 64, 64, 1), 64, 10 / 64, True),
}  # fmt: skip
SHIPPED = CASES["ppo_lunarlander_zoo"]
CASES["ppo_lunarlander_as_shipped"] = replace(
    SHIPPED, target=12.0, steps=1_000_000, theirs={**SHIPPED.theirs, "renderer": True}
)
