#!/bin/bash
# usage: install.sh [NAME...]
# Makes this machine ready for the tests that use real servers: installs the system packages they need (Debian; as
# root, else it prints the command) and gets the servers into the cache. Names limit it to some of the servers:
# kafka opensearch victorialogs duckdb kube. Takes some minutes the first time and a moment when all is there.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
servers=("$@")
[ ${#servers[@]} -gt 0 ] || servers=(kafka opensearch victorialogs duckdb kube)

# A package is needed when what it is for is missing: not every machine has its Java or curl from a package.
packages=()
need() {
    local package=$1
    shift
    for what in "$@"; do
        case $what in
        /*) [ -e "$what" ] && continue ;;
        *) command -v "$what" >/dev/null && continue ;;
        esac
        packages+=("$package")
        return
    done
}
PATH=$PATH:/usr/sbin:/sbin
need ca-certificates /etc/ssl/certs
need openssl openssl
need util-linux flock unshare nsenter findmnt
for server in "${servers[@]}"; do
    case $server in
    kafka | opensearch)
        need default-jre-headless java
        need maven mvn
        ;;
    duckdb)
        need python3 python3
        python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
        ;;
    victorialogs | kube)
        # Only to get a newer one with, see go/fetch.sh.
        "$here/go.sh" --present >/dev/null || need golang-go go
        ;;&
    kube)
        need containerd containerd containerd-shim-runc-v2 ctr
        need runc runc
        need busybox-static busybox
        # The one that is installed may be the other package, busybox, which has the libraries of its machine.
        ! ldd "$(command -v busybox)" >/dev/null 2>&1 || packages+=(busybox-static)
        need containernetworking-plugins /usr/lib/cni/bridge
        need jq jq
        need curl curl
        need iproute2 ip
        need openssl openssl
        ;;
    esac
done

if [ ${#packages[@]} -gt 0 ]; then
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    install=(apt-get install -y --no-install-recommends "${packages[@]}")
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "testbed: these packages are missing; install them as root and run this again:" >&2
        echo "    ${install[*]}" >&2
        exit 1
    fi
    echo "testbed: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Nothing that a package brings is to be started: the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
    fi
    apt-get update -q -o Dpkg::Use-Pty=0 >/dev/null
    "${install[@]}" -q -o Dpkg::Use-Pty=0 >/dev/null
fi

for server in "${servers[@]}"; do
    folder=$("$here/fetch.sh" "$server")
    echo "testbed: $server is in $folder"
done
