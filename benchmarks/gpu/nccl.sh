#!/usr/bin/env bash
# On a machine with PyTorch and GPUs: NCCL between processes, checked and measured. nccl.sh OUT_FOLDER
# Packed by pack.sh. With fewer GPUs than ranks, the ranks share them.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$1
mkdir -p "$out"
gpus=$(nvidia-smi --list-gpus | wc -l)
export OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE MASTER_ADDR=127.0.0.1 DEEPSPEED_TIMEOUT=1
export DEEPSPEED_HEARTBEAT_INTERVAL=1 DEEPSPEED_HEARTBEAT_TIMEOUT=10
export NCCL_NVLS_ENABLE="${NCCL_NVLS_ENABLE:-0}" # multicast in NVLink switches is not for containers everywhere
port=29600
failed=0

# ranks NAME COUNT COMMAND...: starts COMMAND once per rank; their pids are in PIDS, their output in OUT/NAME.RANK.
ranks() {
  local name=$1 count=$2 rank
  shift 2
  port=$((port + 1)) PIDS=()
  for ((rank = 0; rank < count; rank++)); do
    (
      export RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=$count LOCAL_WORLD_SIZE=$count MASTER_PORT=$port
      if ((count > gpus)); then
        # NCCL refuses two ranks of one host on one GPU, so each is a host of its own; each sees one GPU.
        export NCCL_HOSTID="$name-$rank" NCCL_SOCKET_IFNAME=lo CUDA_VISIBLE_DEVICES=$((rank % gpus))
      fi
      exec "$here/with-pytorch.sh" "$@"
    ) > "$out/$name.$rank" 2>&1 &
    PIDS+=($!)
  done
  (
    sleep 150
    kill -9 "${PIDS[@]}"
  ) > /dev/null 2>&1 &
  guard=$!
}

# Waits for the ranks; their exit codes are in CODES.
await() {
  local pid list=()
  for pid in "${PIDS[@]}"; do
    wait "$pid"
    list+=($?)
  done
  kill "$guard" 2> /dev/null
  CODES="${list[*]}"
}

# expect NAME WANTED: waits for the ranks, says whether they end as they should, and shows what they said if not.
expect() {
  await
  if [ "$2" = "$CODES" ] && ! grep -q "Skipped: [1-9]" "$out/$1.0"; then
    echo "ok    $1"
  else
    failed=1
    echo "FAIL  $1: exit codes $CODES, not $2, or a test was skipped"
    tail -n 25 "$out/$1".*
  fi
}

tests=$here/DeepSpeedSharp.Engine.Tests
class=DeepSpeedSharp.Engine.Tests.Devices.NcclTests
for count in 2 4; do
  ranks "collectives-$count" "$count" "$tests" -method "$class.Collectives_EveryKindTypeAndSize_AreTheClosedForm"
  expect "collectives-$count" "$(printf '0 %.0s' $(seq "$count") | sed 's/ $//')"
done

ranks training 2 "$tests" -method "$class.Train_TwoRanks_EqualOneRankWithBothBatches" -parallel none
expect training "0 0"

# The last rank kills itself: 137 is its end, the others must find all they expect.
ranks killed 2 "$tests" -method "$class.AllReduce_APeerIsKilled_ThrowsOnTheOthers"
expect killed "0 137"

# The worker: the other rank has to end with the code of a lost peer (69).
head -c 3000000 /dev/urandom | base64 > "$out/data.bytes" # any text
printf '%s' '{"train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true}, "zero_optimization": {"stage": 1}, "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}}}' > "$out/ds.json"
ranks worker 2 "$here/deepspeed-worker" train --model gpt2 --n-layer 2 --n-head 4 --n-embd 256 --sequence-length 256 --data "$out/data.bytes" \
  --data-format bytes --deepspeed "$out/ds.json" --max-steps 1000000
for ((i = 0; i < 600; i++)); do
  grep -q "step [0-9]" "$out/worker.0" && break
  sleep 0.1
done
sleep 1
kill -9 "${PIDS[1]}"
expect worker "69 137"
tail -n 3 "$out/worker.0"

ranks bench "$((gpus > 2 ? gpus : 2))" "$here/deepspeed-worker" bench-comm --backend nccl --op all_reduce all_gather reduce_scatter \
  --min-bytes 1024 --max-bytes 268435456 --factor 8
expect bench "$(printf '0 %.0s' $(seq "$((gpus > 2 ? gpus : 2))") | sed 's/ $//')"
cat "$out/bench.0"

grep -h "^\[deepspeed\]" "$out/collectives-2.0" || true
exit $failed
