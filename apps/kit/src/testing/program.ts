/** For tests: a program that can end in every way. */
import { setTimeout } from 'node:timers/promises';
import { ArgumentError } from '@dit-moe/tensor-ops/errors';
import { WriteError } from '@dit-moe/tensor-ops/io/node';
import { Argument, Option } from 'commander';
import { OutputError } from '../errors.js';
import { commonExitCodes } from '../exit-code-table.js';
import { exitCodes } from '../exit-codes.js';
import { main } from '../main.js';
import { integer } from '../options.js';
import type { CommandEntry } from '../program.js';
import { interruption, untilSignal } from '../signals.js';

const failures: Readonly<Record<string, () => unknown>> = {
  defect: () => new TypeError('x is not a function'),
  argument: () => new ArgumentError('--x', 'a number', 'y'),
  output: () => new OutputError('It is there already.'),
  write: () => new WriteError('Cannot write x.'),
  enoent: () => Object.assign(new Error('ENOENT'), { code: 'ENOENT', syscall: 'open', path: '/nowhere' }),
  erofs: () => Object.assign(new Error('EROFS'), { code: 'EROFS', syscall: 'mkdir', path: '/readonly' }),
};

const commands: Readonly<Record<string, CommandEntry>> = {
  fail: {
    group: 'Tests',
    description: 'throw an error',
    arguments: [new Argument('<how>', 'which error').choices(Object.keys(failures))],
    options: [
      new Option('--times <n>', 'how often').argParser(integer(1)),
      new Option('--colour <name>', 'of it').choices(['red', 'green']),
    ],
    examples: ['fail defect'],
    moreNotes: async () => 'There is more to say.',
    run: (how: string) => Promise.reject(failures[how]()),
  },
  convert: {
    group: 'Tests',
    description: 'fail with a code of its own',
    options: [],
    examples: ['convert'],
    codes: { E_OUTPUT: exitCodes.data },
    run: () => Promise.reject(new OutputError('Here it is data.')),
  },
  work: {
    group: 'Tests',
    description: 'work until a signal, then save for a while',
    options: [],
    examples: ['work'],
    run: async () => {
      const stop = interruption((cause) => console.error(`${cause}: saving`));
      for (let i = 0; !stop.signal.aborted; i++) {
        console.log(`step ${i}`);
        await setTimeout(10);
      }
      await setTimeout(300);
      stop.release();
      return exitCodes.interrupted;
    },
  },
  print: {
    group: 'Tests',
    description: 'print without an end',
    options: [],
    examples: ['print'],
    run: async () => {
      for (let i = 0; ; i++) {
        console.log(`line ${i}`);
        await setTimeout(1);
      }
    },
  },
  wait: {
    group: 'Tests',
    description: 'wait for a signal',
    options: [],
    examples: ['wait'],
    run: async () => {
      const alive = setInterval(() => {}, 1000);
      await untilSignal(() => console.log('waiting'));
      clearInterval(alive);
      return exitCodes.ok;
    },
  },
};

await main({
  name: 'tester',
  description: 'Ends in every way.',
  version: () => '1.2.3',
  codes: commonExitCodes,
  commands,
  examples: ['fail defect    a stack'],
});
