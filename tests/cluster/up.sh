#!/usr/bin/env bash
# Brings a Kubernetes cluster up on this machine: up.sh [STATE-FOLDER]; with DEEPSPEED_TEST_NODES=2 one of two nodes.
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

[[ "$NODES" =~ ^[0-9]+$ ]] && [ "$NODES" -ge 1 ] && [ "$NODES" -le "$MOST_NODES" ] || die "DEEPSPEED_TEST_NODES is $NODES: use 1 to $MOST_NODES"

mkdir -p "$STATE"/{pids,logs,tls,dns,volumes,manifests}
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
  openssl ecparam -genkey -name prime256v1 -noout -out service-account.key
  openssl ec -in service-account.key -pubout -out service-account.pub
)
certificate "$STATE" apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth\nsubjectAltName=IP:$API_IP,IP:127.0.0.1,IP:$NODE_IP,IP:$POD_GATEWAY,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$CLUSTER_DOMAIN"
certificate "$STATE" kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "extendedKeyUsage=clientAuth"

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
  # The API server reads them only when it starts, and a node may come later.
  for ((NODE = 1; NODE <= MOST_NODES; NODE++)); do
    user "$STATE/tls/$(node_process kubelet "$NODE").kubeconfig" "system:node:$(node_name "$NODE")" system:nodes
  done
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

# --- DNS for pods
: >"$STATE/dns/hosts"
start "$STATE" dnsmasq dnsmasq --conf-file=/dev/null --keep-in-foreground --user=root --group=root --pid-file \
  --no-hosts --no-resolv --no-poll --local-ttl=0 --no-negcache --bind-interfaces --interface="$POD_BRIDGE" \
  --except-interface=lo --listen-address="$POD_GATEWAY" --address=/#/ --addn-hosts="$STATE/dns/hosts" --log-facility=-
start "$STATE" dns-watch "$HERE/dns-watch.sh" "$STATE"

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

for ((NODE = 1; NODE <= NODES; NODE++)); do "$HERE/node.sh" start "$NODE" "$STATE"; done
await "$STATE" 60 controller-manager "the default service account" api "$STATE" /api/v1/namespaces/default/serviceaccounts/default

say "ready after $((SECONDS - BEGIN)) s: export KUBECONFIG=$STATE/kubeconfig"
