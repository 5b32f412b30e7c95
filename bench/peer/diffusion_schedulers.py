"""Sampling loops of diffusers' schedulers with a model that costs nothing, as the peer of the diffusion benchmark."""

import time

from worker import THREADS, serve

import diffusers
import torch

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)

LINEAR = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
FLOW = dict(use_flow_sigmas=True, prediction_type="flow_prediction")
SCHEDULERS = {
    "euler": lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
    "heun": lambda: diffusers.FlowMatchHeunDiscreteScheduler(),
    "ddim": lambda: diffusers.DDIMScheduler(**LINEAR, clip_sample=False),
    "ddpm": lambda: diffusers.DDPMScheduler(**LINEAR, clip_sample=False, variance_type="learned_range"),
    "dpm++2m": lambda: diffusers.DPMSolverMultistepScheduler(**FLOW),
    "dpm++2m-sde": lambda: diffusers.DPMSolverMultistepScheduler(**FLOW, algorithm_type="sde-dpmsolver++"),
    "unipc": lambda: diffusers.UniPCMultistepScheduler(**FLOW),
}


def run(solver, steps, shape, guided):
    """One sampling loop; the model's output is always the same tensor."""
    scheduler = SCHEDULERS[solver]()
    scheduler.set_timesteps(steps)
    channels = shape[1] * (2 if solver == "ddpm" else 1)
    output = torch.full([2 * shape[0] if guided else shape[0], channels, *shape[2:]], 0.1)
    x = torch.randn(shape)
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    for t in scheduler.timesteps:
        prediction = output
        if guided:
            torch.cat([x, x])
            conditional, unconditional = output.chunk(2)
            prediction = unconditional + 2.0 * (conditional - unconditional)
        if solver.startswith("dd") or solver.endswith("sde"):
            x = scheduler.step(prediction, t, x, generator=generator).prev_sample
        else:
            x = scheduler.step(prediction, t, x).prev_sample
    assert bool(torch.isfinite(x).all())
    return (time.perf_counter() - start) / steps


def answer(request):
    if request["do"] == "hello":
        return {"version": f"{diffusers.__version__}, PyTorch {torch.__version__}"}
    arguments = [request[key] for key in ("solver", "steps", "shape", "guided")]
    return {"seconds": [run(*arguments) for _ in range(request["count"])]}


serve(answer)
