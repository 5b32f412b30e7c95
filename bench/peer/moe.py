"""Routed SwiGLU experts in PyTorch, as the peers of the moe benchmark.

Algorithms, all with the choices of experts given, another one in each run:

- `mask loop`: DiT-MoE's training path: tokens repeated k times, one boolean mask per expert (own code of the same algorithm).
- `sorted`: tokens sorted by expert, one product per expert's slice, separate weights (no slicing of stacked ones).
- `grouped`: the same with torch's grouped matrix product over stacked weights (bfloat16 only).

In bfloat16 weights and activations are bfloat16 throughout, so nothing is cast.
"""

import gc
import itertools

from worker import THREADS, seconds, serve, unknown

import torch
import torch.nn.functional as F

torch.set_num_threads(THREADS)


def swiglu(x, gate_up, down):
    g, u = F.linear(x, gate_up).chunk(2, -1)
    return F.linear(F.silu(g) * u, down)


def mask_loop(x, indices, weights, gate_up, down):
    k = indices.shape[1]
    repeated = x.repeat_interleave(k, dim=0)
    flat = indices.flatten()
    y = torch.empty_like(repeated)
    for e in range(len(gate_up)):
        mask = flat == e
        y[mask] = swiglu(repeated[mask], gate_up[e], down[e])
    return (y.view(*weights.shape, -1) * weights.unsqueeze(-1)).sum(1)


def sorted_experts(x, indices, weights, gate_up, down):
    flat = indices.flatten()
    order = flat.argsort(stable=True)
    token = order // indices.shape[1]
    counts = torch.bincount(flat, minlength=len(gate_up)).tolist()
    parts = x.index_select(0, token).split(counts)
    out = torch.cat([swiglu(part, gate_up[e], down[e]) for e, part in enumerate(parts)])
    out = out * weights.flatten().index_select(0, order).unsqueeze(1)
    return torch.zeros_like(x).index_add(0, token, out)


def grouped_experts(x, indices, weights, gate_up, down):
    flat = indices.flatten()
    order = flat.argsort(stable=True)
    token = order // indices.shape[1]
    offsets = torch.bincount(flat, minlength=gate_up.shape[0]).cumsum(0).to(torch.int32)
    g, u = F.grouped_mm(x.index_select(0, token), gate_up.transpose(1, 2), offs=offsets).chunk(2, -1)
    out = F.grouped_mm(F.silu(g) * u, down.transpose(1, 2), offs=offsets)
    out = out * weights.flatten().index_select(0, order).unsqueeze(1)
    return torch.zeros_like(x).index_add(0, token, out)


ALGORITHMS = {"mask loop": mask_loop, "sorted": sorted_experts, "grouped": grouped_experts}


def prepare(request):
    tokens, width, hidden, count = (request[key] for key in ("tokens", "width", "hidden", "numExperts"))
    kind = torch.bfloat16 if request["precision"] == "bf16" else torch.float32
    train = request["workload"] == "train"
    torch.manual_seed(1)
    x = torch.randn(tokens, width).to(kind).requires_grad_(train)
    choices = itertools.cycle([torch.tensor(indices).view(tokens, -1) for indices in request["choices"]])
    weights = torch.full((tokens, request["topK"]), 0.3, dtype=kind, requires_grad=train)
    stacked = request["algorithm"] == "grouped"
    make = lambda *shape: (0.02 * torch.randn(*shape)).to(kind).requires_grad_(train)  # noqa: E731
    gate_up = make(count, 2 * hidden, width) if stacked else [make(2 * hidden, width) for _ in range(count)]
    down = make(count, width, hidden) if stacked else [make(width, hidden) for _ in range(count)]
    algorithm = ALGORITHMS[request["algorithm"]]
    leaves = [x, weights, *([gate_up, down] if stacked else [*gate_up, *down])]
    dy = torch.randn(tokens, width).to(kind)

    def step():
        indices = next(choices)
        if not train:
            with torch.inference_mode():
                return algorithm(x, indices, weights, gate_up, down)
        out = algorithm(x, indices, weights, gate_up, down)
        return torch.autograd.grad(out, leaves, dy, allow_unused=True)

    step()
    return step


def check(request):
    """The output for given numbers, by every algorithm that runs in float32."""
    tensor = lambda name: torch.tensor(request[name]["data"]).view(request[name]["shape"])  # noqa: E731
    gate_up, down = tensor("gateUp").transpose(2, 3).flatten(1, 2), tensor("down").transpose(1, 2).contiguous()
    args = tensor("x"), tensor("indices"), tensor("weights"), gate_up, down
    return {"outputs": [ALGORITHMS[name](*args).flatten().tolist() for name in ("mask loop", "sorted")]}


steps = {}


def answer(request):
    match request["do"]:
        case "hello":
            return {"version": torch.__version__, "threads": torch.get_num_threads()}
        case "check":
            return check(request)
        case "prepare":
            steps[request["algorithm"]] = prepare(request)
        case "time":
            return seconds(steps[request["algorithm"]], request["count"])
        case "release":
            steps.clear()
            gc.collect()
        case _:
            unknown(request)


serve(answer)
