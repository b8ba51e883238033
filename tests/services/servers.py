"""Slurm and PostgreSQL servers of a test's own. The tests of this folder run with `make services`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REQUESTED = os.environ.get("RL_CLI_SERVICES") == "1"

HAS_SLURM = bool(shutil.which("slurmctld") and shutil.which("slurmd")) and os.getuid() == 0
HAS_POSTGRES = any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

needs_slurm = pytest.mark.skipif(not (REQUESTED and HAS_SLURM), reason="make services, as root")
needs_postgres = pytest.mark.skipif(not (REQUESTED and HAS_POSTGRES), reason="make services")


def _script(name: str, *words: str) -> str:
    """Run a script of this folder. -> its standard output.

    Standard error goes to a file: daemons that a script starts would keep a pipe open.
    """
    with tempfile.TemporaryFile("w+") as errors:
        ran = subprocess.run(
            [str(HERE / name), *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
        errors.seek(0)
        assert ran.returncode == 0, errors.read()
    return ran.stdout.strip()


@contextmanager
def _folder(script: str) -> Iterator[Path]:
    """A new folder that every user may enter; at the end the server in it is stopped and it is removed."""
    folder = Path(tempfile.mkdtemp(prefix="rl-cli-services-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        _script(script, "stop", str(folder))
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server with an empty database. -> its URL."""
    with _folder("postgres.sh") as folder:
        yield _script("postgres.sh", "start", str(folder))


class Slurm:
    """A running Slurm cluster of two nodes.

    Attributes:
        env: environment variables with which Slurm's commands use it.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"SLURM_CONF": _script("slurm.sh", "start", str(folder))}

    def command(self, *words: str) -> str:
        """Run a command of Slurm. -> its standard output."""
        return subprocess.check_output(words, env={**os.environ, **self.env}, text=True).strip()

    def kill_node(self, number: int) -> None:
        _script("slurm.sh", "kill", str(self.folder), str(number))

    def start_node(self, number: int) -> None:
        _script("slurm.sh", "node", str(self.folder), str(number))


@contextmanager
def slurm() -> Iterator[Slurm]:
    with _folder("slurm.sh") as folder:
        yield Slurm(folder)
