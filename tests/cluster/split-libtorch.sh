#!/usr/bin/env bash
# Moves the large native libraries of a published worker into a folder of their own: split-libtorch.sh WORKER LIBTORCH
# Also used inside the Dockerfile, so that the image's layers are the same wherever it is built.
set -euo pipefail

mkdir -p "$2"
# LibTorchSharp.so is left: it belongs to a version of TorchSharp and is small.
find "$1" -maxdepth 1 -type f \( -name 'libtorch*.so*' -o -name 'libc10*.so*' -o -name 'libgomp*.so*' -o -name 'libcu*.so*' \
  -o -name 'libnv*.so*' -o -name 'libcaffe2*.so*' -o -name 'libshm*.so*' \) -exec mv -f -t "$2" {} +
