import { expect, test } from 'vitest';
import { createProgress } from './progress.js';

test('where the output is no terminal: a line every ten seconds and at the end, with the time left once a rate is known', () => {
  let time = 0;
  let text = '';
  const stream = { isTTY: false, write: (part: string) => (text += part) } as unknown as NodeJS.WriteStream;
  const progress = createProgress(stream, () => time);
  for (const [step, seconds] of [
    [10, 0],
    [20, 5],
    [30, 10],
    [40, 15],
  ] as const) {
    time = seconds;
    progress.update({ step, steps: 40, loss: 1 / step, imagesPerSecond: 256 });
  }
  expect(text.split('\n')).toEqual([
    'step 10/40  loss 0.1000  256 images/s',
    'step 30/40  loss 0.0333  256 images/s  0:05 left',
    'step 40/40  loss 0.0250  256 images/s  0:00 left',
    '',
  ]);
});
