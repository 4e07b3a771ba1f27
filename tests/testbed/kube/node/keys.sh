#!/bin/bash
# usage: keys.sh FOLDER
# Creates the keys of the API server: a CA, a server certificate, and a key that signs service account tokens.
set -euo pipefail
mkdir -p "$1"
cd "$1"
curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl genrsa -out service-account.key 2048
openssl req -x509 "${curve[@]}" -days 3650 -subj /CN=kerntrail-test-ca -keyout ca.key -out ca.crt \
    -addext keyUsage=critical,keyCertSign,cRLSign
openssl req "${curve[@]}" -subj /CN=kube-apiserver -keyout server.key -out server.csr
names=IP:127.0.0.1,IP:10.88.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out server.crt \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names")
