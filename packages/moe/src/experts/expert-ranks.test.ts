/** Experts shared out over ranks, against the layer on one process: values and gradients. The ranks take turns in this process. */
import { alone, type Collectives, customGradient, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { capacity, padded } from '../dispatch/grouping.js';
import { type MoeOptions, moe, tokenChoice } from '../index.js';
import { expertChoice } from '../select/expert-choice.js';

const [tokens, width, hidden, numExperts] = [12, 6, 5, 4];
const weights = () => ({
  gate: fill([width, numExperts], 5),
  'experts.gateUp': fill([numExperts, 2, width, hidden], 6),
  'experts.down': fill([numExperts, hidden, width], 7),
  'shared.gateUp': fill([2, width, hidden], 8),
  'shared.down': fill([hidden, width], 9),
});
const [x, dy] = [() => fill([tokens, width], 1), () => fill([tokens, width], 2)];
/** A quarter, a third, ... of a tensor's first axis. */
const part = (t: tf.Tensor, rank: number, size: number): tf.Tensor => {
  const rows = t.shape[0] / size;
  return tf.slice(t, [rank * rows], [rows]);
};

beforeAll(async () => void (await useTensorFlow()));

/**
 * What each of `size` ranks computes. All ranks run again and again; the n-th exchange of a run gives what the others sent in the run
 * before, which is right from run n on.
 */
function together<T>(size: number, program: (ranks: Collectives) => T): T[] {
  let sent: tf.Tensor[][] = [];
  let results: T[] = [];
  for (let run = 0; run < 5; run++) {
    const now: tf.Tensor[][] = Array.from({ length: size }, () => []);
    results = Array.from({ length: size }, (_, rank) => {
      const exchange = (x: tf.Tensor): tf.Tensor => {
        const i = now[rank].push(tf.keep(tf.clone(x))) - 1;
        return tf.stack(
          Array.from({ length: size }, (_, from) => (sent.length === 0 ? tf.zeros(x.shape.slice(1)) : tf.unstack(sent[from][i])[rank])),
        );
      };
      const allToAll = (x: tf.Tensor) =>
        customGradient(
          [x],
          ([x]) => ({ value: exchange(x), saved: [] }),
          (dy) => [exchange(dy)],
        );
      return program({ ...alone, rank, size, allToAll });
    });
    tf.dispose(sent);
    sent = now;
  }
  tf.dispose(sent);
  return results;
}

/** Output, gradients and what was dropped on every rank, of the layer with its experts shared out. */
function sharedOut(size: number, perExpert: number, options: MoeOptions) {
  const all = weights();
  return together(size, (ranks) => {
    const { rank } = ranks;
    const own = Object.entries(all).map(([name, w]) => [name, name.startsWith('experts.') ? part(w, rank, size) : w]);
    const given = { x: part(x(), rank, size), ...Object.fromEntries(own) } as Record<string, tf.Tensor>;
    const { grads, extra } = valueAndGrads(() => {
      const { x: tokens, ...w } = given;
      const { output, routing } = moe(tokens, w, { ...options, dispatcher: capacity({ perExpert }), expertRanks: ranks });
      return { loss: tf.sum(tf.mul(output, part(dy(), rank, size))) as tf.Scalar, extra: { output, dropped: routing.dropped! } };
    }, given);
    return { grads, ...extra };
  });
}

test.each([
  ['token choice', 2, { selector: tokenChoice(2) }],
  ['token choice', 4, { selector: tokenChoice(2) }],
  ['expert choice in each sequence', 2, { selector: expertChoice(2, { sequences: 1 }) }],
] as const)('with room for all, %s over %i ranks is the layer of one process', async (_, size, options) => {
  const all = weights();
  const ranks = sharedOut(size, tokens / size, options);
  const given = { x: x(), ...all };
  const one = valueAndGrads(() => {
    const { x: rows, ...w } = given;
    // Expert choice sees one sequence on each rank.
    const outputs = Array.from({ length: size }, (_, rank) => moe(part(rows, rank, size), w, options).output);
    const output = tf.concat(outputs);
    return { loss: tf.sum(tf.mul(output, dy())) as tf.Scalar, extra: { output } };
  }, given);
  expect(tf.concat(ranks.map(({ output }) => output))).toBeCloseTensor(one.extra.output);
  expect(tf.concat(ranks.map(({ grads }) => grads.x))).toBeCloseTensor(one.grads.x);
  for (const name of Object.keys(all) as (keyof typeof all)[]) {
    const parts = ranks.map(({ grads }) => grads[name]);
    // An expert's gradient is whole where the expert is; those of what all have are added up.
    expect(name.startsWith('experts.') ? tf.concat(parts) : tf.addN(parts)).toBeCloseTensor(one.grads[name]);
  }
  for (const { dropped } of ranks) expect((await dropped.data())[0]).toBe(0);
});

test('what finds no room is dropped on the rank that sends it, and counted there', async () => {
  const ranks = sharedOut(2, 1, { selector: tokenChoice(2) });
  for (const [rank, { dropped }] of ranks.entries()) {
    const load = await moe(part(x(), rank, 2), weights(), { selector: tokenChoice(2) }).routing.load.data();
    expect((await dropped.data())[0]).toBe([...load].reduce((sum, n) => sum + Math.max(0, n - 1), 0));
    expect((await dropped.data())[0]).toBeGreaterThan(0);
  }
});

test('other layouts, numbers of experts and groups are refused', () => {
  const ranks = { ...alone, rank: 0, size: 2 };
  const own = {
    ...weights(),
    'experts.gateUp': part(weights()['experts.gateUp'], 0, 2),
    'experts.down': part(weights()['experts.down'], 0, 2),
  };
  const options = { selector: tokenChoice(2), expertRanks: ranks };
  expect(() => moe(x(), own, { ...options, dispatcher: padded, expertRanks: { ...ranks, size: 3 } })).toThrow(/4 experts on 3 ranks/);
  expect(() => moe(x(), own, options)).toThrow(/capacity/);
  const groups = [
    { count: 2, hidden },
    { kind: 'zero', count: 2 },
  ] as const;
  expect(() =>
    moe(x(), { ...own, 'experts.0.gateUp': own['experts.gateUp'], 'experts.0.down': own['experts.down'] }, { ...options, experts: groups }),
  ).toThrow(/single group/);
});
