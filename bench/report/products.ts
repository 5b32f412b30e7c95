/** The limit of a step: its matrix products alone, of the same shapes, by the same kernels and threads. */
import { type DitConfig, ditSizes, preset } from '@dit-moe/dit';
import { threadsFor } from '@dit-moe/dit/node';
import { compile, DataType, type Precision, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { BATCH, MODEL, type Workload } from '../engine/model.js';
import { median, timer } from '../harness/measure.js';
import { answer, inOwnProcess } from '../harness/own-process.js';

/** `count` products `[m, k] [k, n]`, or of batches of them. */
export interface Product {
  batch?: number;
  m: number;
  k: number;
  n: number;
  count: number;
}

/** Products of one block's forward pass with evenly used experts, without those by single tokens such as the router's. */
export function blockProducts(config: DitConfig, images: number): Product[] {
  const { hiddenSize: width, numHeads, moe } = config;
  const { tokens, headSize } = ditSizes(config);
  const rows = images * tokens;
  const feedForward = (m: number, hidden: number, count: number): Product[] => [
    { m, k: width, n: hidden, count: 2 * count },
    { m, k: hidden, n: width, count },
  ];
  return [
    { m: images, k: width, n: 6 * width, count: 1 },
    { m: rows, k: width, n: 3 * width, count: 1 },
    { batch: images * numHeads, m: tokens, k: headSize, n: tokens, count: 1 },
    { batch: images * numHeads, m: tokens, k: tokens, n: headSize, count: 1 },
    { m: rows, k: width, n: width, count: 1 },
    ...(moe === undefined
      ? []
      : [
          ...feedForward(rows, moe.sharedRatio * width, 1),
          ...feedForward(Math.round((rows * moe.topK) / moe.numExperts), moe.expertRatio * width, moe.numExperts),
        ]),
  ];
}

interface Request {
  workload: Workload;
  precision: Precision;
  rounds: number;
}

/** Seconds of all products of a step, median of the rounds, in a process of their own; and TensorFlow's version. */
export const timeProducts = (request: Request): Promise<{ seconds: number; version: string }> => inOwnProcess(import.meta.url, request);

await answer<Request>(import.meta.url, async ({ workload, precision, rounds }) => {
  const config = preset(MODEL);
  const { version } = await useTensorFlow(threadsFor(config, { training: workload === 'train', precision }));
  const backend = tensorFlowBackend()!;
  // Where bfloat16 is slower, `bf16` computes in float32.
  const low = precision === 'bf16' && backend.bf16Products;
  const matrix = (batch: number | undefined, rows: number, columns: number): tf.Tensor =>
    tf.tidy(() => {
      const x = tf.randomNormal(batch === undefined ? [rows, columns] : [batch, rows, columns]);
      return low ? backend.raw('Cast', [x], { DstT: { type: DataType.bfloat16 } })[0] : x;
    });
  const product = (a: tf.Tensor, b: tf.Tensor, first: boolean, second: boolean): tf.Tensor =>
    a.rank === 2
      ? backend.raw('MatMul', [a, b], { transpose_a: { bool: first }, transpose_b: { bool: second } })[0]
      : backend.raw('BatchMatMulV2', [a, b], { adj_x: { bool: first }, adj_y: { bool: second } })[0];
  const operands = blockProducts(config, BATCH).flatMap(({ batch, m, k, n, count }) =>
    Array.from({ length: count }, () => [matrix(batch, m, k), matrix(batch, k, n), matrix(batch, m, n)]),
  );
  const block = compile(
    () =>
      operands.flatMap(([x, w, dy]) => [
        product(x, w, false, false),
        ...(workload === 'train' ? [product(dy, w, false, true), product(x, dy, true, false)] : []),
      ]),
    { name: 'products' },
  );
  const step = timer(async () => {
    for (let i = 0; i < config.depth; i++) tf.dispose(await block.run());
  });
  await step(2);
  return { seconds: median(await step(rounds)), version };
});
