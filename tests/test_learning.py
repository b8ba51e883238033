"""The table of learning results says what its data say, and its data are tied to what they depend on."""

from __future__ import annotations

import itertools
import re
import sys

import numpy as np
import pytest

from tests.conftest import FULL, REPO

sys.path.insert(0, str(REPO / "benchmarks"))
import learning
import learning_curves
import learning_partial
import learning_sb3
import learning_version
from learning_cases import CASES, EVAL_SEED, Case
from learning_check import FALSE_ALARMS, FIRST_SEED, QUICK, SEEDS, check, lower
from learning_table import table, verdict

KNOWN = learning.results_of(learning.RECORD)


def results(best, last):
    return [{"best": b, "latest": e} for b, e in zip(best, last, strict=True)]


TEN = np.arange(10.0)  # the interval of its IQM, 4.5, lies within 2 and 7


@pytest.mark.parametrize(
    ("best", "last", "expected"),
    [
        (TEN + 9, TEN + 9, "**over**"),
        (TEN + 9, TEN, "best over, last below"),
        (TEN + 6.5, TEN + 9, "below"),  # the IQM is 11, the interval contains the bar
        ([10.0] * 10, [10.0] * 10, "**over**"),  # exactly the bar, as 500 of CartPole
    ],
)
def test_verdict_compares_the_lower_end_of_the_interval_with_the_bar(best, last, expected):
    assert verdict(Case("dqn", "cartpole", 10.0, "own"), results(best, last)) == expected


def test_bar_of_each_seed_is_compared_with_the_lowest():
    case = Case("dqn", "cartpole", 10.0, "own", each_seed=True)
    assert verdict(case, results(TEN + 10, TEN + 10)) == "**over**"
    assert verdict(case, results(TEN + 10, TEN + 9)) == "best over, last below"
    assert verdict(case, results(TEN + 9, TEN + 9)) == "below"


def test_page_has_the_table_of_the_recorded_results():
    assert table(KNOWN) in (REPO / "docs/learning.md").read_text()


def test_pictures_of_the_page_have_a_line_per_algorithm_and_none_without_curves(tmp_path):
    pytest.importorskip("matplotlib")
    shown = {"success_at": 475.0, "seconds": 1.0, "steps": 20, "curve": [[10, 20], [1.0, 2.0]]}
    rows = {
        "dqn_cartpole": [{"seed": seed, **shown} for seed in (1, 2)],
        "dqn_acrobot": [{"seed": 1, **shown, "curve": None}],
    }
    assert learning_curves.draw(rows, tmp_path) == ["learning-cartpole.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["learning-cartpole.png"]
    run = learning_curves._run(CASES["dqn_cartpole"], rows["dqn_cartpole"][1])
    assert (run.algo, run.env, run.seed, run.final) == ("dqn", "cartpole", 2, 2.0)


def test_pictures_that_the_page_shows_exist():
    text = (REPO / "docs/learning.md").read_text()
    for name in re.findall(r"\(img/(learning-\w+\.png)\)", text):
        assert (REPO / "docs/img" / name).exists()


def test_row_of_the_peer_has_its_last_policy_and_ours():
    theirs = [{"steps": 50_000, "seconds": s, "latest": 100.0 * s} for s in (1, 2, 3)]
    ours = [{"seconds": 4.0, "latest": 7.0, "best": 9.0}]
    row = learning_sb3.row("dqn_cartpole", theirs, ours)
    assert row == (
        "| `algo=dqn env=cartpole` | 50,000 | 200.0 | 100.0 | 2 | 7.0 | 7.0 | 9.0 | 9.0 | 4 |"
    )
    assert "not measured" in learning_sb3.row("dqn_cartpole", theirs, [])


def test_measurement_of_the_peer_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_sb3, "RECORD", tmp_path / "record.json")
    for name, seed in (("ppo_cartpole", 1), ("dqn_cartpole", 3), ("dqn_cartpole", 2)):
        learning_sb3.record(name, {"seed": seed})
    assert learning_sb3.recorded() == {
        "dqn_cartpole": [{"seed": 2}, {"seed": 3}],
        "ppo_cartpole": [{"seed": 1}],
    }


def row(seed):
    return {
        "seed": seed,
        "steps": 1,
        "seconds": 1.0,
        "success_at": None,
        "best": 1.0,
        "latest": 1.0,
    }


