#!/usr/bin/env bash
# Takes the cluster of a state folder down and removes everything that it made: down.sh [STATE-FOLDER]
# Works on half started and crashed clusters as well. KEEP_LOGS=1 keeps STATE/logs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE="$(state_folder "${1:-}")"
case "$STATE" in / | "$HOME" | "$REPO") die "not a state folder: $STATE" ;; esac

# The cluster that is up on this machine may have lost its state folder: then it is found by its mark.
OWNER=
if [ -e "$OWNER_FILE" ]; then { read -r OWNER; read -r OWNER_BOOT; } <"$OWNER_FILE"; fi

if [ -e "$STATE/boot_id" ]; then
  BOOT="$(cat "$STATE/boot_id")"
elif [ "$OWNER" = "$STATE" ]; then
  BOOT="${OWNER_BOOT:-}"
else
  # An existing cluster's state folder (only a kubeconfig), an empty one, or not ours at all.
  [ ! -e "$STATE" ] || { rm -f "$STATE/kubeconfig"; rmdir --ignore-fail-on-non-empty "$STATE"; }
  exit 0
fi
need_root

# After a reboot nothing of it can be left but the files, and the pids belong to others.
if [ "$BOOT" = "$BOOT_ID" ]; then
  mapfile -t KUBELETS < <(cd "$STATE/pids" 2>/dev/null && ls -d kubelet* 2>/dev/null || true)
  mapfile -t CONTAINERDS < <(cd "$STATE/pids" 2>/dev/null && ls -d containerd* 2>/dev/null || true)
  stop "$STATE" prometheus-targets prometheus dns-watch "${KUBELETS[@]}" scheduler controller-manager
  stop "$STATE" dnsmasq
  end_pods
  stop "$STATE" --now "${CONTAINERDS[@]}" apiserver etcd
  for _ in 1 2 3 4 5; do # container shims, and whatever a crash left
    mapfile -t PIDS < <(marked_processes "$STATE")
    [ "${#PIDS[@]}" -gt 0 ] || break
    kill -KILL "${PIDS[@]}" 2>/dev/null || true
    sleep 0.2
  done

  remove_pod_cgroups
  for BRIDGE in "$POD_BRIDGE" "$NODE_BRIDGE"; do
    if [ -e "/sys/class/net/$BRIDGE" ]; then
      for PORT in "/sys/class/net/$BRIDGE/brif"/*; do
        [ ! -e "$PORT" ] || ip link delete "$(basename "$PORT")" 2>/dev/null || true
      done
      ip link delete "$BRIDGE"
    fi
  done
  for RANGE in "$SERVICE_RANGE" "$POD_RANGE"; do
    while ip route delete blackhole "$RANGE" 2>/dev/null; do :; done
  done
fi

# Their mounts died with their mount namespace; this is for a folder that somebody mounted by hand.
awk -v p="$STATE/" 'index($5, p) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r MOUNT; do umount -l "$MOUNT" || true; done
if [ -n "${KEEP_LOGS:-}" ] && [ -d "$STATE" ]; then
  find "$STATE" -xdev -mindepth 1 -maxdepth 1 ! -name logs -exec rm -rf --one-file-system {} +
else
  rm -rf --one-file-system "$STATE"
fi
if [ "$OWNER" = "$STATE" ]; then
  tail -n +3 "$OWNER_FILE" | while read -r FOLDER; do rmdir "$FOLDER" 2>/dev/null || true; done
  rm -f "$OWNER_FILE"
fi
