/** Refuses what does not go together in a mixture of experts, and says what does. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { DitConfig } from '../config.js';
import { expertLayers, isList, type MoeConfig, type MoeLayers, routableExperts, samplesCompete, tokensCompete } from './moe-config.js';

type Refuse = (field: string, expected: string, found: unknown) => never;
type Rule = (config: DitConfig, moe: MoeConfig, refuse: Refuse) => void;

/**
 * @param hasNullLabel whether the model has a label that stands for no class
 * @throws ArgumentError naming the field that does not fit
 */
export function checkMoe(config: DitConfig, moe: MoeConfig, hasNullLabel: boolean): void {
  const refuse: Refuse = (field, expected, found) => {
    throw new ArgumentError(`DitConfig.moe.${field}`, expected, found);
  };
  for (const field of ['numExperts', 'topK'] as const)
    if (!Number.isInteger(moe[field]) || moe[field] < 1) refuse(field, 'an integer of at least 1', moe[field]);
  if (moe.topK > moe.numExperts) refuse('topK', `at most numExperts ${moe.numExperts}`, moe.topK);
  if (moe.nullExpert === true && !hasNullLabel) refuse('nullExpert', 'a model with a null label', 'one without');
  for (const rule of [layers, nullExpert, tokenChoiceOnly, competition, timestep, losses, experts]) rule(config, moe, refuse);
}

const layers: Rule = ({ depth }, { layers = 'all' }, refuse) => {
  const whole = (n: number, least: number, most: number) => Number.isInteger(n) && n >= least && n <= most;
  const fits = (choice: MoeLayers): boolean => {
    if (typeof choice === 'string') return ['all', 'deepHalf', 'shallowHalf'].includes(choice);
    if (isList<number>(choice)) return choice.length > 0 && choice.every((layer) => whole(layer, 0, depth - 1));
    const { every = 1, from = 0 } = choice;
    return whole(every, 1, depth) && whole(from, 0, depth - 1) && Math.floor(depth / every) * every > from;
  };
  if (!fits(layers))
    refuse(
      'layers',
      `all, deepHalf, shallowHalf, { every: 1 to ${depth}, from: 0 to ${depth - 1} } with a block left, or numbers of blocks below ${depth}`,
      JSON.stringify(layers),
    );
};

const nullExpert: Rule = (_, moe, refuse) => {
  const { router = 'token', nullExpert = false, groups, topK } = moe;
  const open = routableExperts(moe);
  if (topK > open) refuse('topK', `at most ${open}, for the last expert is that of the null class`, topK);
  if (!nullExpert) return;
  if (router !== 'token' && router !== 'prototypes') refuse('nullExpert', 'the router token or prototypes', router);
  if (groups !== undefined) refuse('groups', 'a router without nullExpert, which leaves groups of unequal size', 'both');
};

const tokenChoiceOnly: Rule = (_, { router = 'token', ...moe }, refuse) => {
  if (router === 'token' || router === 'prototypes') return;
  for (const field of ['groups', 'loadBias'] as const)
    if (moe[field] !== undefined) refuse(field, 'the router token or prototypes', router);
};

const competition: Rule = (config, moe, refuse) => {
  const { router = 'token', capacity, capacitySchedule, normalizeTopK, routerInput, numExperts, topK } = moe;
  if (!tokensCompete(moe)) {
    for (const field of ['capacity', 'capacitySchedule'] as const)
      if (moe[field] !== undefined)
        refuse(field, 'the router expert-choice, race or threshold (the others send every token to topK experts and drop none)', router);
  } else if (routerInput === 'time')
    refuse('routerInput', `modulated, unmodulated or unmodulated+time: with ${router} the tokens of an image compete`, routerInput);
  if (normalizeTopK === 'expert' && router !== 'expert-choice')
    refuse(
      'normalizeTopK',
      samplesCompete(moe)
        ? `true or false: with ${router} an expert's tokens are of several samples, which must not depend on each other`
        : 'true or false, or the router expert-choice',
      normalizeTopK,
    );
  const blocks = expertLayers(config).length;
  if (isList<number>(capacity) && capacity.length !== blocks)
    refuse('capacity', `one number for each of the ${blocks} blocks with experts`, capacity.length);
  const all = isList<number>(capacity) ? capacity : [(capacity as number | undefined) ?? topK];
  for (const one of all) if (!(one > 0 && one <= numExperts)) refuse('capacity', `above 0, at most numExperts ${numExperts}`, one);
  if (capacitySchedule === undefined) return;
  const { from, steps, stages } = capacitySchedule;
  const most = numExperts / Math.max(...all);
  if (!(from >= 1 && from <= most)) refuse('capacitySchedule.from', `1 to ${most}, so that a token has at most numExperts experts`, from);
  if (!Number.isInteger(stages) || stages < 1 || !Number.isInteger(steps) || steps < stages)
    refuse('capacitySchedule.stages', `1 to ${steps}, the steps`, stages);
};

