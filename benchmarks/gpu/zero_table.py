"""Makes tables of what zero.sh measured.

usage: zero_table.py OUT_FOLDER

Reads cases.tsv (name, exit status, seconds), NAME.jsonl (steps) and NAME.log (parameters, peak memory).
"""
import json
import os
import re
import sys

out = sys.argv[1]


def read(name):
    steps, log = [], ""
    if os.path.exists(f"{out}/{name}.jsonl"):
        for line in open(f"{out}/{name}.jsonl"):
            try:
                steps.append(json.loads(line))
            except json.JSONDecodeError:
                pass  # the last line of a process that was ended
    if os.path.exists(f"{out}/{name}.log"):
        log = open(f"{out}/{name}.log", errors="replace").read()
    return steps, log


cases = sorted((line.rstrip("\n").split("\t") for line in open(f"{out}/cases.tsv")), key=lambda c: c[0].startswith("parity") and c[0] or "~")
parity = [c for c in cases if c[0].startswith("parity")]
print("| against stage 0 | largest loss difference | last loss | last norm |\n| --- | ---: | ---: | ---: |")
for name, status, _ in parity:
    steps, log = read(name)
    base, _ = read("-".join(name.split("-")[:2]) + "-stage0")
    if status != "0" or not steps or len(steps) != len(base):
        print(f"| {name[7:]} | exit {status}: {(log.strip().splitlines() or ['no output'])[-1][:120]} | | |")
        continue
    difference = max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, base))
    print(f"| {name[7:]} | {difference:.1e} | {steps[-1]['loss']:.5f} | {steps[-1]['grad_norm']:.4f} |")

print("\n| | parameters | ms/step | tokens/s | GPU peak GiB | host peak GiB | whole run s |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
for name, status, seconds in (c for c in cases if not c[0].startswith("parity")):
    steps, log = read(name)
    parameters = re.search(r"([\d,]+) parameters", log)
    parameters = f"{int(parameters[1].replace(',', '')) / 1e9:.2f}B" if parameters else ""
    peak = re.search(r"peak memory: host ([\d.]+) GiB(?:, gpu ([\d.]+) GiB)?", log)
    timed = steps[2:] if len(steps) > 3 else steps[1:]
    if status != "0" or not timed:
        reason = {"124": "over its time", "137": "out of host memory, or over its time", "skipped": "no time left"}.get(status, f"exit {status}")
        if "out of memory" in log.lower():
            reason = "out of GPU memory"
        print(f"| {name} | {parameters} | {reason} | | | | {seconds} |")
        continue
    step = sum(s["step_seconds"] for s in timed) / len(timed)
    tokens = steps[-1]["tokens_per_second"] * steps[-1]["step_seconds"]
    print(f"| {name} | {parameters} | {step * 1e3:,.0f} | {tokens / step:,.0f} | {peak[2] if peak and peak[2] else ''} | {peak[1] if peak else ''} | {seconds} |")
