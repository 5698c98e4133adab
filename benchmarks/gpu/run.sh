#!/usr/bin/env bash
# On a machine with a GPU and PyTorch: trains GPT-2 124M with the worker and with PyTorch on the same weights and data,
# in one run, and prints both. Python needs torch, numpy and safetensors.
#
#   benchmarks/gpu/run.sh WORKER_FOLDER OUT_FOLDER [STEPS]
#
# WORKER_FOLDER is what scripts/publish-gpu.sh packs, unpacked.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
worker=$1 out=$2 steps=${3:-60}
mkdir -p "$out"
python3 "$here/make_case.py" "$out/case" --rows 1024
cat > "$out/ds_config.json" <<'JSON'
{
  "train_micro_batch_size_per_gpu": 16,
  "gradient_clipping": 1.0,
  "bf16": { "enabled": true },
  "optimizer": { "type": "AdamW", "params": { "lr": 3e-4, "weight_decay": 0.0 } }
}
JSON
train() { # NAME [OPTION...]
  local name=$1
  shift
  "$worker/with-pytorch.sh" "$worker/deepspeed-worker" train --model "$out/case" --data "$out/case/tokens.i32" --sequence-length 1024 \
    --max-steps "$steps" --deepspeed "$out/ds_config.json" --metrics-file "$out/$name.jsonl" "$@"
}
train first
python3 "$here/peer.py" "$out/case" "$out/peer.json" --steps "$steps"
train second # again, after the peer: a card that throttles shows here
python3 "$here/compare.py" "$out/peer.json" "DeepSpeedSharp=$out/first.jsonl" "DeepSpeedSharp again=$out/second.jsonl" | tee "$out/table.md"
