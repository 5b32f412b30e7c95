"""Loads what exports.ts wrote, as PyTorch users would, and compares the models' outputs with ours."""

import json
import pathlib
import sys

import torch
from diffusers import DiTTransformer2DModel
from models import DiT
from safetensors.torch import load_file

# Of the largest output. PyTorch's float32 angles of timesteps are off by up to 3e-5; the block norms of diffusers have epsilon 1e-5, ours 1e-6.
TOLERANCE = 1e-4

failed = False
folder = pathlib.Path(sys.argv[1])
for case in json.loads((folder / "cases.json").read_text()):
    io = load_file(folder / f"{case['file']}.io.safetensors")
    path = folder / case["file"]
    if case["layout"] == "diffusers":
        model = DiTTransformer2DModel.from_pretrained(path)
        run = lambda x, t, y: model(x, timestep=t, class_labels=y).sample  # noqa: E731, B023
    else:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)["ema"]
        types = {str(value.dtype) for value in state.values()}
        assert types == set(case["types"]), f"{case['name']}: types {types}"
        run = DiT(case["config"], case["layout"])
        run.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    with torch.no_grad():
        out = run(io["x"], io["t"], io["y"].long())
    error = ((out - io["out"]).abs().max() / io["out"].abs().max()).item()
    failed |= not error < TOLERANCE
    print(f"{case['name']:<38} largest error {error:.1e} of the largest output (limit {TOLERANCE:.0e})")
sys.exit(1 if failed else 0)
