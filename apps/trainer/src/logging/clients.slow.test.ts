/** What is logged, as the places that it is for read it: MLflow's server and client, and the upload of Weights & Biases' client. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isMissing, python } from '../testing/loggers.js';
import { MlflowTracker } from './mlflow.js';
import { type FolderOfRun, lineOf, makeRunFolder } from './testing/run-folder.js';
import { WandbTracker } from './wandb.js';

let run: FolderOfRun;
beforeEach(() => {
  run = makeRunFolder();
  run.lines().push(lineOf(5), lineOf(10, { loss: Number.NaN }), lineOf(15, { gradNorm: Number.POSITIVE_INFINITY }));
  run.addSamples(10);
});
afterEach(() => run.remove());

const readBack = `
import json, os, sys
import mlflow
client = mlflow.MlflowClient(sys.argv[1])
run = client.get_run(json.load(open(sys.argv[2]))["run"])
history = lambda key: [[m.step, repr(m.value)] for m in client.get_metric_history(run.info.run_id, key)]
print(json.dumps({
    "runs": len(client.search_runs([run.info.experiment_id])),
    "status": run.info.status,
    "ended": run.info.end_time is not None,
    "rate": run.data.params["optimizer.learningRate"],
    "loss": history("loss"),
    "gradNorm": history("gradNorm"),
    "samples": os.path.getsize(client.download_artifacts(run.info.run_id, "samples/step-00000010.png")),
}))
`;

test.skipIf(isMissing('mlflow.server'))('MLflow', { timeout: 180_000 }, async () => {
  const port = 20_000 + (process.pid % 20_000);
  const server = `http://127.0.0.1:${port}`;
  const stores = ['--backend-store-uri', `sqlite:///${run.out}/mlflow.db`, '--artifacts-destination', path.join(run.out, 'artifacts')];
  const serving: ChildProcess = spawn(python, ['-m', 'mlflow', 'server', '--port', String(port), '--workers', '1', ...stores], {
    stdio: 'ignore',
    detached: true,
  });
  try {
    for (let waited = 0; waited < 120; waited++) {
      if ((await fetch(`${server}/health`).catch(() => undefined))?.ok === true) break;
      await setTimeout(1000);
    }
    const open = () => new MlflowTracker(run, { server, experiment: 'digits' }, {});
    // Its process is killed: nobody ends the run, and the one that resumes the training goes on with it.
    await open().update(10);
    await open().finish(15, 'finished');
    const read = execFileSync(python, ['-c', readBack, server, path.join(run.out, 'mlflow.json')], { encoding: 'utf8', stdio: 'pipe' });
    expect(JSON.parse(read.trim().split('\n').at(-1)!)).toEqual({
      runs: 1,
      status: 'FINISHED',
      ended: true,
      rate: '0.0015',
      loss: [
        [5, '0.2'],
        [10, 'nan'],
        [15, String(1 / 15)],
      ],
      // Some of its stores keep the largest number in place of infinity.
      gradNorm: [
        [5, '2.0'],
        [10, '2.0'],
        [15, expect.stringMatching(/^inf$|e\+308$/)],
      ],
      samples: fs.statSync(path.join(run.out, 'samples', 'step-00000010.png')).size,
    });
  } finally {
    process.kill(-serving.pid!, 'SIGTERM');
  }
});

/** So much of the server of Weights & Biases as its client's upload needs. */
function standIn() {
  const received = { history: [] as Record<string, unknown>[], files: [] as string[], ended: [] as unknown[] };
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const raw = Buffer.concat(chunks);
    const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw;
    let data: object = {};
    if (request.url === '/graphql') {
      const { query, variables = {} } = JSON.parse(body.toString());
      const own = `http://${request.headers.host}/put/`;
      const bucket = { id: 'b', name: variables.name ?? '', config: '{}', project: { name: variables.project, entity: { name: 'team' } } };
      if (query.includes('viewer')) data = { viewer: { id: 'u', entity: 'team', username: 'me', flags: '{}', teams: { edges: [] } } };
      if (query.includes('serverInfo')) data = { ...data, serverInfo: { features: [] } };
      if (query.includes('upsertBucket')) data = { upsertBucket: { bucket, inserted: true } };
      if (query.includes('createRunFiles')) {
        const files = variables.files.map((name: string) => ({ name, uploadUrl: own + name }));
        data = { createRunFiles: { runID: 'r', uploadHeaders: [], files } };
      }
      data = { data };
    } else if (request.url!.endsWith('/file_stream')) {
      const { files, ...rest } = JSON.parse(body.toString());
      received.history.push(
        ...(files?.['wandb-history.jsonl']?.content ?? []).map((line: string) => JSON.parse(line.replace(/:(NaN|-?Infinity)/g, ':"$1"'))),
      );
      if (rest.complete) received.ended.push(rest.exitcode);
    } else if (request.method === 'PUT') received.files.push(request.url!.slice('/put/'.length));
    response.setHeader('content-type', 'application/json').end(JSON.stringify(data));
  });
  return { server, received };
}

test.skipIf(isMissing('wandb'))('the upload of Weights & Biases', { timeout: 120_000 }, async () => {
  const { server, received } = standIn();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const env = {
    ...process.env,
    ...{ HOME: run.out, WANDB_API_KEY: 'a'.repeat(40), WANDB_BASE_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
  };
  try {
    const tracker = await WandbTracker.open(run, { project: 'digits' });
    await tracker.update(5);
    await tracker.finish(15, 'finished');
    const sync = spawn(python, ['-m', 'wandb', 'sync', '--yes', tracker.folder], { env, stdio: 'ignore' });
    expect(await new Promise((resolve) => sync.once('exit', resolve))).toBe(0);
    expect(received.history).toMatchObject([
      { _step: 5, loss: 0.2 },
      { _step: 10, loss: 'NaN', samples: { _type: 'image-file' } },
      { _step: 15, loss: 1 / 15 },
    ]);
    expect(received.files).toContainEqual(expect.stringMatching(/^media\/images\/samples_10_\w+\.png$/));
    expect(received.ended).toEqual([0]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
