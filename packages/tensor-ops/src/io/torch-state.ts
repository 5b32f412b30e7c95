/** What training scripts put into PyTorch files: state dicts in their usual containers, optimizer state, options. */
import { PickleObject } from './pickle.js';
import { FormatError } from './safetensors.js';
import { TorchTensor } from './torch-tensor.js';

/** A state dict and the container entry that it was found under; `''` if the file itself is one. */
export interface TorchStateDict {
  entry: string;
  tensors: Map<string, TorchTensor>;
}

/** Entries that hold weights, in the order of preference: averaged ones first, as the reference's loader does. */
const PREFERRED_ENTRIES = ['ema', 'model', 'state_dict', 'module'];

/** Names of entries that say an average. */
const AVERAGE = /(^|[._])(ema|averaged?|shadow)([._]|$)/;

/**
 * The state dict of a file: the entry `ema`, else `model`, `state_dict` or `module`, else the file itself if it has tensors, else
 * the only entry that has, or that is called an average; also in a dictionary in the file's (`ema.shadow`).
 * @param value of a {@link TorchFile}
 * @param entry to take this one instead
 * @throws FormatError if there is none, or if several and no preferred one; the message names them; or if the file is a whole pickled model
 */
export function findStateDict(value: unknown, where: string, entry?: string): TorchStateDict {
  if (value instanceof PickleObject)
    throw new FormatError(where, `it is a whole object of the class ${value.className}. Save the state_dict() of the model in its place.`);
  const root = value instanceof Map ? value : new Map<unknown, unknown>();
  const candidates = new Map<string, Map<string, TorchTensor>>();
  // By identity, because a hostile file can name one dictionary under a million entries.
  const known = new Map<unknown, Parts>();
  const look = (value: unknown): Parts => {
    const parts = known.get(value) ?? partsOf(value);
    known.set(value, parts);
    return parts;
  };
  for (const [name, inner] of [...root, ['', root] as const]) {
    if (typeof name !== 'string') continue;
    const isNew = !known.has(inner);
    const { tensors, inside } = look(inner);
    if (tensors.size > 0) candidates.set(name, tensors);
    else if (isNew && name !== '')
      for (const [deeper, value] of inside) {
        const { tensors } = look(value);
        if (tensors.size > 0) candidates.set(`${name}.${deeper}`, tensors);
      }
  }
  const preferred = [...PREFERRED_ENTRIES, ''].find((name) => candidates.has(name));
  const names = [...candidates.keys()];
  const averages = names.filter((name) => AVERAGE.test(name));
  const [only] = averages.length === 1 ? averages : names.length === 1 ? names : [];
  const found = entry ?? preferred ?? only;
  const tensors = found === undefined ? undefined : candidates.get(found);
  if (found === undefined || tensors === undefined)
    throw new FormatError(
      where,
      `${entry === undefined ? 'it is not clear which of its entries holds the weights' : `it has no tensors under "${entry}"`}. ` +
        (candidates.size > 0
          ? `Entries with tensors: ${names
              .slice(0, 20)
              .map((name) => JSON.stringify(name))
              .join(', ')}; name one.`
          : 'No entry of its dictionary has tensors.'),
    );
  return { entry: found, tensors };
}

interface Parts {
  tensors: Map<string, TorchTensor>;
  /** Dictionaries in it. */
  inside: [name: string, value: unknown][];
}

function partsOf(value: unknown): Parts {
  const parts: Parts = { tensors: new Map(), inside: [] };
  if (value instanceof Map)
    for (const [name, part] of value) {
      if (typeof name !== 'string') continue;
      if (part instanceof TorchTensor) parts.tensors.set(name, part);
      else if (part instanceof Map) parts.inside.push([name, part]);
    }
  return parts;
}

/** State of PyTorch's Adam and AdamW. Parameters have numbers, in the order in which the optimizer was given them. */
export interface TorchAdamState {
  groups: { lr: number; betas: [number, number]; eps: number; weightDecay: number; params: number[] }[];
  /** Absent for parameters that never had a gradient. */
  state: Map<number, { step: number | TorchTensor; expAvg: TorchTensor; expAvgSq: TorchTensor }>;
}

/**
 * Reads the `state_dict()` of an Adam or AdamW optimizer, usually entry `opt` or `optimizer` of a file.
 * @throws FormatError if the value is none
 */
