import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { residentGrowth } from '../../test/resident-growth.js';
import { compile } from '../compile.js';
import { Parameter } from '../parameter.js';
import { DataType, type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { RuntimeStoppedError, TensorFlowError, type TensorFlowRuntime, useTensorFlow } from './index.js';

let runtime: TensorFlowRuntime;
let backend: TensorFlowBackend;
let before: { core: number; native: number };

beforeAll(async () => {
  runtime = await useTensorFlow();
  backend = tensorFlowBackend()!;
});
beforeEach(() => {
  before = { core: tf.memory().numTensors, native: runtime.numTensors() };
  tf.engine().startScope();
});
afterEach(() => {
  tf.engine().endScope();
  expect(tf.memory().numTensors).toBe(before.core);
  expect(runtime.numTensors()).toBe(before.native);
});

test('the runtime reports its version, threads and devices, and starts once', async () => {
  expect(runtime.version).toMatch(/^2\.\d+\.\d+$/);
  expect(runtime.devices.some((d) => d.type === 'CPU')).toBe(true);
  expect(await useTensorFlow()).toBe(runtime);
  await expect(useTensorFlow({ threads: runtime.threads.intraOp + 1 })).rejects.toMatchObject({ code: 'E_RUNTIME_START' });
  await expect(useTensorFlow({ threads: 0 })).rejects.toMatchObject({ code: 'E_ARGUMENT' });
});

test('tensors of every tfjs type survive the round trip', async () => {
  for (const [values, dtype] of [
    [[1.5, -2, Number.NaN], 'float32'],
    [[1, -2, 2 ** 31 - 1], 'int32'],
    [[1, 0, 1], 'bool'],
  ] as const) {
    // An op in between, so that the tensor really goes to TensorFlow.
    expect(Array.from(await backend.raw('Identity', [tf.tensor1d([...values], dtype)])[0].data())).toEqual([...values]);
  }
  const words = ['', 'short', 'exactly 22 bytes long.', 'more than twenty-two bytes: ünïcödé', 'x'.repeat(1000)];
  expect(backend.raw('Identity', [tf.tensor1d(words)])[0].arraySync()).toEqual(words);
  expect(Array.from(tf.complex([1, 2], [3, 4]).dataSync())).toEqual([1, 3, 2, 4]);
  expect(tf.zeros([0, 3]).add(1).arraySync()).toEqual([]);
  expect(backend.raw('Identity', [tf.tensor(3)])[0].dataSync()[0]).toBe(3);
});

test('bfloat16 lives inside: cast, matmul, read back rounded to nearest even', () => {
  const toBf16 = (x: tf.Tensor) => backend.raw('Cast', [x], { DstT: { type: DataType.bfloat16 } })[0];
  const a = toBf16(tf.tensor1d([1, 1.00390625, 3.140625, 1 + 3 / 256]));
  expect(backend.dtypeOf(a)).toBe(DataType.bfloat16);
  expect(a.dtype).toBe('float32');
  expect(Array.from(a.dataSync())).toEqual([1, 1, 3.140625, 1.015625]);
  const product = backend.raw('MatMul', [toBf16(tf.ones([2, 3])), toBf16(tf.fill([3, 2], 2))])[0];
  expect(backend.dtypeOf(product)).toBe(DataType.bfloat16);
  expect(Array.from(product.dataSync())).toEqual([6, 6, 6, 6]);
});

test('float16 lives inside, also inside a compiled step', () => {
  const toF16 = (x: tf.Tensor) => backend.raw('Cast', [x], { DstT: { type: DataType.float16 } })[0];
  const a = toF16(tf.tensor1d([1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65504, 65520, 2 ** -24]));
  expect(backend.dtypeOf(a)).toBe(DataType.float16);
  expect(a.dtype).toBe('float32');
  // 11 significant bits, nearest even; 65520 is beyond the largest number; 2^-24 the smallest.
  expect(Array.from(a.dataSync())).toEqual([1, 1, 1 + 2 ** -9, 65504, Number.POSITIVE_INFINITY, 2 ** -24]);
  const product = (x: tf.Tensor) => backend.raw('MatMul', [toF16(x), toF16(x)])[0];
  const x = tf.tensor2d([
    [1, 2],
    [3, 0.1],
  ]);
  const eager = product(x);
  expect(backend.dtypeOf(eager)).toBe(DataType.float16);
  const step = compile(product);
  const compiled = step.runSync(x);
  expect(backend.dtypeOf(compiled)).toBe(DataType.float16);
  expect(Array.from(compiled.dataSync())).toEqual(Array.from(eager.dataSync()));
  tf.matMul(x as tf.Tensor2D, x as tf.Tensor2D)
    .dataSync()
    // Half a unit in the last of 11 bits for each rounding: of operands, products and sums.
    .forEach((exact, i) => {
      expect(Math.abs(compiled.dataSync()[i] / exact - 1)).toBeLessThan(4 * 2 ** -11);
    });
  step.dispose();
});

test('every attribute type reaches TensorFlow, lists too', () => {
  const x = tf.tensor2d([
    [1, 2],
    [3, 4],
  ]);
  const run = (op: string, inputs: tf.Tensor[], attributes: Parameters<TensorFlowBackend['raw']>[2], outputs = 1) =>
    backend.raw(op, inputs, attributes, outputs);
  expect(run('MatMul', [x, x], { transpose_a: { bool: true } })[0].arraySync()).toEqual([
    [10, 14],
    [14, 20],
  ]);
  expect(run('Unpack', [x], { num: { int: 2 }, axis: { int: 1 } }, 2)[1].arraySync()).toEqual([2, 4]);
  expect(run('LeakyRelu', [tf.tensor1d([-2])], { alpha: { float: 0.5 } })[0].arraySync()).toEqual([-1]);
  expect(run('Einsum', [x, x], { equation: { string: 'ij,jk->ik' }, N: { int: 2 }, T: { type: DataType.float32 } })[0].arraySync()).toEqual(
    [
      [7, 10],
      [15, 22],
    ],
  );
  expect(run('Empty', [tf.tensor1d([2], 'int32')], { dtype: { type: DataType.float32 }, init: { bool: true } })[0].arraySync()).toEqual([
    0, 0,
  ]);
  expect(run('Squeeze', [tf.ones([1, 2, 1])], { squeeze_dims: { ints: [0] } })[0].shape).toEqual([2, 1]);
  expect(run('IdentityN', [x, tf.scalar(1, 'int32')], { T: { types: [DataType.float32, DataType.int32] } }, 2)[1].dtype).toBe('int32');
  expect(run('Bucketize', [tf.tensor1d([0.5, 5])], { boundaries: { floats: [0, 1, 2] } })[0].arraySync()).toEqual([1, 3]);
  expect(
    run('_FusedMatMul', [x, x, tf.tensor1d([10, 20])], { num_args: { int: 1 }, fused_ops: { strings: ['BiasAdd'] } })[0].arraySync(),
  ).toEqual([
    [17, 30],
    [25, 42],
  ]);
  const queue = run('FIFOQueueV2', [], { component_types: { types: [DataType.float32] }, shapes: { shapes: [[2]] } })[0];
  run('QueueEnqueueV2', [queue, tf.tensor1d([1, 2])], { Tcomponents: { types: [DataType.float32] } }, 0);
  expect(run('QueueDequeueV2', [queue], { component_types: { types: [DataType.float32] } })[0].arraySync()).toEqual([1, 2]);
  const pair = { type: DataType.int32, shape: [2], values: Int32Array.of(3, 4) };
  expect(run('Const', [], { dtype: { type: DataType.int32 }, value: { tensor: pair } })[0].arraySync()).toEqual([3, 4]);
  const words = { type: DataType.string, shape: [1], values: [new TextEncoder().encode('word')] };
  expect(run('Const', [], { dtype: { type: DataType.string }, value: { tensor: words } })[0].arraySync()).toEqual(['word']);
  // No op of TensorFlow's own takes these lists; names that begin with an underscore are taken by every op.
  expect(run('Identity', [x], { _flags: { bools: [true, false] }, _tensors: { tensors: [pair, words] } })[0].shape).toEqual([2, 2]);
});

test('functions as attributes, lists too', () => {
  const x = tf.tensor1d([1, 2]);
  const [doubled, negated] = [(a: tf.Tensor) => [tf.mul(a, 2)], (a: tf.Tensor) => [tf.neg(a)]].map((step, i) =>
    backend.compileStep(step, [x], { name: `branch_${i}`, xla: false }),
  );
  const types = { Tin: { types: [DataType.float32] }, Tout: { types: [DataType.float32] } } as const;
  expect(backend.raw('PartitionedCall', [x], { ...types, f: { func: negated.functionName } })[0].arraySync()).toEqual([-1, -2]);
  const branches = { funcs: [doubled.functionName, negated.functionName] };
  const choose = (i: number) =>
    backend.raw('StatelessCase', [tf.scalar(i, 'int32'), x], { ...types, branches, output_shapes: { shapes: [] } })[0].arraySync();
  expect([choose(0), choose(1)]).toEqual([
    [2, 4],
    [-1, -2],
  ]);
  doubled.dispose();
  negated.dispose();
});

test('a failing op throws a typed error with op, input shapes and attributes, and leaks nothing', () => {
  const a = tf.ones([2, 3]);
  const live = runtime.numTensors();
  let error: unknown;
  try {
    backend.raw('MatMul', [a, a], { transpose_a: { bool: false } });
  } catch (caught) {
    error = caught;
  }
  expect(TensorFlowError.isInstance(error)).toBe(true);
  expect(RuntimeStoppedError.isInstance(error)).toBe(false);
  expect(error).toMatchObject({ code: 'E_TENSORFLOW', status: 'INVALID_ARGUMENT', operation: 'MatMul' });
  expect(String(error)).toMatch(/\[2,3\] \[2,3\].*transpose_a/);
  expect(() => backend.raw('NoSuchOp', [a])).toThrow(/NoSuchOp/);
  expect(() => backend.raw('Unpack', [a], { num: { int: 7 } }, 7)).toThrow(TensorFlowError);
  // Only the upload of `a` is left, and the runtime works on.
  expect(runtime.numTensors() - live).toBeLessThanOrEqual(1);
  expect(tf.sum(a).arraySync()).toBe(6);
});

test('parameters hold float32, int32 and bfloat16 values', async () => {
  const weight = new Parameter('weight', tf.tensor1d([1, 2]));
  const copy = new Parameter('copy', tf.tensor1d([1.00390625, 2]), 'bfloat16');
  const counter = new Parameter('counter', tf.scalar(3, 'int32'));
  weight.assign(tf.add(weight.read(), 1));
  counter.assign(tf.add(counter.read(), tf.scalar(1, 'int32')));
  expect(Array.from(await weight.data())).toEqual([2, 3]);
  expect(Array.from(await copy.data())).toEqual([1, 2]);
  expect(Array.from(await counter.data())).toEqual([4]);
  expect(() => weight.assign(tf.ones([3]))).toThrow(/weight.*\[2\].*\[3\]/);
  for (const p of [weight, copy, counter]) p.dispose();
});

test('a parameter that is cleared has no value until it gets one, also for steps recorded before', async () => {
  const p = new Parameter('cleared', tf.tensor1d([1, 2]));
  const step = compile(() => tf.mul(p.read(), 2), { name: 'twice' });
  expect(Array.from(await (await step.run()).data())).toEqual([2, 4]);
  p.clear();
  expect(() => p.read()).toThrow(/cleared/);
  p.assign(tf.tensor1d([5, 6]));
  expect(Array.from(await (await step.run()).data())).toEqual([10, 12]);
  p.clear();
  p.dispose();
  step.dispose();
});

test('100,000 ops leave the handle count and resident memory flat', () => {
  const a = tf.ones([16, 16]);
  const loop = (n: number) => {
    // A scope each: the scope around this test would keep a record of every tensor, disposed or not.
    for (let i = 0; i < n; i++) {
      tf.tidy(() => {
        const b = tf.add(a, a);
        if (i % 1000 === 0) b.dataSync();
      });
    }
  };
  loop(20_000);
  const handles = runtime.numTensors();
  const growth = residentGrowth(() => loop(100_000));
  expect(runtime.numTensors()).toBe(handles);
  // 40 bytes an op.
  expect(growth).toBeLessThan(4 << 20);
});

test('a wrong number of inputs and disposed tensors are errors, eagerly and while recording', async () => {
  const x = tf.ones([2, 2]);
  for (const inputs of [[], [x], [x, x, x]]) {
    const wrong = () => backend.raw('MatMul', inputs);
    const said = expect.objectContaining({
      code: 'E_TENSORFLOW',
      message: expect.stringContaining(`expected 2 inputs, found ${inputs.length}`),
    });
    expect(wrong).toThrow(said);
    expect(() => compile((y: tf.Tensor) => [y, ...wrong()]).runSync(x)).toThrow(said);
  }
  const gone = tf.add(x, 1);
  gone.dispose();
  const refused = expect.objectContaining({ code: 'E_ARGUMENT', message: expect.stringContaining('disposed') });
  expect(() => backend.raw('MatMul', [x, gone])).toThrow(refused);
  const step = compile((y: tf.Tensor) => tf.add(y, 1), { name: 'plus' });
  expect(() => step.runSync(gone)).toThrow(refused);
  await expect(step.run(gone)).rejects.toThrow(refused);
  step.dispose();
  x.dispose();
});
