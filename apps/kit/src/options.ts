/** What the values of options may be, and the options that both programs have. Each parser throws commander's error for what it does not take. */
import { readFileSync } from 'node:fs';
import type { BackendName } from '@dit-moe/tensor-ops/node';
import { InvalidArgumentError, Option } from 'commander';

/** A whole number of at least `least`, up to 2^53 - 1. */
export const integer =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`Expected ${least === 1 ? 'a positive integer' : `an integer of at least ${least}`}.`);
    return value;
  };

const units: Readonly<Record<string, number>> = { '': 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 };

/** A number of bytes with a unit, such as `60MB` (decimal) or `1GiB`; at least one. */
export function byteSize(text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(digits) * (units[unit?.toLowerCase()] ?? Number.NaN));
  if (!(bytes >= 1)) throw new InvalidArgumentError('Expected a size such as 60MB or 1GiB.');
  return bytes;
}

/** Limits of {@link number}; those that are not given do not limit. */
export interface Range {
  least?: number;
  most?: number;
  /** The number must be larger than this. */
  above?: number;
}

/** A finite number in a range. */
export const number =
  ({ least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY, above = Number.NEGATIVE_INFINITY }: Range = {}) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isFinite(value) && value >= least && value <= most && value > above) return value;
    const bounds = [
      ...(above > Number.NEGATIVE_INFINITY ? [`above ${above}`] : []),
      ...(least > Number.NEGATIVE_INFINITY ? [`of at least ${least}`] : []),
      ...(most < Number.POSITIVE_INFINITY ? [`of at most ${most}`] : []),
    ];
    throw new InvalidArgumentError(`Expected a number${bounds.length > 0 ? ` ${bounds.join(' and ')}` : ''}.`);
  };

/** Values separated by commas. */
export const list =
  <T>(parse: (text: string) => T) =>
  (text: string): T[] =>
    text.split(',').map(parse);

/** The words of a type as a list, for options: the compiler sees to it that none is missing, and the code behind the type is not loaded. */
export const words = <T extends string>(all: Record<T, true>): T[] => Object.keys(all) as T[];

const backends = words<BackendName>({ auto: true, tensorflow: true, wasm: true, cpu: true });

/** For work that array jobs share out. @param shards what a part has, such as `do every n-th shard, from shard k on` */
export const partOptions = (shards: string): Option[] => [
  new Option('--part <k/n>', `${shards} (default: the index of the array job, else all)`),
  new Option('--parts <n>', 'tasks of the array job, where the scheduler does not tell').argParser(integer(1)),
];

export const weightsOption = (): Option =>
  new Option(
    '--weights <name>',
    'of a run: ema (the first average), weights (the last ones), or another average such as ema-0.999; of a .pt file: its entry (default: the averaged ones)',
  );

/** `true` or `false`. */
const boolean = (text: string): boolean => {
  if (text !== 'true' && text !== 'false') throw new InvalidArgumentError('Expected true or false.');
  return text === 'true';
};

/** JSON, or a file of it; what it says is looked at where the model is opened. */
const jsonText = (text: string): unknown => {
  try {
    return JSON.parse(text.trimStart().startsWith('{') ? text : readFileSync(text, 'utf8'));
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
};

/** What files of others do not say of their model. */
export const foreignModelOptions = (): Option[] => [
  new Option('--heads <n>', 'attention heads of a model whose file does not say so').argParser(integer(1)),
  new Option('--config <json>', 'what else the file does not say, such as {"topK": 2, "inputSize": [32, 32]}; or a JSON file').argParser(
    jsonText,
  ),
  new Option('--strict <boolean>', 'false: leave out tensors that the model does not have (default: refuse them)').argParser(boolean),
  new Option('--objective <kind>', 'how a file that does not say so was trained').choices(['flow', 'ddpm']),
  new Option('--convention <whose>', 'of a file of SiT or LightningDiT that does not say so: their time and velocity').choices(['sit']),
  new Option('--time-scale <x>', 'of such flow models: what t in [0, 1] is multiplied with (default: 1)').argParser(number()),
];

export const jsonOption = () => new Option('--json', 'print the result as JSON').default(false);

/** @param without how many threads there are without the option */
export const backendOptions = (without = 'all cores'): Option[] => [
  new Option('--backend <name>', 'where to compute').choices(backends).default('auto').helpGroup('Machine:'),
  new Option('--threads <n>', `threads of one operation (default: ${without})`).argParser(integer(1)).helpGroup('Machine:'),
];
