#!/bin/bash
# kt, the Kubernetes node's binary, and the one image that its pods use.
set -euo pipefail
cd "$TESTBED/kube"
PATH=$(dirname "$("$TESTBED/go.sh")"):$PATH ./build.sh "$1/kt"
./image.sh "$1/busybox.tar" registry.local/busybox:1 /bin/sh
./image.sh "$1/pause.tar" registry.local/pause:1 /bin/sleep 2147483647
