#!/usr/bin/env bash
# Loads OCI or Docker archives into all nodes that are up: load-image.sh [--state STATE-FOLDER] FILE...
# With --as-loaded in place of files: what some node has, into the nodes that do not have it yet.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE=
if [ "${1:-}" = --state ]; then STATE="$2"; shift 2; fi
STATE="$(state_folder "$STATE")"
LIST="$STATE/images-loaded" # archives, one a line
mapfile -t UP < <(nodes_up "$STATE")
[ "${#UP[@]}" -gt 0 ] || die "no cluster is up in $STATE"
if [ "${1:-}" = --as-loaded ]; then
  mapfile -t ARCHIVES < <(cat "$LIST" 2>/dev/null || true)
  set -- "${ARCHIVES[@]}"
fi
for FILE in "$@"; do
  for NODE in "${UP[@]}"; do
    # An archive that was loaded into this containerd already is not loaded again.
    STAMP="$(node_folder "$STATE" "$NODE")/containerd/loaded-$(basename "$FILE")"
    if [ -e "$STAMP" ] && [ "$(cat "$STAMP")" = "$(stat -c '%i %s %Y' "$FILE")" ]; then continue; fi
    containerd_ctr "$STATE" "$NODE" images import "$FILE" >>"$STATE/logs/images.log" 2>&1 || { tail -n 20 "$STATE/logs/images.log" >&2; die "cannot load $FILE"; }
    stat -c '%i %s %Y' "$FILE" >"$STAMP"
  done
  grep -qsxF -- "$FILE" "$LIST" || printf '%s\n' "$FILE" >>"$LIST"
done
