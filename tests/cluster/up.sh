#!/usr/bin/env bash
# Brings a one-node Kubernetes cluster up on this machine: up.sh [STATE-FOLDER]
# The administrator's kubeconfig is STATE/kubeconfig. Whatever an earlier run left in the state folder is taken down first.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE="$(state_folder "${1:-}")"
"$HERE/install.sh"

if [ "${DEEPSPEED_TEST_CLUSTER:-}" = existing ]; then
  mkdir -p "$STATE"
  kubectl config view --raw --minify --flatten >"$STATE/kubeconfig"
  chmod 600 "$STATE/kubeconfig"
  say "KUBECONFIG=$STATE/kubeconfig (an existing cluster)"
  exit 0
fi

need_root
BEGIN=$SECONDS
if [ -e "$OWNER_FILE" ]; then
  OTHER="$(head -n 1 "$OWNER_FILE")"
  if [ "$OTHER" != "$STATE" ] && [ -d "$OTHER/pids" ] && running "$OTHER" containerd >/dev/null; then
    die "a cluster is already up in $OTHER (bridges and cgroups exist once per machine): $HERE/down.sh $OTHER"
  fi
  [ "$OTHER" = "$STATE" ] || "$HERE/down.sh" "$OTHER"
fi
"$HERE/down.sh" "$STATE"
rm -rf "${STATE:?}/logs" # kept by KEEP_LOGS
[ -z "$(ls -A "$STATE" 2>/dev/null)" ] || die "$STATE has files that are not a cluster's: choose another state folder"
for GROUP in $(pod_cgroups); do
  [ ! -s "$GROUP/cgroup.procs" ] || die "another kubelet runs pods on this machine ($GROUP)"
done

mkdir -p "$STATE"/{pids,logs,tls,dns,cni/config,cni/data,containerd,kubelet,private,volumes,manifests}
chmod 755 "$STATE"
printf '%s\n' "$STATE" "$BOOT_ID" >"$OWNER_FILE"
printf '%s\n' "$BOOT_ID" >"$STATE/boot_id"
trap '[ $? = 0 ] || warn "the cluster did not come up; logs are in $STATE/logs"' EXIT

# --- network: first the black holes, so that no packet for a pod or a service can ever leave the machine
ip route replace blackhole "$SERVICE_RANGE"
ip route replace blackhole "$POD_RANGE"
ip link add "$NODE_BRIDGE" type bridge
ip address add "$NODE_IP/32" dev "$NODE_BRIDGE"
ip address add "$API_IP/32" dev "$NODE_BRIDGE"
ip link set "$NODE_BRIDGE" up
# Made here and not by the CNI plug-in, which would switch on IP forwarding for the whole machine. The fixed hardware
# address keeps the pods' ARP entries right while ports come and go.
ip link add "$POD_BRIDGE" address 0a:58:0a:f4:00:01 type bridge
ip address add "$POD_GATEWAY/24" dev "$POD_BRIDGE"
ip link set "$POD_BRIDGE" up

# --- certificates and tokens
(
  cd "$STATE/tls"
  umask 077
  exec 2>openssl.log
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=deepspeedsharp-test-ca -keyout ca.key -out ca.crt
  certificate() { # NAME SUBJECT EXTENSIONS
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf '%b' "$3") -out "$1.crt"
  }
  certificate apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth\nsubjectAltName=IP:$API_IP,IP:127.0.0.1,IP:$NODE_IP,IP:$POD_GATEWAY,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$CLUSTER_DOMAIN"
  certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "extendedKeyUsage=serverAuth\nsubjectAltName=IP:$NODE_IP"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "extendedKeyUsage=clientAuth"
  openssl ecparam -genkey -name prime256v1 -noout -out service-account.key
  openssl ec -in service-account.key -pubout -out service-account.pub
)

kubeconfig() { # FILE TOKEN
  cat >"$1" <<END
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "https://$API_IP:$API_PORT", certificate-authority-data: "$(base64 -w0 "$STATE/tls/ca.crt")"}}]
users: [{name: test, user: {token: "$2"}}]
END
}
user() { # KUBECONFIG NAME GROUP
  local token
  token="$(openssl rand -hex 24)"
  printf '%s,%s,%s,"%s"\n' "$token" "$2" "$2" "$3" >>"$STATE/tls/tokens.csv"
  kubeconfig "$1" "$token"
}
(
  umask 077
  user "$STATE/kubeconfig" admin system:masters
  user "$STATE/tls/controller-manager.kubeconfig" system:kube-controller-manager ""
  user "$STATE/tls/scheduler.kubeconfig" system:kube-scheduler ""
  user "$STATE/tls/kubelet.kubeconfig" "system:node:$NODE_NAME" system:nodes
  cat >"$STATE/tls/admin.curl" <<END
cacert = "$STATE/tls/ca.crt"
header = "Authorization: Bearer $(awk -F, 'NR==1 {print $1}' "$STATE/tls/tokens.csv")"
END
)

