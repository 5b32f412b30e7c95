/**
 * Files of reference statistics: those of ADM's evaluator (`mu`, `sigma` of pooled features, `mu_s`, `sigma_s` of spatial ones,
 * images in `arr_0`) and of pytorch-fid (`mu`, `sigma`). `num_images`, which both ignore, is written too.
 */
import { encodeTensor, type Npz, type NpzArray } from '@dit-moe/tensor-ops/io';
import { MetricError } from '../errors.js';
import { matrix } from '../linear-algebra/matrix.js';
import type { Moments } from '../moments.js';

/** Longest feature vector that is read: a covariance of it has 2 GiB. */
const MAX_DIMENSION = 16_384;

/** Moments of which the number of samples may be unknown. */
export interface StatisticsOf extends Omit<Moments, 'count'> {
  readonly count?: number;
}

/** What a file of reference statistics holds. */
export interface ReferenceStatistics {
  /** Of the pooled features (FID), or of whatever features the file is of. */
  pool: StatisticsOf;
  /** Of the spatial features (sFID); ADM's files only. */
  spatial?: StatisticsOf;
}

/** Whether a file has statistics, not only images. */
export const hasStatistics = (npz: Npz): boolean => npz.names.includes('mu') || npz.names.includes('sigma');

/**
 * Reads a file of either layout.
 * @throws MetricError if an array is missing, of the wrong shape, too large or not finite
 */
export async function readStatistics(npz: Npz): Promise<ReferenceStatistics> {
  const count = npz.names.includes('num_images') ? Number((await npz.read('num_images', 64)).data[0]) : undefined;
  const pool = await readMoments(npz, 'mu', 'sigma', count);
  if (!npz.names.includes('mu_s')) return { pool };
  return { pool, spatial: await readMoments(npz, 'mu_s', 'sigma_s', count) };
}

async function readMoments(npz: Npz, muName: string, sigmaName: string, count: number | undefined): Promise<StatisticsOf> {
  for (const name of [muName, sigmaName])
    if (!npz.names.includes(name))
      throw new MetricError('statistics', `the file has no array "${name}"; it has ${npz.names.slice(0, 10).join(', ') || 'none'}.`);
  const [mu, sigma] = [await npz.info(muName), await npz.info(sigmaName)];
  const [dimension] = mu.shape;
  if (mu.shape.length !== 1 || dimension < 1) throw new MetricError('statistics', `"${muName}" is [${mu.shape}], expected [D].`);
  if (dimension > MAX_DIMENSION)
    throw new MetricError('statistics', `"${muName}" has ${dimension} dimensions, more than the limit of ${MAX_DIMENSION}.`);
  if (sigma.shape.join() !== `${dimension},${dimension}`)
    throw new MetricError(
      'statistics',
      `"${sigmaName}" is [${sigma.shape}], expected [${dimension}, ${dimension}] as "${muName}" is [${dimension}].`,
    );
  const values = async (name: string, dtype: string): Promise<Float64Array> => {
    if (!dtype.startsWith('F')) throw new MetricError('statistics', `"${name}" is ${dtype}, expected a float type.`);
    const data = Float64Array.from((await npz.read(name, 8 * MAX_DIMENSION ** 2)).data as Float64Array);
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new MetricError('statistics', `"${name}" has ${data[bad]} at place ${bad}.`);
    return data;
  };
  return {
    mean: await values(muName, mu.dtype),
    covariance: matrix(dimension, dimension, await values(sigmaName, sigma.dtype)),
    ...(count !== undefined && Number.isSafeInteger(count) && count > 0 && { count }),
  };
}

/** Who shall read the file; `adm` needs the spatial statistics too, and gets its means in float32, as its evaluator writes them. */
export type StatisticsLayout = 'adm' | 'pytorch-fid';

/** The arrays of a file, for `writeNpz` or `npzChunks` of tensor-ops. */
export function statisticsArrays({ pool, spatial }: ReferenceStatistics, layout: StatisticsLayout): NpzArray[] {
  if (layout === 'adm' && spatial === undefined)
    throw new MetricError('statistics', 'the layout of ADM needs statistics of the spatial features too.');
  const mean = ({ mean }: StatisticsOf, name: string): NpzArray =>
    layout === 'adm'
      ? { name, dtype: 'F32', shape: [mean.length], chunks: () => [encodeTensor(Float32Array.from(mean), 'F32')] }
      : { name, dtype: 'F64', shape: [mean.length], chunks: () => [encodeTensor(mean, 'F64')] };
  const sigma = ({ covariance }: StatisticsOf, name: string): NpzArray => ({
    name,
    dtype: 'F64',
    shape: [covariance.rows, covariance.columns],
    chunks: () => [encodeTensor(covariance.data, 'F64')],
  });
  const arrays = [mean(pool, 'mu'), sigma(pool, 'sigma')];
  if (layout === 'adm') arrays.push(mean(spatial!, 'mu_s'), sigma(spatial!, 'sigma_s'));
  const { count } = pool;
  if (count !== undefined)
    arrays.push({ name: 'num_images', dtype: 'I64', shape: [], chunks: () => [encodeTensor(BigInt64Array.of(BigInt(count)), 'I64')] });
  return arrays;
}
