#!/bin/bash
# usage: jars.sh POM FOLDER
# Copies the runtime jars that POM names, and what they need, into FOLDER.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$1" "$work/pom.xml"
cd "$work"
nice mvn -q -B -Dstyle.color=never dependency:copy-dependencies "-DoutputDirectory=$2" -DincludeScope=runtime
