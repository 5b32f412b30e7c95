import type { Options } from 'tsup';

/** One build recipe for every package: ESM for Node 20.19+, source maps into the shipped `src`. Types come from release/types.ts. */
export function preset(entry: Record<string, string>, extra: Partial<Options> = {}): Options {
  return {
    entry,
    format: ['esm'],
    target: 'node20.19',
    sourcemap: true,
    // The sources are in the package.
    esbuildOptions: (options) => {
      options.sourcesContent = false;
    },
    clean: true,
    splitting: true,
    treeshake: true,
    ...extra,
  };
}