def test_row_that_is_not_complete_continues_and_is_recorded_once_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_partial, "FILE", tmp_path / "partial.json")
    monkeypatch.setattr(learning, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(learning, "key", lambda name: "now")
    monkeypatch.setattr(learning, "write_pages", lambda: None)
    name = "ppo_minatar_breakout"  # three seeds
    seeds = CASES[name].seeds
    learning_partial.add(name, "earlier", row(seeds[1]))
    assert learning.missing(name, seeds) == seeds  # another configuration or code
    learning.keep(name, row(seeds[2]), seeds)
    learning.keep(name, row(seeds[0]), seeds[:2])
    assert learning.missing(name, seeds) == [seeds[1]]
    assert not learning.RECORD.exists()
    learning.keep(name, row(seeds[1]), seeds)
    assert [each["seed"] for each in learning.results_of(learning.RECORD)[name]] == seeds
    assert not learning_partial.FILE.exists()
    assert learning.missing(name, seeds) == seeds  # a complete row is measured anew


@pytest.mark.parametrize("code", [130, 143, -9, 1, 4])
def test_run_that_is_stopped_again_is_kept(tmp_path, monkeypatch, code):
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(learning, "_code", lambda *words: code)
    with pytest.raises(SystemExit, match="repeat the command"):
        learning._train(CASES["dqn_cartpole"], 9000, tmp_path)
    assert (tmp_path / "checkpoints").exists()


def test_run_that_cannot_be_resumed_starts_again(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    codes, called = iter([2, 0]), []
    monkeypatch.setattr(learning, "_code", lambda *words: called.append(words) or next(codes))
    learning._train(CASES["dqn_cartpole"], 9000, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert [words[1].partition("=")[0] for words in called] == ["resume", "algo"]


def test_measured_gives_each_result_with_its_case(monkeypatch):
    monkeypatch.setattr(learning, "measure", lambda name, case, seed, key: {"seed": (name, seed)})
    monkeypatch.setattr(learning, "key", lambda name: "")
    seeds = {"ppo_cartpole": [1, 2], "dqn_cartpole": [3]}
    found = [(name, *each["seed"]) for name, each in learning.measured(seeds, jobs=2)]
    assert sorted(found) == [
        ("dqn_cartpole", "dqn_cartpole", 3), ("ppo_cartpole", "ppo_cartpole", 1),
        ("ppo_cartpole", "ppo_cartpole", 2),
    ]  # fmt: skip


def test_table_of_the_peer_has_complete_cases_alone():
    some = [{"steps": 1, "seconds": 1, "latest": 2.0}]
    text = learning_sb3.table({"dqn_cartpole": some * 10, "ppo_cartpole": some * 9}, {})
    assert "env=cartpole" in text
    assert "algo=ppo" not in text


def test_every_case_is_in_the_table_or_among_those_not_measured():
    text = table(KNOWN)
    for name, case in CASES.items():
        assert (f"| `{' '.join(case.words)}` |" in text) != (f"`{name}`" in text)


def test_seeds_of_a_case_are_unused_after_each_look():
    first, second = (Case("dqn", "cartpole", 1.0, "own", looks=n).seeds for n in (0, 1))
    assert not set(first) & set(second)
    assert min(first) > 493
    assert max(second) < EVAL_SEED


def test_fingerprint_changes_with_values_and_code_alone(monkeypatch):
    words = ["algo=dqn", "env=cartpole"]
    monkeypatch.setattr(learning_version, "_code", lambda: ["x = 1"])
    before = learning_version.fingerprint(words)
    assert learning_version.fingerprint([*words, "seed=7", "run_dir=elsewhere"]) == before
    assert learning_version.fingerprint([*words, "algo.gamma=0.5"]) != before
    monkeypatch.setattr(learning_version, "_code", lambda: ["x = 2"])
    assert learning_version.fingerprint(words) != before


def test_comments_and_docstrings_are_no_code():
    plain = 'def f():\n    return "text"\n'
    worded = '"""Of a file."""\n# why\ndef f():\n    """Of f."""\n    return "text"\n'
    other = 'def f():\n    return "other"\n'
    assert learning_version.without_words(plain) == learning_version.without_words(worded)
    assert learning_version.without_words(plain) != learning_version.without_words(other)


def test_p_value_is_the_share_of_orders_that_rank_as_low():
    assert lower(np.arange(3.0), np.arange(3.0, 6.0)) == pytest.approx(1 / 20)
    assert lower(np.array([0.0, 1, 3]), np.array([2.0, 4, 5])) == pytest.approx(2 / 20)
    assert lower(np.full(4, 500.0), np.full(5, 500.0)) == 1  # only ties
    assert lower(np.array([1.0, 2]), np.array([2.0, 2])) == pytest.approx(1 / 2)


def test_check_rarely_fails_by_chance_and_finds_what_does_not_learn():
    """Every order of the pooled seeds is one outcome of chance: count those that fail."""
    orders = [lower(np.array(low), np.array(high)) for low, high in splits(6, 2)]
    for level in (1 / 15, 0.1, 0.3):
        assert np.mean([p <= level for p in orders]) <= level
    broken = [{"best": -200.0 + i / 100} for i in range(SEEDS)]
    recorded = [{"best": -100.0 - i} for i in range(10)]
    names = [f"case {i}" for i in range(len(QUICK))]
    new = dict.fromkeys(names, recorded[2:4]) | {"case 1": broken}
    found = check(dict.fromkeys(names, recorded), new)
    assert [each.case for each in found if not each.expected] == ["case 1"]


def splits(n, m):
    """Ways to split 0, ..., n - 1 into m values and the others."""
    for of in itertools.combinations(range(n), m):
        yield list(of), sorted(set(range(n)) - set(of))


def test_seeds_of_the_check_are_those_of_no_row():
    assert not any(
        FIRST_SEED <= seed < FIRST_SEED + SEEDS for c in CASES.values() for seed in c.seeds
    )


@pytest.mark.skipif(not FULL, reason="trains for minutes")
def test_presets_learn_as_recorded():
    """Fails by chance with a probability of at most FALSE_ALARMS each time that bits of training change."""
    assert FALSE_ALARMS <= 1e-3
    assert learning.quick(KNOWN, ["ppo_cartpole", "reinforce_cartpole", "dqn_cartpole"], jobs=1)
