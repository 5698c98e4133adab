"""Makes the case that both sides train: GPT-2 (124M by default) with fresh weights in Hugging Face's layout, and tokens.

usage: make_case.py FOLDER [--layers 12] [--size 768] [--heads 12] [--vocab 50304] [--positions 1024] [--rows 1024]

FOLDER/config.json, FOLDER/model.safetensors (fp32), FOLDER/tokens.i32: rows of positions+1 int32. The tokens follow a
random table of four successors per token with noise, so that there is something to learn and the loss falls.
"""
import argparse
import json
import os

import numpy
import torch
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--layers", type=int, default=12)
parser.add_argument("--size", type=int, default=768)
parser.add_argument("--heads", type=int, default=12)
parser.add_argument("--vocab", type=int, default=50304)
parser.add_argument("--positions", type=int, default=1024)
parser.add_argument("--rows", type=int, default=1024)
a = parser.parse_args()

os.makedirs(a.folder, exist_ok=True)
torch.manual_seed(7)
d = a.size
weights = {"transformer.wte.weight": torch.randn(a.vocab, d) * 0.02, "transformer.wpe.weight": torch.randn(a.positions, d) * 0.02}
for i in range(a.layers):
    h = f"transformer.h.{i}."
    for name, shape in {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}.items():
        scale = 0.02 / (2 * a.layers) ** 0.5 if name.endswith("c_proj") else 0.02
        weights[h + name + ".weight"] = torch.randn(*shape) * scale
        weights[h + name + ".bias"] = torch.zeros(shape[1])
    for name in ("ln_1", "ln_2"):
        weights[h + name + ".weight"], weights[h + name + ".bias"] = torch.ones(d), torch.zeros(d)
weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"] = torch.ones(d), torch.zeros(d)
save_file(weights, os.path.join(a.folder, "model.safetensors"))
json.dump({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": a.vocab, "n_positions": a.positions,
           "n_embd": d, "n_layer": a.layers, "n_head": a.heads, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
           "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.02},
          open(os.path.join(a.folder, "config.json"), "w"))
random = numpy.random.default_rng(7)
successors = random.integers(0, a.vocab, (a.vocab, 4))
tokens = numpy.empty((a.rows, a.positions + 1), dtype=numpy.int32)
tokens[:, 0] = random.integers(0, a.vocab, a.rows)
for t in range(1, a.positions + 1):
    following = successors[tokens[:, t - 1], random.integers(0, 4, a.rows)]
    tokens[:, t] = numpy.where(random.random(a.rows) < 0.1, random.zipf(1.3, a.rows) % a.vocab, following)
tokens.tofile(os.path.join(a.folder, "tokens.i32"))
