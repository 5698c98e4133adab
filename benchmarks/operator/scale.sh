#!/usr/bin/env bash
# The operator with thousands of pods on a real API server: scale.sh [full|small|memory|gangs|smoke] [RESULT.md]
# full: 1,000 jobs x 8 pods, then 10,000 pods, and 100 jobs x 256 pods, in some minutes; small: a tenth of that.
# Needs root (a mount namespace for the operator's service account), etcd and kube-apiserver (tests/cluster/install.sh builds the latter); touches nothing but loopback ports and memory.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/cluster/lib.sh"
cd "$REPO"
size=${1:-full}
result=${2:-benchmarks/results/operator-scale_$(nproc)core_$(date +%F).md}
need_root
have etcd || skip "no etcd: run tests/cluster/install.sh"
[ -x "$(kubernetes_bin)/kube-apiserver" ] || skip "no kube-apiserver: run tests/cluster/install.sh"

folder=$(mktemp -d /dev/shm/operator-scale.XXXXXX)
trap 'rm -rf "$folder"' EXIT
# As the image does.
dotnet publish src/Operator -c Release -m:1 -r linux-x64 --self-contained --nologo -v q -o "$folder/operator" >&2
dotnet build benchmarks/operator -c Release -m:1 --nologo -v q >&2
artifacts/bin/Operator.Benchmarks/release/DeepSpeedSharp.Operator.Benchmarks "$size" "$result" "$folder/operator/deepspeed-operator" \
  "$(kubernetes_bin)" deploy/crds/deepspeedjobs.yaml "$folder"
