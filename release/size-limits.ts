/**
 * Sizes of browser bundles: what a page that imports these names gains, minified and compressed, tfjs-core not counted. The limits are what was
 * measured plus about a tenth; who has a reason to go beyond changes the line. `*` also shows that an entry runs in a browser at all.
 */
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** Entry, names, and most kB after gzip. */
const limits: readonly [entry: string, names: string, kilobytes: number][] = [
  ['@dit-moe/tensor-ops', '*', 18],
  ['@dit-moe/tensor-ops', '{ silu }', 1],
  ['@dit-moe/tensor-ops/io', '*', 22],
  ['@dit-moe/moe', '*', 14],
  ['@dit-moe/moe', '{ moe }', 11],
  ['@dit-moe/moe', '{ balanceLoss }', 1],
  ['@dit-moe/dit', '*', 50],
  // A configuration names its router by a word, so the model brings every router that it can name.
  ['@dit-moe/dit', '{ dit }', 27],
  ['@dit-moe/diffusion', '*', 22],
  ['@dit-moe/diffusion', '{ betaSchedule }', 2],
  // Half of it are ImageNet's classes and their names, which only who names them brings along.
  ['@dit-moe/data', '*', 24],
  ['@dit-moe/vae', '*', 20],
  ['@dit-moe/vae', '{ decodeLatents }', 6],
  // It opens PyTorch's files, too: their reader is 10 kB.
  ['@dit-moe/pipeline', '*', 88],
  ['@dit-moe/metrics', '*', 33],
  ['@dit-moe/metrics', '{ precisionRecall }', 5],
];

export interface BundleSize {
  /** Such as `{ silu } of @dit-moe/tensor-ops`. */
  what: string;
  minified: number;
  compressed: number;
  limit: number;
}

/** Bundles for browsers from the packages installed in `folder`; an import of a Node module is an error of the build. */
export function bundleSizes(folder: string): Promise<BundleSize[]> {
  return Promise.all(
    limits.map(async ([entry, names, limit]) => {
      const { outputFiles } = await build({
        stdin: { contents: `export ${names} from '${entry}';`, resolveDir: folder },
        bundle: true,
        minify: true,
        format: 'esm',
        platform: 'browser',
        external: ['@tensorflow/tfjs-core'],
        write: false,
        logLevel: 'silent',
      });
      const code = outputFiles[0].contents;
      return { what: `${names} of ${entry}`, minified: code.length / 1000, compressed: gzipSync(code).length / 1000, limit };
    }),
  );
}
