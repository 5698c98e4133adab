# Shared by the scripts of this folder; sourced, never run.
# shellcheck shell=bash disable=SC2034

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
REPO="$(cd "$HERE/../.." && pwd)"

KUBERNETES_VERSION=1.20.2
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/deepspeedsharp"
KUBERNETES_CACHE="$CACHE/kubernetes-$KUBERNETES_VERSION"
DEFAULT_STATE="${TMPDIR:-/tmp}/deepspeedsharp-cluster"

# About the cluster that is up on this machine, one per line: its state folder, the boot it was started in, and the
# system folders that had to be made as mount points.
OWNER_FILE=/run/deepspeedsharp-cluster
BOOT_ID="$(cat /proc/sys/kernel/random/boot_id)"

# Exit code that test runners read as "not run here".
SKIP=77

# The node's address is from a range for documentation (a loopback address is refused by the kubelet); pods and services
# have the customary private ranges. The API server listens on the first service address itself, which is an address of
# the node's bridge: there is no kube-proxy, and so programs in pods and on the machine reach it in the usual way.
NODE_BRIDGE=dss-node
API_IP=10.96.0.1
API_PORT=443
NODE_IP=203.0.113.10
POD_BRIDGE=dss-cni0
POD_RANGE=10.244.0.0/16
POD_GATEWAY=10.244.0.1
SERVICE_RANGE=10.96.0.0/16
CLUSTER_DOMAIN=cluster.local

ETCD_PORT="${DEEPSPEED_TEST_ETCD_PORT:-22379}"
ETCD_PEER_PORT="${DEEPSPEED_TEST_ETCD_PEER_PORT:-22380}"
CONTROLLER_PORT="${DEEPSPEED_TEST_CONTROLLER_PORT:-20257}"
SCHEDULER_PORT="${DEEPSPEED_TEST_SCHEDULER_PORT:-20259}"
KUBELET_PORT="${DEEPSPEED_TEST_KUBELET_PORT:-20250}"
STREAM_PORT="${DEEPSPEED_TEST_STREAM_PORT:-20010}"
PROMETHEUS_PORT="${DEEPSPEED_TEST_PROMETHEUS_PORT:-29090}"

GPUS="${DEEPSPEED_TEST_GPUS:-8}"
VOLUMES="${DEEPSPEED_TEST_VOLUMES:-6}"
NODES="${DEEPSPEED_TEST_NODES:-1}"
MOST_NODES=3
STORAGE_CLASS=dss-local

WORKER_IMAGE=localhost/deepspeed-worker:test
WORKER_BASE_IMAGE=localhost/deepspeed-worker-base:test
WORKER_CUDA_IMAGE=localhost/deepspeed-worker-cuda:test
OWN_IMAGE=localhost/deepspeed-own:test
OPERATOR_IMAGE=localhost/deepspeed-operator:test
PAUSE_IMAGE=localhost/pause:1

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() { warn "error: $*"; exit 1; }
skip() { warn "skip: $*"; exit "$SKIP"; }
have() { command -v "$1" >/dev/null 2>&1; }

need_root() { [ "$(id -u)" = 0 ] || skip "the test cluster needs root (containers, bridges and routes)"; }

# --- where things are -------------------------------------------------------------------------------------------------

# An absolute path without symbolic links: the state folder is also the mark by which our processes are recognised.
state_folder() { realpath -m -- "${1:-${DEEPSPEED_TEST_STATE:-$DEFAULT_STATE}}"; }

# The folder with kube-apiserver and so on: the user's, when it is complete, else the cache.
kubernetes_bin() {
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && complete_programs "$KUBEBUILDER_ASSETS"; then
    printf '%s' "$KUBEBUILDER_ASSETS"
  else
    printf '%s' "$KUBERNETES_CACHE/bin"
  fi
}

complete_programs() {
  local program
  for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
    [ -x "$1/$program" ] || return 1
  done
}

# The mirror that this machine's apt already uses for Debian itself (not for updates or security).
debian_mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' \
    | awk '$2 !~ /-(security|updates|backports)$/ && !found {print $1; found = 1}'
}

