/** Reading a PyTorch state dict of a vision transformer into tensors, with a list of what is missing instead of the first failure. */
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import type { Affine } from './vision-transformer.js';

/** Tensors by name, with the layouts turned to those of TensorFlow; all are the caller's. */
export class StateDict {
  private readonly made: tf.Tensor[] = [];

  constructor(
    readonly network: string,
    private readonly source: WeightSource,
  ) {}

  has(name: string): boolean {
    return this.source.names.includes(name);
  }

  /** @throws MetricError naming every tensor of `names` that is missing */
  require(names: readonly string[]): void {
    const missing = names.filter((name) => !this.has(name));
    if (missing.length > 0)
      throw new MetricError(
        this.network,
        `the weights have no ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}.`,
      );
  }

  /** Numbers `0 ... count - 1` of the layers whose names begin with `prefix.N.`. */
  countLayers(prefix: string): number {
    const numbers = this.source.names.map((name) =>
      name.startsWith(`${prefix}.`) ? Number.parseInt(name.slice(prefix.length + 1), 10) : -1,
    );
    return Math.max(-1, ...numbers.filter(Number.isInteger)) + 1;
  }

  shape(name: string): readonly number[] {
    return this.source.info(name).shape;
  }

  /** Values as they are in the file. */
  async values(name: string): Promise<Float32Array> {
    return Float32Array.from((await this.source.read(name)).data as ArrayLike<number>);
  }

  /** A tensor of another shape with the same values. */
  async tensor(name: string, shape: readonly number[] = this.shape(name)): Promise<tf.Tensor> {
    return this.keep(tf.tensor(await this.values(name), [...shape]));
  }

  /** A linear map, `[out, in]` in the file; several ones of the same input become one, side by side. */
  async linear(names: readonly string[], withBias = true): Promise<Affine> {
    const weights = await Promise.all(names.map((name) => this.values(`${name}.weight`)));
    const shapes = names.map((name) => this.shape(`${name}.weight`) as [number, number]);
    const outputs = shapes.reduce((sum, [out]) => sum + out, 0);
    const stacked = joined(weights);
    const weight = this.keep(tf.tidy(() => tf.transpose(tf.tensor2d(stacked, [outputs, shapes[0][1]]))));
    if (!withBias) return { weight };
    return { weight, bias: this.keep(tf.tensor1d(joined(await Promise.all(names.map((name) => this.values(`${name}.bias`)))))) };
  }

  async norm(name: string): Promise<Affine> {
    return { weight: await this.tensor(`${name}.weight`), bias: await this.tensor(`${name}.bias`) };
  }

  /** The convolution of the patches, `[out, 3, p, p]` in the file. */
  async patches(name: string, bias?: string): Promise<Affine> {
    const [outputs, channels, height, width] = this.shape(name) as [number, number, number, number];
    const values = await this.values(name);
    const weight = this.keep(tf.tidy(() => tf.transpose(tf.tensor4d(values, [outputs, channels, height, width]), [2, 3, 1, 0])));
    return bias === undefined ? { weight } : { weight, bias: await this.tensor(bias) };
  }

  /** A tensor of one's own that is freed with the others. */
  keep<T extends tf.Tensor>(tensor: T): T {
    this.made.push(tensor);
    return tensor;
  }

  dispose(): void {
    tf.dispose(this.made.splice(0));
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
