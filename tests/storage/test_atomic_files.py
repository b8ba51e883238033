import csv
import errno
import json
import os
from pathlib import Path

import pytest

from rl_cli.core.errors import StorageError
from rl_cli.storage.atomic_files import storing, write_atomic, write_json
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


def test_a_missing_value_stays_empty(tmp_path):
    table = CsvTable(tmp_path / "m.csv", ("step", "loss", "kl"))
    table.append({"step": 1, "kl": 2})
    assert (tmp_path / "m.csv").read_text() == "step,loss,kl\n1,,2\n"


def test_a_new_name_becomes_a_column_and_old_rows_stay(tmp_path):
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


def test_cut_after_keeps_the_step_itself_and_drops_what_comes_later(tmp_path):
    path = tmp_path / "m.csv"
    table = CsvTable(path, ("step", "loss"))
    for step in (90, 100, 110, 1000):  # as text 1000 would sort before 110
        table.append({"step": step, "loss": step / 10})
    table.cut_after(100)
    table.append({"step": 104, "loss": 7})
    assert path.read_text() == "step,loss\n90,9.0\n100,10.0\n104,7\n"


def test_cut_after_drops_a_row_that_was_torn_while_it_was_written(tmp_path):
    # a full disk took the first byte of "300,30.0": what is left reads like a row of step 3
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n100,10.0\n200,20.0\n3")
    CsvTable(path, ("step", "loss")).cut_after(200)
    assert path.read_text() == "step,loss\n100,10.0\n200,20.0\n"


def test_reopening_goes_on_with_the_columns_of_the_file(tmp_path):
    path = tmp_path / "m.csv"
    CsvTable(path, ("step", "kl")).append({"step": 1, "kl": 0, "loss": 0.5})
    CsvTable(path, ("step", "loss")).append({"loss": 0.25, "step": 2})
    assert path.read_text() == "step,kl,loss\n1,0,0.5\n2,,0.25\n"


def test_appending_where_the_folder_is_gone_is_a_storage_error(tmp_path):
    path = tmp_path / "run" / "m.csv"
    path.parent.mkdir()
    table = CsvTable(path, ("step",))
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(StorageError) as caught:
        table.append({"step": 1})
    assert caught.value.where == str(path)


def test_write_atomic_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "status.json"
    write_atomic(path, b"a much longer first content")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_write_atomic_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_atomic(path, b"old")
    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_write_json_can_be_read_back_and_writes_paths_as_text(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"step": 3, "folder": Path("runs/a"), "best": None})
    assert json.loads(path.read_text()) == {"step": 3, "folder": "runs/a", "best": None}


def test_storing_turns_an_os_error_into_a_storage_error_that_names_the_path(tmp_path):
    path = tmp_path / "missing" / "status.json"
    with pytest.raises(StorageError) as caught:
        write_atomic(path, b"")
    assert caught.value.where == str(path)
    assert "No such file or directory" in caught.value.what
    assert caught.value.exit_code == 4
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_storing_lets_other_errors_pass():
    with pytest.raises(ZeroDivisionError), storing(Path("status.json")):
        _ = 1 / 0


def test_a_link_under_the_name_of_a_part_is_not_written_through(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".a.json.part").symlink_to(mine)
    write_json(tmp_path / "a.json", {"b": 1})
    os.link(mine, tmp_path / ".a.json.part")
    write_json(tmp_path / "a.json", {"b": 2})
    assert mine.read_text() == "mine"
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}
