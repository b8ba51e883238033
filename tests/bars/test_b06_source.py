"""B6: nothing in the package turns the bytes of a file into code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
NAMES = {"eval", "exec", "__import__", "compile"}
CALLS = {
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.load", "torch.jit.load"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("numpy.load", "np.load", "runpy.run_path", "runpy.run_module"),
}
KEYWORDS = {"allow_pickle": True, "weights_only": False, "shell": True}
IMPORTS_BY_NAME = {
    "algos/__init__.py": 1,  # of a name out of its own table
    "cli/deferred.py": 1,  # of a name that the source gives
}


def findings(text):
    """What a source holds that could run a file's content: pairs (line, what)."""
    for node in ast.walk(ast.parse(text)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        else:
            named = []
        yield from ((line, n) for n in named if n.split(".")[0] in MODULES or n in CALLS)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            bad = called in NAMES or called in CALLS or called.startswith(("os.exec", "os.spawn"))
            if bad or called.startswith("builtins."):
                yield line, called
            for word in node.keywords:
                value = word.value.value if isinstance(word.value, ast.Constant) else word.value
                if word.arg in KEYWORDS and value is not (not KEYWORDS[word.arg]):
                    yield line, f"{word.arg}={ast.unparse(word.value)}"
        names = {getattr(node, field, None) for field in ("id", "attr", "name")}
        if "instantiate" in names:
            yield line, "instantiate"
        if isinstance(node, ast.Constant) and node.value == "_target_":
            yield line, "_target_"


def test_the_package_has_no_way_to_run_a_file():
    files = sorted((REPO / "rl_cli").rglob("*.py"))
    hits = [f"{p.name}:{line} {what}" for p in files for line, what in findings(p.read_text())]
    assert hits == []
    assert len(files) > 30
    report(6, len(hits), 0, "hits")


def test_modules_are_imported_by_name_in_two_places_only():
    found = {}
    for path in (REPO / "rl_cli").rglob("*.py"):
        if sites := path.read_text().count("import_module("):
            found[str(path.relative_to(REPO / "rl_cli"))] = sites
    assert found == IMPORTS_BY_NAME


def test_no_shipped_configuration_names_a_class():
    for path in (REPO / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path.name


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import cloudpickle as c",
        "import dill",
        "import joblib; joblib.load('x')",
        "import yaml; yaml.load(text)",
        "from yaml import unsafe_load",
        "np.load('x', allow_pickle=True)",
        "np.lib.format.read_array(f, allow_pickle=flag)",
        "torch.load('x')",
        "load('x', weights_only=False)",
        "eval('1')",
        "exec(text)",
        "__import__('os')",
        "builtins.exec(text)",
        "compile(text, 'x', 'exec')",
        "os.system('ls')",
        "os.execvp('ls', [])",
        "subprocess.run('ls', shell=True)",
        "hydra.utils.instantiate(cfg)",
        "from hydra.utils import instantiate",
        "key = '_target_'",
    ],
)
def test_the_scan_sees_each_way(text):
    assert list(findings(text))


@pytest.mark.parametrize(
    "text", ["run(['ls'], shell=False)", "re.compile('x')", "self.eval.every", "yaml.safe_load(t)"]
)
def test_the_scan_sees_no_ghosts(text):
    assert not list(findings(text))
