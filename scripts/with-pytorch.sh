#!/usr/bin/env bash
# Runs a program on the libtorch of this machine's PyTorch: with-pytorch.sh PROGRAM [ARGUMENT...]
# Takes the first Python with torch of: $PYTHON, or python3 and python on PATH. The program must bring no libtorch of its
# own (build it with -p:LibTorch=none).
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: with-pytorch.sh PROGRAM [ARGUMENT...]" >&2
  exit 64
fi

# Prints torch/lib, then the folders of the CUDA libraries that pip installs beside it. torch is found, not imported.
find_folders='
import glob, importlib.util, os
torch = importlib.util.find_spec("torch")
if torch and torch.submodule_search_locations:
    folders = [os.path.join(p, "lib") for p in torch.submodule_search_locations]
    nvidia = importlib.util.find_spec("nvidia")
    for place in (nvidia.submodule_search_locations if nvidia else []) or []:
        folders += sorted(glob.glob(os.path.join(place, "*", "lib")))
    print(":".join(f for f in folders if os.path.isdir(f)))
'

folders= tried=
for python in ${PYTHON:-python3 python}; do
  if command -v "$python" > /dev/null; then
    tried+=" $(command -v "$python")"
    folders=$("$python" -c "$find_folders" || true)
    [ -z "$folders" ] || break
  fi
done

if [ -z "$folders" ]; then
  echo "with-pytorch.sh: no PyTorch; looked in:${tried:- nothing, there is no python3 on PATH}" >&2
  echo "  activate its environment first, or name its Python: PYTHON=/path/to/python with-pytorch.sh ..." >&2
  exit 78
fi

# After PyTorch's, since the order decides which copy of a library is used.
export LD_LIBRARY_PATH="$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$@"
