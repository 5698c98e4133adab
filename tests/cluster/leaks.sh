#!/usr/bin/env bash
# Prints what a cluster left behind on this machine, and ends with 1 when there is something: leaks.sh [STATE-FOLDER]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE="$(state_folder "${1:-}")"
LEFT="$(
  marked_processes "$STATE" | while read -r PID; do
    printf 'process: %s %s\n' "$PID" "$(tr '\0' ' ' <"/proc/$PID/cmdline" 2>/dev/null | cut -c1-150)"
  done
  pod_processes | sed 's/^/process in a pod cgroup: /'
  pod_cgroups | sed 's/^/cgroup: /'
  # Mounts of any mount namespace, ours included.
  for MOUNTS in /proc/[0-9]*/mountinfo; do
    awk -v p="$STATE/" 'index($5, p) == 1 || index($4, p) == 1 {print "mount: " $5}' "$MOUNTS" 2>/dev/null || true
  done | sort -u
  ip -o link show | awk -F': ' -v a="$NODE_BRIDGE" -v b="$POD_BRIDGE" '$2 == a || $2 == b || /dss-cable/ || /master '"$POD_BRIDGE"'/ {print "link: " $2}'
  ip route show type blackhole | awk -v a="$SERVICE_RANGE" -v b="$POD_RANGE" '$2 == a || $2 == b {print "route: " $0}'
  [ ! -e "$OWNER_FILE" ] || printf 'file: %s\n' "$OWNER_FILE"
  # Only ever mount points for us; filled ones belong to somebody else's containers.
  find /run/containerd /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet -maxdepth 0 -empty 2>/dev/null | sed 's/^/folder: /' || true
  find "$STATE" -mindepth 1 -maxdepth 1 ! -name logs 2>/dev/null | sed 's/^/state: /' || true
)"
[ -z "$LEFT" ] && exit 0
printf '%s\n' "$LEFT"
exit 1
