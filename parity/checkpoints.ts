/**
 * Checkpoints in foreign formats: contents, the loader's choice, optimizer state, options, and the files that must be refused.
 *
 * The folder has `expected.json` (file -> entry -> tensor -> type, shape, sums, elements), `assorted.expected.json` (all values
 * of unusual tensors and plain Python values) and `malformed/expected.json` (what must happen to each broken or hostile file).
 */
import fs from 'node:fs';
import path from 'node:path';
import { DitMoeError } from '@dit-moe/tensor-ops';
import {
  findStateDict,
  type HostTensor,
  memorySource,
  TorchCheckpoint,
  TorchFile,
  type TorchTensor,
  torchAdamState,
  torchPlain,
} from '@dit-moe/tensor-ops/io';
import { FileSource, openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { type Comparison, check, compare, json } from './golden.js';

export const area = 'dit-moe/checkpoints';

/** Names of data types in the golden files. */
const dtypes: Record<string, string> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};

interface ExpectedTensor {
  dtype: string;
  shape: number[];
  sum: number;
  sum_of_squares: number;
  elements: [number, number][];
}

type ExpectedValue = number | string | boolean;

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  for (const [file, contents] of Object.entries<Record<string, unknown>>(expected)) {
    const same = contents['same_as'] as string | undefined;
    yield* contentsOf(path.join(folder, file), file, same === undefined ? contents : expected[same], same !== undefined);
  }
  for (const file of fs.readdirSync(folder).filter((name) => /^assorted.*\.pt$/.test(name)))
    yield* assorted(path.join(folder, file), json(path.join(folder, 'assorted.expected.json')));
  yield* malformed(path.join(folder, 'malformed'));
}

async function* contentsOf(
  location: string,
  name: string,
  contents: Record<string, unknown>,
  weightsOnly: boolean,
): AsyncGenerator<Comparison> {
  const tensorEntries = Object.keys(contents).filter((key) => ['model', 'ema', 'tensors'].includes(key));
  for (const key of tensorEntries) {
    const isTorch = /\.pt$/.test(name) && !weightsOnly;
    const entry = isTorch && key !== 'tensors' ? { entry: key } : {};
    const checkpoint = await openCheckpoint(location, entry);
    yield* weights(`${name}/${key}`, checkpoint.names, contents[key] as Record<string, ExpectedTensor>, (tensor) =>
      checkpoint.read(tensor),
    );
    await checkpoint.close();
  }
  if (weightsOnly || contents['loader_picks'] === undefined) return;
  const picked = await TorchCheckpoint.open(await FileSource.open(location));
  const wanted = contents['loader_picks'] === 'the dictionary itself' ? '' : contents['loader_picks'];
  yield check(`${name}/loader picks`, picked.entry === wanted, `expected ${JSON.stringify(wanted)}, found ${JSON.stringify(picked.entry)}`);
  const root = picked.file.value as Map<string, unknown>;
  if (contents['top_level_keys'] !== undefined) yield same(`${name}/top level`, [...root.keys()], contents['top_level_keys']);
  if (contents['args'] !== undefined) yield same(`${name}/args`, torchPlain(root.get('args'), name), contents['args']);
  if (contents['opt'] !== undefined) yield* optimizer(name, picked, root.get('opt'), contents['opt'] as ExpectedOptimizer);
  await picked.close();
}

async function* weights(
  name: string,
  names: readonly string[],
  expected: Record<string, ExpectedTensor>,
  read: (tensor: string) => Promise<HostTensor>,
): AsyncGenerator<Comparison> {
  yield same(`${name}/names`, [...names].sort(), Object.keys(expected).sort());
  for (const [tensor, reference] of Object.entries(expected))
    if (names.includes(tensor)) yield* tensorMatches(`${name}/${tensor}`, await read(tensor), reference);
}

function* tensorMatches(name: string, tensor: HostTensor, reference: ExpectedTensor): Generator<Comparison> {
  yield same(`${name}/type`, [tensor.dtype, tensor.shape], [dtypes[reference.dtype], reference.shape]);
  const values = Array.from(tensor.data as ArrayLike<number | bigint>, Number);
  const elements = reference.elements.map(([index]) => values[index]);
  yield compare(
    `${name}/elements`,
    elements,
    reference.elements.map(([, value]) => value),
    { rtol: 0 },
  );
  const sums = [values.reduce((sum, v) => sum + v, 0), values.reduce((sum, v) => sum + v * v, 0)];
  const atol = 1e-9 * Math.sqrt(values.length * reference.sum_of_squares);
  yield compare(`${name}/sum`, [sums[0]], [reference.sum], { atol, rtol: 0 });
  yield compare(`${name}/sum of squares`, [sums[1]], [reference.sum_of_squares], { rtol: 1e-9 });
}

interface ExpectedOptimizer {
  param_groups: Record<string, unknown>[];
  parameter_order?: string[];
  /** Parameters without a state. */
  missing_state?: string[];
  state: Record<string, Record<string, ExpectedTensor | number>>;
}

