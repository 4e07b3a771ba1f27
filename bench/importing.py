"""usage: importing.py EXPORT WORK

Alternates between importing the export into a fresh lake and letting DuckDB write the same rows. Leaves the last lake
in WORK/lake.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from common import KERNTRAIL, Measured, kerntrail, query, say, spread, table

ROUNDS = 3
HERE = pathlib.Path(__file__).parent


def main():
    export, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    data, parquet = work / "lake", work / "duckdb.parquet"
    ours, theirs = [], []
    for number in range(ROUNDS):
        say(f"import, round {number + 1} of {ROUNDS}")
        shutil.rmtree(data, ignore_errors=True)
        ours.append(Measured([KERNTRAIL, "replay", "--quiet", "--config", os.devnull, "--data-dir", str(data), str(export)]))
        theirs.append(Measured([sys.executable, str(HERE / "duckdb_import.py"), str(export), str(parquet), str(os.cpu_count())]))
    files = [pathlib.Path(file) for file in kerntrail(data, "lake", "files", "process_events").split()]
    rows = query(data, "select count(*) as n from process_events")["n"]
    lacks = subprocess.run([sys.executable, str(HERE / "same_rows.py"), str(parquet), *map(str, files)],
                           check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if lacks != "0":
        sys.exit(f"bench: lake and DuckDB do not hold the same rows: {lacks} differ")
    report(export.stat().st_size, rows, (ours, [file.stat().st_size for file in files]),
           (theirs, [parquet.stat().st_size]))


def report(size, rows, ours, theirs):
    print(f"### Import: {rows:,} records, {size / 1e6:,.0f} MB of JSON\n")

    def median(runs, of):
        return statistics.median(getattr(run, of) for run in runs)

    def line(name, runs, files):
        wall = median(runs, "wall")
        return [name, spread([run.wall for run in runs]), f"{size / 1e6 / wall:.0f}", f"{rows / wall:,.0f}",
                f"{median(runs, 'cpu'):.1f}", f"{median(runs, 'memory'):,.0f}", f"{sum(files) / rows:.1f}", len(files)]

    def ratio(of):
        return f"{median(ours[0], of) / median(theirs[0], of):.2f}"

    table(["", "seconds: median (min to max)", "MB/s", "rows/s", "CPU seconds", "peak MiB", "bytes/event", "files"],
          [line("kerntrail: log, commits", *ours), line("DuckDB: one Parquet file", *theirs),
           ["kerntrail / DuckDB", ratio("wall"), "", "", ratio("cpu"), ratio("memory"),
            f"{sum(ours[1]) / sum(theirs[1]):.2f}", ""]])


if __name__ == "__main__":
    main()
