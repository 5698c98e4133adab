#!/usr/bin/env bash
# Packs what users reference, DeepSpeedSharp.Engine and what it references, into artifacts/packages.
# Arguments go to dotnet pack; CONFIGURATION is Release unless set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for project in Checkpoints Config Engine; do
  dotnet pack "src/$project" --configuration "${CONFIGURATION:-Release}" --nologo --verbosity quiet --output artifacts/packages "$@"
done
# A restore takes a version it has unpacked before; without this, the samples would go on with the packages of last time.
rm -rf artifacts/nuget/deepspeedsharp.*
ls artifacts/packages/*.nupkg
