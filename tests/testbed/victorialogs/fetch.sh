#!/bin/bash
# victoria-logs, in OUT/bin.
set -euo pipefail
export GOBIN=$1/bin CGO_ENABLED=0
nice "$("$TESTBED/go.sh")" install -trimpath github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@v1.52.1
