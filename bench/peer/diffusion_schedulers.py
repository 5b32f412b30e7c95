"""Sampling loops of diffusers' schedulers with a model that costs nothing, as the peer of the diffusion benchmark.

Reads one JSON request per line from stdin and answers with one JSON line on stdout.
"""

import json
import os
import sys
import time

# What libraries print must not get between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import diffusers  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(int(sys.argv[1]))
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


for line in sys.stdin:
    request = json.loads(line)
    try:
        if request["do"] == "hello":
            answer = {"version": f"{diffusers.__version__}, PyTorch {torch.__version__}"}
        else:
            arguments = [request[key] for key in ("solver", "steps", "shape", "guided")]
            answer = {"seconds": [run(*arguments) for _ in range(request["count"])]}
    except Exception as error:  # noqa: BLE001 - every failure is the answer
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
