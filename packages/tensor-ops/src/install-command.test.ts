import { expect, test } from 'vitest';
import { installCommand } from './install-command.js';

test.each([
  ['file:///usr/local/lib/node_modules/@dit-moe/trainer/node_modules/@dit-moe/tensor-ops/dist/index.js', '/home/me', true],
  ['file:///home/me/.nvm/versions/node/v22.1.0/lib/node_modules/@dit-moe/tensor-ops/dist/index.js', '/home/me', true],
  ['file:///C:/Users/me/AppData/Roaming/npm/node_modules/@dit-moe/tensor-ops/dist/index.js', '/C:/Users/me', true],
  ['file:///home/me/project/node_modules/@dit-moe/tensor-ops/dist/index.js', '/home/me/project', false],
  // A project in a folder of that name.
  ['file:///home/me/lib/node_modules/@dit-moe/tensor-ops/dist/index.js', '/home/me/lib/src', false],
  ['file:///home/me/clone/packages/tensor-ops/dist/index.js', '/home/me/clone', false],
])('a program that lies in %s is helped, from %s, by an installation for all: %s', (self, project, isGlobal) => {
  expect(installCommand('koffi', self, project)).toBe(`npm install ${isGlobal ? '--global ' : ''}koffi`);
});

test('here it is one for this project', () => {
  expect(installCommand('koffi')).toBe('npm install koffi');
});
