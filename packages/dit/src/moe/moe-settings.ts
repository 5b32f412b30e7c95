/** The settings of a mixture of experts in files. */
import {
  either,
  type FieldsOf,
  flag,
  integer,
  list,
  number,
  object,
  optional,
  type Setting,
  variants,
  word,
} from '@dit-moe/tensor-ops/settings';
import type { MoeConfig, RouterKind, RouterLoss } from './moe-config.js';

/** Routers by the word of their paper: what they stand for, unless the settings beside them say otherwise. */
const PAPERS = {
  /** arXiv 2512.01252, of DeepSeek-V3 (arXiv 2412.19437): sigmoid scores of narrow experts, balanced by biases; `groups` are optional. */
  dsmoe: { router: 'token', scoreFunction: 'sigmoid', normalizeTopK: true, weightScale: 2.5, loadBias: 0.001, balanceAlpha: 0 },
  /** arXiv 2510.24711: unconditional tokens have an expert of their own. */
  promoe: { router: 'prototypes', nullExpert: true, balanceAlpha: 0 },
  /** arXiv 2503.14487 */
  diffmoe: { router: 'threshold', balanceAlpha: 0 },
} as const satisfies Record<string, Partial<MoeConfig>>;

const ROUTERS: readonly RouterKind[] = ['token', 'expert-choice', 'race', 'threshold', 'prototypes', 'timestep'];

const lossWeights = /* @__PURE__ */ (() => {
  const weight = (description: string) => optional(number(description, { least: 0 }));
  return {
    balance: weight('another word for balanceAlpha'),
    sequence: weight('balance within each image (DeepSeek-V2)'),
    global: weight('balance over the whole batch of a step, micro-batches and processes together'),
    z: weight('keeps logits small (ST-MoE: 0.001)'),
    importance: weight('evens the summed scores (V-MoE: 0.005)'),
    load: weight('evens the chances of being chosen, if the noise of the gate were drawn anew (V-MoE: 0.005)'),
    similarity: weight('keeps experts from always being used together (Expert Race)'),
    contrastive: weight('pulls prototypes to their own tokens and from those of others (ProMoE)'),
    capacity: weight('trains the predictor of the router threshold (default 1 there)'),
  } satisfies FieldsOf<Partial<Record<RouterLoss | 'balance', number>>>;
})();

const expertSettings = /* @__PURE__ */ (() => {
  const count = integer('experts of this kind', { least: 1 });
  const ratio = optional(number('hidden width as a multiple of hiddenSize (default expertRatio)', { above: 0 }));
  const groups = variants(
    'kind',
    {
      swiglu: { count, ratio },
      gelu: { count, ratio },
      zero: { count },
      copy: { count },
      constant: { count, blended: optional(flag('mix the vector with the input (default false)')) },
    },
    'experts of one kind: swiglu or gelu; or zero, which give nothing, copy, their input, constant, a learned vector (MoE++)',
  );
  return list(groups, 'the experts by kind, in their order', { least: 1 });
})();

