#!/bin/bash
# Kafka's jars, in OUT/lib.
set -euo pipefail
"$TESTBED/jars.sh" "$TESTBED/kafka/pom.xml" "$1/lib"
