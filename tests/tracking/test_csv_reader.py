"""Tables of a run that another program saved, or that anybody made, are read or refused."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from rl_cli.core.errors import BadInput
from rl_cli.tracking import csv_reader
from rl_cli.tracking.csv_table import METRICS, CsvTable

TABLE = b"step,a,rollout/b\n0,1.5,\n10,-2e3,nan\n20,7,8\n"
ROWS = [["0", "1.5", ""], ["10", "-2e3", "nan"]]

READ = {
    "as written": TABLE,
    "byte-order mark": b"\xef\xbb\xbf" + TABLE,
    "semicolons": TABLE.replace(b",", b";"),
    "tabs and a mark": b"\xef\xbb\xbf" + TABLE.replace(b",", b"\t"),
    "CRLF": TABLE.replace(b"\n", b"\r\n"),
    "quoted": b'"step","a","rollout/b"\n"0","1.5",""\n10,"-2e3",nan\n',
    "empty lines": TABLE.replace(b"\n", b"\n\n"),
    "incomplete last line": TABLE + b"30,1",
    "zeros after a power failure": TABLE + b"\0" * 5_000,
    "other order": b"a,step,rollout/b\n1.5,0,\n-2e3,10,nan\n",
}
REFUSED = {
    "latin-1": TABLE + b"0,\xfc,\n",
    "UTF-16": TABLE.decode().encode("utf-16"),
    "NUL": TABLE + b"30,\0,1\n",
    "open quote": TABLE + b'30,"1,2\n',
    "open quote in the header": b'step,"a\n0,1\n',
    "long line": TABLE + b"3" * (1 << 20) + b"\n",
    "long line without end": TABLE + b"3" * (1 << 20),
    "no step": b"time,a\n0,1\n",
    "decimal commas": b"step;a\n0;1,5\n",
    "fewer values": TABLE + b"30,1\n",
    "more values": TABLE + b"30,1,2,3\n",
    "step of another kind": TABLE + b"3.5,1,2\n",
    "step of many digits": TABLE + b"9" * 30 + b",1,2\n",
    "negative step": TABLE + b"-3,1,2\n",
    "no step in a row": TABLE + b",1,2\n",
    "column twice": b"step,a,a\n0,1,2\n",
    "many columns": b"step," + b",".join(b"c%d" % i for i in range(1_500)) + b"\n",
    "CR only": TABLE.replace(b"\n", b"\r"),
    "no complete line": b"step,a",
    "a program": b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 9,
}


@pytest.mark.parametrize("kind", READ)
def test_table_is_cut_and_continued(tmp_path, kind):
    """The values are the texts they were; new columns come last."""
    path = tmp_path / "metrics.csv"
    path.write_bytes(READ[kind])
    table = CsvTable(path, METRICS)
    names = table.columns
    table.cut_after(10)
    table.append({"step": 11, "new": 3.0})
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert lines[0] == [*names, "new"]
    order = [names.index(name) for name in ("step", "a", "rollout/b")]
    assert [[line[i] for i in order] for line in lines[1:]] == [*ROWS, ["11", "", ""]]


@pytest.mark.parametrize("kind", REFUSED)
def test_other_table_is_refused_in_three_lines_and_kept(tmp_path, kind):
    path = tmp_path / "metrics.csv"
    path.write_bytes(REFUSED[kind])
    with pytest.raises(BadInput) as refused:
        CsvTable(path, METRICS).cut_after(10)
    assert len(str(refused.value).splitlines()) == 3
    assert path.read_bytes() == REFUSED[kind]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_empty_file_is_a_new_table(tmp_path):
    path = tmp_path / "metrics.csv"
    path.touch()
    CsvTable(path, METRICS).append({"step": 1})
    assert path.read_text() == ",".join(METRICS) + "\n1,,,\n"


def test_memory_does_not_grow_with_the_size(tmp_path):
    """A table of 12 MB is cut, and a sparse file of 3 GB refused, with 8 MB."""
    path = tmp_path / "metrics.csv"
    line = b"1," + b"7" * 60_000 + b"\n"
    path.write_bytes(b"step,a\n" + line * 200)
    tracemalloc.start()
    CsvTable(path, METRICS).cut_after(5)
    assert path.stat().st_size == len(b"step,a\n") + 200 * len(line)
    with path.open("ab") as file:
        file.truncate(3 << 30)
    with pytest.raises(BadInput, match="longer than"):
        CsvTable(path, METRICS).cut_after(5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_link_or_pipe_is_not_read(tmp_path):
    (tmp_path / "other.csv").write_bytes(TABLE)
    (tmp_path / "metrics.csv").symlink_to(tmp_path / "other.csv")
    with pytest.raises(ValueError, match="a link"):
        csv_reader.columns(tmp_path / "metrics.csv")


def as_numbers(path, *names):
    """What `numbers` should give, from `rows`."""
    rows = list(csv_reader.rows(path))
    return [[float(row[n]) if row[n] not in ("", "x") else math.nan for n in names] for row in rows]


@pytest.mark.parametrize("kind", READ)
def test_numbers_are_those_of_the_rows(tmp_path, kind):
    path = tmp_path / "metrics.csv"
    path.write_bytes(READ[kind])
    found = csv_reader.numbers(path, "rollout/b", "step", "none")
    np.testing.assert_array_equal(found[:, :2], as_numbers(path, "rollout/b", "step"))
    assert np.isnan(found[:, 2]).all()


@pytest.mark.parametrize(
    "last", [b"", b'7,"1.5",x\n', b"7,1.5,x\n", b"7,1.5\n", b"x,1,2\n", b"\n", b"7,1"]
)
def test_long_table_is_read_block_by_block_up_to_any_last_line(tmp_path, last):
    """Blocks end within lines; a last line of another kind is read, skipped or refused as by `rows`."""
    path = tmp_path / "metrics.csv"
    lines = b"".join(b"%d,%d.25,%s\n" % (i, i, b"" if i % 3 else b"1e-3") for i in range(9_000))
    path.write_bytes(b"step,a,b\n" + lines + last)
    assert path.stat().st_size > 2 * csv_reader.BLOCK
    if refusal(csv_reader.rows, path):
        assert refusal(csv_reader.numbers, path, "a") == refusal(csv_reader.rows, path)
    else:
        found = csv_reader.numbers(path, "a", "b")
        np.testing.assert_array_equal(found, as_numbers(path, "a", "b"))


@pytest.mark.parametrize("kind", REFUSED)
def test_numbers_of_no_table_are_refused(tmp_path, kind):
    path = tmp_path / "metrics.csv"
    path.write_bytes(REFUSED[kind])
    assert refusal(csv_reader.rows, path)
    assert refusal(csv_reader.numbers, path, "a") == refusal(csv_reader.rows, path)


def refusal(read, *given):
    try:
        list(read(*given))
    except ValueError as error:
        return str(error)
    return ""
