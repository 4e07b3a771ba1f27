#!/bin/bash
# usage: init.sh STATE KT NAME
# PID 1 of the node, in its own mount, pid, network, UTS and IPC namespaces and on its own root (root.sh). It starts
# containerd, etcd, the control plane and the kubelet, and ends on SIGTERM; then the kernel kills everything else in
# the pid namespace. Files in STATE: logs/, audit.log, tokens.csv, admin.kubeconfig, keys/.
set -euo pipefail
state=$1 kt=$2 name=$3
here=$(dirname "$(readlink -f "$0")")
cd "$state"
trap 'exit 0' TERM
trap 'echo "init.sh: line $LINENO failed" >&2' ERR
mkdir -p logs cni /run/containerd

hostname "$name"
ip link set lo up
ip link add kt0 type bridge
ip addr add 10.88.0.1/24 dev kt0
ip link set kt0 up

"$here/keys.sh" "$state/keys" >logs/keys.log 2>&1
sed "s#@STATE@#$state#" "$here/containerd.toml" >containerd.toml
cp "$here/cni.conflist" cni/10-kt.conflist
cat >tokens.csv <<TOKENS
admin-token-1,admin,uid-admin,"system:masters"
collector-token-1,collector,uid-collector,
node-token-1,system:node:$name,uid-node,"system:nodes"
TOKENS

# kubeconfig FILE TOKEN: renames the finished file into place, as others wait for it
kubeconfig() {
    cat >"$1.new" <<CONFIG
apiVersion: v1
kind: Config
current-context: node
contexts: [{name: node, context: {cluster: node, user: user}}]
clusters: [{name: node, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $state/keys/ca.crt}}]
users: [{name: user, user: {token: $2}}]
CONFIG
    mv "$1.new" "$1"
}
kubeconfig admin.kubeconfig admin-token-1
kubeconfig kubelet.kubeconfig node-token-1

# start NAME COMMAND...: runs it in the background, with its output in logs/NAME.log
start() {
    local log=logs/$1.log
    shift
    "$@" >"$log" 2>&1 &
}
# The loops have no limit: the process that started the node has one, and kills PID 1 when it passes.
start containerd containerd -c "$state/containerd.toml"
start etcd "$kt" etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
start kube-apiserver "$kt" kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --secure-port=6443 --advertise-address=10.88.0.1 --endpoint-reconciler-type=none \
    --tls-cert-file=keys/server.crt --tls-private-key-file=keys/server.key \
    --authorization-mode=Node,RBAC --token-auth-file=tokens.csv --enable-admission-plugins=NodeRestriction \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file=keys/service-account.key --service-account-signing-key-file=keys/service-account.key \
    --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true --kubelet-preferred-address-types=InternalIP \
    --audit-policy-file="$here/audit-policy.yaml" --audit-log-path="$state/audit.log" --audit-log-mode=blocking
(
    until ctr -n k8s.io version >/dev/null 2>&1; do sleep 0.05; done
    for image in busybox pause; do ctr -n k8s.io images import "$(dirname "$kt")/$image.tar"; done
    touch images.ready
) >logs/images.log 2>&1 &
until [ "$(curl -sk https://127.0.0.1:6443/readyz)" = ok ]; do sleep 0.1; done
start kube-controller-manager "$kt" kube-controller-manager --kubeconfig=admin.kubeconfig --leader-elect=false \
    --service-account-private-key-file=keys/service-account.key --root-ca-file=keys/ca.crt \
    --bind-address=127.0.0.1 --cert-dir="$state/keys-controller-manager"
start kube-scheduler "$kt" kube-scheduler --kubeconfig=admin.kubeconfig --leader-elect=false \
    --bind-address=127.0.0.1 --cert-dir="$state/keys-scheduler"
until [ -e images.ready ]; do sleep 0.05; done
start kubelet "$kt" kubelet --config="$here/kubelet.yaml" --kubeconfig=kubelet.kubeconfig \
    --node-ip=10.88.0.1 --hostname-override="$name" --root-dir="$state/kubelet" --cert-dir="$state/keys-kubelet"

# PID 1 must reap the orphans of the pods.
while :; do
    sleep 3600 &
    wait $! || true
done