# --- etcd, API server
BIN="$(kubernetes_bin)"
MINOR="$("$BIN/kube-apiserver" --version | sed 's/.*v1\.\([0-9]*\).*/\1/')"
start "$STATE" etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn --logger zap \
  --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
  --listen-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT"
"$HERE/apiserver.sh" start "$STATE" --no-wait

# --- containers: containerd and the kubelet live in a mount namespace of their own, so that none of their mounts is ever
# seen (or left behind) on the machine, and the folders whose names are fixed in their code are ours there.
for FOLDER in /run/containerd /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet; do
  if [ ! -d "$FOLDER" ]; then
    mkdir -p "$FOLDER"
    printf '%s\n' "$FOLDER" >>"$OWNER_FILE"
  fi
  mkdir -p "$STATE/private$FOLDER"
done

cat >"$STATE/cni/config/10-dss.conflist" <<END
{ "cniVersion": "0.4.0", "name": "dss", "plugins": [
  { "type": "bridge", "bridge": "$POD_BRIDGE", "isGateway": false, "ipMasq": false, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$STATE/cni/data",
              "ranges": [[{ "subnet": "$POD_SUBNET", "gateway": "$POD_GATEWAY" }]],
              "routes": [{ "dst": "$SERVICE_RANGE" }] } } ] }
END
cat >"$STATE/containerd/config.toml" <<END
version = 2
root = "$STATE/containerd/root"
state = "$STATE/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$STATE/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$STATE/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  stream_server_address = "127.0.0.1"
  stream_server_port = "$STREAM_PORT"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni/config"
END
# shellcheck disable=SC2016
start "$STATE" containerd unshare --mount --propagation private bash -c '
  state="$1"
  for folder in /run/containerd /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet; do
    mount --bind "$state/private$folder" "$folder"
  done
  mount --make-rshared /
  exec containerd --config "$state/containerd/config.toml" --log-level warn' containerd "$STATE"

# --- DNS for pods
: >"$STATE/dns/hosts"
start "$STATE" dnsmasq dnsmasq --conf-file=/dev/null --keep-in-foreground --user=root --group=root --pid-file \
  --no-hosts --no-resolv --no-poll --local-ttl=0 --no-negcache --bind-interfaces --interface="$POD_BRIDGE" \
  --except-interface=lo --listen-address="$POD_GATEWAY" --address=/#/ --addn-hosts="$STATE/dns/hosts" --log-facility=-
start "$STATE" dns-watch "$HERE/dns-watch.sh" "$STATE"

"$HERE/images.sh" pause
await "$STATE" 30 containerd "containerd to answer" containerd_ctr "$STATE" version
"$HERE/load-image.sh" --state "$STATE" "$CACHE/images/pause.tar"

await "$STATE" 90 apiserver "the API server to be ready" api "$STATE" /readyz

# --- the rest of the control plane
OLD_PORT=()
[ "$MINOR" -ge 24 ] || OLD_PORT=(--port=0)
start "$STATE" controller-manager "$BIN/kube-controller-manager" "${OLD_PORT[@]}" --bind-address=127.0.0.1 \
  --secure-port="$CONTROLLER_PORT" --cert-dir="$STATE/tls/controller-manager" --leader-elect=false \
  --kubeconfig="$STATE/tls/controller-manager.kubeconfig" --controllers='*,-nodeipam,-cloud-node-lifecycle' \
  --use-service-account-credentials --service-account-private-key-file="$STATE/tls/service-account.key" \
  --root-ca-file="$STATE/tls/ca.crt" --service-cluster-ip-range="$SERVICE_RANGE" \
  --flex-volume-plugin-dir="$STATE/kubelet/flexvolume" --profiling=false
start "$STATE" scheduler "$BIN/kube-scheduler" "${OLD_PORT[@]}" --bind-address=127.0.0.1 \
  --secure-port="$SCHEDULER_PORT" --cert-dir="$STATE/tls/scheduler" --leader-elect=false \
  --kubeconfig="$STATE/tls/scheduler.kubeconfig" --profiling=false

