"""Migration of training states of earlier checkpoint formats."""

from __future__ import annotations

from typing import Any, cast

from rl_cli.core.types import State


def upgraded(state: State) -> State:
    """The state in the current layout. Formats up to 3 had flat keys and no `callbacks`."""
    if "callbacks" in state:
        return state
    logger = cast(dict[str, Any], state["logger"])
    episodes = logger["tally"]["count"] if "tally" in logger else logger["episodes_total"]
    evaluation = {
        "means": state.get("evaluations", []),
        "step": state["evaluated_at"],
        "latest": state["latest"],
        "best_return": state["best_return"],
        "interrupted": state["owes_evaluation"],
    }
    callbacks = {
        "metrics": logger,
        "evaluation": evaluation,
        "early_stopping": {"returns": state["recent"]},
    }
    kept = {name: state[name] for name in ("step", "elapsed", "algo", "envs")}
    return {**kept, "episodes": episodes, "callbacks": callbacks}
