import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { encode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleCli } from '../testing/run-cli.js';

let folder: string;
let run: Awaited<ReturnType<typeof bundleCli>>;
const at = (name: string): string => path.join(folder, name);

/** Small grey pictures in two class folders; `brightness` tells the sets apart. */
async function writeImages(name: string, count: number, brightness: number): Promise<void> {
  let state = 1 + brightness;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (let i = 0; i < count; i++) {
    const file = at(`${name}/${i % 2 === 0 ? 'cat' : 'dog'}/${i}.png`);
    await fs.mkdir(path.dirname(file), { recursive: true });
    await fs.writeFile(
      file,
      encode({ data: Uint8Array.from({ length: 64 }, () => brightness + 90 * next()), width: 8, height: 8, channels: 1, depth: 8 }),
    );
  }
}

beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'evaluate-'));
  run = await bundleCli(folder);
  await writeImages('real', 80, 40);
  await writeImages('near', 70, 41);
  await writeImages('far', 70, 120);
});
afterAll(async () => fs.rm(folder, { recursive: true, force: true }));

/** On tfjs' own backend, which every machine has. */
const evaluate = (...args: string[]) => run(['evaluate', ...args, '--backend', 'cpu', '--network', 'pixels']).ended;

describe('evaluate', () => {
  test('ranks sets, keeps a record, warns, and compares records', async () => {
    const distances: number[] = [];
    for (const set of ['near', 'far']) {
      const { code, out, err } = await evaluate(at(set), at('real'), '--metrics', 'fd,is,pr,dc,kd', '--json', '--out', at(`${set}.json`));
      expect(err).toContain('computing fd');
      expect(code).toBe(0);
      const record = JSON.parse(out);
      expect(record).toEqual(JSON.parse(await fs.readFile(at(`${set}.json`), 'utf8')));
      expect(record.samples).toMatchObject({ count: 70, kind: 'folder', order: 'by name', sortedByClass: true, lossy: [] });
      expect(record.network).toEqual({ name: 'pixels', description: 'pixels averaged to 8 x 8' });
      expect(record.computation.tf32).toMatch(/no GPU/);
      expect(record.skipped).toEqual({ is: 'the network has no logits.' });
      expect(record.warnings.join('\n')).toMatch(/sorted by class[\s\S]*70 samples for 192 dimensions[\s\S]*reference is of 80 images/);
      distances.push(record.metrics.fd.distance);
    }
    expect(distances[1]).toBeGreaterThan(10 * distances[0]!);
    const limited = await evaluate(at('near'), at('real'), '--limit', '50', '--out', at('limited.json'));
    expect(limited.out).toMatch(/FD \(pixels\) +\d/);
    const { out } = await run(['compare', at('near.json'), at('limited.json')]).ended;
    expect(out).toMatch(/warning: the number of samples differs \(70; 50\)/);
  });

  test('statistics of one run are the reference of the next', async () => {
    expect((await evaluate(at('real'), '--metrics', 'fd', '--save-statistics', at('real.npz'))).code).toBe(0);
    const [images, statistics] = [
      JSON.parse((await evaluate(at('far'), at('real'), '--metrics', 'fd', '--json')).out),
      JSON.parse((await evaluate(at('far'), at('real.npz'), '--json')).out),
    ];
    expect(statistics.metrics.fd.distance).toBeCloseTo(images.metrics.fd.distance, 4);
    expect(statistics.reference).toMatchObject({ count: 80, statistics: true });
    expect(statistics.skipped.kd).toMatch(/no images, only statistics/);
  });

  test.each([
    ['a folder that is not there', ['absent'], 7, /no file or folder/],
    ['statistics as samples', ['real.npz'], 2, /statistics but no images/],
    ['a metric that is not there', ['near', 'real', '--metrics', 'fid'], 2, /there is no "fid"; expected all, or some of fd/],
    ['a file of another kind', ['near.json'], 7, /neither a folder nor an .npz/],
  ])('%s is refused', async (_, [set, ...rest], code, message) => {
    const outcome = await evaluate(at(set!), ...rest.map((arg) => (arg === 'real' ? at(arg) : arg)));
    expect(outcome).toMatchObject({ code, out: '' });
    expect(outcome.err).toMatch(message);
  });

  test('weights that are not on the machine are asked for, before any work', async () => {
    const { code, err } = await run(['evaluate', at('near'), at('real'), '--backend', 'cpu', '--network-weights', at('absent.pth')]).ended;
    expect(code).toBe(7);
    expect(err).toMatch(/no file .*absent.pth. Get it from https:.*pt_inception-2015-12-05-6726825d.pth/);
    const cache = await run(['evaluate', at('near'), '--backend', 'cpu', '--network', 'clip'], { DIT_MOE_CACHE_DIR: folder }).ended;
    expect(cache.err).toMatch(/"clip" \(CMMD.*put it into .*weights as clip-vit-large-patch14-336/);
  });

  test('an image that cannot be decoded is named', async () => {
    await writeImages('broken', 4, 10);
    await fs.writeFile(at('broken/cat/0.png'), 'not an image');
    const { code, err } = await evaluate(at('broken'), at('real'));
    expect(code).toBe(7);
    expect(err).toMatch(/broken\/cat\/0.png cannot be decoded/);
  });
});
