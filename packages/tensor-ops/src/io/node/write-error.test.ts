import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { createFolderAtomically, writeAtomically, writeFileAtomically } from './atomic.js';
import { makeFolder } from './make-folder.js';
import { asWriteError, WriteError } from './write-error.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'write-error-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
const at = (...parts: string[]): string => path.join(root, ...parts);
fs.writeFileSync(at('file'), '');
fs.mkdirSync(at('folder', 'content'), { recursive: true });
fs.symlinkSync(at('nowhere', 'deeper'), at('dangling'));
fs.symlinkSync(at('circle-b'), at('circle-a'));
fs.symlinkSync(at('circle-a'), at('circle-b'));

test.each([
  ['in a folder that does not exist', () => writeFileAtomically(at('missing', 'x'), ''), /does not exist/],
  ['below a file', () => writeFileAtomically(at('file', 'x'), ''), /a part of the path is a file/],
  ['onto a folder', () => writeFileAtomically(at('folder'), ''), /it is a folder/],
  ['with a name that is too long', () => writeFileAtomically(at('n'.repeat(300)), ''), /name is too long/],
  ['a folder below a file', () => makeFolder(at('file', 'x')), /a part of the path is a file/],
  ['a folder in place of a file', () => makeFolder(at('file')), /a file is in the way/],
  ['a folder below a link to nothing', () => makeFolder(at('dangling', 'x')), /link leads to nothing/],
  ['a folder in place of a link to nothing', () => makeFolder(at('dangling')), /link leads to nothing/],
  ['a folder below links in a circle', () => makeFolder(at('circle-a', 'x')), /lead in a circle/],
  ['a folder with a name that is too long', () => makeFolder(at('n'.repeat(300), 'x')), /name is too long/],
  ['a whole folder onto one with content', () => createFolderAtomically(at('folder'), async () => {}), /with content is in the way/],
])('%s: a sentence, and nothing left behind', async (_, write, sentence) => {
  const before = fs.readdirSync(root).sort();
  const error = await write().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(WriteError.isInstance(error)).toBe(true);
  expect((error as Error).message).toMatch(sentence);
  expect((error as Error).message).toContain(root);
  expect(fs.readdirSync(root).sort()).toEqual(before);
});

test('what is read while a file is written keeps its own error', async () => {
  const reading = writeAtomically(at('new'), async () => void (await fs.promises.readFile(at('missing'))));
  await expect(reading).rejects.toMatchObject({ code: 'ENOENT', path: at('missing') });
  const defect = new Error('a defect');
  await expect(writeAtomically(at('new'), () => Promise.reject(defect))).rejects.toBe(defect);
  expect(asWriteError(defect, 'x')).toBe(defect);
});

test.skipIf(!fs.existsSync('/dev/full'))('a full disk', async () => {
  const full = await fs.promises.open('/dev/full', 'w');
  const writing = writeAtomically(at('new'), async () => full.appendFile('x'));
  await expect(writing).rejects.toThrow(/no space is left on the disk. Free some/);
  await full.close();
});
