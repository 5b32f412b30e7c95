/**
 * Puts the parts of tfjs that only the TensorFlow runtime needs into `./node`, so that nobody has to install the packages they come in:
 *
 * - the kernels and the kernel backend of tfjs-node-gpu, whose install script would download a libtensorflow that is not used;
 * - the gradients of tfjs-core, which its build for Node leaves out and the union package `@tensorflow/tfjs` (141 MB) adds.
 *
 * Both reach tfjs-core through the one copy that the user has. Source and tests import the packages as they are.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Options } from 'tsup';

type Plugin = NonNullable<Options['esbuildPlugins']>[number];

const require = createRequire(import.meta.url);
const CORE = '@tensorflow/tfjs-core';
const core = require(CORE) as Record<string, unknown>;
const coreFolder = path.join(path.dirname(require.resolve(`${CORE}/package.json`)), 'dist');

/** What the plugin decides about, in place of tsup, which would leave out every peer dependency. */
export const bundled = [/^@tensorflow\/tfjs(-core)?$/, /^@tensorflow\/tfjs-node-gpu\//];

/** Names that an ES module of tfjs-core exports. */
function namesIn(file: string): string[] {
  const source = fs.readFileSync(file, 'utf8');
  const declared = [...source.matchAll(/^export (?:async )?(?:const|let|var|class|function\*?) (\w+)/gm)].map(([, name]) => name);
  const listed = [...source.matchAll(/^export \{([^}]+)\}/gm)].flatMap(([, list]) =>
    list.split(',').map((x) => x.trim().split(' as ').at(-1)!),
  );
  const passedOn = [...source.matchAll(/^export \* from '(.+)'/gm)].flatMap(([, from]) =>
    namesIn(`${path.resolve(path.dirname(file), from)}.js`),
  );
  return [...declared, ...listed, ...passedOn];
}

/** Where tfjs-core's public exports hold all of a module's names: at the top (''), in one of its namespaces, or nowhere. */
function publicHome(names: readonly string[]): string | undefined {
  const homes = [['', core], ...Object.entries(core).filter(([, value]) => value !== null && typeof value === 'object')] as const;
  return homes.find(([, home]) => names.every((name) => name in (home as object)))?.[0];
}

/** A module made here, whose exports come from tfjs-core's one public entry. */
function virtual(name: string, contents: string) {
  return { path: name, namespace: 'bundle-tfjs', sideEffects: false, pluginData: contents };
}

/** A module of tfjs-core that its gradients import: the public entry where that has all of its names, else the module itself. */
function moduleOfCore(file: string) {
  const name = path.relative(coreFolder, file);
  if (name === 'engine.js') return virtual(name, `import { engine } from '${CORE}'; export const ENGINE = engine();`);
  if (name === 'base.js') return virtual(name, `export * from '${CORE}';`);
  const names = namesIn(file);
  const home = names.length === 0 ? undefined : publicHome(names);
  if (home === undefined) return { path: file };
  if (home === '') return virtual(name, `export { ${names.join(', ')} } from '${CORE}';`);
  return virtual(name, `import { ${home} as home } from '${CORE}'; ${names.map((x) => `export const ${x} = home.${x};`).join(' ')}`);
}

/** What tfjs-node-gpu's modules import. */
const importsOfKernels: Record<string, string> = {
  '@tensorflow/tfjs': `export * from '${CORE}';`,
  [CORE]: `export * from '${CORE}';`,
  // Newer versions of Node have no such functions.
  util: 'export const isNullOrUndefined = (x) => x === null || x === undefined; export const isArray = Array.isArray;',
  os: `export * from 'node:os';`,
  // Messages of summaries for TensorBoard, which the runtime does not write.
  './proto/api_pb': 'export {};',
};

export const bundleTfjs: Plugin = {
  name: 'bundle-tfjs',
  setup(build) {
    build.onLoad({ filter: /.*/, namespace: 'bundle-tfjs' }, ({ pluginData }) => ({
      contents: pluginData,
      resolveDir: import.meta.dirname,
    }));
    build.onResolve({ filter: /^@tensorflow\/tfjs$/ }, ({ importer }) =>
      importer.includes('/tfjs-node-gpu/') ? undefined : { path: path.join(coreFolder, 'register_all_gradients.js') },
    );
    build.onResolve({ filter: /^(@tensorflow\/tfjs(-core)?|util|os|\.\/proto\/api_pb)$/ }, ({ path: name, importer }) => {
      if (importer.includes('/tfjs-node-gpu/')) return virtual(name, importsOfKernels[name]);
      return name === CORE ? { path: CORE, external: true } : undefined;
    });
    build.onResolve({ filter: /^\.\.?\// }, ({ path: name, importer }) =>
      importer.startsWith(coreFolder) ? moduleOfCore(`${path.resolve(path.dirname(importer), name)}.js`) : undefined,
    );
  },
};
