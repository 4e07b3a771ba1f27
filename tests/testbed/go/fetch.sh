#!/bin/bash
# A Go toolchain, from the Go module proxy: golang.org/toolchain is a module like any other there, with its
# hash in the checksum database. An older go (Debian's golang-go, say) downloads it but cannot switch to it.
set -euo pipefail
command -v go >/dev/null || { echo "no go to download a newer one with: apt-get install golang-go" >&2; exit 1; }
version=1.26.8
platform=$(go env GOOS)-$(go env GOARCH)
modules=$(mktemp -d)
trap 'chmod -R u+w "$modules"; rm -rf "$modules"' EXIT
cd "$modules"
GOTOOLCHAIN=local GOFLAGS=-modcacherw GOMODCACHE=$modules go mod download "golang.org/toolchain@v0.0.1-go$version.$platform"
cp -r "golang.org/toolchain@v0.0.1-go$version.$platform/." "$1"
# A module's files have no execute bits.
chmod +x "$1"/bin/* "$1"/pkg/tool/*/* 2>/dev/null || chmod +x "$1"/bin/*
