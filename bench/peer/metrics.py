"""The Inception network of FID (own code, random weights) and Frechet distances in PyTorch and SciPy, as the peer of the metrics benchmark.

A variant of the network is named `<how>/<layout>`: `eager`, `script` (TorchScript, frozen and optimised for inference: batch norms
folded, convolution and ReLU in one kernel) or `compile` (torch.compile with weights as constants), `nchw` or `nhwc` (channels_last).
"""

import gc
import importlib
import warnings

from worker import THREADS, seconds, serve, unknown

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import scipy  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(THREADS)


class Conv(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


def wide(inputs, outputs, size):
    return Conv(inputs, outputs, (1, size), padding=(0, size // 2))


def tall(inputs, outputs, size):
    return Conv(inputs, outputs, (size, 1), padding=(size // 2, 0))


def average(x):
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class BlockA(nn.Module):
    def __init__(self, inputs, pooled):
        super().__init__()
        self.one = Conv(inputs, 64, 1)
        self.five = nn.Sequential(Conv(inputs, 48, 1), Conv(48, 64, 5, padding=2))
        self.doubled = nn.Sequential(Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, padding=1))
        self.pool = Conv(inputs, pooled, 1)

    def forward(self, x):
        return torch.cat([self.one(x), self.five(x), self.doubled(x), self.pool(average(x))], 1)


class BlockB(nn.Module):
    def __init__(self):
        super().__init__()
        self.three = Conv(288, 384, 3, 2)
        self.doubled = nn.Sequential(Conv(288, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, 2))

    def forward(self, x):
        return torch.cat([self.three(x), self.doubled(x), F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one = Conv(768, 192, 1)
        self.seven = nn.Sequential(Conv(768, width, 1), wide(width, width, 7), tall(width, 192, 7))
        self.doubled = nn.Sequential(
            Conv(768, width, 1), tall(width, width, 7), wide(width, width, 7), tall(width, width, 7), wide(width, 192, 7)
        )
        self.pool = Conv(768, 192, 1)

    def forward(self, x):
        return torch.cat([self.one(x), self.seven(x), self.doubled(x), self.pool(average(x))], 1)


class BlockD(nn.Module):
    def __init__(self):
        super().__init__()
        self.three = nn.Sequential(Conv(768, 192, 1), Conv(192, 320, 3, 2))
        self.seven = nn.Sequential(Conv(768, 192, 1), wide(192, 192, 7), tall(192, 192, 7), Conv(192, 192, 3, 2))

    def forward(self, x):
        return torch.cat([self.three(x), self.seven(x), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    def __init__(self, inputs, maximum: bool):
        super().__init__()
        self.maximum = maximum
        self.one = Conv(inputs, 320, 1)
        self.three = Conv(inputs, 384, 1)
        self.three_wide, self.three_tall = wide(384, 384, 3), tall(384, 384, 3)
        self.doubled = nn.Sequential(Conv(inputs, 448, 1), Conv(448, 384, 3, padding=1))
        self.double_wide, self.double_tall = wide(384, 384, 3), tall(384, 384, 3)
        self.pool = Conv(inputs, 192, 1)

    def forward(self, x):
        three, double = self.three(x), self.doubled(x)
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else average(x)
        parts = [self.one(x), self.three_wide(three), self.three_tall(three)]
        return torch.cat(parts + [self.double_wide(double), self.double_tall(double), self.pool(pooled)], 1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            Conv(3, 32, 3, 2), Conv(32, 32, 3), Conv(32, 64, 3, padding=1), nn.MaxPool2d(3, 2), Conv(64, 80, 1), Conv(80, 192, 3), nn.MaxPool2d(3, 2)
        )
        self.a = nn.Sequential(BlockA(192, 32), BlockA(256, 64), BlockA(288, 64))
        self.to_6d = nn.Sequential(BlockB(), BlockC(128), BlockC(160), BlockC(160))
        self.rest = nn.Sequential(BlockC(192), BlockD(), BlockE(1280, False), BlockE(2048, True))
        self.fc = nn.Linear(2048, 1008, bias=False)

    def forward(self, images):
        x = F.interpolate(images.float(), (299, 299), mode="bilinear", align_corners=False)
        middle = self.to_6d(self.a(self.stem((x - 128) / 128)))
        pool = self.rest(middle).mean((2, 3))
        return pool, middle[:, :7].flatten(1), self.fc(pool)


def prepare_inception(request):
    how, layout = request["variant"].split("/")
    torch.manual_seed(1)
    model = Inception().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() == 4:
            nn.init.normal_(parameter, 0, (2 / parameter[0].numel()) ** 0.5)
    side, batch = request["size"], request["batch"]
    images = torch.randn(batch, 3, side, side).mul(40).add(128).clamp(0, 255).to(torch.uint8)
    if layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if how == "script":
        with torch.no_grad():
            model = torch.jit.optimize_for_inference(torch.jit.trace(model, images))
    elif how == "compile":
        importlib.import_module("torch._inductor.config").freezing = True
        model = torch.compile(model)

    def step():
        with torch.no_grad():
            return [output.numpy() for output in model(images)]

    for _ in range(3):
        step()
    return step


def prepare_frechet(request):
    """Distance from given moments. `eigvalsh` is the fastest exact form that SciPy allows, `sqrtm` what pytorch-fid does."""
    dimension = request["dimension"]
    generator = np.random.default_rng(1)
    sets = []
    for shift in (0, 0.1):
        x = np.maximum(0, generator.standard_normal((dimension + dimension // 2, dimension)) + shift)
        sets.append((x.mean(0), np.cov(x, rowvar=False)))
    (m1, s1), (m2, s2) = sets

    def rest(root):
        return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root)

    def sqrtm():
        return rest(np.trace(scipy.linalg.sqrtm(s1 @ s2).real))

    def eigvalsh():
        factor = scipy.linalg.cholesky(s1, lower=True)
        values = scipy.linalg.eigvalsh(factor.T @ s2 @ factor)
        return rest(np.sqrt(np.maximum(values, 0)).sum())

    def torch_eigvalsh():
        a, b = torch.from_numpy(s1), torch.from_numpy(s2)
        factor = torch.linalg.cholesky(a)
        values = torch.linalg.eigvalsh(factor.T @ b @ factor)
        return rest(values.clamp_min(0).sqrt().sum().item())

    return {"scipy-sqrtm": sqrtm, "scipy-eigvalsh": eigvalsh, "torch-eigvalsh": torch_eigvalsh}[request["variant"]]


step = None


def answer(request):
    global step
    match request["do"]:
        case "hello":
            return {"version": torch.__version__, "scipy": scipy.__version__}
        case "inception":
            step = None
            gc.collect()
            step = prepare_inception(request)
        case "frechet":
            step = prepare_frechet(request)
        case "time":
            return seconds(step, request["count"])
        case _:
            unknown(request)


serve(answer)
