/** How golden folders are found, read and compared; see docs/contributing/parity.md for the layout. */
import fs from 'node:fs';
import path from 'node:path';
import { decodeSafetensors, type HostTensor } from '@dit-moe/tensor-ops/io';

/** One compared quantity. `tolerance` is what `|actual - expected| <= atol + rtol |expected|` was checked with, element by element. */
export interface Comparison {
  name: string;
  passed: boolean;
  maxAbsError: number;
  maxRelError: number;
  /** Largest error of an element relative to what is allowed there: passed if at most 1. */
  maxOfTolerance: number;
  tolerance: { atol: number; rtol: number };
  detail?: string;
}

export interface Tolerance {
  atol?: number;
  rtol?: number;
}

type Numbers = ArrayLike<number>;

/**
 * Compares element by element.
 *
 * `maxRelError` is relative to the largest magnitude expected, so that elements near zero do not drown the rest.
 */
export function compare(name: string, actual: Numbers, expected: Numbers, { atol = 0, rtol = 2e-5 }: Tolerance = {}): Comparison {
  let passed = actual.length === expected.length;
  let maxAbsError = passed ? 0 : Number.POSITIVE_INFINITY;
  let maxOfTolerance = passed ? 0 : Number.POSITIVE_INFINITY;
  let scale = 0;
  for (let i = 0; i < expected.length && i < actual.length; i++) {
    const want = expected[i];
    const got = actual[i];
    const error = Object.is(want, got) || want === got ? 0 : Math.abs(got - want);
    const allowed = atol + rtol * Math.abs(want);
    if (!(error <= allowed)) passed = false;
    const ratio = error === 0 ? 0 : error / allowed;
    maxOfTolerance = Number.isNaN(ratio) ? Number.POSITIVE_INFINITY : Math.max(maxOfTolerance, ratio);
    maxAbsError = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(maxAbsError, error);
    if (Number.isFinite(want)) scale = Math.max(scale, Math.abs(want));
  }
  const detail = actual.length === expected.length ? undefined : `expected ${expected.length} values, found ${actual.length}`;
  return {
    name,
    passed,
    maxAbsError,
    maxRelError: maxAbsError === 0 ? 0 : maxAbsError / (scale || 1),
    maxOfTolerance,
    tolerance: { atol, rtol },
    ...(detail && { detail }),
  };
}

/** A check that holds or not (a refusal, a name, an order). */
export function check(name: string, passed: boolean, detail?: string): Comparison {
  return {
    name,
    passed,
    maxAbsError: passed ? 0 : Number.POSITIVE_INFINITY,
    maxRelError: passed ? 0 : Number.POSITIVE_INFINITY,
    maxOfTolerance: passed ? 0 : Number.POSITIVE_INFINITY,
    tolerance: { atol: 0, rtol: 0 },
    ...(detail && { detail }),
  };
}

/** Tensors of a safetensors file by name. */
export function tensors(file: string): Map<string, HostTensor> {
  return decodeSafetensors(fs.readFileSync(file));
}

/** Parsed JSON file. */
// biome-ignore lint/suspicious/noExplicitAny: golden JSON files have no common type
export function json(file: string): any {
  return JSON.parse(fs.readFileSync(file, 'utf8'));
}

/** Subfolders of an area's folder that hold `marker`, limited to those inside (or around) the folder the user named. */
export function instances(folder: string, marker: string, root: string): string[] {
  const around = (a: string, b: string) => a === b || b.startsWith(a + path.sep);
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && fs.existsSync(path.join(folder, entry.name, marker)))
    .map((entry) => path.join(folder, entry.name))
    .filter((candidate) => around(candidate, root) || around(root, candidate))
    .sort();
}

/**
 * Where `folder` (for example `dit-moe/model`) lies for the root that the user named: below it, or at or above it when the
 * user named one of its parts.
 */
export function locate(root: string, folder: string): string | undefined {
  const parts = folder.split('/');
  for (let skip = 0; skip < parts.length; skip++) {
    const inside = path.join(root, ...parts.slice(skip));
    const prefix = parts.slice(0, skip);
    if (fs.existsSync(inside) && prefix.every((part, i) => root.split(path.sep).at(i - skip) === part)) return inside;
  }
  for (let at = root; at !== path.dirname(at); at = path.dirname(at)) if (at.endsWith(path.sep + parts.join(path.sep))) return at;
  return undefined;
}
