import { routedExperts } from '@dit-moe/moe/dispatch';
import * as tf from '@tensorflow/tfjs-core';
import { fill } from '../../testing/fill.js';
import { BenchmarkError } from '../harness/benchmark.js';
import type { Peer } from '../harness/peer.js';
import { chooseExperts } from './layer.js';

/** Both sides must compute the same before their times mean anything. */
export async function checkAgreement(peer: Peer): Promise<void> {
  const [tokens, width, hidden, numExperts] = [16, 8, 12, 4];
  const indices = tf.tensor(chooseExperts(tokens, numExperts, 2, 0.8), [tokens, 2], 'int32');
  const given = {
    x: fill([tokens, width], 1),
    weights: fill([tokens, 2], 2),
    gateUp: fill([numExperts, 2, width, hidden], 3),
    down: fill([numExperts, hidden, width], 4),
  };
  const plain = Object.fromEntries(
    Object.entries({ ...given, indices }).map(([key, t]) => [key, { shape: t.shape, data: Array.from(t.dataSync()) }]),
  );
  const { outputs } = await peer.request<{ outputs: number[][] }>({ do: 'check', ...plain });
  const ours = routedExperts(given.x, { indices, weights: given.weights, numExperts, full: true }, given).output.dataSync();
  for (const theirs of outputs) {
    const worst = theirs.reduce((m, v, i) => Math.max(m, Math.abs(v - ours[i])), 0);
    if (!(worst < 1e-4)) throw new BenchmarkError(`The two sides compute different outputs: largest difference ${worst}.`);
  }
}
