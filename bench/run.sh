#!/bin/bash
# usage: run.sh
# Measures import, startup, freshness, exec storm, memory and wire size, and prints Markdown tables. Takes some minutes.
# With SIGMA_RULES, a folder of Sigma rules, also the rules beside rsigma-eval.
# KERNTRAIL is the program, by default target/release/kerntrail; KERNTRAIL_BENCH_DIR the folder for data, by default
# target/bench. Live measurements need root and BPF; without, they are skipped with the reason.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$here")
export KERNTRAIL=${KERNTRAIL:-$root/target/release/kerntrail}
work=${KERNTRAIL_BENCH_DIR:-$root/target/bench}
records=500000

[ -x "$KERNTRAIL" ] || { echo "bench: no program at $KERNTRAIL; make release builds it" >&2; exit 1; }
python=$("$root/tests/testbed/fetch.sh" duckdb)/bin/python
export PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work"
exec 9>"$work/lock"
flock --nonblock 9 || { echo "bench: another run uses $work" >&2; exit 1; }
trap 'rm -rf "$work"/{lake,lake.log,live-*,duckdb.parquet,storm}' EXIT

# The generator is deterministic, so its output is kept until the generator changes.
export_file=$work/tetragon-$(sha256sum "$here/generate.py" | cut -c1-12)-$records.json
if [ ! -e "$export_file" ]; then
    echo "bench: generating $records records ..." >&2
    rm -f "$work"/tetragon-*
    "$python" "$here/generate.py" "$records" "$export_file.half"
    mv "$export_file.half" "$export_file"
fi
# Puts the file into the page cache for both sides.
cat "$export_file" >/dev/null
cc -O2 -Wall -o "$work/storm" "$here/storm.c"

echo "$(nproc) processors, Linux $(uname -r), load before: $(cut -d' ' -f1 /proc/loadavg), $("$KERNTRAIL" --version), DuckDB $("$python" -c 'import duckdb; print(duckdb.__version__)')"
echo
"$python" "$here/importing.py" "$export_file" "$work" 9>&-
"$python" "$here/live.py" "$work/storm" "$work" 9>&-
if [ -n "${SIGMA_RULES:-}" ]; then
    (cd "$root" && cargo run --quiet --release --locked -p kerntrail-detections --example rules_per_second -- "$SIGMA_RULES" detections/rules)
else
    echo "Rules: not measured; SIGMA_RULES names a folder of Sigma rules, such as rules/linux of github.com/SigmaHQ/sigma"
fi
echo "bench: done in $SECONDS s" >&2
