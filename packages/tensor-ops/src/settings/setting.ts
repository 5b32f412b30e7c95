/**
 * Settings as people write them in files: each with a description, a reader that is strict, and a JSON schema (draft 2020-12) for
 * editors and for HTTP.
 *
 * Of our own because the libraries that need it run in browsers, where it is 2.5 kB of compressed code; zod's small form, bundled with
 * what makes JSON schemas of it, is 14 kB (measured), and has no suggestions. An object's `fields` are open, so that applications compose
 * their configurations of those of the libraries.
 */
import { nearest } from './nearest.js';

/** What a JSON schema may hold here. */
export type JsonSchema = { readonly [key: string]: unknown };

/** Something that is not as a setting wants it. */
export interface Problem {
  /** Path, such as `model.moe.topK` or `ema[1]`; empty for the whole. */
  at: string;
  expected: string;
  found: unknown;
  hint?: string;
}

/** A value in a file: how it is read, what is wrong with it, and its schema. */
export interface Setting<T> {
  readonly schema: JsonSchema;
  /** The value as the program takes it; what is wrong with it is added to `problems`, and the result is then of no use. */
  read(value: unknown, at: string, problems: Problem[]): T;
  /** What it is, in an error: "a number above 0". */
  readonly expected: string;
}

/** What a setting reads. */
export type ValueOf<S> = S extends Setting<infer T> ? T : never;

/** A setting for every field of `T`, so that the compiler names those that are missing. */
export type FieldsOf<T> = { readonly [K in keyof T]-?: Setting<T[K]> };

function setting<T>(
  schema: JsonSchema,
  description: string | undefined,
  expected: string,
  accepts: (value: unknown) => boolean,
  hint?: (value: unknown) => string | undefined,
): Setting<T> {
  return {
    schema: { ...schema, ...(description !== undefined && { description }) },
    expected,
    read(value, at, problems) {
      if (!accepts(value)) {
        const help = hint?.(value);
        problems.push({ at, expected, found: value, ...(help !== undefined && { hint: help }) });
      }
      return value as T;
    },
  };
}

/** Limits of a number; `above` and `below` exclude the limit itself. */
export interface Range {
  least?: number;
  most?: number;
  above?: number;
  below?: number;
}

function rangeText({ least, most, above, below }: Range): string {
  if (least !== undefined && most !== undefined) return ` from ${least} to ${most}`;
  const parts = [
    least !== undefined && `of at least ${least}`,
    above !== undefined && `above ${above}`,
    most !== undefined && `of at most ${most}`,
    below !== undefined && `below ${below}`,
  ].filter((part) => part !== false);
  return parts.length === 0 ? '' : ` ${parts.join(' and ')}`;
}

const inRange = (value: number, { least, most, above, below }: Range): boolean =>
  !(value < least! || value > most! || value <= above! || value >= below!);

const rangeSchema = ({ least, most, above, below }: Range): JsonSchema => ({
  ...(least !== undefined && { minimum: least }),
  ...(most !== undefined && { maximum: most }),
  ...(above !== undefined && { exclusiveMinimum: above }),
  ...(below !== undefined && { exclusiveMaximum: below }),
});

/** A finite number. */
export const number = (description: string, range: Range = {}): Setting<number> =>
  setting(
    { type: 'number', ...rangeSchema(range) },
    description,
    `a number${rangeText(range)}`,
    (value) => typeof value === 'number' && Number.isFinite(value) && inRange(value, range),
  );

/** A whole number that is exact in JavaScript. */
export const integer = (description: string, range: Range = {}): Setting<number> =>
  setting(
    { type: 'integer', ...rangeSchema(range) },
    description,
    `an integer${rangeText(range)}`,
    (value) => Number.isSafeInteger(value) && inRange(value as number, range),
  );

/** True or false. */
export const flag = (description: string): Setting<boolean> =>
  setting({ type: 'boolean' }, description, 'true or false', (value) => typeof value === 'boolean');

/**
 * A text.
 * @param what it is, in an error
 */
export const text = (description: string, what = 'a text'): Setting<string> =>
  setting({ type: 'string' }, description, what, (value) => typeof value === 'string');

