import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { readMetrics } from './metrics-log.js';

test('what is no line of metrics is left out: cut, of another kind, or with a text for a number', async () => {
  const run = fs.mkdtempSync(path.join(os.tmpdir(), 'metrics-'));
  const good = { step: 1, loss: 0.5, gradNorm: null, routing: [] };
  const lines = [JSON.stringify(good), 'null', '3', '[]', '{"step": 2, "loss": "low"}', '{"loss": 1}', '{"step": 3, "lo'];
  fs.writeFileSync(path.join(run, 'metrics.jsonl'), lines.join('\n'));
  expect(await readMetrics(run)).toEqual([good]);
  fs.rmSync(run, { recursive: true });
});
