#!/usr/bin/env bash
# Time from start to end of `deepspeed --help` as the packed tool, beside peers, all in rotation; writes a table.
#   start-up.sh [ROUNDS] [RESULT.md]
# TOOL=PROGRAM measures a tool that is installed already. On one core, before all other programs where the user may ask for
# that: so that the numbers mean something on a machine that is not quiet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-31}
result=${2:-benchmarks/results/launcher-start-up_$(nproc)core_$(date +%F).md}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${TOOL:-}" ]; then
  scripts/pack-tool.sh "$folder/feed" > /dev/null
  dotnet tool install DeepSpeedSharp.Launcher --tool-path "$folder/tool" --source "$folder/feed" > /dev/null
  dotnet build src/Launcher --configuration Release --nologo --verbosity quiet > /dev/null
  TOOL=$folder/tool/deepspeed
fi
alone=(taskset -c 0)
! chrt --fifo 10 true 2> /dev/null || alone+=(chrt --fifo 10)
# Not the shim of a version manager, which is a program of its own.
python=$(python3 -c 'import sys; print(sys.executable)')

names=("deepspeed --help, packed tool" "deepspeed --help, ordinary build" "deepspeed elastic --help, packed tool"
  "deepspeed jobs --help, packed tool" "deepspeed plan, packed tool" "python3 -c pass" "kubectl version --client")
commands=("$TOOL --help" "artifacts/bin/Launcher/release/deepspeed --help" "$TOOL elastic --help"
  "$TOOL jobs --help" "$TOOL plan --num_gpus 1 /bin/true" "$python -c pass" "kubectl version --client")

for ((round = -2; round < rounds; round++)); do # the first two rounds fill the caches
  for i in "${!commands[@]}"; do
    begin=${EPOCHREALTIME/./}
    "${alone[@]}" ${commands[$i]} > /dev/null
    end=${EPOCHREALTIME/./}
    [ "$round" -lt 0 ] || echo $((end - begin)) >> "$folder/times.$i"
  done
done

{
  echo "# Start of the launcher"
  echo
  echo "Start to end of a process, $rounds rounds in rotation on one core of $(nproc)${alone[3]:+, at real-time priority}, load average $(cut -d " " -f 1 /proc/loadavg)" \
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
