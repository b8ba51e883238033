import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl_cli.core.errors import StorageError
from rl_cli.storage import atomic_files
from rl_cli.storage.atomic_files import part_of, storing, write_atomic, write_json
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.tracking.csv_table import CsvTable


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def disk_full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_append_writes_a_row_under_its_columns(tmp_path):
    table = CsvTable(tmp_path / "m.csv", ("step", "loss"))
    table.append({"loss": 0.5, "step": 100})
    assert (tmp_path / "m.csv").read_text() == "step,loss\n100,0.5\n"


def test_missing_value_is_an_empty_field(tmp_path):
    table = CsvTable(tmp_path / "m.csv", ("step", "loss", "kl"))
    table.append({"step": 1, "kl": 2})
    assert (tmp_path / "m.csv").read_text() == "step,loss,kl\n1,,2\n"


def test_new_name_becomes_a_column_and_old_rows_are_kept(tmp_path):
    path = tmp_path / "m.csv"
    table = CsvTable(path, ("step",))
    table.append({"step": 1})
    table.append({"step": 2, "loss": 0.5})
    table.append({"step": 3})
    assert path.read_text() == "step,loss\n1,\n2,0.5\n3,\n"


def test_zeros_and_quoted_text_survive_a_new_column(tmp_path):
    path = tmp_path / "m.csv"
    text = 'a, "b"\nc'
    table = CsvTable(path, ("step", "note"))
    table.append({"step": 0, "note": text})
    table.append({"step": 1, "x,y": 0.0})
    assert rows_of(path) == [
        {"step": "0", "note": text, "x,y": ""},
        {"step": "1", "note": "", "x,y": "0.0"},
    ]


def test_cut_after_keeps_the_step_and_drops_later_rows(tmp_path):
    path = tmp_path / "m.csv"
    table = CsvTable(path, ("step", "loss"))
    for step in (90, 100, 110, 1000):  # as text 1000 would sort before 110
        table.append({"step": step, "loss": step / 10})
    table.cut_after(100)
    table.append({"step": 104, "loss": 7})
    assert path.read_text() == "step,loss\n90,9.0\n100,10.0\n104,7\n"


def test_cut_after_drops_a_partly_written_row(tmp_path):
    # a full disk kept only the first byte of "300,30.0", which reads like a row of step 3
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n100,10.0\n200,20.0\n3")
    CsvTable(path, ("step", "loss")).cut_after(200)
    assert path.read_text() == "step,loss\n100,10.0\n200,20.0\n"


def test_reopened_table_uses_the_columns_of_the_file(tmp_path):
    path = tmp_path / "m.csv"
    CsvTable(path, ("step", "kl")).append({"step": 1, "kl": 0, "loss": 0.5})
    CsvTable(path, ("step", "loss")).append({"loss": 0.25, "step": 2})
    assert path.read_text() == "step,kl,loss\n1,0,0.5\n2,,0.25\n"


def test_append_in_a_removed_folder_is_a_storage_error(tmp_path):
    path = tmp_path / "run" / "m.csv"
    path.parent.mkdir()
    table = CsvTable(path, ("step",))
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(StorageError) as caught:
        table.append({"step": 1})
    assert caught.value.where == str(path)


def test_write_atomic_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "status.json"
    write_atomic(path, b"a much longer first content")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_failed_write_atomic_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_atomic(path, b"old")
    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_write_json_writes_readable_json_and_paths_as_strings(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"step": 3, "folder": Path("runs/a"), "best": None})
    assert json.loads(path.read_text()) == {"step": 3, "folder": "runs/a", "best": None}


def test_storing_turns_os_error_into_storage_error_with_the_path(tmp_path):
    path = tmp_path / "missing" / "status.json"
    with pytest.raises(StorageError) as caught:
        write_atomic(path, b"")
    assert caught.value.where == str(path)
    assert "No such file or directory" in caught.value.what
    assert caught.value.exit_code == 4
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_storing_does_not_change_other_errors():
    with pytest.raises(ZeroDivisionError), storing(Path("status.json")):
        _ = 1 / 0


def test_write_does_not_follow_a_link_with_the_name_of_its_temporary_file(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    part_of(tmp_path / "a.json").symlink_to(mine)
    write_json(tmp_path / "a.json", {"b": 1})
    os.link(mine, part_of(tmp_path / "a.json"))
    write_json(tmp_path / "a.json", {"b": 2})
    assert mine.read_text() == "mine"
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}


def test_processes_that_write_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.json"
    code = f"import sys; from pathlib import Path; from rl_cli.storage.atomic_files import write_json\nfor i in range(200): write_json(Path({str(path)!r}), {{'by': sys.argv[1], 'i': i}}, synced=False)"
    both = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [each.wait() for each in both] == [0, 0]
    assert json.loads(path.read_text())["i"] == 199
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_process_left_is_removed_when_a_folder_is_locked(tmp_path):
    left, writing, other = ".m.csv.12_34.part", ".n.csv.56_78.part", ".mine.part"
    for name in (left, writing, other):
        (tmp_path / name).write_text("x")
    for name in (left, other):
        os.utime(tmp_path / name, (0, 0))
    with FolderLock.take(tmp_path):
        assert not (tmp_path / left).exists()
        assert (tmp_path / writing).exists()
        assert (tmp_path / other).exists()
    assert part_of(tmp_path / "m.csv").name.replace("m.csv", "n.csv") != writing


def test_error_of_a_file_outside_of_a_run_names_the_key_of_its_folder(tmp_path):
    with pytest.raises(StorageError) as caught, atomic_files.writing_to("output"):
        atomic_files.write_json(tmp_path / "missing" / "a.json", {})
    assert caught.value.fix.endswith("output=<folder>")
    assert "missing" in caught.value.where
