#!/usr/bin/env bash
# Packs the engine's tests, the worker and nccl.sh for a GPU machine that has PyTorch: pack-nccl.sh [OUTPUT.tar.xz]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
output=${1:-$root/artifacts/nccl-gpu.tar.xz}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Into one folder: they share .NET and TorchSharp.
for project in src/WorkerImage tests/Engine.Tests; do
  dotnet publish "$root/$project" --configuration Release --runtime linux-x64 --self-contained --nologo --verbosity quiet -m:1 \
    -p:LibTorch=none -p:PublishDocumentationFiles=false --output "$folder/nccl"
done
cp "$root/scripts/with-pytorch.sh" "$root/benchmarks/gpu/nccl.sh" "$folder/nccl/"
mkdir -p "$(dirname "$output")"
XZ_OPT=-T0 tar -C "$folder" -cJf "$output" nccl
echo "$output: $(du -h "$output" | cut -f1)"
