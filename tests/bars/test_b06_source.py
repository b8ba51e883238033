"""B6: the package contains no call that can execute the content of a file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.bars.results import report

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
    "cli/entry.py": 1,  # the module of a command, whose name is in that file
    "core/plugins.py": 2,  # a package of ours and one of its modules
    "envs/registered_ids.py": 1,  # the module of a typed env.id, which gymnasium.make imports too
    "__init__.py": 1,  # a module of ours, by the name of what it exports
    "tracking/trackers/process.py": 1,  # a module of ours, by the name of a tracker
    "envs/user_wrappers.py": 1,  # env.wrappers, which a run folder may not set
}


def findings(text):
    """Imports and calls in a source that could execute the content of a file: pairs (line, name)."""
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


def test_package_contains_no_call_that_executes_files():
    files = sorted((REPO / "rl_cli").rglob("*.py"))
    hits = [f"{p.name} {what}" for p in files for _, what in findings(p.read_text())]
    hits.remove("user_conf.py _target_")  # the check that refuses it
    assert hits == []
    assert len(files) > 30
    report(6, len(hits), 0, "hits")


def test_only_known_files_import_modules_by_name():
    found = {}
    for path in (REPO / "rl_cli").rglob("*.py"):
        if sites := path.read_text().count("import_module("):
            found[str(path.relative_to(REPO / "rl_cli"))] = sites
    assert found == IMPORTS_BY_NAME


def test_shipped_configurations_name_no_class():
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
def test_scan_finds_each_dangerous_call(text):
    assert list(findings(text))


@pytest.mark.parametrize(
    "text", ["run(['ls'], shell=False)", "re.compile('x')", "self.eval.every", "yaml.safe_load(t)"]
)
def test_scan_accepts_harmless_calls(text):
    assert not list(findings(text))
