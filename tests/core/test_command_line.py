"""Lines for pasting: a shell and the parser of overrides read back the values that were written."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rl_cli.cli import compose, hydra_errors
from rl_cli.cli.arguments import plain_overrides, split_flags
from rl_cli.cli.on_run import _is_path
from rl_cli.core.command_line import argument, override, pasted, quoted
from rl_cli.core.errors import BadInput, escaped
from tests.conftest import FULL

EXAMPLES = 2_000 if FULL else 25
ODD = "ab1.eE_~=#$%&*(){}[]<>|;:,!?@^`'\"\\/ +-\n\té日本\u202e\x1b"
TEXTS = st.one_of(
    st.text(st.sampled_from(ODD), max_size=12),
    st.sampled_from(["null", "True", "NaN", "-inf", "5", "1e3", "0x1", "1_0", "${seed}", "\\${a}"]),
    st.sampled_from(
        ["\\\\${oc.env:HOME}", "~/x", "//", "a,b", "[a]", "{a:b}", "choice(1,2)", " a "]
    ),
    st.text(max_size=12).filter(lambda text: "\0" not in text),
)
VALUES = st.one_of(
    TEXTS,
    st.lists(st.one_of(TEXTS, st.integers(), st.booleans(), st.none()), max_size=3),
    st.floats(allow_nan=False),
)


def read_back(word):
    return compose.resolved(hydra_errors.parsed(word, {})[1])


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(value=VALUES)
@example(value='a\\"b\\')
@example(value="\\\\${x}${")
def test_value_is_read_back_by_the_parser_of_overrides(value):
    found = read_back(override("env.kwargs.x", value))
    assert found == value
    assert type(found) is type(value)


@settings(max_examples=2 * EXAMPLES, deadline=None, database=None)
@given(words=st.lists(TEXTS, min_size=1, max_size=4))
def test_words_are_read_back_by_a_shell(words):
    printable = [word for word in words if escaped(word) == word]
    assert shlex.split(pasted(*printable)) == printable


def test_unprintable_words_are_read_back_by_bash():
    words = ["a\nb", "\x1b[2J'q'", "\t\\n", "\u202eabc", "日\x011", "\x7f0", "\u200b"]
    line = f"printf '%s\\0' {pasted(*words)}"
    assert escaped(line) == line
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    "folder", ["lr=0.1/x", "-m", "--help", "a=b", "a b", "runs/x=1", "~", "'q'"]
)
def test_folder_is_an_argument_of_rl_eval(folder):
    flags, words = split_flags([argument(folder)])
    assert not flags
    assert _is_path(words[0])
    assert words[0].removeprefix("./") == folder


@pytest.mark.parametrize(
    "folder", ["a b", "'q'", '"q"', "日本", "5", "x,y", "lr=0.1", "it's", "C:\\x\\"]
)
def test_folder_is_a_value_of_resume(folder):
    _, _, value = override("resume", folder).partition("=")
    assert hydra_errors.unquoted(value) == folder
    if folder[0] not in "'\"":
        assert hydra_errors.unquoted(folder) == folder  # with the quotes of the shell alone


@pytest.mark.parametrize("text", ["x/日本", "lr=0.1", "a#b", "x/it's", "(1)", "a,b]", "${"])
def test_refusal_names_the_text_to_type(text):
    known = hydra_errors.training_keys([])
    word = f"run_dir={text}"
    refusal = hydra_errors._unreadable(word, known)
    (typed,) = shlex.split(refusal.fix.partition("type ")[2])
    assert read_back(typed) == text
    assert hydra_errors._unreadable("algo.gamma=(1)", known).fix == hydra_errors.QUOTE


def test_quotes_of_hydra():
    assert override("k", "abc/d.e") == "k=abc/d.e"
    assert override("k", ["5", 5, None, True]) == 'k=["5",5,null,true]'
    assert quoted('a"b\\') == r'"a\"b\\"'
    assert quoted("${x}") == r'"\${x}"'


def test_control_characters_of_an_env_text_pass_the_check_of_arguments():
    word = override("env.kwargs.x", "a\n\x1b")
    assert plain_overrides([word], dict, r"env\.kwargs\.", str) == [word]
    with pytest.raises(BadInput, match="cannot read"):
        plain_overrides([override("run_dir", "a\n")], dict, r"env\.kwargs\.", str)
