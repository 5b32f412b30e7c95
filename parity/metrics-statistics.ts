/** Files of reference statistics and of samples: values, refusals, distances between two files. */
import path from 'node:path';
import { npzImageShape, npzImages } from '@dit-moe/data';
import { frechetDistance, MetricError, type ReferenceStatistics, readStatistics } from '@dit-moe/metrics';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { openNpz } from '@dit-moe/tensor-ops/io/node';
import { type Comparison, check, compare, json } from './golden.js';

export const area = 'metrics/stats_files';

interface ArrayFacts {
  shape: number[];
  fortran: boolean;
  sum: number;
  first: number[];
  last: number[];
  element_1_0: number | null;
}

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  const statistics = new Map<string, ReferenceStatistics>();
  for (const [file, facts] of Object.entries(expected) as [string, { arrays?: Record<string, ArrayFacts>; expect: string }][]) {
    if (file.startsWith('_')) continue;
    if (facts.arrays === undefined) {
      const error = await openNpz(path.join(folder, file)).then(
        () => undefined,
        (e) => e,
      );
      yield check(`${file} is refused`, error instanceof FormatError, String(error));
      continue;
    }
    const { arrays: npz, close } = await openNpz(path.join(folder, file));
    try {
      for (const [name, want] of Object.entries(facts.arrays)) {
        const { shape, data } = await npz.read(name);
        const values = Array.from(data as ArrayLike<number | bigint>, Number);
        yield check(`${file}/${name}/shape`, shape.join() === want.shape.join(), `found [${shape}]`);
        yield compare(`${file}/${name}/first`, values.slice(0, want.first.length), want.first, { rtol: 1e-15 });
        yield compare(`${file}/${name}/last`, want.last.length === 0 ? [] : values.slice(-want.last.length), want.last, { rtol: 1e-15 });
        yield compare(`${file}/${name}/sum`, [values.reduce((a, b) => a + b, 0)], [want.sum], { rtol: 1e-12, atol: 1e-9 });
        if (want.element_1_0 !== null)
          yield compare(`${file}/${name}/[1, 0]`, [values[want.shape[1]]], [want.element_1_0], { rtol: 1e-15 });
        if (want.shape.length !== 4) continue;
        let sum = 0;
        for await (const batch of npzImages(npz, name)) for (const value of batch.data) sum += value;
        yield check(`${file}/${name}/images`, (await npzImageShape(npz, name)).join() === want.shape.join() && sum === want.sum);
      }
      if (!('mu' in facts.arrays)) continue;
      const found = await readStatistics(npz).catch((error: unknown) => error as Error);
      if (facts.expect.includes('reject')) {
        yield check(`${file} is refused as statistics`, found instanceof MetricError, String(found));
      } else if (found instanceof Error) yield check(`${file} as statistics`, false, found.stack);
      else {
        statistics.set(path.basename(file, '.npz'), found);
        yield check(`${file} has spatial statistics`, (found.spatial !== undefined) === 'mu_s' in facts.arrays);
      }
    } finally {
      await close();
    }
  }
  for (const [name, want] of Object.entries(expected._frechet ?? {})) {
    const [, a, b] = /^(.+)_vs_(.+)$/.exec(name) ?? [];
    const [, same] = /^(.+)_spatial_with_itself$/.exec(name) ?? [];
    const [p, q] = [statistics.get(a ?? same ?? ''), statistics.get(b ?? same ?? '')];
    if (p === undefined || q === undefined) continue;
    const { distance } = same === undefined ? frechetDistance(p.pool, q.pool) : frechetDistance(p.spatial!, q.spatial!);
    yield compare(`frechet/${name}`, [distance], [want as number], { rtol: 1e-9, atol: 1e-9 });
  }
}
