"""usage: duckdb_import.py EXPORT PARQUET THREADS

Runs duckdb_import.sql: reads Tetragon's export and writes the rows as Parquet.
"""

import pathlib
import sys

import duckdb

PROCESS = """STRUCT(exec_id VARCHAR, pid INTEGER, uid BIGINT, cwd VARCHAR, "binary" VARCHAR, arguments VARCHAR,
    flags VARCHAR, start_time VARCHAR, pod STRUCT(namespace VARCHAR, name VARCHAR, uid VARCHAR,
    container STRUCT(id VARCHAR, name VARCHAR, image STRUCT(id VARCHAR, name VARCHAR)),
    pod_labels MAP(VARCHAR, VARCHAR), workload VARCHAR, workload_kind VARCHAR))"""
PARENT = 'STRUCT(exec_id VARCHAR, pid INTEGER, "binary" VARCHAR, arguments VARCHAR)'


def main():
    export, parquet, threads = sys.argv[1:]
    sql = pathlib.Path(__file__).with_suffix(".sql").read_text()
    for name, value in {"input": export, "output": parquet, "threads": threads, "process": PROCESS, "parent": PARENT}.items():
        sql = sql.replace("{" + name + "}", value)
    duckdb.connect().execute(sql)


if __name__ == "__main__":
    main()
