/** Gaussian diffusion as a path, so that flow solvers serve its models. */
import type { GaussianDiffusion } from './gaussian-diffusion.js';
import { gvpLevel, gvpPlace, logRatio, type Path, shifted } from './paths.js';
import { respacedTimesteps } from './respacing.js';

/**
 * The path of a Gaussian diffusion: GVP, where the model is told training timesteps, fractional ones between the levels it was
 * trained at (linear in `log(alpha / sigma)`).
 * @param diffusion with all its training steps
 */
export function gaussianPath(diffusion: GaussianDiffusion): Path {
  const { tables, steps, timesteps } = diffusion;
  const logRatios = tables.alphasCumprod.map((a) => 0.5 * Math.log(a / (1 - a)));
  const timeOf = (logRatio: number): number => {
    let [low, high] = [0, steps - 1];
    if (logRatio >= logRatios[low]) return timesteps[low];
    if (logRatio <= logRatios[high]) return timesteps[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (logRatios[middle] >= logRatio) low = middle;
      else high = middle;
    }
    const share = (logRatios[low] - logRatio) / (logRatios[low] - logRatios[high]);
    // Rounding must not turn a trained timestep into its neighbourhood.
    const exact = share < 1e-9 ? 0 : share > 1 - 1e-9 ? 1 : share;
    return timesteps[low] + exact * (timesteps[high] - timesteps[low]);
  };
  const placeOfTimestep = (timestep: number): number => {
    const below = Math.floor(timestep);
    const share = timestep - below;
    return gvpPlace(share === 0 ? logRatios[below] : (1 - share) * logRatios[below] + share * logRatios[below + 1]);
  };
  return {
    start: gvpPlace(logRatios[steps - 1]),
    end: gvpPlace(logRatios[0]),
    placeOf: gvpPlace,
    uniform: (count, shift = 1) =>
      (count === 1 ? [steps - 1] : respacedTimesteps(steps, String(count)).reverse()).map((timestep) =>
        placeOfTimestep(shift === 1 ? timestep : (steps - 1) * shifted(timestep / (steps - 1), shift)),
      ),
    level(t) {
      const level = gvpLevel(t, 0);
      return t === 0 ? level : { ...level, time: timeOf(logRatio(level)) };
    },
  };
}
