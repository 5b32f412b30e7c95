import koffi from 'koffi';
import { expect, test } from 'vitest';
import { DitMoeError } from '../errors.js';
import { useTensorFlow } from './index.js';

// In a file of its own, because a process sets koffi's stacks once.
test('a process that has used koffi with small stacks is told what to do', async () => {
  koffi.load(null);
  const started = useTensorFlow();
  await expect(started).rejects.toThrow(DitMoeError);
  await expect(started).rejects.toThrow(
    /stacks of \d+ bytes.*call koffi\.config\(\{"sync_stack_size":16777216,"async_stack_size":16777216\}\) first/,
  );
});
