"""DiT-MoE in PyTorch, written for speed, as the peer of the engine benchmark.

Architecture: Peebles and Xie 2023 (DiT), Fei et al. 2024 (DiT-MoE). A variant is named `<compile>/<experts>/<types>`:

- compile: `eager`; `compile` (torch.compile, experts as they are); `frozen` (torch.compile with weights as constants, so that the
  compiler may pack them; forward only); `autotune` (frozen, choosing among its own matrix kernels).
- experts: `sorted` (tokens sorted by expert, one product per expert's slice), `grouped` (torch's grouped matrix product), `linear` (as
  `sorted`, of modules, which can be quantized).
- types: `f32`; `autocast` (bfloat16 products from float32 weights); `bf16` (weights and activations bfloat16, forward only); `int8`
  (torch's dynamic quantization of experts and attention's projections, forward only, eager only).

Training uses the fused AdamW. `train` is the step alone; `loop` is what a training script does around it: samples of cached posteriors,
noise, times, dropped labels, the loss of flow matching, and the average of the weights.
"""

import gc
import importlib
import math
import re

from worker import THREADS, peak_memory, seconds, serve, unknown

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(THREADS)

SIZES = dict(inputSize=[32, 32], patchSize=2, inChannels=4, hiddenSize=384, depth=12, numHeads=6, numClasses=1000)
SIZES["moe"] = dict(numExperts=8, topK=2, expertRatio=4, sharedRatio=2, balanceAlpha=0.01)


def swiglu(x, gate_up, down):
    """Matrices, or modules that multiply."""
    multiply = lambda value, weight: F.linear(value, weight) if torch.is_tensor(weight) else weight(value)
    g, u = multiply(x, gate_up).chunk(2, -1)
    return multiply(F.silu(g) * u, down)


def sorted_experts(x, indices, weights, gate_up, down):
    """x [N, D], indices and weights [N, k], lists of E weights or modules."""
    flat = indices.flatten()
    order = flat.argsort()
    token = order // indices.shape[1]
    counts = torch.bincount(flat, minlength=len(gate_up)).tolist()
    parts = x.index_select(0, token).split(counts)
    out = torch.cat([swiglu(part, gate_up[e], down[e]) for e, part in enumerate(parts)])
    out = out * weights.flatten().index_select(0, order).to(out.dtype).unsqueeze(1)
    return torch.zeros_like(x, dtype=out.dtype).index_add(0, token, out)


def grouped_experts(x, indices, weights, gate_up, down):
    """Stacked weights [E, out, in]; autocast does not know the grouped product."""
    flat = indices.flatten()
    order = flat.argsort()
    token = order // indices.shape[1]
    offsets = torch.bincount(flat, minlength=gate_up.shape[0]).cumsum(0).to(torch.int32)
    low = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
    rows = x.index_select(0, token).to(low)
    g, u = F.grouped_mm(rows, gate_up.to(low).transpose(1, 2), offs=offsets).chunk(2, -1)
    out = F.grouped_mm(F.silu(g) * u, down.to(low).transpose(1, 2), offs=offsets)
    out = out * weights.flatten().index_select(0, order).to(out.dtype).unsqueeze(1)
    return torch.zeros_like(x, dtype=out.dtype).index_add(0, token, out)


@torch.library.custom_op("peer::sorted_experts", mutates_args=())
def opaque_sorted_experts(
    x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor, gate_up: list[torch.Tensor], down: list[torch.Tensor]
) -> torch.Tensor:
    return sorted_experts(x, indices, weights, gate_up, down)


@opaque_sorted_experts.register_fake
def _(x, indices, weights, gate_up, down):
    return torch.empty_like(x)


