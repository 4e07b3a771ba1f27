#!/bin/bash
# usage: fetch.sh NAME
# Makes sure the cache holds what NAME/fetch.sh makes, and prints the folder. The folder's name ends in a
# hash of the recipe's files: a changed recipe is another folder, and a finished folder is never changed.
# A lock makes a second caller wait instead of building the same thing twice.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
name=${1:?usage: fetch.sh NAME}
recipe=$here/$name
[ -x "$recipe/fetch.sh" ] || { echo "no recipe for '$name' in $here" >&2; exit 2; }
cache=${KERNTRAIL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kerntrail-test}
hash=$(cat "$recipe"/*.* | sha256sum | cut -c1-12)
target=$cache/$name-$hash
if [ ! -d "$target" ]; then
    mkdir -p "$cache"
    exec 9>"$cache/$name.lock"
    flock 9
    if [ ! -d "$target" ]; then
        echo "testbed: getting $name ..." >&2
        start=$SECONDS
        half=$cache/.$name.half
        rm -rf "$half"
        mkdir "$half"
        # Closing the lock's descriptor keeps a daemon of the build (a Go or Maven helper) from holding it.
        # The final path is passed too: a Python venv must know where it will live.
        TESTBED=$here "$recipe/fetch.sh" "$half" "$target" >&2 9>&-
        mv -T "$half" "$target"
        echo "testbed: got $name in $((SECONDS - start)) s" >&2
    fi
fi
echo "$target"
