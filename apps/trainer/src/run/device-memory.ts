/** Memory that a run takes: of its process, and of the GPU it computes on. */
import fs from 'node:fs';
import { chosenGpu, nvidiaDriver } from '@dit-moe/tensor-ops/node';

/** Bytes of this process that are resident; of the GPU those in use, by all processes together. */
export interface MemoryInUse {
  resident: number;
  device?: number;
}

/** @param gpu whether the run computes on one, and its number (default 0) */
export async function memoryInUse(gpu: boolean, number = 0): Promise<MemoryInUse> {
  const resident = process.memoryUsage.rss();
  if (!gpu) return { resident };
  const driver = await nvidiaDriver();
  const card = driver && chosenGpu(driver, number);
  return { resident, ...(card && { device: card.usedBytes }) };
}

/** Most bytes that were resident at once since {@link forgetPeak}; on other systems than Linux since the process started. */
export const residentPeak = (): number =>
  process.platform === 'linux'
    ? 1024 * Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1])
    : 1024 * process.resourceUsage().maxRSS;

/** Lets the peak begin anew at what is resident now; does nothing where the system has no such thing. */
export function forgetPeak(): void {
  if (process.platform === 'linux') fs.writeFileSync('/proc/self/clear_refs', '5');
}
