#!/usr/bin/env bash
# Installs the operator from the project's chart, with the test image, and waits for it:
#   install-operator.sh [--state STATE-FOLDER] [OPTIONS OF render-chart.sh, e.g. --set metrics.port=9090]
# It runs with its own service account and only the chart's roles. The API server is at the service address that pods
# get in their environment, so nothing about it has to be set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STATE=
if [ "${1:-}" = --state ]; then STATE="$2"; shift 2; fi
STATE="$(state_folder "$STATE")"
[ -e "$STATE/kubeconfig" ] || die "no cluster in $STATE"
NAMESPACE=deepspeed-system
NAME=deepspeed-operator

"$HERE/images.sh" --state "$STATE" operator
mkdir -p "$STATE/manifests"
# A changed image has the same name: with another annotation its pods are made anew.
HASH="$(cut -c1-12 "$CACHE/images/operator.hash")"
"$HERE/render-chart.sh" --skip-tests --name "$NAME" --namespace "$NAMESPACE" --set-string "image.repository=${OPERATOR_IMAGE%:*}" \
  --set-string "image.tag=${OPERATOR_IMAGE##*:}" --set image.pullPolicy=Never \
  --set-string "podAnnotations.deepspeedsharp\.dev/test-image=$HASH" "$@" >"$STATE/manifests/operator.yaml"

kube "$STATE" get namespace "$NAMESPACE" >/dev/null 2>&1 || kube "$STATE" create namespace "$NAMESPACE"
# Kubernetes before 1.25 does not know the rules in the CRD; its server drops them, and its kubectl would refuse the file.
kube "$STATE" apply --validate=false -f "$STATE/manifests/operator.yaml"
if ! kube "$STATE" -n "$NAMESPACE" rollout status "deployment/$NAME" --timeout=120s; then
  kube "$STATE" -n "$NAMESPACE" describe pods >&2
  kube "$STATE" -n "$NAMESPACE" logs "deployment/$NAME" --tail=50 >&2 || true
  die "the operator did not become ready"
fi