/** A number of narrower limits: what a program takes from strangers of what the library can do. */
export const within = (inner: Setting<number>, range: Range): Setting<number> => ({
  expected: `a number${rangeText(range)}`,
  schema: { ...inner.schema, ...rangeSchema(range) },
  read(value, at, problems) {
    const before = problems.length;
    const read = inner.read(value, at, problems);
    if (problems.length === before && !inRange(read, range)) problems.push({ at, expected: this.expected, found: value });
    return read;
  },
});

/** One of the values. */
export const word = <const W extends string | number | boolean>(words: readonly W[], description?: string): Setting<W> =>
  setting(
    { enum: words },
    description,
    listed(words.map(String)),
    (value) => words.includes(value as W),
    (value) => suggestion(value, words.map(String)),
  );

/** Elements that are all alike. */
export function list<T>(
  items: Setting<T>,
  description?: string,
  { least = 0, most = Number.POSITIVE_INFINITY }: Pick<Range, 'least' | 'most'> = {},
): Setting<T[]> {
  const expected =
    most < Number.POSITIVE_INFINITY ? `a list of ${least} to ${most}` : least === 0 ? 'a list' : `a list of at least ${least}`;
  return {
    schema: {
      type: 'array',
      items: items.schema,
      ...(least > 0 && { minItems: least }),
      ...(most < Number.POSITIVE_INFINITY && { maxItems: most }),
      ...(description !== undefined && { description }),
    },
    expected,
    read(value, at, problems) {
      if (Array.isArray(value) && value.length >= least && value.length <= most)
        return value.map((item, i) => items.read(item, `${at}[${i}]`, problems));
      problems.push({ at, expected, found: value });
      return [];
    },
  };
}

/** Two elements. */
export function pair<T>(item: Setting<T>, description: string): Setting<[T, T]> {
  const expected = 'a list of two';
  return {
    schema: { type: 'array', prefixItems: [item.schema, item.schema], items: false, minItems: 2, maxItems: 2, description },
    expected,
    read(value, at, problems) {
      if (!Array.isArray(value) || value.length !== 2) problems.push({ at, expected, found: value });
      else for (const [i, part] of value.entries()) item.read(part, `${at}[${i}]`, problems);
      return value as [T, T];
    },
  };
}

/** A setting that may be left out and is then not there. */
export interface Optional<T> extends Setting<T | undefined> {
  readonly optional: true;
}

/** May be left out; what that means belongs into the description. */
export const optional = <T>(inner: Setting<T>): Optional<T> => ({
  ...inner,
  optional: true,
  read: (value, at, problems) => (value === undefined ? undefined : inner.read(value, at, problems)),
});

/** Is `value` where it is left out. */
export const withDefault = <T>(inner: Setting<T>, value: T): Setting<T> => ({
  ...inner,
  schema: { ...inner.schema, default: value },
  read: (given, at, problems) => inner.read(given === undefined ? structuredClone(value) : given, at, problems),
});

type Fields = { readonly [name: string]: Setting<unknown> };
type OptionalKeys<F> = { [K in keyof F]: undefined extends ValueOf<F[K]> ? K : never }[keyof F];
type Flat<T> = { [K in keyof T]: T[K] };
/** What an object of these fields reads. */
export type ValuesOf<F> = Flat<{ [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]> } & { [K in OptionalKeys<F>]?: ValueOf<F[K]> }>;

