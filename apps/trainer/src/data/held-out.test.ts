import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { makeRoot, tinyConfig, writeImages } from '../testing/tiny-run.js';
import { openHeldOut } from './held-out.js';
import { openData } from './open.js';
import { partsOf } from './part.js';
import type { DataSource } from './source.js';

const { root, images } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));
const config = (...overrides: string[]) => tinyConfig(images, ...overrides);

/** Every image of a source, with its label. */
async function contentOf(source: DataSource): Promise<string[]> {
  const out = new Float32Array(source.count * 16);
  const requests = Array.from({ length: source.count }, (_, record) => ({ record, index: record, flip: false }));
  const labels = await source.read(requests, out);
  return [...labels].map((label, i) => `${label}: ${out.slice(16 * i, 16 * i + 16)}`);
}

test('the two parts of a data set are apart, are all of it, and depend on its size, the share and the seed alone', () => {
  for (const [count, share, held] of [
    [1437, 0.05, 72],
    [10, 0.01, 1],
    [3, 0.5, 2],
  ]) {
    const { training, heldOut } = partsOf({ share, seed: 7 });
    const [a, b] = [training.recordsOf(count), heldOut.recordsOf(count)];
    expect(b).toHaveLength(held);
    expect(Int32Array.from([...a, ...b]).sort()).toEqual(Int32Array.from({ length: count }, (_, i) => i));
    expect(partsOf({ share, seed: 7 }).heldOut.recordsOf(count)).toEqual(b);
  }
  expect(partsOf({ share: 0.05, seed: 8 }).heldOut.recordsOf(1437)).not.toEqual(partsOf({ share: 0.05, seed: 7 }).heldOut.recordsOf(1437));
  expect(() => partsOf({ share: 0.9, seed: 0 }).training.recordsOf(2)).toThrow(/0.9 of 2 images leaves nothing to train on/);
});

test('a share is taken out of what is trained on, however it is held and whatever the seed of the run; it is said, and changes the fingerprint', async () => {
  const whole = await openData(config());
  const all = await contentOf(whole);
  const parts: string[][] = [];
  for (const memory of [0, 100])
    for (const seed of [0, 1]) {
      const held = config(`data.memory=${memory}`, `seed=${seed}`, 'validation={share: 0.3, seed: 1}');
      const training = await openData(held);
      const heldOut = await openHeldOut(held, training);
      expect(training.summary).toMatch(/^6 images .*; 2 of them held out for validation$/);
      expect(heldOut.summary).toMatch(/the 2 of them that are held out/);
      parts.push([...(await contentOf(training)), ...(await contentOf(heldOut))]);
      expect([training.count, heldOut.count]).toEqual([4, 2]);
      expect(training.classNames).toEqual(['dark', 'light']);
      expect(training.fingerprint).not.toBe(whole.fingerprint);
    }
  for (const part of parts) expect(part).toEqual(parts[0]);
  expect(parts[0].toSorted()).toEqual(all.toSorted());
  const other = await openData(config('validation={share: 0.3, seed: 2}'));
  expect(other.fingerprint).not.toBe((await openData(config('validation={share: 0.3, seed: 1}'))).fingerprint);
});

test('an unreadable image is replaced by one of its own part', async () => {
  const folder = path.join(root, 'bad');
  writeImages(folder);
  const settings = (memory: number) =>
    tinyConfig(folder, 'data.maxUnreadable=1', `data.memory=${memory}`, 'validation.share=0.3', 'data.size=4');
  const held = await contentOf(await openHeldOut(settings(0), await openData(settings(0))));
  const all = await contentOf(await openData(tinyConfig(folder)));
  const files = ['dark/0.png', 'dark/1.png', 'dark/2.png', 'light/0.png', 'light/1.png', 'light/2.png'];
  // The first one that is held out.
  fs.writeFileSync(path.join(folder, files[all.indexOf(held[0])]), 'no picture');
  for (const memory of [0, 100])
    expect(await contentOf(await openHeldOut(settings(memory), await openData(settings(memory))))).toEqual([held[1], held[1]]);
});

test('held-out images of their own get the numbers of the classes that are trained on; other classes and sizes are refused', async () => {
  const other = path.join(root, 'other');
  fs.cpSync(path.join(images, 'light'), path.join(other, 'light'), { recursive: true });
  const held = config(`validation={path: ${other}}`);
  const training = await openData(held);
  expect(training.count).toBe(6);
  const source = await openHeldOut(held, training);
  expect((await contentOf(source)).toSorted()).toEqual((await contentOf(training)).filter((text) => text.startsWith('1')).toSorted());
  fs.cpSync(path.join(images, 'light'), path.join(other, 'lightest'), { recursive: true });
  await expect(openHeldOut(held, training)).rejects.toMatchObject({
    code: 'E_DATA',
    message: expect.stringMatching(/has the class lightest, which the training data has not/),
  });
});
