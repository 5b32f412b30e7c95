import { defineConfig } from 'tsup';
import { preset } from '../../tsup.preset.js';

export default defineConfig(
  preset({
    index: 'src/index.ts',
    selectors: 'src/select/index.ts',
    losses: 'src/losses/index.ts',
    dispatch: 'src/dispatch/index.ts',
    telemetry: 'src/telemetry/index.ts',
  }),
);
