import { expect, test } from 'vitest';
import { resolveConfig } from '../../config/resolve.js';
import type { Tracker } from '../../logging/tracker.js';
import { Tracking } from './tracking.js';

/** A tracker that fails as long as `broken` is set, and takes as long as nobody calls `release`. */
function harness() {
  const [messages, calls]: string[][] = [[], []];
  const state = { broken: false, release: () => {}, held: false };
  const call = async (what: string): Promise<void> => {
    calls.push(what);
    if (state.held) await new Promise<void>((resolve) => (state.release = resolve));
    if (state.broken) throw new Error('no answer');
  };
  const tracker: Tracker = {
    name: 'Somewhere',
    update: (step) => call(`update ${step}`),
    rewind: async (step) => void calls.push(`rewind ${step}`),
    finish: (step, end) => call(`${end} ${step}`),
  };
  const config = resolveConfig({ preset: 'digits', overrides: ['logEvery=5', 'sampling.every=20'] });
  const progress = { phase() {}, update() {}, log: (message: string) => void messages.push(message), done() {} };
  const run = { config, record: { step: 5 } as never as { step: number }, progress };
  const tracking = new Tracking(run as never, [tracker]);
  const at = async (step: number): Promise<void> => {
    run.record.step = step;
    await tracking.listener.run({ learningRate: 0, evaluation: {} });
    await new Promise(setImmediate);
  };
  return { messages, calls, state, tracking, at };
}

test('a place that fails costs one warning, is tried again, and its return is told', async () => {
  const { messages, calls, state, at, tracking } = harness();
  state.broken = true;
  await at(5);
  await at(10);
  expect(messages).toEqual(['WARNING: Somewhere lacks metrics: no answer. The run goes on; they follow when it is possible.']);
  state.broken = false;
  await at(15);
  await at(20);
  expect(messages.slice(1)).toEqual(['Somewhere has all metrics again.']);
  state.broken = true;
  await tracking.finish('finished');
  expect(messages.slice(2)).toEqual(['WARNING: Somewhere lacks metrics: no answer. The same command with --resume sends them.']);
  expect(calls).toEqual(['update 5', 'update 10', 'update 15', 'update 20', 'finished 20']);
});

test('the training does not wait for it, and it is told one thing at a time', async () => {
  const { calls, state, at, tracking } = harness();
  state.held = true;
  await at(5);
  await at(10);
  expect(calls).toEqual(['update 5']);
  const end = tracking.finish('interrupted');
  await new Promise(setImmediate);
  expect(calls).toEqual(['update 5']);
  state.held = false;
  state.release();
  await end;
  expect(calls).toEqual(['update 5', 'interrupted 10']);
});

test('it goes back with the run, after what it was being told', async () => {
  const { calls, state, at, tracking } = harness();
  state.held = true;
  await at(10);
  const back = tracking.listener.rewind!();
  state.release();
  await back;
  expect(calls).toEqual(['update 10', 'rewind 10']);
});
