import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import YAML from 'yaml';
import { pushCommand } from './push-to-hub.js';

let folder: string;
let asked: string[];
const weights = 'weights';
const hash = createHash('sha256').update(weights).digest('hex');
/** A hub that knows who asks, and has no repository. */
const server = http.createServer((request, response) => {
  asked.push(`${request.method} ${request.url}`);
  const known = request.url === '/api/whoami-v2';
  response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(known ? { name: 'me', type: 'user', orgs: [], auth: { type: 'access_token' } } : { error: 'none' }));
});

beforeEach(async () => {
  asked = [];
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'push-'));
  fs.writeFileSync(path.join(folder, 'README.md'), `---\nlicense: mit\n---\n# A model, step 5\n\n| sha256 | ${hash} |\n`);
  fs.writeFileSync(path.join(folder, 'model.safetensors'), weights);
  fs.mkdirSync(path.join(folder, '.git'));
  for (const hidden of ['.DS_Store', '.git/config']) fs.writeFileSync(path.join(folder, hidden), '');
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  vi.stubEnv('HF_TOKEN', 'hf_secret');
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  fs.rmSync(folder, { recursive: true });
});

test('a dry run shows what would be sent, without hidden files, and only asks', async () => {
  const log = vi.spyOn(console, 'log').mockReturnValue();
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  expect(await pushCommand(folder, 'me/model', { public: false, dryRun: true, json: true })).toBe(0);
  expect(await pushCommand(folder, 'me/model', { public: false, dryRun: true, json: false })).toBe(0);
  const [json, text] = log.mock.calls.map(([line]) => line as string);
  expect(JSON.parse(json)).toMatchObject({
    dryRun: true,
    isNew: true,
    files: [{ path: 'README.md', state: 'new' }, { path: 'model.safetensors' }],
  });
  expect(text).toMatch(/^new +\d+ {2}README\.md\nnew +7 {2}model\.safetensors\nNothing was sent\. .*a new private repository: http/);
  expect(json + text).not.toContain('hf_secret');
  expect(asked.every((what) => what.startsWith('GET '))).toBe(true);
});

const models = new URL('../../../../packages/models/models/', import.meta.url);

test.each(fs.readdirSync(models))(
  'the model %s in the box can be published as it is: licence of its package, task, evaluation',
  async (name) => {
    const log = vi.spyOn(console, 'log').mockReturnValue();
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const bundle = fileURLToPath(new URL(name, models));
    expect(await pushCommand(bundle, 'me/model', { public: true, dryRun: true, json: true })).toBe(0);
    expect(JSON.parse(log.mock.calls[0][0] as string).files).toHaveLength(4);
    const [, head] = /^---\n(.*?\n)---\n/s.exec(fs.readFileSync(path.join(bundle, 'README.md'), 'utf8'))!;
    const { license } = JSON.parse(fs.readFileSync(new URL('../package.json', models), 'utf8'));
    const results = [{ metrics: [{ type: 'fd-classifier' }, { type: 'accuracy', value: expect.any(Number) }] }];
    expect(YAML.parse(head)).toMatchObject({
      ...{ license: license.toLowerCase(), library_name: 'dit-moe', pipeline_tag: 'unconditional-image-generation' },
      'model-index': [{ results }],
    });
  },
);

test.each<[string, () => void, RegExp]>([
  ['a page without a licence', () => fs.writeFileSync(path.join(folder, 'README.md'), `# A model\n${hash}`), /nothing of the licence/],
  ['a page of other weights', () => fs.writeFileSync(path.join(folder, 'model.safetensors'), 'others'), /is of other weights/],
  ['a folder without weights', () => fs.rmSync(path.join(folder, 'model.safetensors')), /has no model\.safetensors/],
  ['a head that is no YAML', () => fs.writeFileSync(path.join(folder, 'README.md'), '---\nlicense: [\n---\n# A\n'), /README\.md.*YAML/],
])('%s is refused before the hub is asked', async (_, spoil, message) => {
  spoil();
  await expect(pushCommand(folder, 'me/model', { public: false, dryRun: false, json: false })).rejects.toThrow(message);
  expect(asked).toEqual([]);
});
