#!/bin/bash
# A Python virtual environment with DuckDB, and the script that runs one query.
set -euo pipefail
cd "$TESTBED/duckdb"
python3 -m venv "$1"
"$1/bin/python" -m pip install -q --disable-pip-version-check -r requirements.txt
cp query.py "$1/"
