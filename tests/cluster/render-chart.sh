#!/usr/bin/env bash
# Renders the project's chart to YAML on standard output, as `helm template` would: render-chart.sh [CHART] [OPTIONS]
# Options: --name N, --namespace N, --values FILE, --set a.b=c, --set-string a.b=c, --api-versions A,B, --skip-tests, --notes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CHART="$REPO/deploy/helm/deepspeed-operator"
if [ -d "${1:-}" ]; then CHART="$1"; shift; fi

PROGRAM="$CACHE/render-chart-$(sha256sum "$HERE/render-chart/main.go" | cut -c1-12)"
if [ ! -x "$PROGRAM" ]; then
  have go || skip "no go compiler for the chart renderer: run $HERE/install.sh"
  mkdir -p "$CACHE"
  rm -f "$CACHE"/render-chart-*
  env GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS= GOCACHE="$CACHE/go-cache" nice go build -o "$PROGRAM.new" "$HERE/render-chart/main.go"
  rm -rf "$CACHE/go-cache"
  mv "$PROGRAM.new" "$PROGRAM"
fi
exec "$PROGRAM" "$CHART" "$@"
