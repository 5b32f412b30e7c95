import * as tf from '@tensorflow/tfjs';
import { afterEach, expect, test, vi } from 'vitest';
import { BackendError, startBackend } from './start-backend.js';

afterEach(() => vi.unstubAllEnvs());

test('without the TensorFlow library auto says so and takes WebAssembly; asked for by name it is an error', async () => {
  vi.stubEnv('LIBTENSORFLOW_DIR', '/nowhere');
  const lines: string[] = [];
  const backend = await startBackend('auto', undefined, (line) => lines.push(line));
  expect(backend).toMatchObject({ name: 'wasm', threads: 1, problem: expect.any(Error) });
  expect(tf.getBackend()).toBe('wasm');
  expect(lines).toEqual([expect.stringMatching(/^TensorFlow is not available, so WebAssembly computes.*\/nowhere/)]);
  await expect(startBackend('tensorflow')).rejects.toThrow(BackendError);
});
