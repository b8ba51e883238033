"""Search for hyper-parameters: trials of an Optuna study, each of several runs."""