# --- nodes ------------------------------------------------------------------------------------------------------------
# Node 1 is this machine. Every other one has a network namespace of its own, in which its containerd, its kubelet and its
# bridge of pods live, and one cable to this machine: pods of all nodes are on one Ethernet, so nothing has to be routed or
# forwarded. The names and addresses of a node follow from its number.

node_name() { printf 'node-%s' "$1"; }
node_ip() { printf '203.0.113.%s' "$((9 + $1))"; }
node_pods() { printf '10.244.%s' "$(($1 - 1))"; }     # the first three bytes of its pods' addresses
node_cable() { printf 'dss-cable%s' "$1"; }           # the end that is plugged into this machine's bridge
node_folder() { if [ "$2" = 1 ]; then printf '%s' "$1"; else printf '%s/node-%s' "$1" "$2"; fi; } # STATE NODE
node_process() { if [ "$2" = 1 ]; then printf '%s' "$1"; else printf '%s-%s' "$1" "$2"; fi; }     # NAME NODE
node_cgroup() { if [ "$1" = 1 ]; then printf /; else printf '/dss-node-%s' "$1"; fi; }
nodes_up() { # STATE
  local node
  for ((node = 1; node <= MOST_NODES; node++)); do
    ! running "$1" "$(node_process containerd "$node")" >/dev/null || printf '%s\n' "$node"
  done
}

# --- processes --------------------------------------------------------------------------------------------------------
# Every process is started by start(): its own process group, its log in logs/NAME.log, and pids/NAME with "PID START",
# where START is the kernel's start time, so that a pid that was given to somebody else later is never taken for ours.
# The variable in the environment is inherited by everything they start (container shims above all).

MARK=DEEPSPEEDSHARP_TEST_CLUSTER

start() { # STATE NAME COMMAND...
  local state="$1" name="$2"
  shift 2
  env "$MARK=$state" setsid "$@" </dev/null >>"$state/logs/$name.log" 2>&1 9>&- &
  local pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$state/pids/$name"
}

# Field 22 of /proc/PID/stat; the second field may contain spaces, so cut after its closing bracket.
start_time() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | awk '{print $20}'; }

# Prints the pid when the process of that name still runs.
running() { # STATE NAME
  local pid started
  { read -r pid started <"$1/pids/$2"; } 2>/dev/null || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] || return 1
  # A zombie has ended; it only waits for its parent.
  [ "$(sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1)" != Z ] || return 1
  printf '%s' "$pid"
}

# Ends the processes of these names and their process groups: politely, then after 10 s by force; or by force at once.
stop() { # STATE [--now] NAME...
  local state="$1" name pid pids=() deadline=$((SECONDS + 10)) signal=TERM
  shift
  if [ "$1" = --now ]; then signal=KILL; shift; fi
  for name in "$@"; do
    if pid="$(running "$state" "$name")"; then
      kill "-$signal" -- "-$pid" 2>/dev/null || true
      pids+=("$name:$pid")
    fi
  done
  for name in "${pids[@]}"; do
    pid="${name#*:}"
    while running "$state" "${name%%:*}" >/dev/null; do
      if [ "$SECONDS" -ge "$deadline" ]; then kill -KILL -- "-$pid" 2>/dev/null || true; fi
      sleep 0.05
    done
    kill -KILL -- "-$pid" 2>/dev/null || true # helpers that outlived their leader
  done
  for name in "$@"; do rm -f "$state/pids/$name"; done
}

# All processes that carry our mark.
marked_processes() { # STATE
  grep -lzxF -- "$MARK=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true
}

# Processes in the containers of pods, of one node or of all.
pod_processes() { # [NODE]
  local folder
  pod_cgroups "$@" | while read -r folder; do cat "$folder/cgroup.procs" 2>/dev/null || true; done | sort -un
}

