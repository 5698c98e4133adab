#!/usr/bin/env bash
# Time from start to end of `deepspeed --help` as the packed tool, beside peers, all in rotation; writes a table.
#   start-up.sh [ROUNDS] [RESULT.md]
# Pinned to one core; run it on a quiet machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-31}
result=${2:-benchmarks/results/launcher-start-up_$(nproc)core_$(date +%F).md}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
scripts/pack-tool.sh "$folder/feed" > /dev/null
dotnet tool install DeepSpeedSharp.Launcher --tool-path "$folder/tool" --source "$folder/feed" > /dev/null
dotnet build src/Launcher --configuration Release --nologo --verbosity quiet > /dev/null
# Not the shim of a version manager, which is a program of its own.
python=$(python3 -c 'import sys; print(sys.executable)')

names=("deepspeed --help, packed tool" "deepspeed --help, ordinary build" "deepspeed elastic --help, packed tool"
  "deepspeed jobs --help, packed tool" "deepspeed plan, packed tool" "python3 -c pass" "kubectl version --client")
commands=("$folder/tool/deepspeed --help" "artifacts/bin/Launcher/release/deepspeed --help" "$folder/tool/deepspeed elastic --help"
  "$folder/tool/deepspeed jobs --help" "$folder/tool/deepspeed plan --num_gpus 1 /bin/true" "$python -c pass" "kubectl version --client")

for ((round = -2; round < rounds; round++)); do # the first two rounds fill the caches
  for i in "${!commands[@]}"; do
    begin=${EPOCHREALTIME/./}
    taskset -c 0 ${commands[$i]} > /dev/null
    end=${EPOCHREALTIME/./}
    [ "$round" -lt 0 ] || echo $((end - begin)) >> "$folder/times.$i"
  done
done

{
  echo "# Start of the launcher"
  echo
  echo "Start to end of a process, $rounds rounds in rotation on one core of $(nproc)" \
    "($(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)), .NET $(dotnet --version), $(date +%F)."
  echo "\`benchmarks/launcher/start-up.sh $rounds\`"
  echo
  echo "| Command | median ms | fastest ms | slowest ms |"
  echo "| --- | ---: | ---: | ---: |"
  for i in "${!commands[@]}"; do
    sort -n "$folder/times.$i" | awk -v name="${names[$i]}" '
      { t[NR] = $1 / 1000 } END { printf "| %s | %.0f | %.0f | %.0f |\n", name, t[int((NR + 1) / 2)], t[1], t[NR] }'
  done
} | tee "$result"
