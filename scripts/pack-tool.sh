#!/usr/bin/env bash
# Packs the `deepspeed` command as a .NET tool: pack-tool.sh [FOLDER], by default artifacts/packages. To install it from there:
#   dotnet tool install --global DeepSpeedSharp.Launcher --add-source FOLDER
set -euo pipefail
folder=${1:-$(dirname "${BASH_SOURCE[0]}")/../artifacts/packages}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Three packages: the one that users name, one compiled for linux-x64, and a portable one that it falls back to.
# Built apart from the ordinary build, which may be in use.
dotnet pack src/Launcher --configuration "${CONFIGURATION:-Release}" --nologo --verbosity quiet \
  --artifacts-path "$PWD/artifacts/tool" --output "$folder"
ls "$folder"/DeepSpeedSharp.Launcher.*.nupkg