class Experts(nn.Module):
    """Routed experts; `kind` says how the weights are kept and multiplied."""

    def __init__(self, width, hidden, count, kind):
        super().__init__()
        self.kind = kind
        if kind in ("sorted", "opaque"):
            self.gate_up = nn.ParameterList([torch.empty(2 * hidden, width) for _ in range(count)])
            self.down = nn.ParameterList([torch.empty(width, hidden) for _ in range(count)])
        elif kind == "linear":
            self.gate_up = nn.ModuleList([nn.Linear(width, 2 * hidden, bias=False) for _ in range(count)])
            self.down = nn.ModuleList([nn.Linear(hidden, width, bias=False) for _ in range(count)])
        else:
            self.gate_up = nn.Parameter(torch.empty(count, 2 * hidden, width))
            self.down = nn.Parameter(torch.empty(count, width, hidden))

    def forward(self, x, indices, weights):
        if self.kind == "opaque":
            return torch.ops.peer.sorted_experts(x, indices, weights, list(self.gate_up), list(self.down))
        function = grouped_experts if self.kind == "grouped" else sorted_experts
        return function(x, indices, weights, self.gate_up, self.down)


class Moe(nn.Module):
    def __init__(self, width, moe, kind):
        super().__init__()
        self.top_k = moe["topK"]
        self.gate = nn.Linear(width, moe["numExperts"], bias=False)
        self.experts = Experts(width, moe["expertRatio"] * width, moe["numExperts"], kind)
        shared = moe["sharedRatio"] * width
        self.shared_gate_up = nn.Linear(width, 2 * shared, bias=False)
        self.shared_down = nn.Linear(shared, width, bias=False)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            scores = F.linear(x.float(), self.gate.weight.float()).softmax(-1)
        weights, indices = scores.topk(self.top_k, -1)
        count = scores.shape[1]
        hits = torch.zeros(count).index_add(0, indices.flatten(), torch.ones(indices.numel()))
        balance = (hits * (count / indices.numel()) * scores.mean(0)).sum()
        shared = swiglu(x, self.shared_gate_up, self.shared_down)
        return self.experts(x, indices, weights) + shared, balance


def modulate(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class Block(nn.Module):
    def __init__(self, width, heads, moe, kind):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.moe = Moe(width, moe, kind)

    def forward(self, x, condition):
        batch, tokens, width = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).chunk(6, -1)
        qkv = self.qkv(modulate(x, shift1, scale1)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])  # [B, H, T, d]
        x = x + gate1.unsqueeze(1) * self.output(mixed.transpose(1, 2).reshape(batch, tokens, width))
        out, balance = self.moe(modulate(x, shift2, scale2).view(-1, width))
        return x + gate2.unsqueeze(1) * out.view(batch, tokens, width), balance


def positions(width, rows, columns):
    """2-D sine and cosine table [rows columns, D], column half first."""
    frequency = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = [axis.flatten()[:, None] * frequency for axis in (column, row)]
    return torch.cat([f(angle) for angle in halves for f in (torch.sin, torch.cos)], 1).float()


