#!/usr/bin/env bash
# Keeps dnsmasq's hosts file equal to the cluster's Endpoints: dns-watch.sh STATE-FOLDER. Started by up.sh.
# As in a real cluster, SERVICE.NAMESPACE.svc.DOMAIN has the addresses of all ready pods (all pods, when the service
# publishes addresses that are not ready), and HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN that of one. Services with a cluster
# address get the pods' addresses too, because there is no kube-proxy.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
STATE="$1"

rewrite() { # FILE-WITH-ENDPOINTS
  jq -r --arg domain "$CLUSTER_DOMAIN" '
    .items[] | (.metadata.name + "." + .metadata.namespace + ".svc." + $domain) as $service
    | .subsets[]?.addresses[]? | .ip + " " + $service, (select(.hostname) | .ip + " " + .hostname + "." + $service)
  ' "$1" | sort -u >"$STATE/dns/hosts.new" || return 1
  cmp -s "$STATE/dns/hosts.new" "$STATE/dns/hosts" && return 0
  # A line may not vanish while dnsmasq reads: replace the file as a whole.
  mv "$STATE/dns/hosts.new" "$STATE/dns/hosts"
  local pid
  if pid="$(running "$STATE" dnsmasq)"; then kill -HUP "$pid"; fi
}

on_change "$STATE" /api/v1/endpoints rewrite
