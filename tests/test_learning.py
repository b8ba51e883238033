"""The table of learning results says what its data say, and its data are tied to what they depend on."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from tests.conftest import REPO

sys.path.insert(0, str(REPO / "benchmarks"))
import learning_version
from learning_cases import CASES, EVAL_SEED, Case
from learning_table import table, verdict

KNOWN = {
    name: entry["results"]
    for name, entry in json.loads((REPO / "benchmarks/learning.json").read_text()).items()
}


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


def test_page_has_the_table_of_the_recorded_results():
    assert table(KNOWN) in (REPO / "docs/learning.md").read_text()


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
