"""Other names of algorithms and envs: `env=CartPole-v1`, `algo=PPO`."""

from __future__ import annotations

import re
from pathlib import Path

from rl_cli.cli.arguments import text_of, value_of
from rl_cli.cli.config_groups import ANY_ID, PLAIN, env_id_of, family, members
from rl_cli.cli.presets import DEFAULTS, preset_file, preset_label
from rl_cli.core import terminal
from rl_cli.core.errors import plain


def resolve(argv: list[str], folders: list[Path], trains: bool = True) -> list[str]:
    """The command line with our names of algorithms and envs; each change is noted on stderr.

    Args:
        argv: the command line.
        folders: where groups are looked for.
        trains: whether the command uses the values of an algorithm and an env, which are noted then.

    """
    return [_resolved(word, argv, folders, trains) for word in argv]


def note_left_behind(argv: list[str], folders: list[Path]) -> None:
    """Note the values that `env.id=` of an env with a group leaves unused."""
    env_id = text_of(argv, "env.id")
    if env_id is None or value_of(argv, "env") or value_of(argv, "hparams"):
        return
    group = env_group(env_id, folders)
    if group is None or env_id_of(group, folders) != env_id or family(env_id) != "custom":
        return
    for algo in (value_of(argv, "algo") or "dqn").split(","):
        if preset_file(f"{algo}_{group}", folders) is not None:
            label = preset_label(f"{algo}_{group}", folders)
            what = "tuned values" if label.startswith("tuned") else f"values for algo={algo}"
            _note(f"env.id={env_id} uses no {what}; env={group} does ({label})")


def env_group(name: str, folders: list[Path]) -> str | None:
    """The env group of a name: its own in other letters, or an id of gymnasium's.

    An id of another version of the env selects the group, too: LunarLander-v2 for lunarlander.
    """
    groups = members("env", folders)
    named = [group for group in groups if bare(group) == bare(name)]
    ids = {group: env_id_of(group, folders) for group in groups if group not in named}
    same = [
        g for g, found in ids.items() if found not in (None, ANY_ID) and bare(found) == bare(name)
    ]
    return min(named or same, key=len, default=None)


def bare(name: str) -> str:
    """A name without version, namespace, case and separators."""
    return re.sub(r"[-_ ]", "", re.sub(r"-v\d+$", "", name).lower().removeprefix("ale/"))


def _resolved(word: str, argv: list[str], folders: list[Path], trains: bool) -> str:
    group, equals, given = word.partition("=")
    if not equals or group not in ("algo", "env"):
        return word
    atari = family(given)
    is_game = group == "env" and env_group(given, folders) is None and atari != "custom"
    if is_game and "," not in given and value_of(argv, "env.id") is None:
        _note(f"{word} selects env={atari} env.id={given}")
        return f"env.id={given}"
    found = [_name(group, name, folders) for name in given.split(",")]
    for name, ours in zip(given.split(","), found, strict=True):
        if ours != name:
            values = _values(ours, name, argv, folders, trains) if group == "env" else ""
            _note(f"{group}={name.strip()} selects {group}={ours}{values}")
    return f"{group}={','.join(found)}"


def _name(group: str, given: str, folders: list[Path]) -> str:
    """Our name for one of the values of `group=`; as given if there is none."""
    name, known = given.strip(), members(group, folders)
    if name in known or name == "null" or not PLAIN.fullmatch(name):
        return given
    if group == "env":
        return env_group(name, folders) or given
    return next((k for k in known if bare(k) == bare(name)), given)


def _values(group: str, name: str, argv: list[str], folders: list[Path], trains: bool) -> str:
    """For the note: which env that is, and the values that come with it."""
    env_id, algo = env_id_of(group, folders), value_of(argv, "algo") or "dqn"
    other = f", which is {env_id}" if env_id not in (None, ANY_ID, name) else ""
    if not trains or value_of(argv, "hparams") or not PLAIN.fullmatch(algo):
        return other
    algo = _name("algo", algo, folders)
    label = preset_label(f"{algo}_{group}", folders)
    return f"{other} ({f'{DEFAULTS} of {algo}' if label == DEFAULTS else label})"


def _note(text: str) -> None:
    terminal.warn(plain(f"note: {text}"))
