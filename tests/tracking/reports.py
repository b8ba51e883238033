"""A row of metrics and the summary of an evaluation, as the monitors receive them."""

from __future__ import annotations

from rl_cli.tracking.statistics import Summary

SUMMARY = Summary(
    episodes=17,
    mean=201.25,
    std=11.5,
    median=198.75,
    iqm=195.5,
    iqm_low=-190.25,
    iqm_high=205.75,
    min=-12.5,
    max=300.25,
    mean_length=123.4,
    success_rate=0.64,
    success_at=195.0,
)
ROW = {
    "rollout/episodes": 1_234.0,
    "rollout/episode_return": 87.654,
    "rollout/episode_return_max": 120.25,
    "rollout/success_rate": 0.125,
    "rollout/episode_length": 55.0,
    "train/loss": 0.1234,
    "train/q_mean": 45.67,
    "time/steps_per_second": 9_876.5,
}
FACTS = {"folder": "runs/dqn/cartpole/x"}