# --- kubelet
: >"$STATE/resolv.conf" # pods learn no name server but ours
cat >"$STATE/kubelet/config.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_IP
port: $KUBELET_PORT
readOnlyPort: 0
healthzPort: 0
tlsCertFile: $STATE/tls/kubelet.crt
tlsPrivateKeyFile: $STATE/tls/kubelet.key
authentication: { anonymous: { enabled: false }, webhook: { enabled: false }, x509: { clientCAFile: $STATE/tls/ca.crt } }
authorization: { mode: AlwaysAllow }
cgroupDriver: cgroupfs
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
failSwapOn: false
oomScoreAdj: 0
evictionHard: { memory.available: "1%", nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%" }
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
nodeStatusUpdateFrequency: 2s
registryPullQPS: 0
serializeImagePulls: false
clusterDNS: [$POD_GATEWAY]
clusterDomain: $CLUSTER_DOMAIN
resolvConf: $STATE/resolv.conf
staticPodPath: ""
END
OLD_RUNTIME=()
[ "$MINOR" -ge 24 ] || OLD_RUNTIME=(--container-runtime=remote)
# emptyDir.sizeLimit as the size of a memory file system (/dev/shm) is the rule since 1.22.
[ "$MINOR" -ge 22 ] || printf 'featureGates: { SizeMemoryBackedVolumes: true }\n' >>"$STATE/kubelet/config.yaml"
NAMESPACE_OF="$(running "$STATE" containerd)"
# The variable keeps old kubelets from asking for a cloud's registry credentials over the network.
start "$STATE" kubelet env AWS_EC2_METADATA_DISABLED=true nsenter --target "$NAMESPACE_OF" --mount "$BIN/kubelet" "${OLD_RUNTIME[@]}" --config="$STATE/kubelet/config.yaml" \
  --kubeconfig="$STATE/tls/kubelet.kubeconfig" --root-dir="$STATE/kubelet" --cert-dir="$STATE/tls/kubelet" \
  --container-runtime-endpoint="unix://$STATE/containerd/containerd.sock" --node-ip="$NODE_IP" \
  --hostname-override="$NODE_NAME" --volume-plugin-dir="$STATE/kubelet/flexvolume"

# --- volumes that tests can look into: ReadWriteMany, one folder each
for ((I = 1; I <= VOLUMES; I++)); do
  mkdir -p "$STATE/volumes/pv$I"
  chmod 777 "$STATE/volumes/pv$I"
  cat <<END
---
apiVersion: v1
kind: PersistentVolume
metadata: { name: dss-pv$I }
spec:
  capacity: { storage: 10Gi }
  accessModes: [ReadWriteMany, ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: $STORAGE_CLASS
  hostPath: { path: $STATE/volumes/pv$I, type: Directory }
END
done >"$STATE/manifests/volumes.yaml"
cat >>"$STATE/manifests/volumes.yaml" <<END
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: $STORAGE_CLASS }
provisioner: kubernetes.io/no-provisioner
END
kube "$STATE" apply -f "$STATE/manifests/volumes.yaml" >/dev/null

node_registered() { api "$STATE" "/api/v1/nodes/$NODE_NAME"; }
node_ready() { api "$STATE" "/api/v1/nodes/$NODE_NAME" | jq -e '.status.conditions[] | select(.type == "Ready" and .status == "True")'; }
node_untainted() { api "$STATE" "/api/v1/nodes/$NODE_NAME" | jq -e '.spec.taints // [] | length == 0'; }
node_gpus() { api "$STATE" "/api/v1/nodes/$NODE_NAME" | jq -e --arg n "$GPUS" '.status.allocatable["nvidia.com/gpu"] == $n'; }
await "$STATE" 60 kubelet "the node to register" node_registered
# The kubelet keeps resources that it does not know: the scheduler then really counts them.
fake_gpus() {
  api "$STATE" "/api/v1/nodes/$NODE_NAME/status" -o /dev/null -X PATCH -H 'Content-Type: application/json-patch+json' --data \
    '[{"op":"add","path":"/status/capacity/nvidia.com~1gpu","value":"'"$GPUS"'"},{"op":"add","path":"/status/allocatable/nvidia.com~1gpu","value":"'"$GPUS"'"}]'
}
[ "$GPUS" = 0 ] || await "$STATE" 20 kubelet "the node to take its fake GPUs" fake_gpus
await "$STATE" 60 kubelet "the node to be ready" node_ready
await "$STATE" 30 controller-manager "the node to be free of taints" node_untainted
[ "$GPUS" = 0 ] || await "$STATE" 30 kubelet "the fake GPUs to be allocatable" node_gpus
await "$STATE" 60 controller-manager "the default service account" api "$STATE" /api/v1/namespaces/default/serviceaccounts/default

say "ready after $((SECONDS - BEGIN)) s: export KUBECONFIG=$STATE/kubeconfig"
