#!/bin/sh
# Installs the Debian packages that the build needs; without root, prints the command that installs them.
# usage: install-deps.sh build
set -eu

case "${1:-build}" in
build) wanted="clang llvm lld libbpf-dev gcc g++ make cmake pkg-config libssl-dev zlib1g-dev perl" ;;
*) echo "usage: $0 build" >&2; exit 2 ;;
esac

missing=""
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -ne 0 ]; then
    printf 'These packages are missing:%s\nInstall them as root, then run make again:\n\n    apt-get update && %s\n\n' "$missing" "$install" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
$install
