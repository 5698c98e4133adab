"""Puts our metrics beside the peer's.

usage: compare.py PEER.json NAME=METRICS.jsonl... [--warmup 10] [--batch 16]

Prints a Markdown table: tokens per second, milliseconds per step, peak memory of the peer, and how far the losses are
from the peer's first variant; then the losses themselves at some steps.
"""
import argparse
import json

parser = argparse.ArgumentParser()
parser.add_argument("peer")
parser.add_argument("ours", nargs="+")
parser.add_argument("--warmup", type=int, default=10)
a = parser.parse_args()
peer = json.load(open(a.peer))
runs = [(f"{peer['peer']} {r['variant']}", r["loss"], r["tokens_per_second"], r["step_seconds"], r["peak_gib"]) for r in peer["results"]]
for argument in a.ours:
    name, path = argument.split("=", 1)
    lines = [json.loads(line) for line in open(path)]
    timed = lines[a.warmup:]
    seconds = sum(line["step_seconds"] for line in timed) / len(timed)
    tokens = lines[-1]["tokens_per_second"] * lines[-1]["step_seconds"]
    runs.append((name, [line["loss"] for line in lines], tokens / seconds, seconds, None))
first = runs[0][1]
print(f"{peer['gpu']}\n")
print("| | tokens/s | ms/step | peak GiB | largest loss difference | loss first | loss last |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
for name, losses, speed, seconds, peak in runs:
    difference = max(abs(x - y) for x, y in zip(losses, first))
    print(f"| {name} | {speed:,.0f} | {seconds * 1e3:.2f} | {'' if peak is None else f'{peak:.1f}'} | {difference:.4f} | {losses[0]:.4f} | {losses[-1]:.4f} |")
print("\n| step | " + " | ".join(name for name, *_ in runs) + " |\n" + "| --- |" * (len(runs) + 1))
for step in range(0, len(first), max(1, len(first) // 12)):
    print(f"| {step + 1} | " + " | ".join(f"{losses[step]:.4f}" for _, losses, *_ in runs) + " |")
