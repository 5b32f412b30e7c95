import { describe, expect, it } from 'vitest';
import { ArgumentError } from '../errors.js';
import { permutation } from './permutation.js';

const key = { seed: 9, purpose: 'data-order', epoch: 0 };

describe('permutation', () => {
  it('is a permutation for every n', () => {
    for (const n of [1, 2, 3, 4, 5, 9, 10, 16, 17, 100, 1023, 4096, 20_000]) {
      const lookup = permutation(key, n);
      const seen = new Uint8Array(n);
      for (let i = 0; i < n; i++) seen[lookup(i)]++;
      expect(seen.every((count) => count === 1)).toBe(true);
    }
  });

  it.each([3, 4, 5])('reaches all orders of %i items equally often (chi-square)', (n) => {
    const trials = 12_000;
    const counts = new Map<string, number>();
    for (let epoch = 0; epoch < trials; epoch++) {
      const lookup = permutation({ ...key, epoch }, n);
      const order = Array.from({ length: n }, (_, i) => lookup(i)).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    const orders = [1, 1, 2, 6, 24, 120][n];
    expect(counts.size).toBe(orders);
    let chiSquare = 0;
    for (const count of counts.values()) chiSquare += (count - trials / orders) ** 2 / (trials / orders);
    const freedom = orders - 1;
    expect(chiSquare).toBeLessThan(freedom + 4.5 * Math.sqrt(2 * freedom));
  });

  it('sends each position everywhere, and neighbours apart', () => {
    const n = 1000;
    let closeNeighbours = 0;
    let sum = 0;
    for (let epoch = 0; epoch < 200; epoch++) {
      const lookup = permutation({ ...key, epoch }, n);
      sum += lookup(17);
      for (let i = 0; i < 100; i++) if (Math.abs(lookup(i) - lookup(i + 1)) === 1) closeNeighbours++;
    }
    expect(Math.abs(sum / 200 - n / 2)).toBeLessThan(4 * (n / Math.sqrt(12 * 200)));
    // 20,000 pairs with probability 2/n each: 40 expected.
    expect(closeNeighbours).toBeGreaterThan(15);
    expect(closeNeighbours).toBeLessThan(70);
  });

  it('handles the largest sets without memory', () => {
    const n = 2 ** 53 - 1;
    const lookup = permutation(key, n);
    const items = [0, 1, 2, n - 1].map(lookup);
    expect(new Set(items).size).toBe(4);
    for (const item of items) expect(item).toBeLessThan(n);
  });

  it('depends on the epoch, the seed and the purpose', () => {
    const order = (k: typeof key) => Array.from({ length: 50 }, (_, i) => permutation(k, 50)(i)).join();
    const orders = [key, { ...key, epoch: 1 }, { ...key, epoch: 2 ** 32 }, { ...key, seed: 10 }, { ...key, purpose: 'other' }].map(order);
    expect(new Set(orders).size).toBe(5);
  });

  it('refuses what is out of range', () => {
    expect(() => permutation(key, 0)).toThrow(ArgumentError);
    expect(() => permutation({ ...key, epoch: -1 }, 5)).toThrow(ArgumentError);
    expect(() => permutation(key, 5)(5)).toThrow(ArgumentError);
  });
});
