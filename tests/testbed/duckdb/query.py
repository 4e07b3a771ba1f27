"""Reads SQL from standard input and prints the last statement's rows as a JSON array of objects.

Types that JSON lacks (times, decimals, bytes) are printed as DuckDB's own text for them.
"""

import json
import sys

import duckdb

connection = duckdb.connect()
result = connection.execute(sys.stdin.read())
columns = [column[0] for column in result.description or []]
rows = [dict(zip(columns, row)) for row in result.fetchall()]
json.dump(rows, sys.stdout, default=str)
