#!/usr/bin/env bash
# Keeps Prometheus' file of targets equal to the cluster's running pods that carry the prometheus.io annotations:
# prometheus-targets.sh STATE-FOLDER. Started by prometheus.sh. Labels as the usual discovery of pods would give them:
# namespace, pod, and the labels of deepspeedsharp.dev with underscores.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
STATE="$1"

targets() { # FILE-WITH-PODS
  jq '[.items[]
    | select(.status.phase == "Running" and .status.podIP)
    | select(.metadata.annotations["prometheus.io/scrape"] == "true" and .metadata.annotations["prometheus.io/port"])
    | { targets: [.status.podIP + ":" + .metadata.annotations["prometheus.io/port"]],
        labels: ({ namespace: .metadata.namespace, pod: .metadata.name,
                   __metrics_path__: (.metadata.annotations["prometheus.io/path"] // "/metrics") }
          + (.metadata.labels // {} | with_entries(select(.key | startswith("deepspeedsharp.dev/")) | .key |= gsub("[^a-zA-Z0-9_]"; "_")))) }
  ]' "$1" >"$STATE/prometheus/targets.new" || return 1
  cmp -s "$STATE/prometheus/targets.new" "$STATE/prometheus/targets.json" || mv "$STATE/prometheus/targets.new" "$STATE/prometheus/targets.json"
}

on_change "$STATE" /api/v1/pods targets
