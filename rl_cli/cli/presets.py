"""How far the values of a preset (a file in conf/hparams) were checked: one line of its header.

`# status: tuned` in the first lines of a file says that docs/learning.md has a measurement of it that lies
above the best published result, its bar; `below`, that the measurement lies below; `measured`, that
nothing is published to compare it with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rl_cli.cli.config_groups import CONF, user_folders

STATUS = {
    "tuned": "tuned",
    "below": "below its bar in docs/learning.md",
    "measured": "measured in docs/learning.md, without a bar",
    "published": "published values, not verified here",
    "unmeasured": "own values, not verified here",
    "searched": "found by rl-search",
}
"""Word in the header of a file -> what is shown."""

YOURS = "your values"
"""Of a file without a status, which is the user's."""

DEFAULTS = "plain defaults"
"""Without a preset."""


def preset_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of `hparams=<name>`; None: there is none, or the name selects no values."""
    if name in ("none", "null"):
        return None
    paths = (folder / "hparams" / f"{name}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def preset_status(algo: str, env: str, folders: Sequence[Path] | None = None) -> str:
    """How far the values that `algo=<algo> env=<env>` loads by name were checked.

    Args:
        algo: member of the group `algo`, such as rainbow.
        env: member of the group `env`.
        folders: where groups are looked for, ours first; None: conf/ here as the only one of the user.

    Returns:
        A value of STATUS, or YOURS, or DEFAULTS.

    """
    return _status(preset_file(f"{algo}_{env}", _all(folders)))


def preset_label(name: str, folders: Sequence[Path] | None = None) -> str:
    """For titles: "tuned: ppo_lunarlander", or "plain defaults".

    Args:
        name: the choice of the group `hparams`; a preset that does not exist selects no values.
        folders: as of `preset_status`.

    """
    path = preset_file(name, _all(folders))
    return DEFAULTS if path is None else f"{_status(path)}: {name}"


def _all(folders: Sequence[Path] | None) -> Sequence[Path]:
    return [CONF, *user_folders([])] if folders is None else folders


def _status(path: Path | None) -> str:
    if path is None:
        return DEFAULTS
    with path.open(encoding="utf-8", errors="replace") as file:
        header = "".join(line for _, line in zip(range(5), file, strict=False))
    found = re.search(r"^# status: (\w+)$", header, re.MULTILINE)
    return STATUS.get(found[1], YOURS) if found else YOURS