const timestep: Rule = (_, { router, timeRange, topK, routerInput, losses = {}, noise }, refuse) => {
  if (router !== 'timestep') {
    if (timeRange !== undefined) refuse('timeRange', 'the router timestep', router ?? 'token');
    return;
  }
  if (timeRange === undefined || !(timeRange > 0)) refuse('timeRange', 'the largest timestep, as the router is timestep', timeRange);
  if (topK !== 1) refuse('topK', '1, as the router is timestep', topK);
  if (routerInput !== undefined) refuse('routerInput', 'none, as the router timestep sees no tokens', routerInput);
  if (Object.keys(losses).length > 0) refuse('losses', 'none, as the router timestep learns nothing', Object.keys(losses).join(', '));
  if (noise !== undefined) refuse('noise', 'none, as the router timestep sees no tokens', Object.keys(noise).join(', '));
};

const losses: Rule = (_, moe, refuse) => {
  const { router = 'token', losses = {}, noise, routerInput } = moe;
  if (losses.contrastive !== undefined && router !== 'prototypes') refuse('losses.contrastive', 'the router prototypes', router);
  if (losses.contrastive !== undefined && routerInput === 'time')
    refuse('losses.contrastive', 'a router that sees tokens: modulated, unmodulated or unmodulated+time', routerInput);
  if (losses.capacity !== undefined && router !== 'threshold')
    refuse('losses.capacity', 'the router threshold, whose predictor it trains', router);
  if (noise !== undefined && routerInput === 'time')
    refuse('noise', 'a router that sees tokens: modulated, unmodulated or unmodulated+time', routerInput);
  if (losses.load === undefined) return;
  if (router !== 'token' && router !== 'prototypes') refuse('losses.load', 'the router token or prototypes', router);
  if (noise?.gate === undefined) refuse('losses.load', 'noise.gate, whose chances it estimates', 'none');
  if (moe.topK >= routableExperts(moe)) refuse('losses.load', `topK below ${routableExperts(moe)}`, moe.topK);
};

const experts: Rule = (
  { depth, hiddenSize },
  { numExperts, experts, layerExperts = [], sharedRatio, sharedGate = false, expertRatio },
  refuse,
) => {
  const lists = [
    ...(isList(experts) ? [{ field: 'experts', groups: experts as MoeGroups }] : []),
    ...layerExperts.map(({ experts: groups }, i) => ({ field: `layerExperts[${i}].experts`, groups })),
  ];
  for (const { field, groups } of lists) {
    const total = groups.reduce((sum, { count }) => sum + count, 0);
    if (total !== numExperts) refuse(field, `groups of numExperts ${numExperts} experts together`, total);
    for (const group of groups)
      if ('ratio' in group && !(Math.round((group.ratio ?? expertRatio) * hiddenSize) >= 1))
        refuse(`${field}.ratio`, 'a positive number', group.ratio);
  }
  for (const [i, { layers }] of layerExperts.entries())
    for (const layer of layers) if (!(layer < depth)) refuse(`layerExperts[${i}].layers`, `numbers of blocks below ${depth}`, layer);
  if (sharedGate && !(sharedRatio > 0)) refuse('sharedGate', 'a shared expert (sharedRatio above 0)', sharedRatio);
};
type MoeGroups = Exclude<NonNullable<MoeConfig['experts']>, string>;