class DitMoe(nn.Module):
    """`finish` makes of each block what it is kept as, before the next one is built: a peak of memory is that of the model as it is used."""

    def __init__(self, sizes, kind, finish=lambda block: block):
        super().__init__()
        width, patch, channels = sizes["hiddenSize"], sizes["patchSize"], sizes["inChannels"]
        self.patch, self.out_channels = patch, 2 * channels
        self.grid = [side // patch for side in sizes["inputSize"]]
        self.patch_embedding = nn.Linear(channels * patch * patch, width)
        self.register_buffer("positions", positions(width, *self.grid))
        self.register_buffer("frequency", torch.exp(-math.log(10000) * torch.arange(128) / 128))
        self.time1, self.time2 = nn.Linear(256, width), nn.Linear(width, width)
        self.labels = nn.Embedding(sizes["numClasses"] + 1, width)
        self.blocks = nn.ModuleList([finish(Block(width, sizes["numHeads"], sizes["moe"], kind)) for _ in range(sizes["depth"])])
        self.final_modulation = nn.Linear(width, 2 * width)
        self.final_output = nn.Linear(width, patch * patch * self.out_channels)

    def forward(self, x, t, y):
        batch, channels = x.shape[:2]
        (rows, columns), p = self.grid, self.patch
        cells = x.view(batch, channels, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)
        h = self.patch_embedding(cells.to(self.patch_embedding.weight.dtype)) + self.positions
        angle = t[:, None] * self.frequency.float()
        embedded = torch.cat([angle.cos(), angle.sin()], 1).to(self.time1.weight.dtype)
        condition = F.silu(self.time2(F.silu(self.time1(embedded))) + self.labels(y))
        balance = 0
        for block in self.blocks:
            h, term = block(h, condition)
            balance = balance + term
        shift, scale = self.final_modulation(condition).chunk(2, -1)
        out = self.final_output(modulate(h, shift, scale))
        out = out.view(batch, rows, columns, p, p, self.out_channels).permute(0, 5, 1, 3, 2, 4)
        return out.reshape(batch, self.out_channels, rows * p, columns * p), balance


def training_loss(model, x, target, t, y, alpha):
    output, balance = model(x, t, y)
    return F.mse_loss(output.float(), target) + alpha * balance


# A block's matrices that are kept in int8.
QUANTIZED = re.compile(r"(^|\.)(qkv|output|shared_gate_up|shared_down|(gate_up|down)\.\d+)$")


def variants(workload, precision, compiled, quick):
    """Names of the variants worth trying, compiled or eager ones."""
    forward = workload == "forward"
    if precision == "int8":
        return [] if compiled else ["eager/linear/int8"]
    kinds = ["f32"] if precision == "f32" else ["autocast", "bf16"] if forward else ["autocast"]
    if not compiled:
        return [f"eager/{expert}/{kind}" for kind in kinds for expert in ("sorted", "grouped")]
    ways = ["compile"] + ["frozen"] * forward + ["autotune"] * (forward and not quick)
    return [f"{way}/sorted/{kinds[-1]}" for way in ways] + [f"compile/grouped/{kinds[-1]}"] * (not quick)


def make_model(workload, variant, batch, depth):
    """A function that runs one step."""
    how, experts, types = variant.split("/")
    opaque = workload == "forward" and how != "eager" and experts == "sorted"
    torch.manual_seed(1)

    @torch.no_grad()
    def filled(module):
        for parameter in module.parameters():
            parameter.normal_(0, 0.02)
        return module.to(torch.bfloat16) if types == "bf16" else module

    def finish(block):
        if types != "int8":
            return filled(block)
        parts = {name for name, _ in block.named_modules() if QUANTIZED.search(name)}
        return torch.ao.quantization.quantize_dynamic(filled(block), parts, dtype=torch.qint8, inplace=True)

    model = DitMoe(SIZES | {"depth": depth}, "opaque" if opaque else experts, finish)
    for part in model.children():
        if part is not model.blocks:
            filled(part)
    if types == "bf16":
        model.positions = model.positions.to(torch.bfloat16)
    x = torch.randn(batch, 4, *SIZES["inputSize"])
    target = torch.randn(batch, 8, *SIZES["inputSize"])
    t = 1000 * (torch.arange(batch) + 0.5) / batch
    y = torch.arange(batch) * 100
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=types == "autocast")

    # Imported late: the compiler must not count as memory of a variant that does not use it.
    dynamo = importlib.import_module("torch._dynamo") if how != "eager" else None
    if dynamo is not None:
        dynamo.reset()
        dynamo.config.recompile_limit = 64
        inductor = importlib.import_module("torch._inductor.config")
        inductor.freezing = how in ("frozen", "autotune")
        inductor.max_autotune = how == "autotune"

    if workload == "forward":
        model.eval()
        function = model if how == "eager" else torch.compile(model)
        guard = torch.inference_mode if how == "eager" else torch.no_grad

        def forward():
            with guard(), autocast:
                function(x, t, y)

        return forward

    if how == "compile":
        for block in model.blocks:
            block.moe.experts.forward = dynamo.disable(block.moe.experts.forward)
            block.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0, fused=True)

    def update(loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def train():
        with autocast:
            loss = training_loss(model, x, target, t, y, 0.01)
        update(loss)
        loss.item()

    if workload == "train":
        return train

    parameters = list(model.parameters())
    averages = [parameter.detach().clone() for parameter in parameters]
    moments, labels = torch.randn(256, 8, *SIZES["inputSize"]), torch.arange(256)

    def loop():
        pick = torch.randint(len(moments), (batch,))
        mean, log_variance = moments[pick].chunk(2, 1)
        clean = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        noise = torch.randn_like(clean)
        time = torch.sigmoid(torch.randn(batch))
        known = torch.where(torch.rand(batch) < 0.1, SIZES["numClasses"], labels[pick])
        share = time.view(-1, 1, 1, 1)
        with autocast:
            output, balance = model((1 - share) * clean + share * noise, time, known)
            loss = F.mse_loss(output[:, :4].float(), noise - clean) + 0.01 * balance
        update(loss)
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1e-4)
        loss.item()

    return loop


