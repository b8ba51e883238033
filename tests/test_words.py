"""Words of code and text: American spelling, and the field's terms in place of earlier ones."""

from __future__ import annotations

import re

from tests.conftest import REPO

FOLDERS = ("rl_cli", "hydra_plugins", "conf", "docs", "tests", "benchmarks")
SUFFIXES = {
    ".py",
    ".c",
    ".cpp",
    ".h",
    ".js",
    ".css",
    ".html",
    ".md",
    ".yaml",
    ".ipynb",
    ".sh",
    ".toml",
}
NOT_OURS = (
    "tests/golden/",
    "rl_cli/report/assets/uPlot",
    "tests/test_words.py",
)

BRITISH = (
    r"(normal|priorit|initial|maxim|minim|general|synchron|recogn|penal|parametr|factor|summar|serial"
    r"|standard|vector|random|organ|util|visual|custom|local|final|stabil|categor|character|regular"
    r"|special|real|memor|discret|token|quant)is(e|ed|er|ers|es|ing|ation|ations)",
    r"optimis(e|ed|er|ers|es|ing|ation)|analys(e|ed|er|es|ing)",
    r"(col|behavi|fav|hon|neighb|flav)our\w*|grey\w*|(un)?label(led|ling)|cancel(led|ling)|travel(led|ling)",
    r"modell(ed|ing)|centred?|metres?|licence|fulfil|catalogue|judgement|whilst|programme",
)

EARLIER = {  # words of earlier versions -> what to write
    "begun": "started",
    "beside": "next to, in the background",
    "told|tells": "reports, prints, receives",
    "nobody|whoever": "the noun",
    "mend|mends|mended": "fix, repair",
    "by hand": "manually",
    "room": "space",
    "asked for|asks for": "requested, requires",
    "stands for|stand for|stands in|stand in": "means, replaces",
    "films?": "videos",
    "lifting": "hoisting",
    "settle[sd]?": "sync, restore",
    "patience": "timeout, disk retry",
    "surprise": "priority",
}

ALLOWED = {  # what others call so, or what files of users contain -> where
    r"CANCELLED|TaskCancelledError": r"(rl_cli|tests)/sweep/.*",  # Slurm, Ray
    r"grey|optimiser|normalise": r"(rl_cli|tests)/config/(test_)?other_names.py",  # names that users type
    r"beside": r"(rl_cli/config|tests/config|tests/cli)/.*|docs/configuration.md|CHANGELOG.md",  # an old key
    r"begun": r"rl_cli/(algos/reinforce|envs/vector|envs/loaded_state).py",  # a key in checkpoints
    r"films": r"CHANGELOG.md",  # quotes old output
    r"asks for": r"docs/reports.md",  # a prompt
}


def pattern_of(words):
    """Whole words, also between the underscores of a name."""
    return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", re.IGNORECASE)


def texts():
    found = [path for folder in FOLDERS for path in (REPO / folder).rglob("*")]
    found += [*REPO.glob("*.md"), *REPO.glob("*.toml"), *REPO.glob("*.yml"), REPO / "Makefile"]
    for path in sorted(found):
        place = path.relative_to(REPO).as_posix()
        is_text = path.suffix in SUFFIXES or path.name in ("Makefile", "mkdocs.yml")
        if is_text and not place.startswith(NOT_OURS) and "__pycache__" not in place:
            yield place, path.read_text()


def is_allowed(place, word):
    return any(
        re.fullmatch(words, word) and re.fullmatch(where, place) for words, where in ALLOWED.items()
    )


def found_in(patterns, allow=is_allowed):
    return [
        f"{place}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for place, text in texts()
        for pattern in patterns
        for match in pattern.finditer(text)
        if not allow(place, match.group())
    ]


def test_spelling_is_american():
    assert found_in([pattern_of("|".join(BRITISH))]) == []


def test_words_of_earlier_versions_do_not_return():
    assert found_in([pattern_of("|".join(EARLIER))]) == []


def test_words_are_found_in_names_and_at_the_start_of_sentences():
    british, earlier = pattern_of("|".join(BRITISH)), pattern_of("|".join(EARLIER))
    for text in ("Normalised", "is_normalised", "COLOURS", "unlabelled", "by colour."):
        assert british.search(text), text
    for text in (
        "normalized",
        "colorsys",
        "otherwise",
        "precise",
        "promise",
        "finalist",
        "programmed",
    ):
        assert not british.search(text), text
    for text in (
        "has_begun",
        "Told by",
        "makes room for",
    ):
        assert earlier.search(text), text
    for text in ("besides", "bathroom", "broom", "storytelling"):
        assert not earlier.search(text), text
