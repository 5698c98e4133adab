#!/usr/bin/env bash
# Trains a byte-level GPT-2 on this project's own source with two ranks on this machine. About a minute on two cores.
# Needs the .NET SDK only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

echo "Building the launcher and the worker (the first time this downloads libtorch, 128 MB)..."
dotnet build src/WorkerImage --configuration Release --nologo --verbosity quiet --consoleloggerparameters:NoSummary
dotnet build src/Launcher --configuration Release --nologo --verbosity quiet --consoleloggerparameters:NoSummary
# Each demo has a folder of its own: a second run in the same one would resume where the first has ended.
exec ./artifacts/bin/Launcher/release/deepspeed run samples/gpt2-bytes/job.yaml --run-dir "runs/demo-$(date +%Y%m%d-%H%M%S)"
