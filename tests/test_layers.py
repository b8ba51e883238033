"""Architecture: imports between packages, what each package may import, sizes of files and functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

from tests.conftest import REPO

PACKAGE = REPO / "rl_cli"
LAYERS = [  # a package imports packages of the layers above its own line, and itself
    {"core"},
    {"config"},
    {"models", "envs"},
    {"engine", "storage"},
    {"buffers", "tracking"},
    {"algos"},
    {"collectors", "evaluation"},
    {"training", "export"},
    {"report"},
    {"sweep"},
    {"search"},
    {"cli"},
    {"api"},
]
LAYER_OF = {package: number for number, layer in enumerate(LAYERS) for package in layer}

SUFFIXES = {".py", ".c", ".h"}
FILE_LINES = {"rl_cli": 350, "benchmarks": 350, "tests": 450}
FUNCTION_LINES = 40
REASON = re.compile(r"# Over 40 lines: \w")
"""The comment, within a function or on the line above it, that says why it is longer."""


def sources(folder="rl_cli", suffixes=frozenset({".py"})):
    found = (path for path in (REPO / folder).rglob("*") if path.suffix in suffixes)
    return sorted(path for path in found if "__pycache__" not in path.parts)


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def package_of(path):
    return path.relative_to(PACKAGE).parts[0]


def imports_of(path):
    """Modules that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            inside = node.module.split(".")[0] == "rl_cli"
            yield from (
                [f"{node.module}.{a.name}" for a in node.names] if inside else [node.module]
            )


def tops_of(path):
    return {module.split(".")[0] for module in imports_of(path)}


def packages_imported(path):
    parts = (module.split(".") for module in imports_of(path))
    return {p[1] for p in parts if p[0] == "rl_cli" and p[1] in LAYER_OF}


def test_each_package_is_in_one_layer():
    files = {path for path in PACKAGE.iterdir() if path.suffix == ".py"}
    assert {path.name for path in files} == {"__init__.py"}
    assert {package_of(path) for path in sources()} - {"__init__.py"} == set(LAYER_OF)


def test_each_package_has_a_folder_of_tests():
    assert {
        name for name in LAYER_OF if not (REPO / "tests" / name / "__init__.py").exists()
    } == set()


def test_packages_import_lower_layers_only():
    found = {
        f"{name_of(path)} -> {other}"
        for path in sources()
        if path.parent != PACKAGE
        for other in packages_imported(path) - {package_of(path)}
        if LAYER_OF[other] >= LAYER_OF[package_of(path)]
    }
    assert not found, sorted(found)


def test_algorithms_import_no_gymnasium_no_logger_no_files():
    allowed = {"abc", "collections", "dataclasses", "typing", "numpy", "torch", "pydantic"}
    allowed |= {"rl_cli", "__future__"}
    registry = {
        "functools",
        "importlib",
        "inspect",
        "pkgutil",
        "types",
    }  # algos/__init__.py loads the others
    for path in (PACKAGE / "algos").glob("*.py"):
        assert tops_of(path) <= allowed | (registry if path.stem == "__init__" else set()), (
            path.name
        )


def test_algorithms_do_not_import_each_other():
    for path in (PACKAGE / "algos").glob("*.py"):
        imported = {
            module.split(".")[2] for module in imports_of(path) if "rl_cli.algos." in module
        }
        assert not imported & {"dqn", "ppo", "reinforce"}, path.name


def test_trainer_does_not_depend_on_the_algorithm():
    text = (PACKAGE / "training/trainer.py").read_text()
    assert not re.search(r"isinstance|\bdqn\b|\bppo\b|\breinforce\b", text, re.IGNORECASE)


def test_trainer_imports_no_logger_storage_evaluation_or_native_code():
    found = packages_imported(PACKAGE / "training/trainer.py")
    found &= {"tracking", "storage", "evaluation", "engine"}
    assert not found, sorted(found)


def test_trainer_has_at_most_160_lines_and_6_arguments():
    text = (PACKAGE / "training/trainer.py").read_text()
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    (trainer,) = (node for node in classes if node.name == "Trainer")
    (init,) = (node for node in trainer.body if getattr(node, "name", "") == "__init__")
    arguments = len(init.args.args) + len(init.args.kwonlyargs) - 1  # without self
    found = {"lines"} if len(text.splitlines()) > 160 else set()
    found |= {"arguments"} if arguments > 6 else set()
    assert not found, sorted(found)


def test_only_cli_imports_hydra():
    for path in sources():
        if path.parent == PACKAGE or package_of(path) != "cli":
            assert not tops_of(path) & {"hydra", "omegaconf"}, name_of(path)


def test_plugins_of_hydra_are_small():
    """Hydra executes each whenever any program of the same environment starts it."""
    for path in sources("hydra_plugins"):
        assert tops_of(path) <= {"dataclasses", "typing", "hydra", "rl_cli", "__future__"}, (
            path.name
        )
        assert len(path.read_text().splitlines()) <= 60, path.name
    names = ", ".join(f"hydra_plugins.rl_train.{n}" for n in ("local", "slurm", "ray"))
    slow = "{'torch', 'submitit', 'ray'} & set(sys.modules)"
    code = f"import {names}, sys; sys.exit(bool({slow}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0


def test_config_loads_no_torch():
    """Neither itself nor through what it imports."""
    names = [f"rl_cli.config.{path.stem}" for path in (PACKAGE / "config").glob("[!_]*.py")]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0


def test_no_file_is_too_long():
    found = {
        path.relative_to(REPO).as_posix()
        for folder, most in FILE_LINES.items()
        for path in sources(folder, SUFFIXES)
        if len(path.read_text().splitlines()) > most
    }
    assert not found, sorted(found)


