import { defineConfig } from 'vitest/config';

// Tests run on source through the private `@dit-moe/source` export condition, so nothing has to be built first.
const conditions = ['@dit-moe/source', 'node', 'import', 'module', 'default'];

// What starts and kills whole trainings, fills a server with connections or drives a browser through a page is in `.slow.test.ts` files.
const slow = '**/*.slow.test.ts';
const everything = [
  'packages/*/{src,test}/**/*.test.ts',
  'apps/*/{src,test}/**/*.test.ts',
  'bench/**/*.test.ts',
  'reproduce/**/*.test.ts',
  'audit/**/*.test.ts',
  'release/**/*.test.ts',
  'site/**/*.test.ts',
  'testing/**/*.test.ts',
];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    projects: [
      { extends: true, test: { name: 'quick', include: everything, exclude: ['**/node_modules/**', slow] } },
      { extends: true, test: { name: 'slow', include: [slow], exclude: ['**/node_modules/**'] } },
    ],
    setupFiles: ['./testing/matchers.ts'],
    // TensorFlow.js advertises its Node backend wherever a test takes the cpu one on purpose.
    onConsoleLog: (text) => !text.includes('looks like you are running TensorFlow.js in Node.js'),
    // What TensorFlow itself prints of failures that a test causes on purpose.
    env: { TF_CPP_MIN_LOG_LEVEL: '2' },
    globalSetup: ['./vitest.global-setup.ts'],
    // Native libraries want one process each; TensorFlow already uses every core, so more workers only fight.
    pool: 'forks',
    maxWorkers: 2,
    // Far beyond what any test takes alone: other programs may be using the machine.
    testTimeout: 300_000,
    hookTimeout: 600_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
