"""Reliability tests. A bar is a numbered requirement (B1 to B20) with a target that a test measures itself against.

`make test` runs a short form of each bar, `make bars` (RL_CLI_BARS=full) all cases. A test reports how many of its
cases passed and how many it ran with `results.report`; docs/reliability.md lists the bars and the totals.
"""
