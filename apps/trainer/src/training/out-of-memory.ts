/** The end of a run whose device has no memory for a step: what the run needs by its plan, and what would make it need less. */
import { DitMoeError } from '@dit-moe/tensor-ops/errors';
import { TensorFlowError } from '@dit-moe/tensor-ops/node';
import { bytes } from '../planning/format.js';
import { planRun } from '../planning/run-plan.js';
import { usedDevice, verdictsOf } from '../planning/verdicts.js';
import { listCheckpoints } from './retention.js';
import type { Run } from './run.js';

/** The device has no memory left for a step. */
class OutOfMemoryError extends DitMoeError {
  static override readonly code = 'E_OUT_OF_MEMORY';
}

/** What is planned must be so much less than what did not fit, for settings to be worth trying. */
const LESS = 0.9;

/** The error that the run ends with: an `OutOfMemoryError` if that is what it is, else the error itself. */
export async function explained(error: unknown, run: Run): Promise<unknown> {
  if (!TensorFlowError.isInstance(error) || error.status !== 'RESOURCE_EXHAUSTED') return error;
  const { config, card, record, out } = run;
  const where = `step ${record.step + 1}`;
  const device = await usedDevice();
  const { memory } = planRun(config, card.config);
  const smaller = { ...device, bytes: Math.min(device.bytes, LESS * memory.total) };
  const [{ settings }] = verdictsOf(config, card.config, [smaller]);
  const [newest] = await listCheckpoints(out);
  const saved =
    newest === undefined ? 'Nothing of this run is saved yet.' : `${newest} is saved: the same command with --resume goes on from there.`;
  const planned = `the run is planned to need ${bytes(memory.total)} (${bytes(memory.working)} of them within a step), and ${device.name} has ${bytes(device.bytes)}`;
  return new OutOfMemoryError(`The device has no memory for ${where}: ${planned}. ${saved}`, {
    ...{ where, expected: `${bytes(memory.total)} of memory`, found: error.message, cause: error },
    hint: `${
      settings === undefined
        ? 'No setting of the memory makes it need much less; take a smaller model, or a larger device.'
        : `It needs less with --set ${settings.join(' ')}.`
    } Other programs on the device take memory too; TF_GPU_ALLOCATOR=cuda_malloc_async helps against fragments on a GPU.`,
  });
}
