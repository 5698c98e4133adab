#!/usr/bin/env bash
# Loads OCI archives into the cluster's containerd: load-image.sh [--state STATE-FOLDER] FILE...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE=
if [ "${1:-}" = --state ]; then STATE="$2"; shift 2; fi
STATE="$(state_folder "$STATE")"
[ -S "$STATE/containerd/containerd.sock" ] || die "no cluster is up in $STATE"
for FILE in "$@"; do
  # An archive that was loaded into this containerd already is not loaded again.
  STAMP="$STATE/containerd/loaded-$(basename "$FILE")"
  if [ -e "$STAMP" ] && [ "$(cat "$STAMP")" = "$(stat -c '%i %s %Y' "$FILE")" ]; then continue; fi
  containerd_ctr "$STATE" images import "$FILE" >>"$STATE/logs/images.log" 2>&1 || { tail -n 20 "$STATE/logs/images.log" >&2; die "cannot load $FILE"; }
  stat -c '%i %s %Y' "$FILE" >"$STAMP"
done