export function torchAdamState(value: unknown, where: string): TorchAdamState {
  const get = (map: unknown, key: string): unknown => (map instanceof Map ? map.get(key) : undefined);
  const fail = (what: string): never => {
    throw new FormatError(where, `it is not the state of an Adam optimizer: ${what}.`);
  };
  const number = (map: unknown, key: string): number => {
    const found = get(map, key);
    return typeof found === 'number' ? found : fail(`"${key}" is not a number`);
  };
  const tensor = (map: unknown, key: string): TorchTensor => {
    const found = get(map, key);
    return found instanceof TorchTensor ? found : fail(`"${key}" is not a tensor`);
  };
  const [groups, state] = [get(value, 'param_groups'), get(value, 'state')];
  if (!Array.isArray(groups) || !(state instanceof Map)) return fail('"param_groups" or "state" is missing');
  return {
    groups: groups.map((group) => {
      const [betas, params] = [get(group, 'betas'), get(group, 'params')];
      if (!Array.isArray(betas) || betas.length !== 2 || betas.some((beta) => typeof beta !== 'number'))
        return fail('"betas" are not two numbers');
      if (!Array.isArray(params) || !params.every((n) => Number.isSafeInteger(n))) return fail('"params" are not numbers');
      const decay = number(group, 'weight_decay');
      return { lr: number(group, 'lr'), betas: betas as [number, number], eps: number(group, 'eps'), weightDecay: decay, params };
    }),
    state: new Map(
      [...state].map(([index, entry]) => {
        const step = get(entry, 'step');
        if (!Number.isSafeInteger(index) || !(typeof step === 'number' || step instanceof TorchTensor)) return fail('"step" is missing');
        return [index as number, { step, expAvg: tensor(entry, 'exp_avg'), expAvgSq: tensor(entry, 'exp_avg_sq') }];
      }),
    ),
  };
}

/** Most values and levels that {@link torchPlain} takes: a small pickle can refer to one list a million times. */
const MAX_PLAIN_VALUES = 100_000;
/** Deepest nesting of plain values in a PyTorch file. */
const MAX_PLAIN_DEPTH = 64;

/**
 * Options and other plain values as JSON could hold them: dictionaries and option records become objects without a prototype,
 * tensors the text `tensor F32 [2, 3]`, bytes arrays of numbers.
 * @throws FormatError beyond the limits above
 */
export function torchPlain(value: unknown, where: string): unknown {
  let count = 0;
  const convert = (v: unknown, depth: number): unknown => {
    if (++count > MAX_PLAIN_VALUES || depth > MAX_PLAIN_DEPTH)
      throw new FormatError(where, `its plain values are more than ${MAX_PLAIN_VALUES}, or nested more than ${MAX_PLAIN_DEPTH} deep.`);
    if (v instanceof TorchTensor) return `tensor ${v.dtype} [${v.shape.join(', ')}]`;
    if (v instanceof Map) {
      const record: Record<string, unknown> = Object.create(null);
      for (const [key, inner] of v)
        record[typeof key === 'object' ? `(key ${Object.keys(record).length})` : String(key)] = convert(inner, depth + 1);
      return record;
    }
    if (v instanceof PickleObject) return convert(v.state, depth + 1);
    if (Array.isArray(v) || v instanceof Set) return [...v].map((inner) => convert(inner, depth + 1));
    if (v instanceof Uint8Array) return convert(Array.from(v), depth);
    if (typeof v === 'bigint') return v.toString();
    return v === null || ['boolean', 'number', 'string'].includes(typeof v) ? v : String((v as { name?: unknown }).name);
  };
  return convert(value, 0);
}

/** Objects named at most. */
const MOST_OBJECTS = 100;

/**
 * Objects of other programs, whose data are not read: `callbacks (pytorch_lightning.callbacks.Checkpoint)`, by the entries that lead to
 * them. Options (`argparse.Namespace`) are read, and not among them.
 */
export function torchObjects(value: unknown): string[] {
  const found: string[] = [];
  // By identity, because a hostile file can name one object under a million entries, or inside itself.
  const seen = new Set<unknown>();
  const visit = (v: unknown, place: string): void => {
    if (typeof v !== 'object' || v === null || seen.has(v) || seen.size > MAX_PLAIN_VALUES || found.length >= MOST_OBJECTS) return;
    seen.add(v);
    if (v instanceof PickleObject && v.className !== 'argparse.Namespace') found.push(`${place} (${v.className})`);
    else if (v instanceof PickleObject) visit(v.state, place);
    else if (v instanceof Map) for (const [key, inner] of v) visit(inner, place === '' ? String(key) : `${place}.${String(key)}`);
    else if (Array.isArray(v) && v.length <= MAX_PLAIN_VALUES) for (const [i, inner] of v.entries()) visit(inner, `${place}[${i}]`);
  };
  visit(value, '');
  return found;
}
