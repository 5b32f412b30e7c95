import { defineConfig } from 'tsup';
import { preset } from '../../tsup.preset.js';
import { bundled, bundleTfjs } from './bundle-tfjs.js';

export default defineConfig(
  preset(
    {
      index: 'src/index.ts',
      errors: 'src/errors.ts',
      'node/index': 'src/node/index.ts',
      'io/index': 'src/io/index.ts',
      'io/node/index': 'src/io/node/index.ts',
      'settings/index': 'src/settings/index.ts',
      'conformance/index': 'src/conformance/index.ts',
    },
    { noExternal: bundled, esbuildPlugins: [bundleTfjs] },
  ),
);
