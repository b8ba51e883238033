"""`--help`: the choices, and for every key its value, type, range and meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rl_cli import algos
from rl_cli.cli import help_topics
from rl_cli.cli.arguments import FLAGS_WITH_VALUE, value_of
from rl_cli.cli.config_groups import CONF, algorithm_of, members, user_folders
from rl_cli.cli.help_topics import choices, default_values
from rl_cli.cli.layout import item, key_entry, paragraph, show
from rl_cli.config.commands import ExportConfig, PlayConfig, ReplayConfig
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import Key, keys
from rl_cli.config.search import SearchConfig
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput

TRAIN = """\
rl-train: train an agent, or a sweep of them.

  rl-train algo=dqn env=mountaincar               one run
  rl-train algo=ppo env.id=FrozenLake-v1          any registered env
  rl-train -m algo=dqn,ppo env=cartpole seed=0,1  a sweep: every combination
  rl-train resume=latest                          resume an interrupted run
  rl-train reproduce=<run>                        run it again, compare the bits
  rl-train --doctor algo=ppo env=cartpole         try everything, train nothing

  rl-train --help algo                            the algorithms; env: the envs
  rl-train --help algo.gamma                      one key; eval: a group
  rl-train algo=ppo env=cartpole --help           the values of that run

The values of an algorithm and an env are loaded by name (hparams/<algo>_<env>);
hparams=none turns them off. The command line overrides every file. A conf/
folder in the current folder adds your own env, hparams and experiment files;
--config-dir adds another folder. --cfg job shows the composed configuration.
--completion bash (or zsh) prints a script that completes arguments.
Intervals count env steps over all envs, or training episodes if the key's name
ends in _episodes. 10k and 1M are counts. <run>: a run folder, latest, or the
beginning of its name.
"""

EVAL = """\
rl-eval: evaluate a checkpoint.

  rl-eval runs/dqn/mountaincar/<run>              best checkpoint, 100 episodes
  rl-eval latest                                  the run that started last
  rl-eval <run> checkpoint=latest video=true      the latest checkpoint, a video
  rl-eval <run>/checkpoints/000120000 greedy=false
                                                  this step, sampled actions
  rl-eval <run> env.kwargs.enable_wind=true       in a modified env
  rl-eval runs/sweeps/<stamp>                     several runs: all of a sweep,
  rl-eval runs/ppo 'runs/dqn/*/20261126*'         of a folder, of a pattern

<run>: a run folder, latest, or the beginning of its name.
"""

EXPORT = """\
rl-export: write the policy of a run in formats that other programs read.

  rl-export <run> format=onnx                     the best checkpoint, as ONNX
  rl-export <run> format=c,html                   a C header; a web page
  rl-export <run> format=hub hub.push=me/my-agent
                                                  push to the Hugging Face Hub
  rl-export <run> format=minari minari.episodes=50
                                                  a dataset of 50 episodes

<run>: a run folder, latest, or the beginning of its name. onnx, pt2 and c print
the largest difference from the policy over recorded observations.
"""

PLAY = """\
rl-play: play an env with the keyboard.

  rl-play env=mountaincar                         arrow keys or asdw
  rl-play env=carracing env.max_episode_steps=500
  rl-play env.id=FrozenLake-v1                    any other env
  rl-play env=mountaincar record=true             keep videos and steps
  rl-train algo=dqn env=mountaincar algo.prefill=<transitions.safetensors>
"""

SEARCH = """\
rl-search: search for hyper-parameters.

  rl-search algo=ppo env=cartpole trials=50 seeds=4 jobs=2
  rl-search algo=ppo env=cartpole space=mine      ranges: conf/space/mine.yaml
  rl-search algo=dqn env=cartpole objective=auc storage=postgresql://host/db