def long_functions(text):
    """Names of the functions in a source that are too long and give no reason, with their lengths."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            above = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            around = "\n".join(lines[max(above - 2, 0) : node.end_lineno])
            if length > FUNCTION_LINES and not REASON.search(around):
                yield node.name, length


def test_no_function_is_too_long():
    found = {
        f"{name_of(path)} {name}"
        for path in sources()
        for name, _ in long_functions(path.read_text())
    }
    assert not found, sorted(found)


def test_long_functions_are_found_unless_a_comment_gives_the_reason():
    short = "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)
    long = short + "    x = 2\n"
    assert list(long_functions(short)) == []
    assert list(long_functions(long)) == [("f", FUNCTION_LINES + 1)]
    assert list(long_functions("# Over 40 lines: one table.\n" + long)) == []
    assert list(long_functions(long + "    # Over 40 lines: one table.\n    x = 3\n")) == []


FOREIGN = {  # assignments from outside that no method can replace -> the reason
    r".*\.(argtypes|restype)": "ctypes: the types of a C function",
    r"collectors/.*: s\.\w+(\.count)?|collectors/.*: self\.(loop|stop|struct)\.\w+": "fields of ctypes structs",
    r".*: (sys\.std(out|err)|sys\.unraisablehook|threading\.excepthook)": "streams and hooks of Python",
    r"algos/factory.py: torch\.backends\..*": "settings of torch",
    r".*: (os\._exit|tempfile\.tempdir|sys\.setattr)": "replaced for a while, then restored",
    r".*: multiprocessing\.current_process\(\)\.daemon": "the only way to change it",
    r".*: rng\.bit_generator\.state": "NumPy's way to set it",
    r"cli/.*: (Hydra|GlobalHydra|HydraConfig|cfg).*": "singletons and configurations of Hydra",
    r"engine/hoisting.py: node\.args": "torch.fx edits graphs in this way",
    r"envs/(fast_lunar_lander|wrappers|make|minatar).py: (env|self\.game)\..*": "envs of Gymnasium and MinAtar",
    r"tracking/hparams.py: .*": "messages of protobuf",
    r"tracking/display.py: console\.width": "rich",
}


def attributes_set(node):
    """The attributes that a statement binds, augments or deletes."""
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            stack = list(targets)
        case ast.AugAssign() | ast.AnnAssign() | ast.For() | ast.comprehension() | ast.NamedExpr():
            stack = [node.target]
        case ast.With():
            stack = [item.optional_vars for item in node.items]
        case _:
            stack = []
    while stack:
        target = stack.pop()
        if isinstance(target, ast.Attribute):
            yield target
        stack += getattr(target, "elts", []) or [getattr(target, "value", None)] * isinstance(
            target, ast.Starred
        )


def made_in(function):
    """Names that a function binds to an object that it creates: by a class, or as a copy."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func).split(".")[-1].lstrip("_")
            if called[:1].isupper() or called in {"copy", "new__"}:
                yield from (t.id for t in node.targets if isinstance(t, ast.Name))


def set_from_outside(text):
    """Attributes that a source sets on objects other than self, cls and those that the function made."""

    def visit(node, own):
        for child in ast.iter_child_nodes(node):
            for target in attributes_set(child):
                if not (isinstance(target.value, ast.Name) and target.value.id in own):
                    yield ast.unparse(target)
            if isinstance(child, ast.Call):
                called = ast.unparse(child.func).split(".")[-1]
                place = ast.unparse(child.args[0]) if child.args else ""
                if called in {"setattr", "delattr", "__setattr__"} and place not in own:
                    yield f"{place}.{called}"
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from visit(child, own | set(made_in(child)) if is_function else own)

    return visit(ast.parse(text), {"self", "cls"})


def test_no_object_sets_attributes_of_another():
    found, used = set(), set()
    for folder in ("rl_cli", "hydra_plugins"):
        for path in sources(folder):
            for target in set_from_outside(path.read_text()):
                place = f"{path.relative_to(REPO / folder).as_posix()}: {target}"
                reasons = {pattern for pattern in FOREIGN if re.fullmatch(pattern, place)}
                used |= reasons
                found |= set() if reasons else {place}
    assert not found, sorted(found)
    assert used == set(FOREIGN)


def test_attributes_that_are_set_from_outside_are_found():
    inside = "def f(self, x):\n    y = Y()\n    self.a, y.b = x\n    self.a += 1\n    setattr(y, 'c', 1)\n"
    assert list(set_from_outside(inside)) == []
    outside = "def f(self, x):\n    y = self.y()\n    "
    for line, found in {
        "x.a = 1": "x.a",
        "x.a += 1": "x.a",
        "del x.a": "x.a",
        "y.a: int = 1": "y.a",
        "self.x.a, b = 1, 2": "self.x.a",
        "[*x.a], b = c": "x.a",
        "for x.a in b: pass": "x.a",
        "with b as x.a: pass": "x.a",
        "setattr(x, 'a', 1)": "x.setattr",
        "object.__setattr__(x, 'a', 1)": "x.__setattr__",
        "def g(): x.a = 1": "x.a",
    }.items():
        assert list(set_from_outside(outside + line)) == [found], line


def test_test_files_register_envs_under_different_ids():
    """Two files of one id would get each other's env, depending on the order of the tests."""
    found = {}
    own = (p for p in sorted((REPO / "tests").rglob("*.py")) if "example" not in p.parts)
    for path in own:
        for env_id in set(re.findall(r'^\s*gym\.register\(\s*"([^"]+)"', path.read_text(), re.M)):
            found.setdefault(env_id, []).append(path.name)
    assert len(found) > 20
    assert {env_id: files for env_id, files in found.items() if len(files) > 1} == {}
