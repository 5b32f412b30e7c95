/** What a model costs before it is built: parameters, multiply-accumulates, memory. */
import { type DitConfig, ditSizes } from './config.js';
import { expertGroups, expertsPerToken, hasExperts, type MoeConfig, routableExperts } from './moe/moe-config.js';
import { countWeights, isMatrix, TIMESTEP_CHANNELS, weightSpecs } from './weights.js';

/** What memory is estimated for. */
export interface DescribeOptions {
  /** Images at once (default 1); guidance doubles them when sampling. */
  batch?: number;
  /** Weight averages kept in training (default 1). */
  emaRates?: number;
  /** Whether training recomputes the activations of each block instead of keeping them (default false). */
  recompute?: boolean;
}

/** Bytes by use; `total` is their sum. */
export interface MemoryUse {
  weights: number;
  gradients: number;
  /** Two moments per weight. */
  optimizer: number;
  averages: number;
  activations: number;
  total: number;
}

/** What a model costs: parameters, operations and memory. */
export interface ModelDescription {
  parameters: {
    total: number;
    /** Those that one token uses: all but the experts that it is not sent to, if experts are chosen as often as each other. */
    active: number;
  };
  tokens: number;
  /**
   * Giga multiply-accumulates of one image's forward pass (the "Gflops" of the DiT and DiT-MoE papers; a FLOP count is twice it).
   * `linear` counts all matrix products with weights, as the papers do; `total` also the two products of attention.
   */
  gmac: { linear: number; total: number };
  /** Estimated bytes on the device, for weights and products in float32, or bfloat16 where that is good enough. */
  inference: { f32: MemoryUse; bf16: MemoryUse };
  training: { f32: MemoryUse; bf16: MemoryUse };
}

/** Largest number of attention probabilities at once, see `attention`. */
const MAX_PROBABILITIES = 2 ** 26;

/**
 * Parameters, multiply-accumulates and memory of a model.
 * @throws ArgumentError if the configuration is inconsistent
 */
export function describeModel(config: DitConfig, options: DescribeOptions = {}): ModelDescription {
  const { batch = 1, emaRates = 1, recompute = false } = options;
  const { tokens } = ditSizes(config);
  const counts = { total: countWeights(config), active: countWeights(config, true) };
  const matrices = Object.entries(weightSpecs(config)).reduce(
    (sum, [name, { shape }]) => sum + (isMatrix(name) ? shape.reduce((a, b) => a * b, 1) : 0),
    0,
  );
  const use = (parts: Omit<MemoryUse, 'total'>): MemoryUse => ({ ...parts, total: Object.values(parts).reduce((a, b) => a + b, 0) });
  const inference = (low: boolean): MemoryUse =>
    use({
      weights: 4 * counts.total - (low ? 2 * matrices : 0),
      gradients: 0,
      optimizer: 0,
      averages: 0,
      activations: blockBytes(config, batch, low).working,
    });
  const training = (low: boolean): MemoryUse => {
    const { kept, working, input } = blockBytes(config, batch, low);
    const all = recompute ? config.depth * input + largest(kept) : kept.reduce((a, b) => a + b, 0);
    return use({
      // Products in bfloat16 read copies of the float32 weights.
      weights: 4 * counts.total + (low ? 2 * matrices : 0),
      gradients: 4 * counts.total,
      optimizer: 8 * counts.total,
      averages: 4 * emaRates * counts.total,
      activations: all + 2 * working,
    });
  };
  return {
    parameters: counts,
    tokens,
    gmac: multiplyAccumulates(config),
    inference: { f32: inference(false), bf16: inference(true) },
    training: { f32: training(false), bf16: training(true) },
  };
}

function multiplyAccumulates(config: DitConfig): ModelDescription['gmac'] {
  const { tokens, outChannels, mlpHidden, sharedHidden } = ditSizes(config);
  const { hiddenSize: d, patchSize: p, inChannels, patchBottleneck, depth, moe } = config;
  const embedders = config.blockEmbedders === true ? depth : 1;
  const embedded = patchBottleneck === undefined ? p * p * inChannels * d : patchBottleneck * (p * p * inChannels + d);
  let linear = tokens * (embedded + d * p * p * outChannels) + embedders * (TIMESTEP_CHANNELS * d + d * d) + 2 * d * d;
  let attention = 0;
  for (let layer = 0; layer < depth; layer++) {
    const tokens = tokensOf(config, layer);
    attention += 2 * tokens * tokens * d;
    linear += 6 * d * d + tokens * 4 * d * d;
    if (hasExperts(config, layer)) {
      const experts = { ...config, moe: moe! };
      linear += routerProducts(experts) * (moe!.routerInput === 'time' ? 1 : tokens);
      linear += tokens * d * (meanExpert(experts, layer).products + 3 * sharedHidden + (moe!.sharedGate === true ? 1 : 0));
    } else linear += tokens * d * mlpHidden * (isGated(config) ? 3 : 2);
  }
  return { linear: linear / 1e9, total: (linear + attention) / 1e9 };
}

