"""All-reduce of fp32 by torch.distributed with Gloo: one JSON line per size, from rank 0. RANK, WORLD_SIZE and MASTER_* are set."""
import json
import sys
import time

import torch
import torch.distributed as dist

torch.set_num_threads(1)
dist.init_process_group("gloo")
seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0  # at most, per size
size = 1 << 10
while size <= 64 << 20:
    tensor = torch.ones(size // 4)
    calls = max(20, min(3000, 200_000_000 // size))
    times = []
    begin = time.perf_counter()
    for call in range(calls + 10):
        # All ranks end after the same call.
        if call % 10 == 0:
            late = torch.tensor([time.perf_counter() - begin > seconds], dtype=torch.int32)
            dist.all_reduce(late, op=dist.ReduceOp.MAX)
            if late.item() and times:
                break
        if size >= 1 << 20:
            dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(tensor)
        end = time.perf_counter()
        tensor.fill_(1)
        if call >= 10:
            times.append((end - start) * 1e6)
    times.sort()
    if dist.get_rank() == 0:
        print(json.dumps({"who": "gloo", "version": torch.__version__, "bytes": size, "median_us": times[len(times) // 2], "min_us": times[0]}), flush=True)
    size *= 4
dist.destroy_process_group()
