/** Weights read by the names that they have within a part of a network, so that a part need not know where it stands. */
import type * as tf from '@tensorflow/tfjs-core';
import { DitMoeError } from './errors.js';

/** Weights by name. */
export type Weights = Readonly<Record<string, tf.Tensor>>;

/** A part of a network needs a weight that is not there. */
export class MissingWeightError extends DitMoeError {
  static override readonly code = 'E_MISSING_WEIGHT';
  /** @param name in full, as the weights are named */
  constructor(name: string, weights: Weights) {
    const parts = name.split('.');
    const beside = Object.keys(weights).filter((other) => other.startsWith(`${parts.slice(0, -1).join('.')}.`));
    const found = beside.length > 0 ? `beside it: ${beside.slice(0, 4).join(', ')}` : `${Object.keys(weights).length} other weights`;
    super(`The weight ${name} is missing; there are ${found}.`, { where: name, expected: 'a tensor', found });
  }
}

/** Reads a weight by its name within the scope. */
export interface Scope {
  /** @throws MissingWeightError with the weight's full name */
  (name: string): tf.Tensor;
  /** The weight, if it is there. */
  find(name: string): tf.Tensor | undefined;
  /** The scope of a part of this one. */
  within(part: string): Scope;
  /** All weights of the scope, by their names within it. */
  all(): Weights;
}

/**
 * The weights of a part: `scoped(weights, 'blocks.3')('attention.qkv.weight')` is `weights['blocks.3.attention.qkv.weight']`.
 *
 * @param weights of a whole network, or a scope of it
 * @param part prefix of the names without its last dot (default: all)
 */
export function scoped(weights: Weights | Scope, part = ''): Scope {
  if (typeof weights === 'function') return part === '' ? (weights as Scope) : (weights as Scope).within(part);
  const full = (name: string): string => (part === '' ? name : `${part}.${name}`);
  const read = (name: string): tf.Tensor => {
    const weight = weights[full(name)];
    if (weight === undefined) throw new MissingWeightError(full(name), weights);
    return weight;
  };
  return Object.assign(read, {
    find: (name: string): tf.Tensor | undefined => weights[full(name)],
    within: (inner: string) => scoped(weights, full(inner)),
    all: () =>
      Object.fromEntries(
        Object.keys(weights).flatMap((name) => (name.startsWith(full('')) ? [[name.slice(full('').length), weights[name]]] : [])),
      ),
  });
}
