"""Sweeps: several runs, each in its own process, with a record per run and a final report."""
