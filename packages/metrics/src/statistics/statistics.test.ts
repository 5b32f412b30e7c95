import { encodeNpz, type HostTensor, memorySource, Npz, npzChunks } from '@dit-moe/tensor-ops/io';
import { describe, expect, test } from 'vitest';
import { features, momentsOf, type ReferenceStatistics, readStatistics, statisticsArrays } from '../index.js';

const noise = (count: number, dimension: number) =>
  momentsOf(
    features(
      Float64Array.from({ length: count * dimension }, (_, i) => Math.sin(i * i)),
      dimension,
    ),
  );
const statistics: ReferenceStatistics = { pool: noise(50, 6), spatial: noise(50, 4) };
async function archive(arrays: ReturnType<typeof statisticsArrays>): Promise<Npz> {
  const parts: Uint8Array[] = [];
  for await (const chunk of npzChunks(arrays)) parts.push(chunk);
  return Npz.open(memorySource(Buffer.concat(parts)));
}
const given = async (arrays: Record<string, HostTensor>): Promise<Npz> =>
  Npz.open(memorySource(await encodeNpz(new Map(Object.entries(arrays)))));
const f64 = (shape: number[], value = 0): HostTensor => ({
  dtype: 'F64',
  shape,
  data: new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(value),
});

describe('statistics files', () => {
  test("pytorch-fid's layout comes back exactly, ADM's with float32 means and the spatial statistics", async () => {
    const plain = await readStatistics(await archive(statisticsArrays(statistics, 'pytorch-fid')));
    expect(plain).toEqual({ pool: statistics.pool });
    const adm = await archive(statisticsArrays(statistics, 'adm'));
    expect(adm.names).toEqual(['mu', 'sigma', 'mu_s', 'sigma_s', 'num_images']);
    const found = await readStatistics(adm);
    expect(found.pool.covariance).toEqual(statistics.pool.covariance);
    expect(found.spatial!.covariance).toEqual(statistics.spatial!.covariance);
    expect(found.pool.mean).toEqual(Float64Array.from(Float32Array.from(statistics.pool.mean)));
    expect(found.pool.count).toBe(50);
  });

  test("ADM's layout needs spatial statistics", () => {
    expect(() => statisticsArrays({ pool: statistics.pool }, 'adm')).toThrow(/spatial/);
  });

  test.each([
    [{ mu: f64([3]) }, /has no array "sigma"; it has mu/],
    [{ mu: f64([3]), sigma: f64([3, 2]) }, /"sigma" is \[3,2\], expected \[3, 3\]/],
    [{ mu: f64([3, 1]), sigma: f64([3, 3]) }, /"mu" is \[3,1\]/],
    [{ mu: f64([3], Number.NaN), sigma: f64([3, 3]) }, /"mu" has NaN at place 0/],
    [{ mu: f64([3]), sigma: f64([3, 3], Number.POSITIVE_INFINITY) }, /"sigma" has Infinity/],
    [{ mu: f64([20_000]), sigma: f64([1, 1]) }, /more than the limit of 16384/],
    [{ mu: { dtype: 'I32' as const, shape: [2], data: new Int32Array(2) }, sigma: f64([2, 2]) }, /"mu" is I32, expected a float/],
    [{ mu: f64([3]), sigma: f64([3, 3]), mu_s: f64([2]) }, /no array "sigma_s"/],
  ])('file %# is refused', async (arrays, message) => {
    await expect(given(arrays).then(readStatistics)).rejects.toThrow(message);
  });
});
