"""usage: same_rows.py PARQUET LAKE_PARQUET...

Prints the number of rows that only one side has: both must hold the same events, or times and sizes are not comparable.
Not compared are ingest_time, and identities and hashes, which differ by construction; processes are only counted.
"""

import sys

import duckdb

BY_CONSTRUCTION = ("ingest_time", "seq", "process_uid", "parent_process_uid")


def main():
    peer, *lake = sys.argv[1:]
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute(f"CREATE VIEW peer AS FROM read_parquet('{peer}')")
    db.execute(f"CREATE VIEW lake AS FROM read_parquet({lake!r}, hive_partitioning = false)")
    names = [row[0] for row in db.execute("DESCRIBE peer").fetchall()]
    # The order of the keys in a map is irrelevant.
    shown = ", ".join("list_sort(map_entries(pod_labels))" if name == "pod_labels" else name
                      for name in names if name not in BY_CONSTRUCTION)
    text = f"SELECT md5(({shown})::VARCHAR) AS row_, count(*) AS times FROM {{}} GROUP BY 1"
    lacks = db.execute(f"""WITH p AS ({text.format('peer')}), l AS ({text.format('lake')})
        SELECT coalesce(sum(abs(coalesce(p.times, 0) - coalesce(l.times, 0))), 0)::BIGINT
        FROM p FULL JOIN l USING (row_)""").fetchone()[0]
    count = "SELECT count(DISTINCT process_uid), count(DISTINCT parent_process_uid) FROM "
    if db.execute(count + "peer").fetchone() != db.execute(count + "lake").fetchone():
        lacks += 1
    print(lacks)


if __name__ == "__main__":
    main()
