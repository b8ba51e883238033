"""The HPARAMS tab: which settings of a run it shows, and what TensorBoard reads back of a sweep."""

from __future__ import annotations

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from rl_cli.algos import build_run_config
from rl_cli.config.labels import Labels
from rl_cli.tracking.hparams import differing, hparams
from rl_cli.tracking.sinks import SinkContext
from rl_cli.tracking.tensorboard import TensorBoardSink
from tests.config.test_config import compose

ATARI = {"env.atari", "env.noop_max", "env.fire_reset", "env.episodic_life"}


def settings(*words):
    """-> (labels, settings) of a run with these words."""
    chosen = dict(word.split("=", 1) for word in words)
    labels = Labels(chosen["algo"], chosen["env"], "", words)
    return labels, hparams(build_run_config(compose(*words)), labels)


def messages(folder):
    """The messages about the HPARAMS tab in the event file of a run, by name."""
    events = EventAccumulator(str(folder / "tb")).Reload()

    def message(tag):
        content = events.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
        return getattr(HParamsPluginData.FromString(content), tag)

    return {t: message(t) for t in ("experiment", "session_start_info", "session_end_info")}


def written(folder, words):
    """`messages` of a run with these words."""
    labels, values = settings(*words)
    sink = TensorBoardSink(SinkContext(folder, values, None, differing(labels, values)))
    sink.write_row(100, {"train/loss": 0.5})
    sink.close()
    return messages(folder)


def test_what_was_typed_and_seed_algo_and_env_differ_in_every_run_of_a_sweep(tmp_path):
    """Two algorithms, two step sizes, two seeds: TensorBoard may find any of the runs first."""
    rows = set()
    for algo in ("dqn", "ppo"):
        for rate in ("1e-3", "3e-4"):
            for seed in ("0", "1"):
                words = [f"algo={algo}", "env=cartpole", f"algo.learning_rate={rate}"]
                words += [f"seed={seed}", "eval.every=500", "video.episodes=0", "quiet=true"]
                found = written(tmp_path / algo / rate / seed, words)
                infos = found["experiment"].hparam_infos
                columns = ["algo", "env", "seed", "algo.learning_rate", "eval.every"]
                assert [info.name for info in infos if info.differs] == columns
                assert [info.name for info in infos][:5] == columns  # shown first
                start = found["session_start_info"].hparams
                assert start["algo.learning_rate"].number_value == float(rate)
                assert start["eval.every"].number_value == 500
                assert set(start) <= {info.name for info in infos}
                rows.add((start["algo"].string_value, float(rate), start["seed"].number_value))
    assert len(rows) == 8


def test_metrics_are_final_and_best_return_success_and_seconds(tmp_path):
    found = written(tmp_path, ["algo=dqn", "env=cartpole"])
    metrics = {info.name.tag: info.display_name for info in found["experiment"].metric_infos}
    assert metrics == {
        "eval/episode_return": "final return",
        "eval/best_return": "best return",
        "eval/success_rate": "success rate",
        "time/elapsed": "seconds",
    }
    assert found["session_end_info"].status == api_pb2.STATUS_SUCCESS


def test_keys_without_effect_stay_out_unless_they_were_typed():
    """Atari's keys on other envs; epsilon with noisy networks; what only shows or keeps a run."""
    _, values = settings("algo=rainbow", "env=cartpole", "env.noop_max=0", "log.window=9", "jobs=1")
    assert ATARI & set(values) == {"env.noop_max"}
    assert {"log.window", "jobs"}.isdisjoint(values)
    assert (values["algo"], values["algo.name"]) == ("rainbow", "dqn")
    _, values = settings("algo=dqn", "env=pong", "hparams=none")
    assert set(values) >= ATARI
    assert values["hparams"] == "none"  # a group that was typed, as typed


def test_values_have_their_types(tmp_path):
    labels = Labels("dqn", "cartpole", "", ("algo.none=null",))
    values = {"algo.flag": True, "algo.rate": 2, "algo.name": "x", "algo.none": None}
    context = SinkContext(tmp_path, values, None, differing(labels, values))
    TensorBoardSink(context).close()
    found = messages(tmp_path)
    infos, start = found["experiment"].hparam_infos, found["session_start_info"].hparams
    number, text = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_STRING
    assert {info.name: (info.type, info.differs) for info in infos} == {
        "algo.none": (text, True),
        "algo.flag": (api_pb2.DATA_TYPE_BOOL, False),
        "algo.rate": (number, False),
        "algo.name": (text, False),
    }
    assert start["algo.flag"].bool_value is True
    assert start["algo.rate"].number_value == 2
    assert start["algo.name"].string_value == "x"
    assert "algo.none" not in start
