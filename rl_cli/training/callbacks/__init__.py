"""What a run does at intervals. A module that `training/plugins.py` does not list as shared is one."""
