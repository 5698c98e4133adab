#!/usr/bin/env bash
# Publishes a program for a GPU machine that has PyTorch, as one small file: publish-gpu.sh [PROJECT] [OUTPUT.tar.xz]
# PROJECT is src/WorkerImage, or a folder of a project like samples/own-model. No libtorch is in it: on that machine,
#   tar -xJf OUTPUT.tar.xz && NAME/with-pytorch.sh NAME/PROGRAM ...
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

project=${1:-$root/src/WorkerImage}
name=$([ "$(basename "$project")" = WorkerImage ] && echo deepspeed-worker || basename "$(cd "$project" && pwd)")
output=${2:-$root/artifacts/$name-gpu.tar.xz}

if [ "$name" != deepspeed-worker ]; then
  "$root/scripts/pack.sh" > /dev/null # what a project of its own references
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dotnet publish "$project" --configuration Release --runtime linux-x64 --self-contained --nologo --verbosity quiet \
  -p:LibTorch=none -p:PublishDocumentationFiles=false --output "$folder/$name"
cp "$root/scripts/with-pytorch.sh" "$folder/$name/"

# A second libtorch beside PyTorch's would end up in the same process, half of each.
strangers=$(find "$folder/$name" \( -name 'libtorch*' -o -name 'libc10*' -o -name 'libcu*' \) ! -name 'libcoreclr*')
if [ -n "$strangers" ]; then
  echo "publish-gpu.sh: libtorch must not be in a program for PyTorch's, but there is:" $strangers >&2
  exit 1
fi

mkdir -p "$(dirname "$output")"
XZ_OPT=-T0 tar -C "$folder" -cJf "$output" "$name"
echo "$output: $(du -h "$output" | cut -f1)"
