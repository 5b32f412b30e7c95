/** What NVIDIA's driver and CUDA offer on this machine, and the command for each part that is missing. */
import { gpuGeneration } from './gpu-generation.js';
import { findCuda } from './library/cuda.js';
import type { NvidiaDriver } from './nvidia.js';

const MIB = 2 ** 20;
/** Of the libraries that TensorFlow loads; the oldest driver for it is 525. */
const CUDA = 12;

/**
 * @param driver what the driver answers; undefined if it does not
 * @param directory of libtensorflow, if there is one
 * @param system what `ldconfig -p` prints (default: asked)
 */
export function nvidiaFindings(driver: NvidiaDriver | undefined, directory?: string, system?: string): Record<string, string> {
  if (driver === undefined)
    return { driver: 'an NVIDIA driver is loaded, but its libnvidia-ml.so.1 does not answer; in a container: docker run --gpus all ...' };
  const { version, cuda, gpus } = driver;
  const age = cuda < CUDA ? `, too old for CUDA ${CUDA}: install driver 525 or newer` : '';
  const findings: Record<string, string> = { driver: `NVIDIA ${version}, for CUDA up to ${cuda.toFixed(1)}${age}` };
  for (const { index, name, computeCapability, usedBytes, memoryBytes } of gpus)
    findings[`gpu ${index}`] =
      `${name} (${gpuGeneration(computeCapability).name}, compute capability ${computeCapability.toFixed(1)}), ${Math.round(usedBytes / MIB)} of ${Math.round(memoryBytes / MIB)} MiB in use`;
  if (directory === undefined) return findings;
  const parts = findCuda(directory, system);
  const names = (found: boolean) => parts.filter((part) => (part.found !== undefined) === found).map(({ name }) => name);
  const [found, missing] = [names(true), names(false)];
  findings['cuda'] = `found ${found.join(', ') || 'nothing'}${missing.length > 0 ? `; missing ${missing.join(', ')}` : ''}`;
  for (const { name, neededFor, found, command } of parts)
    if (found === undefined) findings[name] = `missing, needed for ${neededFor}: ${command}`;
  return findings;
}
