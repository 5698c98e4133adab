#!/usr/bin/env bash
# All-reduce of two ranks on this machine: ours by shared memory and by TCP, Gloo through PyTorch, and memcpy, in turns.
# Usage: benchmarks/comm/run.sh [ROUNDS] [FOLDER of setup-peer.sh] [SECONDS per size, at most]; run it on a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5}
peer=$(realpath "${2:-artifacts/peer-torch}")
seconds=${3:-2}
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
[ -n "${SKIP_BUILD:-}" ] || dotnet build benchmarks/Engine.Benchmarks -c Release --nologo -v q
ours=artifacts/bin/Engine.Benchmarks/release/DeepSpeedSharp.Engine.Benchmarks
export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 OMP_NUM_THREADS=1

pair() {
    # A port of its own for each run: the last one's may linger.
    export MASTER_PORT=$((20000 + RANDOM % 9000))
    RANK=1 LOCAL_RANK=1 "$@" > /dev/null &
    RANK=0 LOCAL_RANK=0 "$@" | grep '^{' >> "$lines"
    wait
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds, load $(cut -d' ' -f1 /proc/loadavg)" >&2
    pair benchmarks/comm/peer.sh "$peer" benchmarks/comm/peer.py "$seconds"
    DEEPSPEED_COMM_SHM=1 pair "$ours" all-reduce "$seconds"
    DEEPSPEED_COMM_SHM=0 pair "$ours" all-reduce "$seconds"
done
python3 benchmarks/comm/report.py "$lines" "$rounds"
