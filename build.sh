#!/usr/bin/env bash
# From a clone to confidence: formatting, build without a warning, all tests, and those on a real Kubernetes cluster.
# Needs the .NET SDK and, for the cluster tests, root on Debian; tests/cluster/README.md says what those install. The scenarios on
# a real API server need no root: where etcd or kube-apiserver is missing they are skipped.
#
#   ./build.sh              what every change needs
#   ./build.sh --fast       without the cluster
#   ./build.sh --all        also the long stories on the cluster (gangs, outages, two nodes) and three hosts of a network on this
#                           machine: what continuous integration runs, in twice the time
#   ./build.sh --long       also two operators behind a faulty API server, and 10,000 random events (some minutes more)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case "${1:-}" in
'' | --fast) usual='Category!=Slow&Category!=Long' ;;
--all | --long) usual='Category!=Long' ;;
*)
  echo "build.sh: there is no option $1; use --fast, --all or --long" >&2
  exit 64
  ;;
esac

log=artifacts/test-results/build.log
mkdir -p "$(dirname "$log")"
: > "$log"
passed=0 failed=0 skipped=0

# Runs one test project and adds its numbers to the totals.
run_tests() {
  local project=$1 options=("${@:2}") out=artifacts/test-results/$1.log
  local status=0
  # Nothing takes near as long, a first build of Kubernetes included: a test that hangs ends its project, not the patience of whoever waits.
  dotnet test "tests/$project" --configuration Release --no-build --nologo --results-directory artifacts/test-results \
    --blame-hang --blame-hang-timeout 45m --blame-hang-dump-type none "${options[@]}" 2>&1 | tee "$out" || status=$?
  cat "$out" >> "$log"
  local line
  line=$(grep -E '^(Passed|Failed|Skipped)! +- Failed:' "$out" | tail -n 1 || true)
  if [ -z "$line" ]; then
    echo "$project ended without a result (exit code $status)" >&2
    failed=$((failed + 1))
    return
  fi
  local f p s
  f=$(sed -E 's/.*Failed: +([0-9]+).*/\1/' <<< "$line")
  p=$(sed -E 's/.*Passed: +([0-9]+),.*/\1/' <<< "$line")
  s=$(sed -E 's/.*Skipped: +([0-9]+).*/\1/' <<< "$line")
  failed=$((failed + f)) passed=$((passed + p)) skipped=$((skipped + s))
  if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
    failed=$((failed + 1))
  fi
}

step() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }

# Tests start ranks with mpirun; without one they are skipped and say so.
if ! command -v mpirun > /dev/null && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  step "Open MPI"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openmpi-bin > /dev/null \
    || echo "openmpi-bin cannot be installed; the tests under mpirun are skipped"
fi

step "restore"
dotnet restore Operator.sln --nologo
step "format"
dotnet format Operator.sln --no-restore --verify-no-changes
step "build"
dotnet build Operator.sln --configuration Release --no-restore --nologo

for project in Config.Tests Jobs.Tests Architecture.Tests Engine.Tests Worker.Tests Launcher.Tests Operator.Tests; do
  step "$project"
  run_tests "$project" --filter "$usual"
done

if [ "${1:-}" != "--fast" ]; then
  step "Operator.Cluster.Tests"
  run_tests Operator.Cluster.Tests --filter "$usual"
fi

step "Operator.Server.Tests"
run_tests Operator.Server.Tests --filter "$usual"

if [ "${1:-}" = "--long" ]; then
  step "two operators behind a faulty API server"
  run_tests Operator.Server.Tests --filter "Category=Long"
  step "random events"
  RANDOM_EVENTS=10000 run_tests Operator.Tests --filter "FullyQualifiedName~RandomEventsTests"
fi

step "done"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
