#!/bin/bash
# usage: jars.sh POM FOLDER
# Copies the runtime jars that POM names, and what they need, into FOLDER.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$1" "$work/pom.xml"
cd "$work"
# Maven ends its output with a colour reset even where it is told to use no colours.
nice mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$2" -DincludeScope=runtime 2>&1 |
    sed $'s/\e\\[[0-9;]*m//g; /^$/d'
