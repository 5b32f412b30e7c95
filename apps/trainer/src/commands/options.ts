/** What the values of options may be, and the options that several commands have. */
import { InvalidArgumentError, Option } from 'commander';
import { presets } from '../config/presets.js';

/** A whole number of at least `least`. */
export const integer = (least: number) => (text: string) => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least)
    throw new InvalidArgumentError(`Expected ${least === 1 ? 'a positive integer' : `an integer of at least ${least}`}.`);
  return value;
};
/** A number of at least 0. */
export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError('Expected a number of at least 0.');
  return value;
};
/** A number from 0 to 1. */
export const share = (text: string): number => {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('Expected a number from 0 to 1.');
  return value;
};
/** A number above 0. */
export const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('Expected a positive number.');
  return value;
};

export const backend = () =>
  new Option('--backend <name>', 'where to compute').choices(['auto', 'tensorflow', 'wasm', 'cpu']).default('auto');
export const threads = (without = 'all cores') =>
  new Option('--threads <n>', `threads of one operation (default: ${without})`).argParser(integer(1));
export const json = () => new Option('--json', 'print the result as JSON').default(false);
export const set = () => new Option('--set <key=value...>', 'override a setting, such as optimizer.learningRate=1e-3').default([]);
export const preset = () => new Option('--preset <name>', 'start from these settings').choices(Object.keys(presets));
export const weights = () =>
  new Option('--weights <kind>', 'ema (the first average), another average such as ema-0.999, or weights (the last ones)').default('ema');
