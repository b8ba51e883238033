"""Hostile run folders for B5: pickles, `_target_` nodes, bombs, links and control characters in place of data."""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import pickle
import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import yaml

from rl_cli.storage.manifest import MANIFEST, POLICY, STATE, STATE_JSON, seal

GOLDEN = Path(__file__).resolve().parents[1] / "golden/format_2/dqn"
SECRET = "s3cr3t-of-the-user"
MODULE = "open({!r}, 'w').close()\nclass Foo: pass\n"


class HostileFolder:
    """A user's working folder with a run from elsewhere, modules that a case may try to import, and a file to protect.

    canary: created by any code that a case manages to execute. victim: must keep its content.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "run"
        root.mkdir()
        shutil.copytree(GOLDEN, self.run)
        self.canary = root.parent / f"{root.name}.canary"
        for name in ("evil", "mujoco", "ale_py", "shimmy"):
            (root / f"{name}.py").write_text(MODULE.format(str(self.canary)))
        self.victim = root.parent / f"{root.name}.victim"
        self.victim.write_text("mine")
        self.last = self.run / "checkpoints/000004000"

    def manifest(self, **changes):
        """Change the manifest of the last checkpoint, with valid checksums and a valid seal."""
        fields = json.loads((self.last / MANIFEST).read_text())
        del fields["sha256"]
        for key, value in changes.items():
            group, _, name = key.partition("__")
            if name:
                fields[group][name] = value
            else:
                fields[group] = value
        for name in fields["files"]:
            if (self.last / name).is_file() and (self.last / name).stat().st_size < 1 << 30:
                data = (self.last / name).read_bytes()
                fields["files"][name] = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
        (self.last / MANIFEST).write_bytes(seal(fields))

    def config(self, **changes):
        """Change config.yaml."""
        config = yaml.safe_load((self.run / "config.yaml").read_text())
        for key, value in changes.items():
            group, _, name = key.partition("__")
            if name:
                config[group][name] = value
            else:
                config[group] = value
        (self.run / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))

    def both(self, **changes):
        """Change the manifest and config.yaml."""
        self.manifest(**changes)
        self.config(**changes)


# Pickles under the names of checkpoint files


class Payload:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def payloads(canary, victim):
    touch = f"open({canary!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, f"touch {canary}"),
        "subprocess": Payload(subprocess.call, ["touch", canary]),
        "exec": Payload(exec, touch),
        "eval": Payload(eval, touch),
        "open": Payload(open, canary, "w"),
        "remove": Payload(os.remove, victim),
        "copyfile": Payload(shutil.copyfile, "/etc/hostname", victim),
        "import": Payload(importlib.import_module, "evil"),
    }


def as_torch(value):
    """A file as torch.save writes it, with the payload in place of the pickle."""
    buffer = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(2)}, "x": 1}, buffer)
    out = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = pickle.dumps(value) if name.endswith("data.pkl") else old.read(name)
            new.writestr(name, data)
    return out.getvalue()


def as_numpy(value):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    return buffer.getvalue() + pickle.dumps(value)


CONTAINERS = {"pickle": pickle.dumps, "torch": as_torch, "numpy": as_numpy}


def pickled(payload, container, place):
    data = CONTAINERS[container](payloads(str(place.canary), str(place.victim))[payload])
    for name in (POLICY, STATE, STATE_JSON):
        (place.last / name).write_bytes(data)
    shutil.rmtree(place.run / "checkpoints/000002000")  # leave no other checkpoint to resume from
    place.manifest()


# Configurations that name a class or function to call


TARGETS = {
    "os.system": {"command": "touch {canary}"},
    "subprocess.Popen": {"args": ["touch", "{canary}"]},
    "builtins.exec": {"_args_": ["open({canary!r}, 'w')"]},
    "builtins.eval": {"_args_": ["open({canary!r}, 'w')"]},
    "builtins.open": {"file": "{victim}", "mode": "w"},
    "pathlib.Path.unlink": {"self": "{victim}"},
    "shutil.copyfile": {"src": "/etc/hostname", "dst": "{victim}"},
    "shutil.rmtree": {"path": "{victim}"},
    "os.remove": {"path": "{victim}"},
    "torch.load": {"f": "run/payload.pkl", "weights_only": False},
    "numpy.load": {"file": "run/payload.pkl", "allow_pickle": True},
    "joblib.load": {"filename": "run/payload.pkl"},
    "pickle.load": {"file": "run/payload.pkl"},
    "importlib.import_module": {"name": "evil"},
    "runpy.run_path": {"path_name": "evil.py"},
    "evil.Foo": {},
    "hydra.utils.call": {"config": {"_target_": "os.system", "command": "touch {canary}"}},
    "logging.os.system": {"command": "touch {canary}"},
    "ctypes.CDLL": {"name": "run/payload.so"},
    "torch.hub.load": {"repo_or_dir": ".", "model": "evil", "source": "local"},
}
ADDRESSES = ["algo", "env", "env__kwargs", "top", "eval", "hydra"]


def targeted(target, address, place):
    text = json.dumps({"_target_": target, **TARGETS[target]})
    text = text.replace("{canary!r}", f"'{place.canary}'").replace("{canary}", str(place.canary))
    node = json.loads(text.replace("{victim}", str(place.victim)))
    payload = pickle.dumps(Payload(os.system, f"touch {place.canary}"))
    (place.run / "payload.pkl").write_bytes(payload)
    if address in ("algo", "env"):
        place.both(**{f"{address}__optimizer": node})
    elif address == "env__kwargs":
        flat = {k: v if isinstance(v, str | bool) else str(v) for k, v in node.items()}
        place.both(env__kwargs=flat)
    elif address == "hydra":
        place.both(hydra={"callbacks": {"x": node}})
    else:
        place.both(**({address: node} if address == "eval" else node))


def hydra_conf_folders(place):
    """Configuration in the folders where Hydra might look: the current one and the run."""
    node = {"hydra": {"callbacks": {"x": {"_target_": "evil.Foo"}}}}
    for folder in (place.root / "conf", place.root / ".hydra", place.run / ".hydra"):
        folder.mkdir()
        for name in ("eval.yaml", "config.yaml", "hydra.yaml"):
            (folder / name).write_text(yaml.safe_dump(node))


# Ids, interpolations, bombs, links, names


def changed(place, **changes):
    place.both(**changes)


def spec(place):
    place.both(env__id=json.dumps({"id": "X-v0", "entry_point": "evil:Foo", "kwargs": {}}))


def renamed(name, place):
    place.run = place.run.rename(place.root / name)


def config_text(text, place):
    (place.run / "config.yaml").write_text(text)


def alias_bomb(place):
    """Half a kilobyte of YAML aliases that expand to 9**9 words, at a key that takes any value."""
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 10)]
    text = (place.run / "config.yaml").read_text()
    grown = text.replace("  name: dqn\n", "  name: dqn\n  more: *l9\n")
    config_text("l0: &l0 [a]\n" + "\n".join(levels) + "\n" + grown, place)


def deep_json(place):
    """JSON nested deeper than any parser accepts, in every JSON file, with valid checksums."""
    (place.last / STATE_JSON).write_bytes(b"[" * 500_000 + b"]" * 500_000)
    place.manifest()
    text = (place.last / MANIFEST).read_bytes()
    (place.last / MANIFEST).write_bytes(
        text.replace(b'"kwargs": {}', b'"kwargs": ' + b"[" * 300_000)
    )
    keep_last_only(place)
    config_text("algo: " + "[" * 30_000, place)


def wide_json(place):
    """A state.json with millions of empty lists."""
    (place.last / STATE_JSON).write_bytes(b"[" + b"[]," * 5_000_000 + b"[]]")
    place.manifest()
    keep_last_only(place)


def huge_header(place):
    """Headers of ninety megabytes with names of empty arrays."""
    entries = (
        f'"a{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(1_500_000)
    )
    header = b"{" + ",".join(entries).encode() + b"}"
    for name in (POLICY, STATE):
        (place.last / name).write_bytes(len(header).to_bytes(8, "little") + header)
    place.manifest()
    keep_last_only(place)


def huge_header_of_state(place):
    """The same in the training state only, which only resume reads."""
    policy = (place.last / POLICY).read_bytes()
    huge_header(place)
    (place.last / POLICY).write_bytes(policy)
    place.manifest()


def huge_shape(place):
    header = json.dumps(
        {"q.0.weight": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}}
    )
    data = len(header).to_bytes(8, "little") + header.encode()
    for name in (POLICY, STATE):
        (place.last / name).write_bytes(data)
    place.manifest()
    keep_last_only(place)


def huge_layers(place):
    place.manifest(algo__hidden_sizes=[12_000, 12_000])


def huge_output(place):
    """Small hidden layers and an output of a thousand noisy atoms per action, with dueling heads."""
    place.both(
        **{"algo__hidden_sizes": [16_000], "algo__num_atoms": 1_000, "algo__noisy": True},
        **{"algo__distributional": "c51", "algo__dueling": True, "algo__loss": "huber"},
    )


def sparse(place):
    """Sparse files of a terabyte, listed with that size in the manifest."""
    place.manifest()
    fields = json.loads((place.last / MANIFEST).read_text())
    del fields["sha256"]
    for name in (POLICY, STATE):
        with (place.last / name).open("wb") as file:
            file.truncate(1 << 40)
        fields["files"][name] = {"sha256": "0" * 64, "bytes": 1 << 40}
    (place.last / MANIFEST).write_bytes(seal(fields))
    keep_last_only(place)


def keep_last_only(place):
    """Delete the other checkpoint, so that there is no other to resume from."""
    shutil.rmtree(place.run / "checkpoints/000002000")


def linked_file(place):
    (place.root / "elsewhere").mkdir()
    for name in (POLICY, STATE):
        shutil.move(place.last / name, place.root / "elsewhere" / name)
        (place.last / name).symlink_to(place.root / "elsewhere" / name)
    keep_last_only(place)


def linked_step(place):
    shutil.move(place.last, place.root / "000004000")
    place.last.symlink_to(place.root / "000004000")
    keep_last_only(place)


def dotted_name(place):
    fields = json.loads((place.last / MANIFEST).read_text())
    del fields["sha256"]
    fields["files"]["../../../../x.victim"] = fields["files"].pop(POLICY)
    (place.last / MANIFEST).write_bytes(seal(fields))
    keep_last_only(place)


def pipes(place):
    for path in (place.last / POLICY, place.run / "checkpoints/best.json", place.run / ".lock"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    keep_last_only(place)


def output_is_a_link(name, place):
    """A file that resume writes is a link to a file of the user."""
    path = place.run / name
    path.unlink(missing_ok=True)
    path.symlink_to(place.victim)


def unlisted(name, place):
    (place.last / name).write_text("x")
    keep_last_only(place)


def labels(text, place):
    place.config(labels=[text, text])


ESC = "\x1b]8;;http://x\x07\x1b[2J\x1b[31m[red]\u202e"
BOTH, TRAIN, NONE = (2, 2), (0, 2), (0, 0)
"""Exit codes of (rl-eval, rl-train): both refuse; only rl-train reads and refuses it; neither is affected."""


def case(name, expected, make, *args, **kwargs):
    return name, expected, functools.partial(make, *args, **kwargs)


def _targets():
    for i, target in enumerate(TARGETS):
        address = ADDRESSES[i % len(ADDRESSES)]
        expected = TRAIN if address == "eval" else BOTH  # the value in the manifest is not used
        yield case(f"target-{target}-{address}", expected, targeted, target, address)


GROUPS = {  # group: (number of cases in the short form, cases)
    "pickles": (
        8,
        [
            case(f"{p}-in-{c}", BOTH, pickled, p, c)
            for i in range(3)
            for n, p in enumerate(payloads("", ""))
            for c in [list(CONTAINERS)[(n + i) % 3]]
        ],
    ),
    "targets": (6, [*_targets(), case("hydra-conf-folders", NONE, hydra_conf_folders)]),
    "ids": (
        3,
        [
            case("id-evil", BOTH, changed, env__id="evil:Foo-v0"),
            case("mujoco-planted", BOTH, changed, env__id="Ant-v5"),
            case(
                "xml-file", BOTH, changed, env__id="Ant-v5", env__kwargs={"xml_file": "/etc/passwd"}
            ),
            case("id-stdlib", BOTH, changed, env__id="antigravity:Foo-v0"),
            case("spec", BOTH, spec),
            case("ale-planted", BOTH, changed, env__id="ALE/Pong-v5"),
            case(
                "shimmy",
                BOTH,
                changed,
                env__id="GymV21Environment-v0",
                env__kwargs={"env_id": "evil"},
            ),
            case("entry-point", BOTH, changed, env__kwargs={"entry_point": "evil:Foo"}),
        ],
    ),
    "interpolations": (
        2,
        [
            case("folder", NONE, renamed, "${oc.env:RL_SECRET}"),
            case("id", BOTH, changed, env__id="${oc.env:RL_SECRET}"),
            case("kwarg", BOTH, changed, env__kwargs={"x": "${oc.env:RL_SECRET}"}),
            case("algorithm", BOTH, changed, algo__name="${oc.env:RL_SECRET}"),
            case("labels", NONE, labels, "${oc.env:RL_SECRET}"),
            case("seed", BOTH, changed, seed="${oc.env:RL_SECRET}"),
        ],
    ),
    "bombs": (
        3,
        [
            case("aliases", TRAIN, alias_bomb),
            case("huge-shape", BOTH, huge_shape),
            case("sparse", BOTH, sparse),
            case("deep-json", BOTH, deep_json),
            case("wide-json", TRAIN, wide_json),
            case("huge-header", BOTH, huge_header),
            case("huge-header-of-state", TRAIN, huge_header_of_state),
            case("huge-layers", BOTH, huge_layers),
            case("huge-layers-everywhere", BOTH, changed, algo__hidden_sizes=[12_000, 12_000]),
            case("huge-output", BOTH, huge_output),
            case("long-yaml", TRAIN, config_text, "algo: {name: dqn}\n" + "a: [1, 2]\n" * 100_000),
        ],
    ),
    "links": (
        3,
        [
            case("linked-file", BOTH, linked_file),
            case("pipes", BOTH, pipes),
            case("part-is-a-link", TRAIN, output_is_a_link, ".config.yaml.part"),
            case("linked-step", BOTH, linked_step),
            case("dotted-name", BOTH, dotted_name),
            case("rows-is-a-link", TRAIN, output_is_a_link, "metrics.csv"),
            case("lock-is-a-link", TRAIN, output_is_a_link, ".lock"),
        ],
    ),
    "names": (
        2,
        [
            case("labels-with-escapes", NONE, labels, ESC),
            case("id-with-escapes", BOTH, changed, env__id=ESC),
            case("kwarg-with-escapes", BOTH, changed, env__kwargs={ESC: 1}),
            case("folder-with-escapes", BOTH, renamed, ESC.replace("/", "")),
            case("unlisted-with-escapes", BOTH, unlisted, f"x{ESC.replace('/', '')}"),
        ],
    ),
}
