#!/bin/bash
# usage: build.sh OUT
# Builds kt, the whole Kubernetes node in one static binary, at OUT. Cold: a few minutes and 3 GB
# of Go build cache. The version is stamped as upstream does, since clients read it from /version.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
version=v$(sed -n 's/^\tk8s.io\/kubernetes v//p' go.mod)
minor=$(cut -d. -f2 <<<"$version")
stamp=k8s.io/component-base/version
flags="-s -w"
for pair in "gitVersion=$version" gitMajor=1 "gitMinor=$minor" gitTreeState=clean \
    gitCommit=0000000000000000000000000000000000000000 buildDate=2026-01-01T00:00:00Z; do
    flags+=" -X $stamp.$pair"
done
export CGO_ENABLED=0
exec nice go build -trimpath -buildvcs=false -o "$1" -ldflags "$flags" .
