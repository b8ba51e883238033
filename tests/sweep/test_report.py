"""Report of a sweep: what records say reaches no terminal as control sequences or markup."""

from __future__ import annotations

import json

from rl_cli.sweep.report import report

ODD = "\x1b[2J\x1b]0;title\x07[bold]x[/] \u202e\rend"


def test_texts_of_records_are_escaped(tmp_path, capsys):
    for number in (0, 1):
        record = {
            "overrides": [f"env.kwargs.text={ODD}", f"seed={number}"],
            "run_dir": f"runs/{ODD}",
        }
        record |= {"eval_return": 1.0, "seconds": 2.0, "exit_code": 1, "state": "failed"}
        (tmp_path / f"job_000{number}.json").write_text(json.dumps(record | {"reason": ODD}))
    (tmp_path / "job_0002.json").write_text(
        json.dumps(
            record | {"overrides": [ODD], "eval_return": None, "state": "fa\x1biled", "reason": ODD}
        )
    )
    assert report(tmp_path) == 1
    out = capsys.readouterr().out
    assert not [c for c in out.replace("\n", "") if not c.isprintable()]
    assert "bold]" in out  # text, not markup
