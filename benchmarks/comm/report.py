"""Makes a table of the JSON lines of run.sh: the median over rounds of each round's median, and the least time of all."""
import datetime
import json
import os
import platform
import statistics
import sys

lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
rounds = int(sys.argv[2])
cores = os.cpu_count()
model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), platform.machine())


def of(who, size, what, pick):
    values = [line[what] for line in lines if line["who"] == who and line["bytes"] == size]
    return pick(values) if values else float("nan")


def table(what, pick):
    yield "| size | Gloo | shared memory | times faster | TCP | times faster | memcpy | share of memcpy |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for size in sorted({line["bytes"] for line in lines}):
        gloo, shm, tcp, copy = (of(who, size, what, pick) for who in ("gloo", "shm", "tcp", "memcpy"))
        name = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        yield (f"| {name} | {gloo:,.1f} µs | {shm:,.1f} µs | {gloo / shm:.1f} | {tcp:,.1f} µs | {gloo / tcp:.1f} | {copy:,.1f} µs | {100 * copy / shm:.0f} % |")


version = next((line["version"] for line in lines if line["who"] == "gloo"), "?")
text = "\n".join([
    f"# All-reduce of two ranks, {cores} cores, {datetime.date.today()}", "",
    f"{model}, {cores} cores, {platform.release()}; load at the end {os.getloadavg()[0]:.1f}. fp32, two processes of one machine. Gloo through PyTorch {version}. "
    f"{rounds} rounds in turns. memcpy: each rank copies the message to shared memory and the other's back, at the same time; no "
    "all-reduce through memory can do with less. Made by `benchmarks/comm/run.sh`.", "",
    "Median over rounds of the medians of calls:", "", *table("median_us", statistics.median), "",
    "Least time of any call:", "", *table("min_us", min), ""])
path = f"benchmarks/results/all-reduce_{cores}core_{datetime.date.today()}.md"
open(path, "w", encoding="utf-8").write(text)
print(text)
print(f"written to {path}")