/** A setting with fields. */
export interface ObjectSetting<F extends Fields> extends Setting<ValuesOf<F>> {
  readonly fields: F;
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** An object of any fields, for somebody else to read. */
export const record = (description: string): Setting<Record<string, unknown>> =>
  setting({ type: 'object' }, description, 'an object', isRecord);

/** An object with these fields and no others. */
export function object<const F extends Fields>(fields: F, description?: string): ObjectSetting<F> {
  const names = Object.keys(fields);
  const needed = names.filter((name) => !mayBeMissing(fields[name]));
  const expected = 'an object';
  return {
    fields,
    expected,
    schema: {
      type: 'object',
      properties: Object.fromEntries(names.map((name) => [name, fields[name].schema])),
      ...(needed.length > 0 && { required: needed }),
      additionalProperties: false,
      ...(description !== undefined && { description }),
    },
    read(value, at, problems) {
      if (!isRecord(value)) {
        problems.push({ at, expected, found: value });
        return {} as ValuesOf<F>;
      }
      const path = (name: string): string => (at === '' ? name : `${at}.${name}`);
      for (const name of Object.keys(value))
        if (!Object.hasOwn(fields, name)) {
          const missing = names.filter((known) => value[known] === undefined);
          const meant = nearest(name, missing) ?? nearest(name, names);
          const hint =
            meant === undefined ? `Settings${at === '' ? '' : ` of ${at}`}: ${names.join(', ')}.` : `Did you mean ${path(meant)}?`;
          problems.push({ at: path(name), expected: 'no such setting', found: value[name], hint });
        }
      const result: Record<string, unknown> = {};
      for (const name of names) {
        if (value[name] === undefined && !mayBeMissing(fields[name])) {
          problems.push({ at: path(name), expected: fields[name].expected, found: undefined });
          continue;
        }
        const read = fields[name].read(value[name], path(name), problems);
        if (read !== undefined) result[name] = read;
      }
      return result as ValuesOf<F>;
    },
  };
}

/** An object that may be left out: its fields then have their defaults, which all of them need. */
export function section<const F extends Fields>(fields: F, description: string): ObjectSetting<F> {
  const inner = object(fields, description);
  return { ...inner, schema: { ...inner.schema, default: {} }, read: (value, at, problems) => inner.read(value ?? {}, at, problems) };
}

const mayBeMissing = (field: Setting<unknown>): boolean => 'optional' in field || 'default' in field.schema;

/** One of several objects, told apart by the word in one of their fields. */
export function variants<K extends string, const V extends { readonly [kind: string]: Fields }>(
  key: K,
  kinds: V,
  description: string,
  /** The kind where the field is left out (default: it has to be there). */
  standard?: keyof V & string,
): Setting<{ [N in keyof V]: Flat<{ [P in K]: N } & ValuesOf<V[N]>> }[keyof V]> {
  const names = Object.keys(kinds);
  const objects = Object.fromEntries(
    names.map((name) => {
      const kind = word([name]);
      return [name, object({ [key]: name === standard ? withDefault(kind, name) : kind, ...kinds[name] })];
    }),
  );
  return {
    schema: { oneOf: names.map((name) => objects[name].schema), description },
    expected: 'an object',
    read(value, at, problems) {
      const name = isRecord(value) ? (value[key] ?? standard) : standard;
      if (isRecord(value) && !Object.hasOwn(objects, String(name))) {
        const hint = suggestion(name, names);
        problems.push({ at: at === '' ? key : `${at}.${key}`, expected: listed(names), found: name, ...(hint && { hint }) });
        return value as never;
      }
      return objects[String(name ?? names[0])].read(value, at, problems) as never;
    },
  };
}

/** One of several forms; the errors are those of the form that comes nearest. */
export function either<const S extends readonly Setting<unknown>[]>(forms: S, description: string): Setting<ValueOf<S[number]>> {
  return {
    schema: { anyOf: forms.map(({ schema }) => schema), description },
    expected: forms.map(({ expected }) => expected).join(', or '),
    read(value, at, problems) {
      let deepest: Problem[] = [];
      for (const form of forms) {
        const found: Problem[] = [];
        const read = form.read(value, at, found);
        if (found.length === 0) return read as ValueOf<S[number]>;
        if (found.every((problem) => problem.at !== at)) deepest = found;
      }
      const hint =
        typeof value === 'string'
          ? suggestion(value, forms.flatMap(({ schema }) => (schema['enum'] as unknown[]) ?? []).map(String))
          : undefined;
      problems.push(...(deepest.length > 0 ? deepest : [{ at, expected: this.expected, found: value, ...(hint && { hint }) }]));
      return value as never;
    },
  };
}

/** All fields optional: what a part of a configuration overrides. */
export const partial = <F extends Fields>(fields: F): { readonly [K in keyof F]: Optional<Exclude<ValueOf<F[K]>, undefined>> } =>
  Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, optional(field)])) as never;

const listed = (words: readonly string[]): string =>
  words.length === 1 ? words[0] : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;

function suggestion(found: unknown, words: readonly string[]): string | undefined {
  const meant = typeof found === 'string' ? nearest(found, words) : undefined;
  return meant === undefined ? undefined : `Did you mean ${meant}?`;
}
