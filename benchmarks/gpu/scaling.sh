#!/usr/bin/env bash
# On a machine with several GPUs and PyTorch: GPT-2 1.5B in every ZeRO stage on one GPU and on all of them, as a share of
# linear scaling. scaling.sh WORKER_FOLDER OUT_FOLDER, packed by pack.sh.
set -uo pipefail
worker=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
gpus=$(nvidia-smi --list-gpus | wc -l)
steps=16
export OMP_NUM_THREADS=4 OMP_WAIT_POLICY=PASSIVE MASTER_ADDR=127.0.0.1 NCCL_NVLS_ENABLE="${NCCL_NVLS_ENABLE:-0}"

python3 - "$out/tokens.i32" <<'PY'
import array, random, sys
random.seed(1)
array.array("i", (random.randrange(50000) for _ in range(1025 * 600))).tofile(open(sys.argv[1], "wb"))
PY

train() { # NAME RANKS STAGE
  local name=$1 count=$2 rank pids=()
  cat > "$out/$name.json" <<JSON
{ "train_micro_batch_size_per_gpu": 8, "gradient_clipping": 1.0, "steps_per_print": 1, "bf16": { "enabled": true },
  "optimizer": { "type": "AdamW", "params": { "lr": 1e-4, "weight_decay": 0.0 } },
  "zero_optimization": { "stage": $3, "overlap_comm": true, "reduce_bucket_size": 50000000, "stage3_prefetch_bucket_size": 50000000 } }
JSON
  for ((rank = 0; rank < count; rank++)); do
    RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=$count LOCAL_WORLD_SIZE=$count MASTER_PORT=$((29700 + count * 10 + $3)) \
      timeout -k 2 100 "$worker/with-pytorch.sh" "$worker/deepspeed-worker" train --model gpt2-xl --fast-init --dropout 0 --data "$out/tokens.i32" \
      --sequence-length 1024 --max-steps $steps --deepspeed "$out/$name.json" --metrics-file "$out/$name.jsonl" > "$out/$name.$rank.log" 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || echo "$name: a rank ended with $?: $(tail -n 2 "$out/$name".*.log)"; done
}

for stage in ${STAGES:-0 1 2 3}; do
  train "one-$stage" 1 $stage
  train "all-$stage" "$gpus" $stage
done

python3 - "$out" "$gpus" <<'PY' | tee "$out/scaling.md"
import json, os, re, sys
out, gpus = sys.argv[1], int(sys.argv[2])
print(f"| stage | tokens/s, 1 GPU | tokens/s, {gpus} GPUs | of linear | GPU peak GiB, 1 | GPU peak GiB, {gpus} | last loss, 1 | last loss, {gpus} |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for stage in map(int, os.environ.get("STAGES", "0 1 2 3").split()):
    speed, peak, loss = {}, {}, {}
    for name, ranks in (("one", 1), ("all", gpus)):
        try:
            steps = [json.loads(line) for line in open(f"{out}/{name}-{stage}.jsonl")]
            seconds = sorted(s["step_seconds"] for s in steps[4:])
            speed[name] = ranks * 8 * 1024 / seconds[len(seconds) // 2]
            peak[name] = float(re.search(r"gpu ([\d.]+) GiB", open(f"{out}/{name}-{stage}.0.log").read())[1])
            loss[name] = steps[-1]["loss"]
        except (OSError, TypeError, IndexError) as error:
            print(f"stage {stage}, {name}: {error}")
    if len(loss) == 2:
        print(f"| {stage} | {speed['one']:,.0f} | {speed['all']:,.0f} | {speed['all'] / speed['one'] / gpus:.0%} | {peak['one']:.1f} | {peak['all']:.1f} | "
              f"{loss['one']:.4f} | {loss['all']:.4f} |")
PY
