#!/usr/bin/env bash
# The nodes of the cluster: node.sh start|stop|cut|join NUMBER [STATE-FOLDER]
#   start   a containerd and a kubelet; waits until the node is ready. Node 1 is this machine, every other one has a network
#           namespace of its own and the images that node 1 has
#   stop    ends a node but the first, its pods and what it made, and takes it out of the cluster
#   cut     pulls the cable of a node but the first: what runs there goes on, and nobody can reach it
#   join    plugs it in again
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE="usage: node.sh start|stop|cut|join NUMBER [STATE-FOLDER]; numbers are 1 to $MOST_NODES"
ACTION="${1:-}"
NODE="${2:-}"
STATE="$(state_folder "${3:-}")"
[[ "$NODE" =~ ^[0-9]+$ ]] && [ "$NODE" -ge 1 ] && [ "$NODE" -le "$MOST_NODES" ] || die "$USAGE"
[ -d "$STATE/pids" ] || die "no cluster in $STATE"
NAME="$(node_name "$NODE")"
FOLDER="$(node_folder "$STATE" "$NODE")"
PODS="$(node_pods "$NODE")"
CABLE="$(node_cable "$NODE")"
CONTAINERD="$(node_process containerd "$NODE")"
KUBELET="$(node_process kubelet "$NODE")"
CGROUP="$(node_cgroup "$NODE")"
# Folders whose names are fixed in the code of containerd, the CNI plug-ins and the kubelet.
FIXED="/run/containerd /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet"

# --- network: one end of the cable is a port of this machine's bridge of pods, the other one of the node's own
plug_cable() {
  local pid address
  pid="$(running "$STATE" "$CONTAINERD")"
  address="$(node_ip "$NODE")"
  # The process is there before its namespace is.
  await "$STATE" 10 "$CONTAINERD" "its network namespace" own_network "$pid"
  ip link add "$CABLE" type veth peer name uplink netns "$pid"
  ip link set "$CABLE" master "$POD_BRIDGE" up
  ip route replace "$address/32" dev "$POD_BRIDGE" src "$NODE_IP"
  ip route replace "$PODS.0/24" dev "$POD_BRIDGE" src "$POD_GATEWAY"
  nsenter --target "$pid" --net bash -euc '
    bridge="$1" pods="$2" address="$3" node="$4" gateway="$5" services="$6"
    ip link set lo up
    ip link add "$bridge" address "0a:58:0a:f4:00:1${pods##*.}" type bridge
    ip address add "$pods.1/16" dev "$bridge"
    ip address add "$address/32" dev "$bridge"
    ip link set uplink master "$bridge" up
    ip link set "$bridge" up
    ip route add "$node/32" dev "$bridge" src "$address"
    ip route add "$services" via "$gateway" dev "$bridge"
  ' cable "$POD_BRIDGE" "$PODS" "$address" "$NODE_IP" "$POD_GATEWAY" "$SERVICE_RANGE"
}
own_network() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

# --- containers: containerd and the kubelet live in a mount namespace of their own, so that none of their mounts is ever
# seen (or left behind) on the machine, and the folders with fixed names are the node's own there.
start_containerd() {
  local folder namespaces=(--mount --propagation private)
  mkdir -p "$FOLDER"/{cni/config,cni/data,containerd,private}
  for folder in $FIXED; do
    if [ ! -d "$folder" ]; then
      mkdir -p "$folder"
      printf '%s\n' "$folder" >>"$OWNER_FILE"
    fi
    mkdir -p "$FOLDER/private$folder"
  done
  # All nodes share one Ethernet, and each gives its pods addresses of its own part.
  cat >"$FOLDER/cni/config/10-dss.conflist" <<END
{ "cniVersion": "0.4.0", "name": "dss", "plugins": [
  { "type": "bridge", "bridge": "$POD_BRIDGE", "isGateway": false, "ipMasq": false, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$FOLDER/cni/data",
              "ranges": [[{ "subnet": "$POD_RANGE", "rangeStart": "$PODS.2", "rangeEnd": "$PODS.254", "gateway": "$POD_GATEWAY" }]],
              "routes": [{ "dst": "$SERVICE_RANGE" }] } } ] }
