#!/bin/sh
# Installs what the tests of tests/services need: Slurm and PostgreSQL from Debian (as root); in the environment of
# PYTHON submitit, Ray, Hydra's launcher for joblib, Optuna and psycopg. It starts nothing; slurm.sh and postgres.sh do.
set -eu

python=${PYTHON:-.venv/bin/python}
missing=""
command -v slurmctld > /dev/null && command -v slurmd > /dev/null || missing="slurm-wlm"
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || missing="$missing postgresql"
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "as root: apt-get install $missing" >&2; exit 2; }
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing > /dev/null
fi
"$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[slurm,ray,joblib,search,postgres]'
