/** TensorFlow's profile of a few steps, for TensorBoard and for Chrome's trace viewers. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type Profile, startProfile } from '@dit-moe/tensor-ops/node';
import { traceEvents } from '../../profile/trace-events.js';
import type { Run } from '../run.js';
import type { Listener } from './listener.js';

/**
 * Profiles `steps` steps after the first, which records, and writes `trace.json` and `plugins/profile/<step>/<host>.xplane.pb` into the run's
 * folder. What is due between them, such as pictures, is in it too.
 */
export function profiling(run: Run, steps: number): Listener & { dispose(): void } {
  let profile: Profile | undefined;
  let until: number | undefined;
  return {
    name: 'profile',
    every: 1,
    fatal: false,
    async run() {
      const { record, out, progress } = run;
      if (until === undefined) {
        until = record.step + steps;
        profile = await startProfile();
      } else if (profile !== undefined && record.step >= Math.min(until, run.config.steps)) {
        const space = profile.stop();
        profile = undefined;
        const folder = path.join(out, 'plugins', 'profile', `step-${record.step}`);
        await fs.mkdir(folder, { recursive: true });
        await writeFileAtomically(path.join(folder, `${os.hostname()}.xplane.pb`), space);
        await writeFileAtomically(path.join(out, 'trace.json'), JSON.stringify({ traceEvents: traceEvents(space) }));
        progress.log(`profile of ${steps} steps: ${path.join(out, 'trace.json')} (ui.perfetto.dev, chrome://tracing), and in TensorBoard`);
      }
    },
    dispose: () => void profile?.stop(),
  };
}