def prepare(request):
    workload = request["workload"]
    if workload == "add":
        a, b = torch.tensor(1.0), torch.tensor(2.0)

        def add():
            for _ in range(request["count"]):
                a + b

        return add
    if workload == "matmul":
        kind = torch.bfloat16 if request["precision"] == "bf16" else torch.float32
        a, b = (torch.randn(request["size"], request["size"]).to(kind) for _ in range(2))
        return lambda: a @ b
    step = make_model(workload, request["variant"], request["batch"], request.get("depth", SIZES["depth"]))
    step()
    step()
    return step


def load(model, weights):
    """Copies weights with our names and layouts ([in, out]) into the model."""
    ours = {name: torch.tensor(w["data"]).view(w["shape"]) for name, w in weights.items()}
    linears = {"patchEmbedding": model.patch_embedding, "timestepEmbedding.0": model.time1, "timestepEmbedding.1": model.time2}
    linears |= {"finalLayer.modulation": model.final_modulation, "finalLayer.output": model.final_output}
    with torch.no_grad():
        model.labels.weight.copy_(ours["labelEmbedding.table"])
        for b, block in enumerate(model.blocks):
            linears |= {f"blocks.{b}.modulation": block.modulation, f"blocks.{b}.attention.qkv": block.qkv}
            linears[f"blocks.{b}.attention.output"] = block.output
            moe = f"blocks.{b}.moe"
            block.moe.gate.weight.copy_(ours[f"{moe}.gate"].T)
            block.moe.shared_gate_up.weight.copy_(ours[f"{moe}.shared.gateUp"].mT.flatten(0, 1))
            block.moe.shared_down.weight.copy_(ours[f"{moe}.shared.down"].T)
            for e, (gate_up, down) in enumerate(zip(block.moe.experts.gate_up, block.moe.experts.down)):
                gate_up.copy_(ours[f"{moe}.experts.gateUp"][e].mT.flatten(0, 1))
                down.copy_(ours[f"{moe}.experts.down"][e].T)
        for name, linear in linears.items():
            linear.weight.copy_(ours[f"{name}.weight"].T)
            linear.bias.copy_(ours[f"{name}.bias"])


def check(request):
    """Output, loss and gradient norm of a small model with given weights."""
    sizes = request["config"]
    height, width = sizes["inputSize"]
    x = torch.tensor(request["x"]).view(-1, sizes["inChannels"], height, width)
    target = torch.tensor(request["target"]).view(-1, 2 * sizes["inChannels"], height, width)
    t, y = torch.tensor(request["t"], dtype=torch.float32), torch.tensor(request["y"])
    model = DitMoe(sizes, "sorted")
    load(model, request["weights"])
    loss = training_loss(model, x, target, t, y, sizes["moe"]["balanceAlpha"])
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    return {"output": model(x, t, y)[0].flatten().tolist(), "loss": loss.item(), "gradNorm": norm}


step = None


def answer(request):
    global step
    match request["do"]:
        case "hello":
            return {"version": torch.__version__, "threads": torch.get_num_threads()}
        case "check":
            return check(request)
        case "variants":
            return {"variants": variants(*(request[k] for k in ("workload", "precision", "compiled", "quick")))}
        case "prepare":
            step = None
            gc.collect()
            step = prepare(request)
        case "time":
            return seconds(step, request["count"])
        case "release":
            step = None
            gc.collect()
        case "memory":
            return {"mebibytes": peak_memory()}
        case _:
            unknown(request)


serve(answer)