async function* optimizer(
  name: string,
  checkpoint: TorchCheckpoint,
  value: unknown,
  expected: ExpectedOptimizer,
): AsyncGenerator<Comparison> {
  const { groups, state } = torchAdamState(value, name);
  const wanted = expected.param_groups.map(({ lr, betas, eps, weight_decay: weightDecay, params }) => ({
    lr,
    betas,
    eps,
    weightDecay,
    params,
  }));
  yield same(`${name}/opt/groups`, groups, wanted);
  if (expected.parameter_order !== undefined)
    yield check(`${name}/opt/parameters`, groups.flatMap(({ params }) => params).length === expected.parameter_order.length);
  const without = expected.parameter_order?.filter((_, index) => !state.has(index));
  if (expected.missing_state !== undefined) yield same(`${name}/opt/without state`, without, expected.missing_state);
  for (const [index, reference] of Object.entries(expected.state)) {
    // Optimizer states are listed by the parameter's name, or by its number if no order is given.
    const found = state.get(expected.parameter_order?.indexOf(index) ?? Number(index));
    yield check(`${name}/opt/${index} has a state`, found !== undefined);
    if (found === undefined) continue;
    const numbers = async (tensor: number | TorchTensor) =>
      typeof tensor === 'number' ? tensor : Number((await checkpoint.file.read(tensor)).data[0]);
    for (const [key, part] of [
      ['step', found.step],
      ['exp_avg', found.expAvg],
      ['exp_avg_sq', found.expAvgSq],
    ] as const) {
      const want = reference[key];
      if (typeof want === 'number') yield compare(`${name}/opt/${index}/${key}`, [await numbers(part)], [want], { rtol: 0 });
      else if (want !== undefined && typeof part !== 'number')
        yield* tensorMatches(`${name}/opt/${index}/${key}`, await checkpoint.file.read(part), want);
    }
  }
}

async function* assorted(
  location: string,
  expected: { tensors: Record<string, { dtype: string; shape: number[]; values: ExpectedValue[] }>; plain: Record<string, unknown> },
): AsyncGenerator<Comparison> {
  const name = path.basename(location);
  const file = await TorchFile.open(memorySource(fs.readFileSync(location), name));
  const { tensors } = findStateDict(file.value, name, 'tensors');
  yield same(`${name}/names`, [...tensors.keys()], Object.keys(expected.tensors));
  for (const [key, reference] of Object.entries(expected.tensors)) {
    const tensor = await file.read(tensors.get(key)!);
    yield same(`${name}/${key}/type`, [tensor.dtype, tensor.shape], [dtypes[reference.dtype], reference.shape]);
    const text = (value: number | bigint | ExpectedValue) =>
      Object.is(value, -0) ? '-0' : String(Number.isNaN(value) ? 'nan' : value).replace('Infinity', 'inf');
    const found = Array.from(tensor.data as ArrayLike<number | bigint>, (v) => text(tensor.dtype === 'BOOL' ? v === 1 : v));
    yield same(`${name}/${key}/values`, found, reference.values.map(text));
  }
  const plain = torchPlain((file.value as Map<string, unknown>).get('plain'), name) as Record<string, unknown>;
  const hex = (bytes: unknown) => (bytes as number[]).map((b) => b.toString(16).padStart(2, '0')).join('');
  const spelled = Object.fromEntries(
    Object.entries(plain).map(([key, value]) => (`${key}_hex` in expected.plain ? [`${key}_hex`, hex(value)] : [key, value])),
  );
  yield same(`${name}/plain`, spelled, expected.plain);
}

/** What a single malformed file may take beyond what the process holds; their claims go up to 2^63 bytes. */
const MALFORMED_BYTES = 64 * 2 ** 20;

async function* malformed(folder: string): AsyncGenerator<Comparison> {
  for (const { file, expected, defect } of json(path.join(folder, 'expected.json')) as Record<string, string>[]) {
    const before = process.memoryUsage().arrayBuffers;
    let outcome: string;
    let error: unknown;
    try {
      const checkpoint = await openCheckpoint(path.join(folder, file));
      for (const name of checkpoint.names) await checkpoint.read(name);
      await checkpoint.close();
      outcome = 'accept';
    } catch (caught) {
      error = caught;
      outcome = 'reject';
    }
    const typed = error === undefined || DitMoeError.isInstance(error);
    const clean = !('polluted' in Object.prototype) && process.memoryUsage().arrayBuffers - before < MALFORMED_BYTES;
    const allowed = expected.split(' or ').includes(outcome);
    yield check(`malformed/${file}`, allowed && typed && clean, `${defect}: ${outcome}: ${error instanceof Error ? error.message : ''}`);
    const named = /forbidden global|os\.system/.test(defect) || /os\.system/.test(file);
    if (named)
      yield check(
        `malformed/${file} names the global`,
        DitMoeError.isInstance(error) && error.code === 'E_FORBIDDEN_GLOBAL',
        String(error),
      );
  }
}

/** Whether two plain values are equal, whatever the order of keys. */
function same(name: string, actual: unknown, expected: unknown): Comparison {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== 'object' || value === null) return value;
    return Object.entries(value)
      .map(([key, inner]) => [key, sorted(inner)])
      .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
  };
  const [got, want] = [JSON.stringify(sorted(actual)), JSON.stringify(sorted(expected))];
  return check(name, got === want, got === want ? undefined : `expected ${want.slice(0, 300)}, found ${got.slice(0, 300)}`);
}
