"""Migration of training states of earlier checkpoint formats."""

from __future__ import annotations

from rl_cli.core.fields import Fields
from rl_cli.core.types import State


def upgraded(state: State) -> State:
    """The state in the current layout. Formats up to 3 had flat keys and no `callbacks`.

    Raises:
        StateError: a key is missing.

    """
    fields = Fields(state)
    if "callbacks" in fields.state:
        return state
    logger = fields.part("logger")
    in_tally = "tally" in logger.state
    episodes = logger.part("tally").get("count") if in_tally else logger.get("episodes_total")
    evaluation = {
        "means": fields.get("evaluations", []),
        "step": fields.get("evaluated_at"),
        "latest": fields.get("latest"),
        "best_return": fields.get("best_return"),
        "interrupted": fields.get("owes_evaluation"),
    }
    callbacks = {
        "metrics": dict(logger.state),
        "evaluation": evaluation,
        "early_stopping": {"returns": fields.get("recent")},
    }
    kept = {name: fields.get(name) for name in ("step", "elapsed", "algo", "envs")}
    return {**kept, "episodes": episodes, "callbacks": callbacks}


def counters(state: State) -> tuple[int, int]:
    """Env steps and finished episodes of a state of any format. Raises StateError."""
    fields = Fields(upgraded(state))
    return fields.integer("step"), fields.integer("episodes")
