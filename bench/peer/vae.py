"""AutoencoderKL of diffusers with Stable Diffusion's configuration and random weights, as the peer of the autoencoder benchmark.

A variant is named `<compile>/<layout>`: `eager` or `compile` (torch.compile with weights as constants), `nchw` or `nhwc`
(channels_last). Several may be prepared at once, by name.
"""

import gc
import importlib

from worker import THREADS, peak_memory, seconds, serve, unknown

import torch
from diffusers import AutoencoderKL, __version__ as diffusers_version

torch.set_num_threads(THREADS)
SIZES = dict(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=4,
    norm_num_groups=32,
    sample_size=256,
)


def prepare(request):
    part, edge, batch = request["part"], request["size"], request["batch"]
    how, layout = request["variant"].split("/")
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[request["precision"]]
    torch.manual_seed(1)
    model = AutoencoderKL(**SIZES).to(kind).eval()
    format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    model = model.to(memory_format=format)
    if part == "encode":
        x = torch.rand(batch, 3, edge, edge).mul(2).sub(1).to(kind).contiguous(memory_format=format)
        work = lambda: model.encode(x, return_dict=False)[0].parameters  # noqa: E731
    else:
        z = torch.randn(batch, 4, edge // 8, edge // 8).to(kind).contiguous(memory_format=format)
        work = lambda: model.decode(z, return_dict=False)[0]  # noqa: E731
    if how == "compile":
        importlib.import_module("torch._inductor.config").freezing = True
        half = "encoder" if part == "encode" else "decoder"
        setattr(model, half, torch.compile(getattr(model, half)))

    def step():
        with torch.no_grad():
            work()

    step()
    return step


steps = {}


def answer(request):
    match request["do"]:
        case "hello":
            return {"version": torch.__version__, "diffusers": diffusers_version, "threads": torch.get_num_threads()}
        case "prepare":
            steps.pop(request["name"], None)
            gc.collect()
            steps[request["name"]] = prepare(request)
        case "release":
            steps.pop(request["name"], None)
            gc.collect()
        case "time":
            return seconds(steps[request["name"]], request["count"])
        case "memory":
            return {"mebibytes": peak_memory()}
        case _:
            unknown(request)


serve(answer)