END
  cat >"$FOLDER/containerd/config.toml" <<END
version = 2
root = "$FOLDER/containerd/root"
state = "$FOLDER/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$FOLDER/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$FOLDER/containerd/opt"
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
    conf_dir = "$FOLDER/cni/config"
END
  [ "$NODE" = 1 ] || namespaces+=(--net)
  # shellcheck disable=SC2016
  start "$STATE" "$CONTAINERD" unshare "${namespaces[@]}" bash -c '
    folder="$1"
    shift
    for fixed in "$@"; do
      mount --bind "$folder/private$fixed" "$fixed"
    done
    mount --make-rshared /
    exec containerd --config "$folder/containerd/config.toml" --log-level warn' containerd "$FOLDER" $FIXED
  [ "$NODE" = 1 ] || plug_cable
  await "$STATE" 30 "$CONTAINERD" "containerd to answer" containerd_ctr "$STATE" "$NODE" version
  "$HERE/images.sh" --state "$STATE" pause
}

# --- kubelet
start_kubelet() {
  local bin minor old_runtime=() network=()
  bin="$(kubernetes_bin)"
  minor="$("$bin/kubelet" --version | sed 's/.*v1\.\([0-9]*\).*/\1/')"
  mkdir -p "$FOLDER/kubelet"
  certificate "$STATE" "$KUBELET" "/O=system:nodes/CN=system:node:$NAME" "extendedKeyUsage=serverAuth\nsubjectAltName=IP:$(node_ip "$NODE")"
  : >"$STATE/resolv.conf" # pods learn no name server but ours
  make_cgroup
  cat >"$FOLDER/kubelet/config.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_ip "$NODE")
port: $KUBELET_PORT
readOnlyPort: 0
healthzPort: 0
tlsCertFile: $STATE/tls/$KUBELET.crt
tlsPrivateKeyFile: $STATE/tls/$KUBELET.key
authentication: { anonymous: { enabled: false }, webhook: { enabled: false }, x509: { clientCAFile: $STATE/tls/ca.crt } }
authorization: { mode: AlwaysAllow }
cgroupDriver: cgroupfs
cgroupRoot: $CGROUP
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
  [ "$minor" -ge 24 ] || old_runtime=(--container-runtime=remote)
  # emptyDir.sizeLimit as the size of a memory file system (/dev/shm) is the rule since 1.22.
  [ "$minor" -ge 22 ] || printf 'featureGates: { SizeMemoryBackedVolumes: true }\n' >>"$FOLDER/kubelet/config.yaml"
  [ "$NODE" = 1 ] || network=(--net)
  # The variable keeps old kubelets from asking for a cloud's registry credentials over the network.
  start "$STATE" "$KUBELET" env AWS_EC2_METADATA_DISABLED=true \
    nsenter --target "$(running "$STATE" "$CONTAINERD")" --mount "${network[@]}" "$bin/kubelet" "${old_runtime[@]}" \
    --config="$FOLDER/kubelet/config.yaml" --kubeconfig="$STATE/tls/$KUBELET.kubeconfig" --root-dir="$FOLDER/kubelet" \
    --cert-dir="$STATE/tls/$KUBELET" --container-runtime-endpoint="unix://$FOLDER/containerd/containerd.sock" \
    --node-ip="$(node_ip "$NODE")" --hostname-override="$NAME" --volume-plugin-dir="$FOLDER/kubelet/flexvolume"
}

