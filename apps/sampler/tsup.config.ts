import { defineConfig } from 'tsup';
import { preset } from '../../tsup.preset.js';
import { buildWeb } from './src/web/build.js';

export default defineConfig(preset({ index: 'src/index.ts', cli: 'src/cli.ts' }, { onSuccess: () => buildWeb('dist/web') }));
