/**
 * Presets that name a paper: what it does about experts, each line with where it comes from, at a size of that paper on latents of 256
 * pixels, and as `digits-NAME` on the digits of this package, in minutes. What a paper does besides its experts (text, other autoencoders)
 * is not in them; `dit-moe-trainer config --preset NAME` prints all of one.
 */

/** Settings of a router and its experts, and of the model around them. */
interface Paper {
  model: object;
  moe: object;
  /** What is different in four blocks of width 64 on 16 tokens. */
  small?: object;
  batchSize: number;
  /** Depth, width and heads: those of DiT's table 1. */
  size: keyof typeof sizes;
}

const sizes = {
  S: { depth: 12, hiddenSize: 384, numHeads: 6 },
  B: { depth: 12, hiddenSize: 768, numHeads: 12 },
} as const;

const papers: Readonly<Record<string, Paper>> = {
  // "Efficient Training of Diffusion Mixture-of-Experts Models: A Practical Recipe", arXiv 2512.01252. The numbers are those of DSMoE-S-E48 in
  // its repository, yhlleo/EfficientMoE at 49f47d2, DSMoE/config/000_DSMoE_S_E48_Flow_half_misx0.3_s1a5_rope2d_l12.yaml.
  dsmoe: {
    size: 'S', // depth: 12, hidden_size: 384, num_heads: 6
    model: {
      rotary: true, // rope_type: 2d
    },
    moe: {
      router: 'token', // the layer of DeepSeek-V3, arXiv 2412.19437
      scoreFunction: 'sigmoid', // the same
      normalizeTopK: true, // the same
      loadBias: 0.001, // the same; the repository has the bias and never moves it
      balanceAlpha: 0, // balanced by the bias alone
      numExperts: 48, // num_experts: 48
      topK: 5, // num_experts_per_tok: 5
      weightScale: 2.5, // routed_scaling_factor: 2.5
      expertRatio: 1 / 3, // moe_intermediate_size: 128 of 384: narrow experts
      sharedRatio: 1 / 3, // use_shared_expert: true, one of the same width
      layers: { every: 2 }, // interleave: true
    },
    small: { numExperts: 16, topK: 3 },
    batchSize: 512, // global_batch_size: 512
  },

  // "Nucleus-Image: Sparse MoE for Image Generation", arXiv 2604.12163, a model of text with 17B parameters; its router at the size of DiT-S/2.
  // Sources: abstract, and transformer_nucleusmoe_image.py in diffusers at 151bec4.
  'nucleus-like': {
    size: 'S', // not its own
    model: {
      mlp: 'swiglu', // as its dense layers
      mlpRatio: 8 / 3, // that costs what GELU of width 4 D does
    },
    moe: {
      router: 'expert-choice', // each expert its best tokens of an image
      routerInput: 'unmodulated+time', // not the modulated tokens, whose norm depends on the time: [temb; LN(x)]
      scoreFunction: 'sigmoid', // ours
      normalizeTopK: true, // scores divided by their sum over the experts that took the token
      weightScale: 2.5, // and scaled by 2.5
      numExperts: 64, // 64 routed experts
      topK: 2, // ours; the capacity of its layers differs
      expertRatio: 2 / 3, // ours: two experts and the shared one cost what its dense layer does, 3 x 2 D
      sharedRatio: 4 / 3, // one shared expert; its width is ours
      balanceAlpha: 0, // expert choice is balanced by construction
      layers: [3, 4, 5, 6, 7, 8, 9, 10], // the first three blocks are dense, and the last one
    },
    small: { numExperts: 8, layers: [1, 2] },
    batchSize: 256,
  },

  // "EC-DiT: Scaling Diffusion Transformers with Adaptive Expert-Choice Routing", arXiv 2410.02098, a model of text; its router at the size of
  // DiT-S/2.
  'ec-dit': {
    size: 'S', // not its own
    model: {},
    moe: {
      router: 'expert-choice', // abstract: each expert its best C = capacity x T / E tokens of an image
      scoreFunction: 'softmax', // over the experts of a token
      numExperts: 8, // ours
      topK: 2, // ours: the capacity, experts per token on average
      experts: 'gelu', // each as the dense layer of DiT
      expertRatio: 4, // the same
      sharedRatio: 0, // none
      balanceAlpha: 0, // the load is even by construction: no auxiliary loss
    },
    batchSize: 256,
  },

  // "Switch Diffusion Transformer: Synergizing Denoising Tasks with Sparse Mixture-of-Experts", arXiv 2403.09176. The numbers are those of
  // byeongjun-park/Switch-DiT at 3d75a2a, config/routing/DMoE.yaml. Its diffusion prior loss is not here.
  'switch-dit': {
    size: 'S', // its S
    model: {},
    moe: {
      router: 'token',
      routerInput: 'time', // the gate sees the timestep only, so that all tokens of an image go together
      numExperts: 3, // num_experts: 3
      topK: 2, // k: 2
      experts: 'gelu', // ours: each as the dense layer of DiT
      expertRatio: 4, // the same
      sharedRatio: 0, // none
      balanceAlpha: 0.01, // ours, in place of its prior loss (w_JSD: 1), which keeps the gate from one expert
    },
    batchSize: 256,
  },

  // "ProMoE: Routing Matters in MoE: Scaling Diffusion Transformers with Explicit Routing Guidance", arXiv 2510.24711. The numbers are those of
  // ProMoE-B in its repository, ali-vilab/ProMoE at 7994505, configs/004_ProMoE_B.yaml.
  promoe: {
    size: 'B', // DiT_B_config
    model: {},
    moe: {
      router: 'prototypes', // the cosine to learned prototypes
      scoreFunction: 'identity', // router_weight_mode: identity
      nullExpert: true, // unconditional tokens have an expert of their own
      numExperts: 13, // num_routed_experts: 12, and that one
      topK: 1, // top_k: 1
      expertRatio: 2, // moe_intermediate_size: 1536 of 768
      sharedRatio: 2, // shared_expert_intermediate_size: 1536
      balanceAlpha: 0, // aux_loss_coef: 0
      losses: { contrastive: 1 }, // routing_contrastive_lam: 1
      layers: { every: 2 }, // interleave: true
    },
    small: { numExperts: 9, expertRatio: 2, sharedRatio: 1 },
    batchSize: 256, // total_train_batch_size: 256
  },

  // "DiffMoE: Dynamic Token Selection for Scalable Diffusion Transformers", arXiv 2503.14487. The numbers are those of DiffMoE-S-E16 as
  // yhlleo/EfficientMoE at 49f47d2 runs it, DSMoE/config/000_DiffMoE_S_E16_Flow.yaml.
  diffmoe: {
    size: 'S', // depth: 12, hidden_size: 384
    model: {},
    moe: {
      router: 'threshold', // each expert its best tokens of the batch; a capacity predictor with thresholds for sampling
      numExperts: 16, // num_experts: 16
      topK: 1, // capacity: 1
      experts: 'gelu', // use_swiglu: false
      expertRatio: 4, // mlp_ratio: 4
      sharedRatio: 0, // n_shared_experts: 0
      balanceAlpha: 0, // balanced by construction
      losses: { capacity: 1 }, // CapacityPred_loss_weight: 1
      layers: { every: 2 }, // interleave: true
    },
    small: { numExperts: 8 },
    batchSize: 512, // global_batch_size: 512
  },

  // "Expert Race: A Flexible Routing Strategy for Scaling Diffusion Transformer with Mixture of Experts", arXiv 2503.16057; its router at the
  // size of DiT-S/2. Its regularisation of each layer (section 6) is not here.
  race: {
    size: 'S', // not its own
    model: {},
    moe: {
      router: 'race', // section 4: the best pairs of token and expert of the whole batch; thresholds for sampling
      scoreFunction: 'identity', // section 4: the logits themselves
      numExperts: 32, // ours: eight experts cut into four parts each
      topK: 4, // ours, on average
      experts: 'gelu', // ours: parts of the dense layer of DiT
      expertRatio: 1, // the same: a quarter of 4 D
      sharedRatio: 0, // none
      balanceAlpha: 0, // in its place:
      losses: { similarity: 1e-4 }, // section 5, the router similarity loss; the weight is ours
    },
    small: { numExperts: 16, topK: 4, expertRatio: 0.5 },
    batchSize: 256,
  },
};

/** Widths on the digits: the dense layers and experts of 2 D of the preset `digits`. */
const onDigits = ({ moe, small }: Paper): object => {
  const { expertRatio, experts } = { expertRatio: 4, experts: undefined, ...moe } as { expertRatio: number; experts?: string };
  return { ...moe, ...(experts === 'gelu' && { expertRatio: Math.min(2, expertRatio) }), ...small };
};

/**
 * The presets by name.
 * @param digits the preset on the digits, whose model they change
 */
export const paperPresets = (digits: { model: object }): Record<string, object> =>
  Object.fromEntries(
    Object.entries(papers).flatMap(([name, paper]) => {
      const { model, moe, batchSize, size } = paper;
      const { moe: _, ...small } = digits.model as { moe?: object };
      return [
        [
          name,
          {
            data: { kind: 'latents', size: 256, flip: true },
            model: { patchSize: 2, ...sizes[size], ...model, moe },
            objective: { kind: 'flow', timeScale: 1000 },
            steps: 500_000,
            batchSize,
            precision: 'bf16',
            checkpoints: { milestoneEvery: 50_000 },
          },
        ],
        [`digits-${name}`, { ...digits, model: { ...small, ...model, moe: onDigits(paper) } }],
      ];
    }),
  );