# Kubelets that shared a cgroup would end each other's pods. It must be there before the kubelet is.
make_cgroup() {
  local top
  [ "$NODE" != 1 ] || return 0
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    sed 's/^/+/; s/ / +/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p "/sys/fs/cgroup$CGROUP"
    return 0
  fi
  for top in /sys/fs/cgroup/*/; do
    mkdir -p "${top%/}$CGROUP"
    [ ! -e "$top/cpuset.cpus" ] || {
      cat "$top/cpuset.cpus" >"${top%/}$CGROUP/cpuset.cpus"
      cat "$top/cpuset.mems" >"${top%/}$CGROUP/cpuset.mems"
    }
  done
}

# --- waiting for it
node_registered() { api "$STATE" "/api/v1/nodes/$NAME"; }
node_ready() { api "$STATE" "/api/v1/nodes/$NAME" | jq -e '.status.conditions[] | select(.type == "Ready" and .status == "True")'; }
node_untainted() { api "$STATE" "/api/v1/nodes/$NAME" | jq -e '.spec.taints // [] | length == 0'; }
node_gpus() { api "$STATE" "/api/v1/nodes/$NAME" | jq -e --arg n "$GPUS" '.status.allocatable["nvidia.com/gpu"] == $n'; }
# The kubelet keeps resources that it does not know: the scheduler then really counts them.
fake_gpus() {
  api "$STATE" "/api/v1/nodes/$NAME/status" -o /dev/null -X PATCH -H 'Content-Type: application/json-patch+json' --data \
    '[{"op":"add","path":"/status/capacity/nvidia.com~1gpu","value":"'"$GPUS"'"},{"op":"add","path":"/status/allocatable/nvidia.com~1gpu","value":"'"$GPUS"'"}]'
}
await_ready() {
  await "$STATE" 60 "$KUBELET" "$NAME to register" node_registered
  [ "$GPUS" = 0 ] || await "$STATE" 20 "$KUBELET" "$NAME to take its fake GPUs" fake_gpus
  await "$STATE" 60 "$KUBELET" "$NAME to be ready" node_ready
  await "$STATE" 30 controller-manager "$NAME to be free of taints" node_untainted
  [ "$GPUS" = 0 ] || await "$STATE" 30 "$KUBELET" "the fake GPUs of $NAME to be allocatable" node_gpus
}

container_shims() {
  local pid
  for pid in $(marked_processes "$STATE"); do
    if grep -qzF -- "$FOLDER/containerd/containerd.sock" "/proc/$pid/cmdline" 2>/dev/null; then printf '%s\n' "$pid"; fi
  done
}

# --- actions
not_the_first() { [ "$NODE" != 1 ] || die "node 1 is this machine: $USAGE"; }
case "$ACTION" in
start)
  need_root
  ! running "$STATE" "$KUBELET" >/dev/null || exit 0
  start_containerd
  [ "$NODE" = 1 ] || "$HERE/load-image.sh" --state "$STATE" --as-loaded
  start_kubelet
  await_ready
  ;;
stop)
  not_the_first
  stop "$STATE" --now "$KUBELET"
  end_pods "$NODE"
  stop "$STATE" --now "$CONTAINERD"
  # The namespaces, and with them the cable and all mounts, end with the last process in them.
  for _ in 1 2 3 4 5; do
    mapfile -t SHIMS < <(container_shims)
    [ "${#SHIMS[@]}" -gt 0 ] || break
    kill -KILL "${SHIMS[@]}" 2>/dev/null || true
    sleep 0.2
  done
  ip link delete "$CABLE" 2>/dev/null || true
  for ROUTE in "$(node_ip "$NODE")/32" "$PODS.0/24"; do ip route delete "$ROUTE" dev "$POD_BRIDGE" 2>/dev/null || true; done
  remove_pod_cgroups "$NODE"
  rm -rf --one-file-system "$FOLDER"
  api "$STATE" "/api/v1/nodes/$NAME" -o /dev/null -X DELETE || warn "$NAME is still among the nodes of the cluster"
  ;;
cut)
  not_the_first
  ip link set "$CABLE" down
  ;;
join)
  not_the_first
  ip link set "$CABLE" up
  ;;
*) die "$USAGE" ;;
esac
