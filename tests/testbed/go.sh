#!/bin/bash
# usage: go.sh [--present]
# Prints the path of a Go compiler that is new enough for every recipe here, getting one if it must (go/fetch.sh).
# --present: fails instead of getting one.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
need=25 # Go 1.25, for kube/go.mod

new_enough() {
    local version
    version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    version=${version#go1.}
    version=${version%%[!0-9]*}
    [ "${version:-0}" -ge "$need" ]
}

for go in "$(command -v go || true)" /usr/local/go/bin/go; do
    if [ -x "$go" ] && new_enough "$go"; then
        echo "$go"
        exit 0
    fi
done
[ "${1:-}" != --present ] || exit 1
echo "$("$here/fetch.sh" go)/bin/go"
