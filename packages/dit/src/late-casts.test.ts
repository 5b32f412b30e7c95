/** Weights that are stored in another type than they are multiplied in: how many of them a compiled forward pass holds twice at once. */
import { compile, DataType, Parameter, ParameterSet, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { type DitConfig, dit, isMatrix } from './index.js';
import { randomWeights, someInputs, tiny, tinyDense } from './testing/models.js';

/** What the TensorFlow runtime records, as far as it is looked at here. */
interface Node {
  op: string;
  inputs: readonly { node: number }[];
  control: readonly number[];
  outputs: readonly { shape: readonly number[] }[];
}
type RecordingBackend = Record<
  'record',
  (step: (...xs: tf.Tensor[]) => tf.Tensor[], inputs: tf.Tensor[]) => { recorder: { nodes: Node[]; releaseCaptures(): void; free(): void } }
>;

beforeAll(async () => void (await useTensorFlow()));

/** Most numbers of widened weights that are alive at once, and all of them, if every op runs as soon as its inputs are there. */
function wideWeights(nodes: readonly Node[]): { most: number; all: number } {
  const level: number[] = [];
  const last: number[] = [];
  nodes.forEach(({ inputs, control }, at) => {
    const from = [...inputs.map(({ node }) => node), ...control];
    level.push(1 + Math.max(0, ...from.map((node) => level[node])));
    last.push(level[at]);
    for (const { node } of inputs) last[node] = Math.max(last[node], level[at]);
  });
  const ofWeight = ({ op, inputs }: Node): boolean =>
    op === 'ReadVariableOp' || (['Identity', 'Unpack', 'Reshape'].includes(op) && ofWeight(nodes[inputs[0].node]));
  const alive: number[] = new Array<number>(Math.max(...level) + 1).fill(0);
  let all = 0;
  nodes.forEach(({ op, inputs, outputs }, at) => {
    if (op !== 'Cast' || !ofWeight(nodes[inputs[0].node])) return;
    const size = tf.util.sizeFromShape([...outputs[0].shape]);
    all += size;
    for (let now = level[at]; now <= last[at]; now++) alive[now] += size;
  });
  return { most: Math.max(...alive), all };
}

test.each<[string, DitConfig]>([
  ['experts', { ...tiny, depth: 6 }],
  ['GELU experts', { ...tiny, depth: 6, moe: { ...tiny.moe!, experts: 'gelu', sharedRatio: 0 } }],
  ['dense', { ...tinyDense, depth: 6, mlp: 'swiglu' }],
])('%s: a weight is widened when its input is there, and gives what it gave', (_, config) => {
  const backend = tensorFlowBackend()!;
  const chosen = backend.bf16Products;
  backend.bf16Products = false;
  const weights = randomWeights(config);
  const parameters = Object.entries(weights).map(([name, w]) => [name, new Parameter(name, w, isMatrix(name) ? 'bfloat16' : 'float32')]);
  const set = new ParameterSet(Object.fromEntries(parameters) as Record<string, Parameter>);
  const inputs = someInputs(config);
  const step = (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): tf.Tensor => dit(set.read(), config, x, t, y).output;

  const { recorder } = (backend as unknown as RecordingBackend).record((...xs) => [step(...(xs as typeof inputs))], inputs);
  recorder.releaseCaptures();
  recorder.free();
  const { most, all } = wideWeights(recorder.nodes);
  expect(all).toBeGreaterThan(0);
  // Those of one block, or before that all modulations: they go by the condition alone.
  const modulations = Object.entries(weights).filter(([name]) => name.endsWith('modulation.weight'));
  const early = modulations.reduce((sum, [, w]) => sum + w.size, 0);
  expect(most).toBeLessThanOrEqual(Math.max(early, all / config.depth));
  expect(most).toBeLessThan(0.3 * all);

  const compiled = compile(step, { name: 'late' });
  const widened = Object.fromEntries(
    Object.entries(set.read()).map(([name, w]) => [
      name,
      isMatrix(name) ? backend.raw('Cast', [w], { DstT: { type: DataType.float32 } })[0] : w,
    ]),
  );
  const before = compile((...xs: typeof inputs) => dit(widened, config, ...xs).output, { name: 'before' });
  expect(compiled.runSync(...inputs).dataSync()).toEqual(before.runSync(...inputs).dataSync());
  before.dispose();
  compiled.dispose();
  set.dispose();
  backend.bf16Products = chosen;
});
