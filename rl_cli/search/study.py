"""Studies of Optuna: where they are stored, what they sample, and which commands may continue them."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.core.errors import BadInput, RunError, StorageError, first_line, plain
from rl_cli.core.same_numbers import whole
from rl_cli.core.start_folder import relative
from rl_cli.search.plan import Direction, Plan

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study

JOURNAL = "study.log"

INSTALL = "pip install 'rl-cli[search]'"

CONNECT_SECONDS = 10

CREATE_ATTEMPTS = 4
"""Of several processes that create the tables of a new database at the same time, one succeeds."""

SETTINGS = "settings"
"""Name of the attribute of a study that holds `Plan.settings`."""


def require_optuna() -> None:
    """Raise BadInput without Optuna or SciPy."""
    for name in ("optuna", "scipy"):
        if importlib.util.find_spec(name) is None:
            raise BadInput(f"rl-search needs the package {name}", "rl-search", INSTALL)


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """In the body Optuna prints no notes of its own, and its errors are errors of ours.

    Raises:
        RunError: the storage failed.

    """
    import optuna
    import sqlalchemy.exc

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    failures = (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, OSError)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            yield
        except failures as error:
            lost = isinstance(error, sqlalchemy.exc.PendingRollbackError)
            why = "the connection is lost" if lost else masked(first_line(_cause(error)))
            what = f"the study cannot be read or written: {why}"
            raise StorageError(
                what, "storage", "repeat the command: the search continues"
            ) from None


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def masked(text: str) -> str:
    """A text without the password of a URL."""
    return re.sub(r"(://[^:/@\s]+):[^@\s]+@", r"\1:***@", text)


def open_storage(plan: Plan) -> BaseStorage:
    """The storage of a study.

    Raises:
        BadInput: the URL cannot be used, or nothing answers there.

    """
    if plan.cfg.storage is None:
        return _journal(plan.folder / JOURNAL)
    return _database(plan.cfg.storage)


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _repair(path)
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        what = f"cannot write the study: {error.strerror or error}"
        raise StorageError(
            what, relative(path), "free disk space, or name another study="
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"the study cannot be read: {first_line(error)}"
        fix = "restore this file, or start a new study: study=<name>"
        raise BadInput(what, relative(path), fix) from None


def _database(url: str) -> BaseStorage:
    import sqlalchemy
    from optuna.storages import RDBStorage

    where = f"storage={masked(url)}"
    example = "storage=postgresql://user@host/database, or sqlite:///study.db"
    if not re.match(r"(sqlite|postgresql)(\+\w+)?://", url):
        raise BadInput("a study is stored in SQLite or PostgreSQL", where, example)
    try:
        address = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise BadInput("this is not the URL of a database", where, example) from None
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_backend_name() == "postgresql":
        address = _with_driver(address, where)
        options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
    text = address.render_as_string(hide_password=False)
    for attempt in itertools.count(1):
        try:
            return RDBStorage(text, engine_kwargs=options)
        except Exception as error:  # of a driver or of the server
            reached = not isinstance(error, sqlalchemy.exc.OperationalError)
            if reached and attempt < CREATE_ATTEMPTS:  # two processes create the tables
                time.sleep(attempt)
                continue
            reason = masked(first_line(_cause(error)))
            fix = "start the server, or correct host, user and database; sqlite needs the folder"
            raise BadInput(f"this database cannot be used: {reason}", where, fix) from None
    raise AssertionError


def _with_driver(address: Any, where: str) -> Any:
    """The URL with a driver that is installed."""
    if "+" in address.drivername:
        return address
    for module in ("psycopg", "psycopg2"):
        if importlib.util.find_spec(module) is not None:
            return address.set(drivername=f"postgresql+{module}")
    fix = "pip install 'rl-cli[postgres]'"
    raise BadInput("PostgreSQL needs the package psycopg", where, fix)


def open_study(storage: BaseStorage, plan: Plan, part: str = "") -> Study:
    """The study of a plan, new or as other processes and earlier starts left it.

    Args:
        storage: of the study.
        plan: of the search.
        part: end of the name of a further study of the same search.

    Raises:
        BadInput: the study was made with another configuration.

    """
    import optuna

    from rl_cli.search.sampler import Seeded

    name = f"{plan.name}{part}"
    directions: list[Direction] = ["maximize"] if part else plan.directions
    known = _known_directions(storage, name)
    if known is not None and known != directions:
        raise _other(plan, "objective", plan.cfg.objective, "another objective")
    study = optuna.create_study(
        storage=storage,
        sampler=Seeded(plan),
        study_name=name,
        directions=directions,
        load_if_exists=True,
    )
    settings, recorded = plan.settings(), study.user_attrs.get(SETTINGS)
    if recorded is None:
        study.set_user_attr(SETTINGS, settings)
    else:
        _refuse_other(plan, settings, recorded)
    return study


def require_own_folder(plan: Plan, study: Study) -> None:
    """Refuse the runs of another study in the folder, which the search would take for its own.

    Raises:
        BadInput: there are runs, and the study is new.

    """
    # looked at first: another process of this study adds a trial before its runs
    found = next((plan.folder / "runs").glob("*/config.yaml"), None)
    if found is not None and not study.get_trials(deepcopy=False):
        what = f"the study {plan.name} is new, and its folder holds runs of another one"
        fix = "delete this folder, or start another study: study=<name>"
        raise BadInput(what, relative(plan.folder), fix)


def _known_directions(storage: BaseStorage, name: str) -> list[str] | None:
    """Directions of an existing study; None: there is none."""
    try:
        found = storage.get_study_directions(storage.get_study_id_from_name(name))
    except KeyError:
        return None
    return [direction.name.lower() for direction in found]


def _refuse_other(plan: Plan, ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    for key in sorted({*ours, *theirs}):
        if not _is_same(ours.get(key), theirs.get(key)):
            raise _other(plan, key, ours.get(key, "not set"), theirs.get(key, "not set"))


def _is_same(ours: str | None, theirs: str | None) -> bool:
    """Whether two settings, texts in JSON or names, are equal; 500 was 5e2."""
    if ours is None or theirs is None or ours == theirs:
        return ours == theirs
    try:
        return repr(whole(json.loads(ours))) == repr(whole(json.loads(theirs)))
    except ValueError:
        return False


def _other(plan: Plan, key: str, ours: str, theirs: str) -> RunError:
    return BadInput(
        f"the study {plan.name} was made with another configuration: {plain(key)} was {theirs}",
        f"{key}={ours}",
        "repeat the first command, or start another study: study=<name>",
    )


def _repair(path: Path) -> None:
    """Remove an incomplete last line, which a full disk or a crash leaves in a journal."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        _cut(path)
    finally:
        lock.release()


def _cut(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        block = min(end, 1 << 20)
        file.seek(end - block)
        data = file.read(block)
        if data and not data.endswith(b"\n"):
            file.truncate(end - block + data.rfind(b"\n") + 1)
