"""The servers that the scripts of this folder start."""

import subprocess

from tests.services.servers import needs_postgres, needs_slurm, postgres, slurm
from tests.services.sweeps import until


@needs_postgres
def test_postgres_answers_and_is_gone_at_the_end():
    with postgres() as url:
        query = ["psql", url, "-Atc", "select 6 * 7"]
        assert subprocess.check_output(query, text=True).strip() == "42"
    assert subprocess.run(query, stderr=subprocess.DEVNULL, check=False).returncode != 0


@needs_slurm
def test_slurm_runs_jobs_on_two_nodes(tmp_path):
    with slurm() as cluster:
        out = tmp_path / "%j.txt"
        line = "echo $SLURMD_NODENAME"
        words = ["sbatch", "--parsable", f"--output={out}", f"--wrap={line}"]
        ids = {cluster.command(*words, f"--nodelist=node{number}") for number in (1, 2)}
        until(lambda: not cluster.command("squeue", "-h"))
        assert {path.stem for path in tmp_path.iterdir()} == ids
        assert {path.read_text().strip() for path in tmp_path.iterdir()} == {"node1", "node2"}
