#!/usr/bin/env bash
# Two ranks on two hosts with a slow link between them (network namespaces; needs root): what each ZeRO stage sends per step, by
# the interface's own counter, against the theory; and the time of a step with overlap_comm on and off. In rotation; a table.
#   link.sh [ROUNDS] [RESULT.md]; RATE (400mbit) is the link's, STEPS (10) those that are measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-3}
result=${2:-benchmarks/results/zero-link_$(nproc)core_$(date +%F).md}
rate=${RATE:-400mbit}
steps=${STEPS:-10}
first=3 # the first steps make the trace and fill caches
worker=$PWD/artifacts/bin/WorkerImage/release/deepspeed-worker
[ -x "$worker" ] || dotnet build src/WorkerImage --configuration Release --nologo --verbosity quiet > /dev/null

folder=$(mktemp -d)
prefix=dszl$$
cleanup() {
  for host in 0 1; do
    ip netns pids "$prefix-$host" 2> /dev/null | xargs -r kill 2> /dev/null || true
    ip netns del "$prefix-$host" 2> /dev/null || true
  done
  rm -rf "$folder"
}
trap cleanup EXIT

for host in 0 1; do
  ip netns add "$prefix-$host"
  ip -n "$prefix-$host" link set lo up
done
ip -n "$prefix-0" link add eth0 type veth peer name eth0 netns "$prefix-1"
for host in 0 1; do
  ip -n "$prefix-$host" addr add "10.78.0.$((host + 1))/24" dev eth0
  ip -n "$prefix-$host" link set eth0 up
  tc -n "$prefix-$host" qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 50ms
done
head -c 2000000 /dev/urandom | base64 > "$folder/data" # any text

sent() { ip netns exec "$prefix-0" cat /sys/class/net/eth0/statistics/tx_bytes; }

train() { # NAME STEPS ZERO: leaves NAME.jsonl; prints the bytes that rank 0 sent
  local before rank pids=()
  cat > "$folder/ds.json" <<JSON
{ "train_micro_batch_size_per_gpu": 4, "steps_per_print": 1000, "optimizer": { "type": "AdamW", "params": { "lr": 1e-4 } }, "zero_optimization": $3 }
JSON
  before=$(sent)
  for rank in 0 1; do
    RANK=$rank LOCAL_RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 NODE_RANK=$rank MASTER_ADDR=10.78.0.1 MASTER_PORT=29500 DEEPSPEED_TIMEOUT=5 \
      DEEPSPEED_COMM_SHM=0 OMP_NUM_THREADS=1 timeout 600 ip netns exec "$prefix-$rank" "$worker" train --model gpt2 --n-layer 6 --n-head 4 \
      --n-embd 384 --sequence-length 128 --fast-init --dropout 0 --data "$folder/data" --data-format bytes --max-steps "$2" --deepspeed "$folder/ds.json" \
      --metrics-file "$folder/$1.jsonl" > "$folder/$1.$rank.log" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || { tail -n 5 "$folder/$1".*.log >&2; exit 1; }
  done
  echo $(($(sent) - before))
}

zero() { # STAGE OVERLAP [MORE]
  echo "{ \"stage\": $1, \"overlap_comm\": $2, \"reduce_bucket_size\": 2000000, \"allgather_bucket_size\": 2000000, \"stage3_prefetch_bucket_size\": 2000000 ${3:-} }"
}
# A small model stays whole from forward to backward by default; a large one cannot.
released=', "stage3_max_reuse_distance": 0, "stage3_param_persistence_threshold": 0'

volume() { # NAME FACTOR ZERO
  local short long
  short=$(train "volume-$1-short" 3 "$3")
  long=$(train "volume-$1-long" $((3 + steps)) "$3")
  echo "$1 $2 $(((long - short) / steps))" >> "$folder/volume"
}
for stage in 0 1 2; do
  volume $stage 2 "$(zero $stage true)"
done
volume 3 3 "$(zero 3 true "$released")"
volume 3-kept 2 "$(zero 3 true)"
for ((round = 0; round < rounds; round++)); do
  for stage in 1 2 3; do
    for overlap in true false; do
      train "time-$stage-$overlap-$round" $((first + steps)) "$(zero $stage $overlap "$released")" > /dev/null
    done
  done
done
parameters=$(sed -n 's/.*[^0-9,]\([0-9,]*\) parameters.*/\1/p' "$folder/volume-0-long.0.log" | head -n 1 | tr -d ,)

{
  echo "# ZeRO over a slow link"
  echo
  echo "Two ranks on two hosts (network namespaces) with $rate between them, GPT-2 of ${parameters} parameters in fp32; $(nproc) cores"
  echo "($(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)), load average $(cut -d " " -f 1 /proc/loadavg), .NET $(dotnet --version), $(date +%F)."
  echo "\`benchmarks/zero/link.sh $rounds\`"
  python3 - "$folder" "$parameters" "$rounds" "$first" <<'PY'
import json, statistics, sys
folder, parameters, rounds, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
print("\nBytes that a rank sends in a step, counted at its interface with all headers, the step's reports and heartbeats. N ranks send\n"
      "(N - 1) / N of each P of the theory (Rajbhandari et al., \"ZeRO\", 2020, section 7), here half of 4 bytes a parameter.\n")
print("| stage | theory | MB sent | of theory |\n| --- | ---: | ---: | ---: |")
for line in open(f"{folder}/volume"):
    stage, factor, sent = line.split()
    factor, sent = int(factor), int(sent)
    stage = stage.replace("3-kept", "3, weights kept from forward to backward (the default for a model of this size)")
    print(f"| {stage} | {factor}P | {sent / 1e6:.1f} | {sent / (factor * parameters * 4 / 2):.3f} |")
print(f"\nSeconds of a step, medians of {rounds} rounds; the ratio within a round.\n")
print("| stage | overlap_comm on | off | off / on |\n| --- | ---: | ---: | ---: |")
for stage in (1, 2, 3):
    time = {overlap: [statistics.median(json.loads(line)["step_seconds"] for line in list(open(f"{folder}/time-{stage}-{overlap}-{r}.jsonl"))[first:])
                      for r in range(rounds)] for overlap in ("true", "false")}
    on, off = time["true"], time["false"]
    print(f"| {stage} | {statistics.median(on):.2f} | {statistics.median(off):.2f} | {statistics.median(b / a for a, b in zip(on, off)):.2f}x |")
PY
} | tee "$result"
