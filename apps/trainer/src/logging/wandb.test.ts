import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RecordLog } from './record-log.js';
import { type FolderOfRun, lineOf, makeRunFolder } from './testing/run-folder.js';
import { readRecordLog, readWandbFile } from './testing/wandb-file.js';
import { WandbTracker } from './wandb.js';

let run: FolderOfRun;
beforeEach(() => void (run = makeRunFolder()));
afterEach(() => run.remove());

const open = () => WandbTracker.open(run, { project: 'digits', entity: 'team' });
function fileOf(): string {
  const [folder, ...others] = fs.readdirSync(path.join(run.out, 'wandb'));
  expect(others).toEqual([]);
  return path.join(run.out, 'wandb', folder, `run-${folder.slice(-8)}.wandb`);
}

test('records of any length come back, wherever they meet the end of a block', () => {
  const lengths = [0, 1, 32_741, 7, 32_754, 0, 32_761, 100_000, 32_748, 5, 32_755];
  for (let first = 0; first < 40; first++) {
    const records = [first, ...lengths].map((length, i) => Buffer.alloc(length, i + 1));
    const log = new RecordLog();
    const bytes = Buffer.concat(records.map((record) => log.encode(record)));
    expect(readRecordLog(bytes).map((record) => record.toString('hex'))).toEqual(records.map((record) => record.toString('hex')));
    if (first === 0) {
      bytes[40_000] ^= 1;
      expect(() => readRecordLog(bytes)).toThrow('damaged');
    }
  }
});

test('a run has its settings, a row for each step with what is not finite, and its samples', async () => {
  run.lines().push(lineOf(5), lineOf(10, { loss: Number.NaN, gradNorm: Number.POSITIVE_INFINITY, evaluation: { fid: 3 } }));
  run.addSamples(10);
  run.addSamples(15);
  const tracker = await open();
  await tracker.update(5);
  await tracker.update(10);
  await tracker.finish(15, 'finished');
  const { run: about, history, files, exits, numbers } = readWandbFile(fileOf());
  expect(about).toMatchObject({ project: 'digits', entity: 'team', name: path.basename(run.out), id: fileOf().slice(-14, -6) });
  expect(about['config']).toEqual(JSON.parse(JSON.stringify(run.config)));
  expect(history).toMatchObject([
    { _step: 5, loss: 0.2, _timestamp: 1_700_000_005 },
    { _step: 10, loss: Number.NaN, gradNorm: Number.POSITIVE_INFINITY, fid: 3 },
    { _step: 15, samples: { _type: 'image-file', width: 3, height: 2, format: 'png' } },
  ]);
  expect(Object.keys(history[2])).not.toContain('loss');
  const kept = files.map((place) => fs.readFileSync(path.join(path.dirname(fileOf()), 'files', place)));
  expect(kept).toEqual([10, 15].map((step) => fs.readFileSync(path.join(run.out, 'samples', `step-000000${step}.png`))));
  expect(exits).toEqual([0]);
  expect(numbers).toEqual(numbers.map((_, i) => i + 1));
});

test('a run that goes on, or back, is the same run, with what counts now', async () => {
  run.lines().push(lineOf(5), lineOf(10));
  const first = await open();
  await first.update(10);
  run.lines().splice(1, 1, lineOf(10, { loss: 7 }));
  await first.rewind();
  await first.update(10);
  await first.finish(10, 'interrupted');
  expect(readWandbFile(fileOf())).toMatchObject({ history: [{ loss: 0.2 }, { loss: 7 }], exits: [] });
  const { id } = readWandbFile(fileOf()).run;
  fs.writeFileSync(`${fileOf()}.synced`, '');
  run.lines().push(lineOf(15));
  const second = await open();
  await second.update(15);
  await second.finish(15, 'failed');
  const { run: about, history, exits } = readWandbFile(fileOf());
  expect([about['id'], history.map(({ _step }) => _step), exits]).toEqual([id, [5, 10, 15], [1]]);
  expect(fs.existsSync(`${fileOf()}.synced`)).toBe(false);
});

test('after a write that failed the file is written anew', async () => {
  run.lines().push(lineOf(5), lineOf(10));
  const tracker = await open();
  await tracker.update(5);
  const file = fileOf();
  fs.rmSync(file);
  fs.mkdirSync(file);
  await expect(tracker.update(10)).rejects.toMatchObject({ code: 'EISDIR' });
  fs.rmdirSync(file);
  await tracker.update(10);
  expect(readWandbFile(file).history.map(({ _step }) => _step)).toEqual([5, 10]);
});
