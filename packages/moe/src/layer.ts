/** What a layer is made of, before it has weights. */
import { ArgumentError, type InitialValue, type Scope, scoped, type WeightSpec, type Weights } from '@dit-moe/tensor-ops';
import type { GroupWeights } from './experts/expert-groups.js';

/** Some of the experts, `count` of one kind. */
export type ExpertGroup =
  /** `(silu(x Wg) * (x Wu)) Wd` of width `hidden`; with `biases` (default none, as DiT-MoE). */
  | { kind?: 'swiglu'; count: number; hidden: number; biases?: boolean }
  /** GELU (tanh form) of width `hidden`. */
  | { kind: 'gelu'; count: number; hidden: number; biases?: boolean }
  /** Give nothing. */
  | { kind: 'zero'; count: number }
  /** Give their input. */
  | { kind: 'copy'; count: number }
  /** Give a learnable vector each; `blended` mixes it with the input, as MoE++: `a x + b value` with `[a, b] = softmax(x mix_e)`. */
  | { kind: 'constant'; count: number; blended?: boolean };

/** A layer. */
export interface MoeLayer {
  /** Channels of a token, `D`. */
  width: number;
  /** Equal experts, or groups of different ones, numbered one after another. */
  experts: ExpertGroup | readonly ExpertGroup[];
  /** An expert that every token uses, of width `hidden`; `gated`: times `sigmoid(x gate)` (Qwen2-MoE; default false). Default: none. */
  shared?: { hidden: number; gated?: boolean };
}

const isList = (experts: MoeLayer['experts']): experts is readonly ExpertGroup[] => Array.isArray(experts);

/** The groups with the scope of their weights' names. */
const groupsOf = (experts: MoeLayer['experts']): { name: string; group: ExpertGroup }[] =>
  isList(experts) ? experts.map((group, i) => ({ name: `experts.${i}`, group })) : [{ name: 'experts', group: experts }];

/**
 * Names, shapes and first values of a layer's weights. The distributions are those of DiT-MoE: the router uniform within `1 / sqrt(D)`,
 * experts by Glorot and Bengio (2010), biases and constants zero.
 *
 * @returns `gate` `[D, E]`; `experts.gateUp` `[E, 2, D, H]` (GELU: `experts.up` `[E, D, H]`), `experts.down` `[E, H, D]`; with groups
 *   `experts.0.gateUp` and so on; `shared.gateUp` `[2, D, S]`, `shared.down` `[S, D]`, `shared.gate` `[D, 1]`
 * @throws ArgumentError if a size is not a positive integer
 */
export function moeSpecs({ width, experts, shared }: MoeLayer): Record<string, WeightSpec> {
  positive('width', width);
  const groups = groupsOf(experts);
  for (const { name, group } of groups) {
    positive(`${name}.count`, group.count);
    if ('hidden' in group) positive(`${name}.hidden`, group.hidden);
  }
  if (shared !== undefined) positive('shared.hidden', shared.hidden);
  const numExperts = groups.reduce((sum, { group }) => sum + group.count, 0);
  const router: InitialValue = { kind: 'uniform', limit: 1 / Math.sqrt(width) };
  return {
    gate: { shape: [width, numExperts], initial: router },
    ...Object.assign({}, ...groups.map(({ name, group }) => groupSpecs(name, group, width))),
    ...(shared && gatedSpecs('shared', width, shared.hidden)),
    ...(shared?.gated && { 'shared.gate': { shape: [width, 1], initial: router } }),
  };
}

const zeros: InitialValue = { kind: 'zeros' };
const glorot = (a: number, b: number): InitialValue => ({ kind: 'uniform', limit: Math.sqrt(6 / (a + b)) });

function gatedSpecs(name: string, width: number, hidden: number, stack: number[] = []): Record<string, WeightSpec> {
  const initial = glorot(width, hidden);
  return {
    [`${name}.gateUp`]: { shape: [...stack, 2, width, hidden], initial, matrix: true },
    [`${name}.down`]: { shape: [...stack, hidden, width], initial, matrix: true },
  };
}

function groupSpecs(name: string, group: ExpertGroup, width: number): Record<string, WeightSpec> {
  const { count } = group;
  if (group.kind === 'zero' || group.kind === 'copy') return {};
  if (group.kind === 'constant') {
    const value: WeightSpec = { shape: [count, width], initial: zeros };
    const mix: WeightSpec = { shape: [width, 2 * count], initial: zeros };
    return { [`${name}.value`]: value, ...(group.blended && { [`${name}.mix`]: mix }) };
  }
  const { hidden, biases = false } = group;
  if (group.kind === 'gelu') {
    const initial = glorot(width, hidden);
    return {
      [`${name}.up`]: { shape: [count, width, hidden], initial, matrix: true },
      ...(biases && { [`${name}.upBias`]: { shape: [count, hidden], initial: zeros } }),
      [`${name}.down`]: { shape: [count, hidden, width], initial, matrix: true },
      ...(biases && { [`${name}.downBias`]: { shape: [count, width], initial: zeros } }),
    };
  }
  return {
    ...gatedSpecs(name, width, hidden, [count]),
    ...(biases && { [`${name}.gateUpBias`]: { shape: [count, 2, hidden], initial: zeros } }),
    ...(biases && { [`${name}.downBias`]: { shape: [count, width], initial: zeros } }),
  };
}

function positive(name: string, size: number): void {
  if (!Number.isInteger(size) || size < 1) throw new ArgumentError(`MoeLayer.${name}`, 'a positive integer', size);
}

/**
 * The experts' weights by group.
 *
 * @param experts kinds and counts; without them one group, whose kind its names say
 * @throws MissingWeightError
 */
export function expertWeights(weights: Weights | Scope, experts?: MoeLayer['experts']): GroupWeights[] {
  const scope = scoped(weights);
  if (experts === undefined) return [feedForward(scope.within('experts'))];
  return groupsOf(experts).map(({ name, group }) => {
    const { kind, count } = group;
    if (kind === 'zero' || kind === 'copy') return { kind, count };
    const own = scope.within(name);
    return kind === 'constant' ? { kind, value: own('value'), mix: own.find('mix') } : feedForward(own, kind ?? 'swiglu');
  });
}

function feedForward(scope: Scope, kind = scope.find('up') === undefined ? 'swiglu' : 'gelu'): GroupWeights {
  const [down, downBias] = [scope('down'), scope.find('downBias')];
  const downScale = scope.find('down.scale');
  if (kind === 'gelu')
    return { kind: 'gelu', up: scope('up'), upBias: scope.find('upBias'), down, downBias, upScale: scope.find('up.scale'), downScale };
  const [gateUp, gateUpBias, gateUpScale] = [scope('gateUp'), scope.find('gateUpBias'), scope.find('gateUp.scale')];
  return { gateUp, gateUpBias, down, downBias, gateUpScale, downScale };
}