/** Settings of {@link MoeConfig}. */
export const moeSettings = /* @__PURE__ */ (() =>
  object(
    {
      numExperts: integer('routed experts of a block', { least: 1 }),
      topK: integer('experts per token, at most numExperts; where tokens compete for experts their mean', { least: 1 }),
      scoreFunction: optional(
        word(
          ['softmax', 'sigmoid', 'identity'],
          "turns the router's logits into scores (default softmax, as DiT-MoE; DeepSeek-V3: sigmoid; Expert Race: identity)",
        ),
      ),
      router: optional(
        word(
          [...ROUTERS, ...Object.keys(PAPERS)],
          'who chooses: token (default, DiT-MoE), expert-choice within each image (EC-DiT), race of tokens and experts over the batch (Expert Race), threshold, which is expert choice over the batch with a predictor for sampling (DiffMoE), prototypes that tokens are compared with (ProMoE), or timestep, an equal part of the time for each expert; dsmoe, promoe and diffmoe are routers with the other settings of these papers',
        ) as Setting<RouterKind>,
      ),
      routerInput: optional(
        word(
          ['modulated', 'unmodulated', 'unmodulated+time', 'time'],
          'what the router sees: modulated tokens as the experts do (default), unmodulated ones, these beside the embedded time (Nucleus-Image), or the time alone (Switch-DiT)',
        ),
      ),
      nullExpert: optional(flag('the last expert is for unconditional samples only, as in ProMoE (default false)')),
      loadBias: optional(
        number('balance without a loss: what a bias per expert moves by after each step (DeepSeek-V3: 0.001; default: no bias)', {
          above: 0,
        }),
      ),
      timeRange: optional(number('largest timestep that the model is told, for the router timestep; the trainer knows it', { above: 0 })),
      capacity: optional(
        either(
          [number('of all blocks', { above: 0 }), list(number('of a block', { above: 0 }), undefined, { least: 1 })],
          'experts per token on average where tokens compete (expert-choice, race, threshold): for all blocks with experts, or for each in order (default topK)',
        ),
      ),
      capacitySchedule: optional(
        object(
          {
            from: number('multiplies the capacity at the beginning', { least: 1 }),
            steps: integer('after which the capacity is that of the configuration', { least: 1 }),
            stages: integer('equal parts in which it gets there; each compiles the step anew', { least: 1 }),
          },
          'training begins with a larger capacity (default: it is constant)',
        ),
      ),
      noise: optional(
        object(
          {
            jitter: optional(number('largest relative change of the input (Switch Transformer: 0.01)', { above: 0, below: 1 })),
            gate: optional(number('deviation of what is added to the logits (V-MoE: 1 / numExperts)', { above: 0 })),
          },
          'noise of the router in training (default: none)',
        ),
      ),
      losses: optional(
        object(lossWeights, 'weights of losses of the router; without balance that is balanceAlpha (default: none further)'),
      ),
      groups: optional(
        object(
          {
            count: integer('groups of equal size that the experts are divided into', { least: 1 }),
            keep: integer('groups that a token chooses among, the best for it', { least: 1 }),
          },
          'choose among the best groups of experts only, as DeepSeek-V3 (default: among all)',
        ),
      ),
      normalizeTopK: optional(
        either(
          [flag("a token's weights by their sum"), word(['expert'])],
          "divide the weights of a token by their sum (default false, as DiT-MoE); expert: those of an expert's tokens of an image by their mean, with expert-choice",
        ),
      ),
      weightScale: optional(number('multiplies the weights (default 1; DeepSeek-V3: 2.5)', { above: 0 })),
      experts: optional(
        either(
          [word(['swiglu', 'gelu']), expertSettings],
          'routed experts: swiglu without biases (default, DiT-MoE), gelu with biases, as the dense layer of DiT, or a list of groups of different ones, numExperts together',
        ),
      ),
      layerExperts: optional(
        list(
          object({
            layers: list(integer('number of a block, from 0', { least: 0 }), 'blocks that have these experts', { least: 1 }),
            experts: expertSettings,
          }),
          'groups of experts for some blocks, in place of experts (default: none)',
        ),
      ),
      expertRatio: number('hidden width of a routed expert as a multiple of hiddenSize (4 in DiT-MoE)', { above: 0 }),
      sharedRatio: number('hidden width of the shared expert as a multiple of hiddenSize (2 in DiT-MoE); 0 for none', { least: 0 }),
      sharedGate: optional(flag('a token weighs the shared expert by a learned sigmoid, as Qwen2-MoE (default false)')),
      balanceAlpha: number('weight of the balance loss (0.005 in the paper, 0.01 in its code)', { least: 0 }),
      layers: optional(
        either(
          [
            word(['all', 'deepHalf', 'shallowHalf']),
            object({
              every: optional(
                integer('each block with this distance from the one before, the last of every so many (default 1)', { least: 1 }),
              ),
              from: optional(integer('dense blocks before the first that may have experts (default 0)', { least: 0 })),
            }),
            list(integer('number of a block, from 0', { least: 0 }), undefined, { least: 1 }),
          ],
          'blocks with experts; the others are dense (default all)',
        ),
      ),
      balanceOver: optional(word(['batch', 'image'], 'balance over the tokens of the batch (default), or within each image')),
    } satisfies FieldsOf<MoeConfig>,
    'experts in place of dense feed-forward layers (default: none)',
  ))();

/** `settings` of a mixture of experts, in which a router may be called by the word of its paper, and `losses` may have `balance`. */
export const moeInFull = <T>(settings: Setting<T>): Setting<T> => ({
  ...settings,
  read(value, at, problems) {
    if (!isObject(value)) return settings.read(value, at, problems);
    const { balance, ...losses } = isObject(value['losses']) ? value['losses'] : {};
    if (balance === undefined) return settings.read(ofPaper(value), at, problems);
    if (value['balanceAlpha'] !== undefined)
      problems.push({ at: `${at}.losses.balance`, expected: 'either this or balanceAlpha', found: balance });
    return settings.read(ofPaper({ ...value, losses, balanceAlpha: balance }), at, problems);
  },
});

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function ofPaper(value: Record<string, unknown>): Record<string, unknown> {
  const word = String(value['router']);
  if (!Object.hasOwn(PAPERS, word)) return value;
  const paper = PAPERS[word as keyof typeof PAPERS];
  return { ...paper, ...value, router: paper.router };
}
