import { defineConfig } from 'vitest/config';

// Tests run on source through the private `@dit-moe/source` export condition, so nothing has to be built first.
const conditions = ['@dit-moe/source', 'node', 'import', 'module', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      'packages/*/src/**/*.test.ts',
      'packages/*/test/**/*.test.ts',
      'apps/*/src/**/*.test.ts',
      'apps/*/test/**/*.test.ts',
      'bench/**/*.test.ts',
      'audit/**/*.test.ts',
      'testing/**/*.test.ts',
    ],
    setupFiles: ['./testing/matchers.ts'],
    // TensorFlow.js advertises its Node backend wherever a test takes the cpu one on purpose.
    onConsoleLog: (text) => !text.includes('looks like you are running TensorFlow.js in Node.js'),
    globalSetup: ['./vitest.global-setup.ts'],
    // Native libraries want one process each; TensorFlow already uses every core, so more workers only fight.
    pool: 'forks',
    maxWorkers: 2,
    // Far beyond what any test takes alone: other programs may be using the machine.
    testTimeout: 300_000,
    hookTimeout: 600_000,
  },
});
