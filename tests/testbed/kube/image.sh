#!/bin/bash
# usage: image.sh OUT.tar NAME:TAG ENTRYPOINT...
# Makes an OCI image archive of one layer without a registry: Debian's static busybox under all its names, and
# Debian's curl with its libraries (busybox's wget does not survive an https address).
set -euo pipefail
out=$1 name=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root image=$work/image
mkdir -p "$root"/{bin,dev,etc/ssl,proc,root,sys,tmp} "$image/blobs/sha256"

cp -L "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
done
curl=$(command -v curl)
for file in "$curl" $(ldd "$curl" | grep -oE '/[^ ]+'); do
    install -D "$(readlink -f "$file")" "$root$file"
done
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"

# store FILE: puts it in as a blob, and prints its descriptor without a media type
store() {
    local hash
    hash=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$image/blobs/sha256/$hash"
    jq -nc --arg digest "sha256:$hash" --argjson size "$(stat -c %s "$1")" '{digest: $digest, size: $size}'
}
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$work/layer" .
layer=$(store "$work/layer")
architecture=$(dpkg --print-architecture)
jq -nc --arg architecture "$architecture" --argjson layer "$layer" \
    '{$architecture, os: "linux", config: {Env: ["PATH=/bin:/usr/bin"], Entrypoint: $ARGS.positional},
      rootfs: {type: "layers", diff_ids: [$layer.digest]}}' --args "$@" >"$work/config"
config=$(store "$work/config")
type=application/vnd.oci.image
jq -nc --arg type $type --argjson config "$config" --argjson layer "$layer" \
    '{schemaVersion: 2, mediaType: "\($type).manifest.v1+json",
      config: ($config + {mediaType: "\($type).config.v1+json"}),
      layers: [$layer + {mediaType: "\($type).layer.v1.tar"}]}' >"$work/manifest"
manifest=$(store "$work/manifest")
jq -nc --arg type $type --arg name "$name" --argjson manifest "$manifest" \
    '{schemaVersion: 2, manifests: [$manifest + {mediaType: "\($type).manifest.v1+json",
      annotations: {"io.containerd.image.name": $name, "org.opencontainers.image.ref.name": ($name | sub(".*:"; ""))}}]}' \
    >"$image/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$image/oci-layout"
tar -C "$image" -cf "$out" oci-layout index.json blobs
