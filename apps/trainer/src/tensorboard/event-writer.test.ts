import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { crc32c } from '@dit-moe/tensor-ops/io';
import { encode } from 'fast-png';
import { afterAll, expect, test } from 'vitest';
import { isMissing, python } from '../testing/loggers.js';
import { EventWriter } from './event-writer.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'events-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

const readBack = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0, "images": 0})
a.Reload()
h = a.Histograms("weights")[-1].histogram_value
image = a.Images("samples")[-1]
print(json.dumps({
    "loss": [[e.step, e.value] for e in a.Scalars("loss")],
    "histogram": {"min": h.min, "max": h.max, "num": h.num, "sum": h.sum, "counts": list(h.bucket), "limits": list(h.bucket_limit)},
    "image": {"width": image.width, "height": image.height, "bytes": len(image.encoded_image_string)},
}))
`;

// Where it is not installed the records' layout is tested, below.
test.skipIf(isMissing('tensorboard'))(
  'TensorBoard reads scalars, histograms and images, and drops what a restart replaces',
  { timeout: 60_000 },
  async () => {
    const png = encode({ data: new Uint8Array(12), width: 2, height: 2, channels: 3, depth: 8 });
    const first = await EventWriter.create(folder);
    await first.write(1, [{ tag: 'loss', scalar: 0.5 }]);
    await first.write(300, [
      { tag: 'loss', scalar: 0.25 },
      { tag: 'samples', png, width: 2, height: 2 },
    ]);
    await first.write(301, [{ tag: 'loss', scalar: 99 }]);
    await first.close();
    const second = await EventWriter.create(folder, 301);
    await second.write(301, [
      { tag: 'loss', scalar: 0.125 },
      { tag: 'weights', histogram: [0, 1, 1, 3, Number.NaN] },
      { tag: 'samples', png, width: 2, height: 2 },
    ]);
    await second.close();
    const read = JSON.parse(execFileSync(python, ['-c', readBack, folder], { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] }));
    expect(read.loss).toEqual([
      [1, 0.5],
      [300, 0.25],
      [301, 0.125],
    ]);
    expect(read.histogram).toMatchObject({ min: 0, max: 3, num: 4, sum: 5 });
    expect(read.histogram.counts.reduce((a: number, b: number) => a + b)).toBe(4);
    expect(read.image).toEqual({ width: 2, height: 2, bytes: png.length });
  },
);

test('every record carries its length and checksums', async () => {
  const alone = fs.mkdtempSync(path.join(folder, 'alone-'));
  const writer = await EventWriter.create(alone);
  await writer.write(7, [{ tag: 'a', scalar: 2 }]);
  await writer.close();
  const bytes = fs.readFileSync(path.join(alone, fs.readdirSync(alone)[0]));
  const unmask = (masked: number) => {
    const rotated = (masked - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  let records = 0;
  for (let at = 0; at < bytes.length; records++) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(unmask(bytes.readUInt32LE(at + 8))).toBe(crc32c(bytes.subarray(at, at + 8)));
    expect(unmask(bytes.readUInt32LE(at + 12 + length))).toBe(crc32c(bytes.subarray(at + 12, at + 12 + length)));
    at += 16 + length;
  }
  expect(records).toBe(2);
});
