"""DiT and DiT-MoE in PyTorch with the parameter names of facebookresearch/DiT (`qkv`) and of feizc/DiT-MoE (`qkv`, `flash`).

Written from the papers and the names, to see that exported files load and mean the same. Only the forward pass, float32.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Named(nn.Module):
    """A module that only holds others, to give their parameters a path."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def swiglu(width, hidden):
    linear = lambda i, o: nn.Linear(i, o, bias=False)  # noqa: E731
    return Named(gate_proj=linear(width, hidden), up_proj=linear(width, hidden), down_proj=linear(hidden, width))


def apply_swiglu(m, x):
    return m.down_proj(F.silu(m.gate_proj(x)) * m.up_proj(x))


def modulate(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    def __init__(self, c, layout):
        super().__init__()
        d, self.heads, self.layout, self.c = c["hiddenSize"], c["numHeads"], layout, c
        if layout == "flash":
            norm = lambda: nn.LayerNorm(d // self.heads, eps=1e-6)  # noqa: E731
            self.attn = Named(Wqkv=nn.Linear(d, 3 * d), out_proj=nn.Linear(d, d), q_norm=norm(), k_norm=norm())
        else:
            self.attn = Named(qkv=nn.Linear(d, 3 * d), proj=nn.Linear(d, d))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 6 * d))
        if "moe" in c:
            moe = c["moe"]
            experts = nn.ModuleList([swiglu(d, int(d * moe["expertRatio"])) for _ in range(moe["numExperts"])])
            self.moe = Named(experts=experts, gate=nn.Linear(d, moe["numExperts"], bias=False))
            self.moe.shared_experts = swiglu(d, int(d * moe["sharedRatio"]))
        else:
            hidden = int(d * c["mlpRatio"])
            self.mlp = Named(fc1=nn.Linear(d, hidden), fc2=nn.Linear(hidden, d))

    def forward(self, x, condition):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, 1)
        x = x + gate1[:, None] * self.attention(modulate(x, shift1, scale1))
        return x + gate2[:, None] * self.feed_forward(modulate(x, shift2, scale2))

    def attention(self, x):
        a, flash = self.attn, self.layout == "flash"
        b, t, d = x.shape
        q, k, v = (a.Wqkv if flash else a.qkv)(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if flash:
            q, k = a.q_norm(q), a.k_norm(k)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(d / self.heads)).softmax(-1)
        return (a.out_proj if flash else a.proj)((weights @ v).transpose(1, 2).reshape(b, t, d))

    def feed_forward(self, x):
        if "moe" not in self.c:
            return self.mlp.fc2(F.gelu(self.mlp.fc1(x), approximate="tanh"))
        weights, chosen = self.moe.gate(x).softmax(-1).topk(self.c["moe"]["topK"], -1)
        out = apply_swiglu(self.moe.shared_experts, x)
        for e, expert in enumerate(self.moe.experts):  # Every expert on every token: slow, and nothing to get wrong.
            out = out + apply_swiglu(expert, x) * (weights * (chosen == e)).sum(-1, keepdim=True)
        return out


class DiT(nn.Module):
    """`c`: the configuration as this project writes it."""

    def __init__(self, c, layout):
        super().__init__()
        d, self.c = c["hiddenSize"], c
        self.patch, self.channels = c["patchSize"], c["inChannels"] * (2 if c["learnSigma"] else 1)
        self.rows, self.columns = (side // self.patch for side in c["inputSize"])
        self.x_embedder = Named(proj=nn.Conv2d(c["inChannels"], d, self.patch, stride=self.patch))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.rows * self.columns, d), requires_grad=False)
        self.t_embedder = Named(mlp=nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d)))
        labels = c["numClasses"] + (0 if c.get("nullLabel") is False else 1)
        self.y_embedder = Named(embedding_table=nn.Embedding(labels, d))
        self.blocks = nn.ModuleList([Block(c, layout) for _ in range(c["depth"])])
        final = nn.Linear(d, self.patch**2 * self.channels)
        self.final_layer = Named(linear=final, adaLN_modulation=nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d)))

    def forward(self, x, t, y):
        tokens = self.x_embedder.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
        angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        condition = self.t_embedder.mlp(torch.cat([angles.cos(), angles.sin()], 1)) + self.y_embedder.embedding_table(y)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.final_layer.adaLN_modulation(condition).chunk(2, 1)
        cells = self.final_layer.linear(modulate(tokens, shift, scale))
        cells = cells.view(-1, self.rows, self.columns, self.patch, self.patch, self.channels).permute(0, 5, 1, 3, 2, 4)
        return cells.reshape(-1, self.channels, self.rows * self.patch, self.columns * self.patch)
