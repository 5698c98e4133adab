#!/usr/bin/env bash
# Packs the engine's tests, the worker and this folder's scripts for a GPU machine that has PyTorch: pack.sh [OUTPUT.tar.xz]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
output=${1:-$root/artifacts/gpu-tests.tar.xz}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Into one folder: they share .NET and TorchSharp.
for project in src/WorkerImage tests/Engine.Tests; do
  dotnet publish "$root/$project" --configuration Release --runtime linux-x64 --self-contained --nologo --verbosity quiet -m:1 \
    -p:LibTorch=none -p:PublishDocumentationFiles=false --output "$folder/gpu-tests"
done
cp "$root/scripts/with-pytorch.sh" "$root"/benchmarks/gpu/*.sh "$root"/benchmarks/gpu/*.py "$folder/gpu-tests/"
mkdir -p "$(dirname "$output")"
XZ_OPT=-T0 tar -C "$folder" -cJf "$output" gpu-tests
echo "$output: $(du -h "$output" | cut -f1)"