/** Tokens of a block. */
const tokensOf = (config: DitConfig, layer: number): number =>
  ditSizes(config).tokens + (config.classTokens !== undefined && layer >= config.classTokens.from ? config.classTokens.count : 0);

const isGated = ({ mlp }: DitConfig): boolean => mlp === 'swiglu' || mlp === 'swiglu-bias';

/** Multiply-accumulates of a router for one of its inputs. */
function routerProducts({ moe, hiddenSize: d }: DitConfig & { moe: MoeConfig }): number {
  const { router = 'token', routerInput = 'modulated' } = moe;
  if (router === 'timestep') return 0;
  const inputs = routerInput === 'unmodulated+time' ? 2 * d : d;
  const predictor = router === 'threshold' ? inputs * d + d * moe.numExperts : 0;
  return inputs * routableExperts(moe) + predictor;
}

/** What a token costs in a block's routed experts, if they are chosen as often as each other. */
function meanExpert(config: DitConfig & { moe: MoeConfig }, layer: number): { hidden: number; products: number; perToken: number } {
  const { expertHidden } = ditSizes(config);
  const { numExperts, experts } = config.moe;
  const groups = expertGroups(config, layer) ?? [
    { kind: experts === 'gelu' ? 'gelu' : 'swiglu', count: numExperts, hidden: expertHidden } as const,
  ];
  const chosen = expertsPerToken(config, layer);
  let [hidden, products, perToken] = [0, 0, 0];
  for (const group of groups) {
    const share = (chosen * group.count) / numExperts;
    // A blend has two logits per expert, of every token.
    if (group.kind === 'constant') products += share + (group.blended === true ? 2 * group.count : 0);
    if (!('hidden' in group)) continue;
    perToken += share;
    hidden += share * group.hidden;
    products += share * group.hidden * (group.kind === 'gelu' ? 2 : 3);
  }
  return { hidden, products, perToken };
}

const largest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b));

/**
 * Bytes of activations. `kept`: what the gradient functions of each block hold (see `attention`, `linear`, `swiglu` and
 * `swigluExperts`), `working`: what exists at once while a block runs, `input`: what one block passes to the next.
 */
function blockBytes(config: DitConfig, batch: number, low: boolean): { kept: number[]; working: number; input: number } {
  const { mlpHidden, sharedHidden } = ditSizes(config);
  const { hiddenSize: d, numHeads, moe } = config;
  const tokens = tokensOf(config, config.depth - 1);
  const rows = batch * tokens;
  const probabilities = Math.min(batch * numHeads * tokens * tokens, MAX_PROBABILITIES);
  /** Bytes of an operand of a matrix product, rounded to bfloat16 if low; everything else is float32. */
  const operand = low ? 2 : 4;
  const kept: number[] = [];
  let feedForward = 0;
  for (let layer = 0; layer < config.depth; layer++) {
    // Two norms, attention's output, two gated branches; operands: attention's input, q, k, v, its output, feed-forward's input.
    let numbers = 5 * d + (config.qkNorm === true ? 2 * d : 0);
    let operands = 6 * d;
    let transient: number;
    if (hasExperts(config, layer)) {
      const { hidden, perToken } = meanExpert({ ...config, moe: moe! }, layer);
      numbers += 2 * hidden + perToken * d + 2 * sharedHidden;
      operands += perToken * d;
      transient = 3 * hidden + perToken * 2 * d + 3 * sharedHidden;
    } else {
      numbers += isGated(config) ? 2 * mlpHidden : mlpHidden;
      operands += config.mlp === 'swiglu' ? 0 : mlpHidden;
      transient = (isGated(config) ? 3 : 2) * mlpHidden;
    }
    kept.push(batch * tokensOf(config, layer) * (4 * numbers + operand * operands));
    feedForward = Math.max(feedForward, transient);
  }
  const working = 4 * Math.max(rows * 8 * d + 2 * probabilities, rows * (3 * d + feedForward));
  return { kept, working, input: 4 * rows * d };
}
