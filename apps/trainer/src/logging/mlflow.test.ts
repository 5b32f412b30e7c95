import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseConfig, resolveConfig } from '../config/resolve.js';
import { MlflowTracker } from './mlflow.js';
import { type FolderOfRun, lineOf, makeRunFolder } from './testing/run-folder.js';

interface Request {
  what: string;
  body: Record<string, unknown>;
  authorization: string | undefined;
}

/** A server that keeps one experiment and one run. */
function makeServer() {
  const requests: Request[] = [];
  const kept = { experiment: false, artifacts: 'mlflow-artifacts:/1/r1/artifacts', refuse: '', step: 0, params: [] as { key: string }[] };
  const answers: Record<string, (body: Record<string, unknown>) => object> = {
    'GET experiments/get-by-name': () =>
      kept.experiment ? { experiment: { experiment_id: '1' } } : { error_code: 'RESOURCE_DOES_NOT_EXIST', message: 'none' },
    'POST experiments/create': () => {
      kept.experiment = true;
      return { experiment_id: '1' };
    },
    'POST runs/create': () => ({ run: { info: { run_id: 'r1', artifact_uri: kept.artifacts } } }),
    'GET runs/get': () => ({
      run: {
        info: { run_id: 'r1', artifact_uri: kept.artifacts },
        data: { metrics: [{ key: 'loss', step: String(kept.step) }], params: kept.params },
      },
    }),
    'POST runs/log-batch': ({ params = [] }) => {
      kept.params.push(...(params as { key: string }[]));
      return {};
    },
    'POST runs/update': () => ({}),
  };
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const what = `${request.method} ${request
      .url!.replace(/\?.*/, '')
      .replace('/api/2.0/', '')
      .replace(/^mlflow\//, '')}`;
    const body = request.method === 'POST' ? JSON.parse(bytes.toString()) : { bytes: bytes.length };
    requests.push({ what, body, authorization: request.headers.authorization });
    const refused = kept.refuse !== '' && what.includes(kept.refuse);
    const answer = refused ? { error_code: 'BAD_REQUEST', message: 'not so' } : (answers[what]?.(body) ?? {});
    response.writeHead('error_code' in answer ? (refused ? 400 : 404) : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  });
  return { server, requests, kept };
}