# The cgroup folders of pods, deepest first, then those of nodes. Of one node or of all.
pod_cgroups() { # [NODE]
  local top tops
  case "${1:-all}" in
  1) tops=(/sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods) ;;
  all) tops=(/sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/dss-node-* /sys/fs/cgroup/*/dss-node-*) ;;
  *) tops=("/sys/fs/cgroup/dss-node-$1" /sys/fs/cgroup/*/"dss-node-$1") ;;
  esac
  for top in "${tops[@]}"; do
    [ -d "$top" ] && find "$top" -depth -type d
  done 2>/dev/null | awk '!seen[$0]++' || true
}

# Ends what runs in the pods of a node, or of all: their cgroups were empty or absent when this cluster started (up.sh
# looks), so what is in them came from it.
end_pods() { # [NODE]
  local pids
  for _ in 1 2 3 4 5; do
    mapfile -t pids < <(pod_processes "$@")
    [ "${#pids[@]}" -gt 0 ] || break
    kill -KILL "${pids[@]}" 2>/dev/null || true
    sleep 0.2
  done
}

remove_pod_cgroups() { # [NODE]
  pod_cgroups "$@" | while read -r group; do
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      if rmdir "$group" 2>/dev/null; then break; fi
      sleep 0.1
    done
  done
}

# --- waiting ----------------------------------------------------------------------------------------------------------

# Waits until the command succeeds; else says what was waited for, and shows the end of the log of NAME.
await() { # STATE SECONDS NAME WHAT COMMAND...
  local state="$1" limit="$2" name="$3" what="$4" deadline=$((SECONDS + $2))
  shift 4
  until "$@" >/dev/null 2>&1; do
    if [ -e "$state/pids/$name" ] && ! running "$state" "$name" >/dev/null; then
      warn "$name ended while waiting for: $what. The end of $state/logs/$name.log:"
      tail -n 30 "$state/logs/$name.log" >&2
      return 1
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      warn "timed out after $limit s waiting for: $what. The end of $state/logs/$name.log:"
      tail -n 30 "$state/logs/$name.log" >&2
      return 1
    fi
    sleep 0.2
  done
}

# --- talking to the cluster -------------------------------------------------------------------------------------------

kube() { # STATE ARGUMENTS...
  local state="$1"
  shift
  "$(kubernetes_bin)/kubectl" --kubeconfig "$state/kubeconfig" "$@"
}

# A request to the API server as the administrator, without the second that kubectl needs.
api() { # STATE PATH CURL-ARGUMENTS...
  local state="$1" path="$2"
  shift 2
  curl -sS --fail --noproxy '*' --max-time 10 --config "$state/tls/admin.curl" "$@" "https://$API_IP:$API_PORT$path"
}

containerd_ctr() { # STATE NODE ARGUMENTS...
  local folder
  folder="$(node_folder "$1" "$2")"
  shift 2
  ctr --address "$folder/containerd/containerd.sock" --namespace k8s.io "$@"
}

# A certificate of the cluster's own authority: STATE/tls/NAME.crt and NAME.key.
certificate() { # STATE NAME SUBJECT EXTENSIONS
  (
    cd "$1/tls"
    umask 077
    exec 2>>openssl.log
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" -keyout "$2.key" -out "$2.csr"
    openssl x509 -req -in "$2.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf '%b' "$4") -out "$2.crt"
  )
}

# Calls COMMAND FILE with the list at PATH now and whenever something in it changes, for ever.
on_change() { # STATE PATH COMMAND
  local state="$1" path="$2" command="$3" list version
  list="$state/$command-$BASHPID.json"
  on_change_list() { api "$state" "$path" >"$list" 2>/dev/null && "$command" "$list"; }
  while true; do
    # The watch only says that something changed; the list is then read anew, so that no state has to be kept here. It
    # ends after five minutes, or with the API server, and then begins again.
    if on_change_list; then
      version="$(jq -r .metadata.resourceVersion "$list")"
      api "$state" "$path?watch=true&timeoutSeconds=300&resourceVersion=$version" --no-buffer --max-time 310 2>/dev/null \
        | while read -r _; do
            while read -r -t 0.05 _; do :; done # take in what came at the same moment
            on_change_list
          done
    fi
    sleep 0.5
  done
}
