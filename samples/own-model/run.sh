#!/usr/bin/env bash
# Packs this repository's packages and runs the sample from them: run.sh [STEPS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

../../scripts/pack.sh
# libtorch is large: a copy that this machine's packages folder has already is used where it lies.
machine=${NUGET_PACKAGES:-$HOME/.nuget/packages}
unset NUGET_PACKAGES
if [ -d "$machine" ]; then
  export NUGET_FALLBACK_PACKAGES=$machine
fi
exec dotnet run --configuration Release -- "$@"
