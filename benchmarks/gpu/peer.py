"""The PyTorch side: the same model, weights, data, optimizer and clipping.

usage: peer.py FOLDER OUT [--variants eager,autocast,compile] [--batch 16] [--steps 60]

eager     bf16 weights with fp32 masters, fused AdamW on the masters (what DeepSpeed does)
autocast  fp32 weights, bf16 by autocast, fused AdamW
compile   autocast under torch.compile
"""
import argparse
import json
import os
import time

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("out")
parser.add_argument("--variants", default="eager,autocast,compile")
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--warmup", type=int, default=10)
parser.add_argument("--lr", type=float, default=3e-4)
a = parser.parse_args()
shape = json.load(open(os.path.join(a.folder, "config.json")))
V, T, D, L, H = (shape[k] for k in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"))
tokens = torch.from_numpy(numpy.fromfile(os.path.join(a.folder, "tokens.i32"), dtype=numpy.int32).reshape(-1, T + 1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.c_attn, self.c_proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.c_fc, self.c_out = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x):
        B, N, _ = x.shape
        q, k, v = (t.view(B, N, H, D // H).transpose(1, 2) for t in self.c_attn(self.ln_1(x)).split(D, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(B, N, D))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, D), nn.Embedding(T, D)
        self.h = nn.ModuleList(Block() for _ in range(L))
        self.ln_f = nn.LayerNorm(D)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def load(model):
    saved = load_file(os.path.join(a.folder, "model.safetensors"))
    names = {"attn.c_attn": "c_attn", "attn.c_proj": "c_proj", "mlp.c_fc": "c_fc", "mlp.c_proj": "c_out", "ln_1": "ln_1", "ln_2": "ln_2"}
    state = {n: saved[f"transformer.{n}"] for n in ("wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias")}
    for i in range(L):
        for theirs, ours in names.items():
            weight = saved[f"transformer.h.{i}.{theirs}.weight"]
            state[f"h.{i}.{ours}.weight"] = weight if weight.dim() == 1 else weight.t().contiguous()
            state[f"h.{i}.{ours}.bias"] = saved[f"transformer.h.{i}.{theirs}.bias"]
    model.load_state_dict(state)


def run(variant):
    torch.manual_seed(0)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = GPT2()
    load(model)
    model = model.cuda()
    if variant == "eager":
        masters = [p.detach().clone().requires_grad_() for p in model.parameters()]
        model = model.bfloat16()
        weights = list(model.parameters())
        optimizer = torch.optim.AdamW(masters, a.lr, weight_decay=0, fused=True)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), a.lr, weight_decay=0, fused=True)
    f = torch.compile(model) if variant == "compile" else model
    rows = torch.arange(a.steps * a.batch).remainder(tokens.shape[0]).view(a.steps, a.batch)
    history, begin = [], 0.0
    for step in range(a.steps):
        if step == a.warmup:
            torch.cuda.synchronize()
            begin = time.perf_counter()
        chunk = tokens[rows[step]].long().pin_memory().cuda(non_blocking=True)
        x, y = chunk[:, :-1].contiguous(), chunk[:, 1:].contiguous()
        if variant == "eager":
            loss = f(x, y)
            loss.backward()
            for w, p in zip(masters, weights):
                w.grad, p.grad = p.grad.float(), None
            norm = torch.nn.utils.clip_grad_norm_(masters, 1.0, foreach=True)
            optimizer.step()
            torch._foreach_copy_([p.data for p in weights], [w.data for w in masters])
        else:
            with torch.autocast("cuda", torch.bfloat16):
                loss = f(x, y)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        history.append((loss.detach(), norm))
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - begin) / (a.steps - a.warmup)
    return {"variant": variant, "step_seconds": seconds, "tokens_per_second": a.batch * T / seconds,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "loss": [loss.item() for loss, _ in history], "grad_norm": [norm.item() for _, norm in history]}


results = []
for variant in a.variants.split(","):
    results.append(run(variant))
    print(f"{variant}: {results[-1]['tokens_per_second']:,.0f} tokens/s", flush=True)
json.dump({"peer": f"PyTorch {torch.__version__}", "gpu": torch.cuda.get_device_name(), "results": results}, open(a.out, "w"))