let run: FolderOfRun;
let made: ReturnType<typeof makeServer>;
let address: string;
beforeEach(async () => {
  run = makeRunFolder();
  made = makeServer();
  await new Promise<void>((resolve) => made.server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(made.server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  run.remove();
  made.server.closeAllConnections();
  await new Promise((resolve) => made.server.close(resolve));
});

const open = (environment = {}) => new MlflowTracker(run, { server: `${address}/`, experiment: 'digits' }, environment);
const whats = (): string[] => made.requests.map(({ what }) => what);
const batches = (name: 'metrics' | 'params') =>
  made.requests.flatMap(({ body }) =>
    body[name] === undefined ? [] : [body[name] as { key: string; value: unknown; step: number; timestamp: number }[]],
  );

test('experiment and run are made, and get settings, metrics in batches, samples and the end', async () => {
  // 8 numbers a line: more than a batch holds.
  for (let step = 1; step <= 130; step++) run.lines().push(lineOf(step));
  run.lines()[2].loss = Number.NaN;
  run.lines()[3].loss = Number.NEGATIVE_INFINITY;
  // As it is read back from a file.
  run.lines()[4].loss = null as never;
  run.addSamples(100);
  const tracker = open();
  await tracker.update(100);
  await tracker.finish(130, 'finished');
  expect(whats().slice(0, 3)).toEqual(['GET experiments/get-by-name', 'POST experiments/create', 'POST runs/create']);
  const params = Object.fromEntries(
    batches('params')
      .flat()
      .map(({ key, value }) => [key, value]),
  );
  expect(params).toMatchObject({ 'optimizer.learningRate': '0.0015', 'objective.kind': 'flow', ema: '[0.99]' });
  for (const batch of batches('metrics')) expect(batch.length).toBeLessThanOrEqual(1000);
  const losses = batches('metrics')
    .flat()
    .filter(({ key }) => key === 'loss');
  expect(losses.map(({ step }) => step)).toEqual(run.lines().map(({ step }) => step));
  expect(losses.slice(1, 5).map(({ value }) => value)).toEqual([0.5, 'NaN', '-Infinity', 'NaN']);
  expect(losses[0].timestamp).toBe(run.lines()[0].at);
  expect(whats()).toContain('PUT mlflow-artifacts/artifacts/1/r1/artifacts/samples/step-00000100.png');
  expect(made.requests.at(-1)).toMatchObject({ what: 'POST runs/update', body: { run_id: 'r1', status: 'FINISHED' } });
});

test('a run that goes on is the same on the server, and what is there is not sent again', async () => {
  run.lines().push(lineOf(5), lineOf(10));
  await open().finish(10, 'interrupted');
  expect(made.requests.at(-1)!.body['status']).toBe('KILLED');
  made.requests.splice(0);
  made.kept.step = 10;
  run.lines().push(lineOf(15));
  const tracker = open();
  await tracker.update(15);
  expect(whats()).toEqual(['GET runs/get', 'POST runs/update', 'POST runs/log-batch']);
  expect(
    batches('metrics')
      .flat()
      .map(({ step }) => step)
      .every((step) => step === 15),
  ).toBe(true);
  made.requests.splice(0);
  await tracker.rewind(5);
  await tracker.update(10);
  expect(
    new Set(
      batches('metrics')
        .flat()
        .map(({ step }) => step),
    ),
  ).toEqual(new Set([10]));
});

test('a run that was killed goes on as the same one: neither samples are left out nor steps sent twice', async () => {
  run.lines().push(lineOf(5), lineOf(10));
  run.addSamples(10);
  const killed = open();
  await killed.update(10);
  expect(whats().indexOf('PUT mlflow-artifacts/artifacts/1/r1/artifacts/samples/step-00000010.png')).toBeLessThan(
    whats().lastIndexOf('POST runs/log-batch'),
  );
  // It is resumed from step 5.
  made.requests.splice(0);
  made.kept.step = 10;
  const resumed = open();
  await resumed.update(5);
  await resumed.update(10);
  expect(whats()).toEqual(['GET runs/get', 'POST runs/update']);
  expect(made.requests[1].body).toEqual({ run_id: 'r1', status: 'RUNNING' });
  run.lines().push(lineOf(15));
  await resumed.finish(15, 'finished');
  expect(
    new Set(
      batches('metrics')
        .flat()
        .map(({ step }) => step),
    ),
  ).toEqual(new Set([15]));
});

describe('what goes wrong', () => {
  test('samples that the server does not take keep no numbers back, and are tried again', async () => {
    run.lines().push(lineOf(5));
    run.addSamples(5);
    made.kept.refuse = 'PUT';
    const tracker = open();
    await expect(tracker.update(5)).rejects.toThrow(/refuses mlflow-artifacts/);
    expect(batches('metrics').flat()).toHaveLength(8);
    made.kept.refuse = '';
    made.requests.splice(0);
    await tracker.update(5);
    expect(whats()).toContain('PUT mlflow-artifacts/artifacts/1/r1/artifacts/samples/step-00000005.png');
  });

  test('a batch that the server refuses is sent again, and its reason is told', async () => {
    run.lines().push(lineOf(5));
    const tracker = open();
    made.kept.refuse = 'log-batch';
    await expect(tracker.update(5)).rejects.toThrow(/refuses mlflow\/runs\/log-batch \(400: not so\)/);
    made.kept.refuse = '';
    made.requests.splice(0);
    await tracker.update(5);
    expect(batches('metrics').flat()).toHaveLength(8);
    // The settings, which were refused, too.
    expect(batches('params').flat().length).toBeGreaterThan(20);
  });

  test('a server that is not there', async () => {
    const tracker = new MlflowTracker(run, { server: 'http://127.0.0.1:2', experiment: 'a' }, {});
    await expect(tracker.update(1)).rejects.toThrow(/^http:\/\/127\.0\.0\.1:2 cannot be reached \(/);
  });

  test('a server that does not keep artifacts itself: said once, and the metrics arrive', async () => {
    made.kept.artifacts = 's3://bucket/1/r1/artifacts';
    run.lines().push(lineOf(5));
    run.addSamples(5);
    await open().update(5);
    expect(run.said).toEqual([expect.stringMatching(/^MLflow gets no samples: .* s3\.$/)]);
    expect(whats().some((what) => what.startsWith('PUT'))).toBe(false);
  });

  test('an address that is none, or has a password, is refused before anything is done', () => {
    const config = (server: string) => () =>
      parseConfig(resolveConfig({ preset: 'digits', overrides: [`logging.mlflow.server=${server}`] }));
    expect(config('somewhere')).toThrow(/logging\.mlflow\.server: expected an http or https address/);
    expect(config('http://me:secret@127.0.0.1')).toThrow(/found "http:\/\/\.\.\.@127\.0\.0\.1"/);
    expect(config('http://me:secret@127.0.0.1')).not.toThrow(/secret/);
  });
});

test.each([
  ['a token', { MLFLOW_TRACKING_TOKEN: 'abc', MLFLOW_TRACKING_USERNAME: 'me' }, 'Bearer abc'],
  ['user and password', { MLFLOW_TRACKING_USERNAME: 'me', MLFLOW_TRACKING_PASSWORD: 'pw' }, 'Basic bWU6cHc='],
  ['nothing', {}, undefined],
])('who writes is told by %s, which no file has', async (_, environment, header) => {
  await open(environment).update(1);
  expect(new Set(made.requests.map(({ authorization }) => authorization))).toEqual(new Set([header]));
  expect(fs.readFileSync(path.join(run.out, 'mlflow.json'), 'utf8')).not.toMatch(/abc|pw/);
});
