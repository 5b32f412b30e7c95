import fs from 'node:fs';
import os from 'node:os';
import type { ModelCard } from '@dit-moe/dit';
import { expect, test, vi } from 'vitest';
import { threadsOf } from './open-pipeline.js';

const card = (hiddenSize: number, inChannels = 3) => ({ config: { hiddenSize, inChannels } }) as ModelCard;

test('narrow models of pixels share the cores out among ops, unless a wider one or an autoencoder goes with them', () => {
  expect(threadsOf([card(64), card(96, 1)])).toMatchObject({ threads: 1 });
  expect(threadsOf([card(64), card(384)])).toBeUndefined();
  expect(threadsOf([card(64), card(64, 4)])).toBeUndefined();
});

test('in int8 they do on few cores whatever their width, with an autoencoder, too, where the processor has int8 products', () => {
  const flags = vi.spyOn(fs, 'readFileSync').mockReturnValue('flags : avx2 avx512_vnni');
  const cores = vi.spyOn(os, 'availableParallelism').mockReturnValue(2);
  expect(threadsOf([card(384, 4)], 'int8')).toEqual({ threads: 1, interOpThreads: 2 });
  flags.mockReturnValue('flags : avx2');
  expect(threadsOf([card(384, 4)], 'int8')).toBeUndefined();
  flags.mockReturnValue('flags : avx2 avx512_vnni');
  cores.mockReturnValue(16);
  expect(threadsOf([card(384, 4)], 'int8')).toBeUndefined();
  vi.restoreAllMocks();
});
