"""What a model card claims about its seeds, and the code that it shows."""

from __future__ import annotations

import pytest

from rl_cli.export import model_card
from tests.algos.test_algorithms import env_config


@pytest.mark.parametrize(
    ("used", "words"),
    [
        (None, ""), (range(0, 5), "other seeds"), (range(13, 20), "other seeds"), (range(5, 11), "some of them"),
        (range(12, 13), "some of them"), (range(0, 100), "some of them"), (range(10, 13), "some of them"),
    ],
)  # fmt: skip
def test_claim_about_the_seeds_holds(used, words):
    """Episodes of the seeds 10 to 12."""
    text = model_card._about_seeds(used, 10, 3)
    assert words in text
    assert ("does not bias" in text) == (words == "other seeds")


def test_code_names_what_the_folder_alone_is_not_trusted_with():
    assert model_card._env_argument(env_config("CartPole-v1")) == ""
    env = env_config("mine:My-v0", kwargs={"size": 3, "text": "a b"}, wrappers=["mine:Wrap"])
    given = "{'id': 'mine:My-v0', 'wrappers': ['mine:Wrap'], 'kwargs': {'text': 'a b'}}"
    assert model_card._env_argument(env) == f", env={given}"
