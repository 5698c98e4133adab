#!/usr/bin/env bash
# On a machine with a GPU and PyTorch: every ZeRO stage and offload against stage 0 on a small model, GPT-2 1.5B in stage 3
# with and without offload, and then larger and larger models until they do not fit. One table at the end.
#
#   benchmarks/gpu/zero.sh WORKER_FOLDER OUT_FOLDER [SECONDS]
#
# PARTS (parity xl ladder) chooses among them; NONE, CPU, MIXED and RATIO the larger models, for 80 GB and 128 GiB of host memory
# when they are not given.
#
# WORKER_FOLDER is what scripts/publish-gpu.sh packs, unpacked. Each case is a process of its own with a time limit;
# none begins when SECONDS (240) are over. Python needs torch, numpy and safetensors for the small model, nothing else.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
worker=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
end=$((SECONDS + ${3:-240}))
parts=" ${PARTS:-parity xl ladder} "
left() { echo $((end - SECONDS)); }
: > "$out/cases.tsv"

# As many threads as cores for the CPU's Adam; they are not spun while they wait.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} OMP_WAIT_POLICY=PASSIVE

config() { # FILE PRECISION MICRO_BATCH ACCUMULATION ZERO
  cat > "$1" <<JSON
{ "train_micro_batch_size_per_gpu": $3, "gradient_accumulation_steps": $4, "gradient_clipping": 1.0, "steps_per_print": 1,
  "$2": { "enabled": true }, "optimizer": { "type": "AdamW", "params": { "lr": 1e-4, "weight_decay": 0.0 } },
  "zero_optimization": $5 }
JSON
}

train() { # NAME LIMIT STEPS DATA OPTION...: leaves NAME.jsonl and NAME.log, and a line in cases.tsv
  local name=$1 limit=$2 steps=$3 data=$4 start=$SECONDS status=0
  shift 4
  if [ "$(left)" -lt 12 ]; then
    printf '%s\t%s\t%s\n' "$name" skipped 0 >> "$out/cases.tsv"
    return 1
  fi
  if [ "$limit" -gt "$(left)" ]; then limit=$(left); fi
  timeout -k 2 "$limit" "$worker/with-pytorch.sh" "$worker/deepspeed-worker" train --data "$data" --max-steps "$steps" \
    --deepspeed "$out/$name.json" --metrics-file "$out/$name.jsonl" --dropout 0 "$@" > "$out/$name.log" 2>&1 || status=$?
  printf '%s\t%s\t%s\n' "$name" "$status" $((SECONDS - start)) >> "$out/cases.tsv"
  echo "$name: exit $status after $((SECONDS - start)) s ($(tail -n 1 "$out/$name.log" | cut -c1-200))"
  return $status
}

cpu='"offload_optimizer": { "device": "cpu" }'
buckets='"overlap_comm": true, "reduce_bucket_size": 50000000, "stage3_prefetch_bucket_size": 50000000'

# 1. Parity: 4 layers, 8 steps, four at a time.
if [[ $parts == *" parity "* ]]; then
  python3 "$here/make_case.py" "$out/case" --layers 4 --size 256 --heads 4 --vocab 2048 --positions 256 --rows 256
  for precision in bf16 fp16; do
    parity() { config "$out/$1.json" "$precision" 4 2 "$2"; train "$1" 60 8 "$out/case/tokens.i32" --model "$out/case" --sequence-length 256; }
    parity "parity-$precision-stage0" '{ "stage": 0 }' &
    parity "parity-$precision-stage1" '{ "stage": 1 }' &
    parity "parity-$precision-stage2" '{ "stage": 2, "overlap_comm": true, "reduce_bucket_size": 400000 }' &
    parity "parity-$precision-stage3" '{ "stage": 3, "overlap_comm": true, "reduce_bucket_size": 400000 }' &
    wait
    parity "parity-$precision-stage2-cpu" "{ \"stage\": 2, \"overlap_comm\": true, \"reduce_bucket_size\": 400000, \"sub_group_size\": 500000, $cpu }" &
    parity "parity-$precision-stage3-cpu" "{ \"stage\": 3, \"overlap_comm\": true, $cpu, \"offload_param\": { \"device\": \"cpu\" } }" &
    parity "parity-$precision-stage3-half" '{ "stage": 3, "sub_group_size": 500000, "offload_optimizer": { "device": "cpu", "ratio": 0.5 } }' &
    parity "parity-$precision-stage3-nvme" "{ \"stage\": 3, \"sub_group_size\": 500000, \"offload_optimizer\": { \"device\": \"nvme\", \"nvme_path\": \"$out/swap\", \"pipeline_read\": true, \"pipeline_write\": true } }" &
    wait
  done
fi

# 2. GPT-2 1.5B; tokens are random, which costs as much as text.
python3 - "$out/tokens.i32" <<'PY'
import array, random, sys
random.seed(1)
array.array("i", (random.randrange(50000) for _ in range(1025 * 400))).tofile(open(sys.argv[1], "wb"))
PY
model() { # NAME LIMIT STEPS MICRO ACCUMULATION ZERO OPTION...
  local name=$1 limit=$2 steps=$3 micro=$4 accumulation=$5 zero=$6
  shift 6
  config "$out/$name.json" bf16 "$micro" "$accumulation" "$zero"
  train "$name" "$limit" "$steps" "$out/tokens.i32" --sequence-length 1024 --fast-init "$@"
}
xl=(--model gpt2-xl)
if [[ $parts == *" xl "* ]]; then
  model 1.5B-stage1 45 8 8 1 '{ "stage": 1 }' "${xl[@]}"
  model 1.5B-stage2 45 8 8 1 '{ "stage": 2, "overlap_comm": true, "reduce_bucket_size": 50000000 }' "${xl[@]}"
  model 1.5B-stage3 45 8 8 1 "{ \"stage\": 3, $buckets }" "${xl[@]}"
  model 1.5B-stage3-cpu 60 8 8 1 "{ \"stage\": 3, $buckets, $cpu }" "${xl[@]}"
  model 1.5B-stage3-cpu-accumulating 60 4 8 4 "{ \"stage\": 3, $buckets, $cpu }" "${xl[@]}"
  model 1.5B-stage3-cpu-parameters 60 5 8 1 "{ \"stage\": 3, $buckets, $cpu, \"offload_param\": { \"device\": \"cpu\" } }" "${xl[@]}"
fi

# 3. Larger and larger, one sample at a time with recomputation, until one does not fit.
ladder() { # NAME ZERO SIZE...: a size is LAYERSxWIDTHxHEADS
  local name=$1 zero=$2 size
  shift 2
  for size in "$@"; do
    IFS=x read -r layers width heads <<< "$size"
    model "$name-$size" 120 3 1 1 "$zero" --model gpt2-xl --n-layer "$layers" --n-embd "$width" --n-head "$heads" --gradient-checkpointing || return
  done
}
mixed='"offload_optimizer": { "device": "cpu", "ratio": RATIO }'
if [[ $parts == *" ladder "* ]]; then
  ladder none "{ \"stage\": 3, $buckets }" ${NONE:-22x4096x32 24x4096x32}
  ladder cpu "{ \"stage\": 3, $buckets, $cpu }" ${CPU:-40x4096x32}
  ladder mixed "{ \"stage\": 3, $buckets, ${mixed/RATIO/${RATIO:-0.7}} }" ${MIXED:-36x5120x40 38x5120x40}
fi

rm -rf "$out/swap"
python3 "$here/zero_table.py" "$out" | tee "$out/table.md"
