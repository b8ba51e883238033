"""Files of a run: run folder and its lock, checkpoints, policies, transitions; atomic writes, untrusted reads."""
