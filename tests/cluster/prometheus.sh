#!/usr/bin/env bash
# A Prometheus that scrapes the pods with prometheus.io annotations every second: prometheus.sh start|stop [STATE-FOLDER]
# Debian's build cannot discover pods by itself, so prometheus-targets.sh writes a file of targets. It listens on http://127.0.0.1:29090 (DEEPSPEED_TEST_PROMETHEUS_PORT).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE="$(state_folder "${2:-}")"
[ -d "$STATE/pids" ] || die "no cluster in $STATE"
case "${1:-}" in
stop)
  stop "$STATE" prometheus-targets prometheus
  ;;
start)
  ! running "$STATE" prometheus >/dev/null || exit 0
  mkdir -p "$STATE/prometheus"
  cat >"$STATE/prometheus/prometheus.yml" <<END
global: { scrape_interval: ${DEEPSPEED_TEST_SCRAPE_INTERVAL:-1s}, scrape_timeout: ${DEEPSPEED_TEST_SCRAPE_INTERVAL:-1s} }
scrape_configs:
  - job_name: pods
    file_sd_configs:
      - files: [$STATE/prometheus/targets.json]
END
  printf '[]\n' >"$STATE/prometheus/targets.json"
  start "$STATE" prometheus-targets "$HERE/prometheus-targets.sh" "$STATE"
  start "$STATE" prometheus prometheus --config.file="$STATE/prometheus/prometheus.yml" --storage.tsdb.path="$STATE/prometheus/data" \
    --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" --log.level=warn --web.enable-lifecycle
  await "$STATE" 30 prometheus "Prometheus to be ready" curl -sS --fail --noproxy '*' "http://127.0.0.1:$PROMETHEUS_PORT/-/ready"
  say "http://127.0.0.1:$PROMETHEUS_PORT"
  ;;
*) die "usage: prometheus.sh start|stop [STATE-FOLDER]" ;;
esac