A trial is one configuration; every trial runs with the same seeds. Trial 0 has
the default values. At the end the best trials and the defaults run on fresh
seeds; if a trial is better, its values are written to conf/hparams. The same
command continues a search that was stopped; several processes may work on one
search. Keys of a run (rl-train --help) apply to all runs.
"""

OF_TRAINING = (
    *("num_envs", "reseed_episodes", "normalize_obs", "normalize_reward", "reward_gamma"),
    *("clip_obs", "clip_reward", "sign_reward", "episodic_life"),
)
"""Keys of an env that have no effect on play."""


def answer_train(argv: list[str]) -> int:
    """Show the help of rl-train. Returns the exit code: 2 for a topic that does not exist."""
    topics, rest = split_topics([arg for arg in argv if arg != "--help="])
    folders = [CONF, *user_folders(rest)]
    try:
        parts = [help_topics.topic(name, rest, folders) for name in topics]
    except BadInput as error:
        terminal.warn(*str(error).splitlines())
        return error.exit_code
    show("\n\n".join(parts) or _train_help(rest, folders))
    return 0


def split_topics(argv: list[str]) -> tuple[list[str], list[str]]:
    """What help is requested for, and the other arguments."""
    topics, rest = [], list[str]()
    for i, arg in enumerate(argv):
        is_value = i > 0 and argv[i - 1] in FLAGS_WITH_VALUE
        if arg.startswith("--help="):
            topics.append(arg.partition("=")[2])
        elif arg in ("-h", "--help"):
            continue
        elif "=" in arg or arg.startswith("-") or is_value or not _follows_help(argv, i):
            rest.append(arg)
        else:
            topics.append(arg)
    return topics, rest


def _follows_help(argv: list[str], place: int) -> bool:
    """Whether the bare word at a place comes after --help, or all words before it are bare."""
    before = argv[:place]
    return bool({"-h", "--help"} & set(before)) or all(w[0] not in "-" for w in before if w)


def _train_help(argv: list[str], folders: list[Path]) -> str:
    """The whole help; with algo= or env= the values that would be used."""
    chosen = algorithm_of(value_of(argv, "algo") or "", folders)
    found = help_topics.values_used(argv)
    parts = [TRAIN, *choices(folders)]
    if found is not None:
        parts += [
            "",
            paragraph(f"keys, with the values of {found.title} and where they were set"),
            "",
        ]
        known = help_topics.training_schema(argv)
        parts += [
            key_entry(name, found.values.get(name), key.describe(), found.sources.get(name, ""))
            for name, key in known.items()
        ]
        return "\n".join(parts)
    names = [chosen] if chosen in algos.usable() else algos.usable()
    parts += ["", "keys, with their default values", ""]
    run = default_values("config.yaml") | {"env": default_values("env/_base.yaml")}
    parts += _entries(keys(RunSettings), run)
    for name in names:
        parts += ["", f"keys of algo={name}", ""]
        values = {"algo": default_values(f"algo/{name}.yaml", folders)}
        parts += _entries(keys(algos.config_class(name), "algo"), values)
    return "\n".join(parts)


def eval_help() -> str:
    """The text of `rl-eval --help`."""
    entries = _entries(keys(ReplayConfig), default_values("eval.yaml"))
    return "\n".join([EVAL, "keys, with their default values", "", *entries])


def export_help() -> str:
    """The text of `rl-export --help`."""
    from rl_cli import export

    formats = [item(name, text) for name, text in export.summaries().items()]
    entries = _entries(keys(ExportConfig), default_values("export.yaml"))
    head = [EXPORT, "formats: format=<name>[,<name>...]", *formats, ""]
    return "\n".join([*head, "keys, with their default values", "", *entries])


def search_help() -> str:
    """The text of `rl-search --help`."""
    entries = _entries(keys(SearchConfig), default_values("search.yaml"))
    spaces = item("space=<name>", ", ".join(members("space", [CONF, *user_folders([])])))
    return "\n".join([SEARCH, spaces, "", "keys, with their default values", "", *entries])


def play_help(argv: list[str]) -> str:
    """The text of `rl-play --help`."""
    folders = [CONF, *user_folders(argv)]
    defaults = default_values("play.yaml") | {"env": default_values("env/_base.yaml")}
    known = {k: v for k, v in keys(PlayConfig).items() if k.removeprefix("env.") not in OF_TRAINING}
    envs = [item(*each) for each in help_topics.envs(folders, with_values=False).items()]
    entries = _entries(known, defaults)
    return "\n".join(
        [PLAY, "envs: env=<name>", *envs, "", "keys, with their default values", "", *entries]
    )


def _entries(known: Mapping[str, Key], values: Mapping[str, Any]) -> Iterable[str]:
    return [
        key_entry(name, help_topics.lookup(values, name), key.describe())
        for name, key in known.items()
    ]
