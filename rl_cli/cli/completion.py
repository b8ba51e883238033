"""Completion of arguments in bash and zsh: a script that requests candidates from the program.

Hydra's own completion imports Hydra and composes the configuration at each press of Tab.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rl_cli import export
from rl_cli.cli.arguments import FLAGS, FLAGS_WITH_VALUE
from rl_cli.cli.config_groups import CONF, GROUPS, members, user_folders
from rl_cli.cli.hydra_errors import training_keys
from rl_cli.config.commands import ExportConfig, PlayConfig, ReplayConfig, ReportConfig, RunsConfig
from rl_cli.config.schema import Key, keys
from rl_cli.config.search import SearchConfig
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput
from rl_cli.storage import run_names

BASH = """\
_rl_cli() {
    local IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" --complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    [[ ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace
}
complete -F _rl_cli rl-train rl-eval rl-play rl-export rl-report rl-runs rl-search
"""

ZSH = """\
_rl_cli() {
    local -a found
    found=(${(f)"$("$words[1]" --complete zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
    compadd -S '' -- $found
}
compdef _rl_cli rl-train rl-eval rl-play rl-export rl-report rl-runs rl-search
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH}

RUNS = 50
"""Runs that are offered, those that started last."""

OF_A_RUN = ("rl-eval", "rl-export")
"""Commands whose first word is a run."""

OF_FOLDERS = ("rl-report", "rl-runs")
"""Commands whose words are folders."""

FILES = ("run_dir", "output", "algo.prefill", "hydra.sweep.dir")
"""Keys whose values are paths of any kind."""


def script(shell: str) -> int:
    """Print the script for a shell. Returns the exit code. Raises BadInput: there is none for it."""
    if shell not in SCRIPTS:
        raise BadInput("no completion for this shell", f"--completion {shell}", "bash or zsh")
    terminal.say(*SCRIPTS[shell].splitlines())
    return 0


def answer(shell: str, line: str) -> int:
    """Print the candidates for the word at the end of a line. Returns the exit code."""
    found = candidates(line)
    if shell == "bash":  # it replaces what follows the last = or : of the word
        word = line.rpartition(" ")[2]
        done = max(word.rfind("="), word.rfind(":")) + 1
        found = [each[done:] for each in found]
    terminal.say(*found)
    return 0


def candidates(line: str) -> list[str]:
    """Words that may follow at the end of a line, in place of the unfinished one."""
    program, *typed = line.split(" ")
    word, before = (typed[-1], [w for w in typed[:-1] if w]) if typed else ("", [])
    command = Path(program).name
    known = _known(command, before)
    key, equals, value = word.partition("=")
    folders = [CONF, *user_folders(before)]
    if equals:
        start, comma, last = value.rpartition(",")
        return [f"{key}={start}{comma}{each}" for each in _values(key, last, known, folders)]
    if word.startswith("-"):
        flags = (*FLAGS, *FLAGS_WITH_VALUE, "--doctor", "--completion")
        return [flag for flag in flags if flag.startswith(word) and flag.startswith("--")]
    places = _runs(word) if command in OF_A_RUN and not any("=" not in w for w in before) else []
    if command in OF_FOLDERS:
        places = [each for each in _paths(word) if each.endswith("/")]
    return places + _keys(word, known)


def _known(command: str, before: list[str]) -> dict[str, Key]:
    commands: dict[str, Callable[[], dict[str, Key]]] = {
        "rl-eval": lambda: keys(ReplayConfig),
        "rl-export": lambda: keys(ExportConfig),
        "rl-report": lambda: keys(ReportConfig),
        "rl-runs": lambda: keys(RunsConfig),
        "rl-search": lambda: training_keys(before) | keys(SearchConfig),
        "rl-play": lambda: keys(PlayConfig) | {"env": Key("name", "", "")},
    }
    return commands.get(command, lambda: training_keys(before))()


def _keys(word: str, known: dict[str, Key]) -> list[str]:
    """Keys that begin with a word, one group at a time: eval. before eval.every."""
    place = word.rfind(".") + 1
    found: dict[str, None] = {}
    for key in (key for key in known if key.startswith(word)):
        rest, dot, _ = key[place:].partition(".")
        found[f"{key[:place]}{rest}{dot or '='}"] = None
    return list(found)


def _values(key: str, start: str, known: dict[str, Key], folders: list[Path]) -> list[str]:
    """Values of a key that begin with a text."""
    if key in ("resume", "reproduce", "run"):
        return _runs(start)
    if key in FILES:
        return _paths(start)
    if key == "format" and key in known:
        return [name for name in export.names() if name.startswith(start)]
    if key in GROUPS and key in known:
        every = members(key, folders)
    else:
        kind = known[key].type if key in known else ""
        parts = [part for part in kind.split(" | ") if part not in ("int", "float", "str")]
        every = ["true", "false"] if kind == "bool" else [p for p in parts if p.isidentifier()]
        every = [] if kind in ("name", "mapping") else every
    return [each for each in every if each.startswith(start)]


def _runs(start: str) -> list[str]:
    """Short names and paths of runs that begin with a text; a part of a path is a path."""
    newest = run_names.runs()[: -RUNS - 1 : -1]
    found = [str(path) for path in newest]
    found += [path.name for path in newest] if start and not start.startswith("runs") else []
    found = [each for each in [run_names.LATEST, *found] if each.startswith(start)]
    return found or _paths(start)


def _paths(start: str) -> list[str]:
    """Files and folders that begin with a text."""
    parent, slash, name = start.rpartition("/")
    folder = Path(f"{parent}{slash}" or ".")
    try:
        inside = sorted(path for path in folder.iterdir() if path.name.startswith(name or ""))
    except OSError:
        return []
    shown = [p for p in inside if name.startswith(".") or not p.name.startswith(".")]
    return [f"{parent}{slash}{path.name}{'/' * path.is_dir()}" for path in shown]
