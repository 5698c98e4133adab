#!/usr/bin/env bash
# Stops or starts the API server alone: apiserver.sh start|stop [STATE-FOLDER] [--no-wait]
# Everything else keeps running, so that tests can see how it bears the loss.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ACTION="${1:-}"
STATE="$(state_folder "${2:-}")"
[ -d "$STATE/pids" ] || die "no cluster in $STATE"

case "$ACTION" in
stop)
  # As in a crash: a polite end would first wait some seconds for open watches.
  stop "$STATE" --now apiserver
  ;;
start)
  ! running "$STATE" apiserver >/dev/null || exit 0
  start "$STATE" apiserver "$(kubernetes_bin)/kube-apiserver" \
    --bind-address="$API_IP" --secure-port="$API_PORT" --advertise-address="$API_IP" \
    --etcd-servers="http://127.0.0.1:$ETCD_PORT" --allow-privileged=true \
    --service-cluster-ip-range="$SERVICE_RANGE" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --token-auth-file="$STATE/tls/tokens.csv" --client-ca-file="$STATE/tls/ca.crt" \
    --tls-cert-file="$STATE/tls/apiserver.crt" --tls-private-key-file="$STATE/tls/apiserver.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$STATE/tls/service-account.pub" \
    --service-account-signing-key-file="$STATE/tls/service-account.key" \
    --kubelet-client-certificate="$STATE/tls/kubelet-client.crt" --kubelet-client-key="$STATE/tls/kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP --profiling=false
  [ "${3:-}" = --no-wait ] || await "$STATE" 90 apiserver "the API server to be ready" api "$STATE" /readyz
  ;;
*) die "usage: apiserver.sh start|stop [STATE-FOLDER]" ;;
esac
