import type { Options } from 'tsup';

/** One build recipe for every package: ESM for Node 20.19+, types beside it, source maps into the shipped `src`. */
export function preset(entry: Record<string, string>, extra: Partial<Options> = {}): Options {
  return {
    entry,
    format: ['esm'],
    target: 'node20.19',
    dts: { compilerOptions: { composite: false, incremental: false, customConditions: [] } },
    sourcemap: true,
    clean: true,
    splitting: true,
    treeshake: true,
    ...extra,
  };
}
