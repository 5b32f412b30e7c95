/** What a layer costs before it runs: parameters, FLOPs, bytes and ops for each dispatcher. */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** Sizes of a layer. */
export interface LayerShape {
  numExperts: number;
  /** Experts per token, or their mean for selectors with any number. */
  expertsPerToken: number;
  /** Channels of a token, `D`. */
  width: number;
  /** Hidden width of a routed expert, `H`. */
  hidden: number;
  /** Default `swiglu`: three matrices instead of the two of `gelu`. */
  kind?: 'swiglu' | 'gelu';
  /** Hidden width of the shared expert (default 0: none). */
  sharedHidden?: number;
}

/** What a layer is described for. */
export interface DescribeLayerOptions {
  /** Forward and backward, not only forward (default false). */
  training?: boolean;
  /** Largest load over the mean, as telemetry's `maxOverMean` (default: what a random router gives). */
  maxOverMean?: number;
  /** Factor of the static capacity (default 1.25). */
  capacityFactor?: number;
}

/** Name of a dispatcher. */
export type DispatcherName = 'slices' | 'padded' | 'capacity' | 'dense';

/** What a dispatcher costs. */
export interface DispatchCost {
  /** Floating-point operations of the routed experts' products. */
  flops: number;
  /**
   * Float32 activations, in bytes: rows, pre-activations, results and output. A training step keeps them for its backward pass; sampling
   * frees them as it goes.
   */
  activationBytes: number;
  /** TensorFlow ops of dispatch, experts and combine; constants and shape arguments are not counted. */
  ops: number;
}

/** What a layer costs, in parameters, operations and memory, by dispatcher. */
export interface LayerDescription {
  parameters: { router: number; routed: number; shared: number; total: number /** Used by one token. */; active: number };
  /** FLOPs of router and shared expert, whatever the dispatcher. */
  commonFlops: number;
  dispatchers: Record<DispatcherName, DispatchCost>;
}

/**
 * Ops forward and in training, a fixed number and so many for each expert, of SwiGLU experts without biases behind a plan without empty
 * slots, in float32. Counted on the runtime; a test counts them again.
 */
const OPS: Record<DispatcherName, Record<'forward' | 'training', { fixed: number; perExpert: number }>> = {
  slices: { forward: { fixed: 25, perExpert: 6 }, training: { fixed: 46, perExpert: 22 } },
  padded: { forward: { fixed: 69, perExpert: 0 }, training: { fixed: 101, perExpert: 0 } },
  capacity: { forward: { fixed: 79, perExpert: 0 }, training: { fixed: 113, perExpert: 0 } },
  dense: { forward: { fixed: 44, perExpert: 0 }, training: { fixed: 76, perExpert: 0 } },
};

/**
 * Describes one layer for a batch of tokens.
 * @throws ArgumentError if a size is not positive
 */
export function describeLayer(layer: LayerShape, tokens: number, options: DescribeLayerOptions = {}): LayerDescription {
  const { numExperts, expertsPerToken, width, hidden, kind = 'swiglu', sharedHidden = 0 } = layer;
  for (const [name, value] of Object.entries({ numExperts, expertsPerToken, width, hidden, tokens }))
    if (!(value > 0)) throw new ArgumentError(`describeLayer: ${name}`, 'a positive number', value);
  const { training = false, capacityFactor = 1.25 } = options;
  const maxOverMean = options.maxOverMean ?? randomImbalance(tokens * expertsPerToken, numExperts);
  const matrices = kind === 'swiglu' ? 3 : 2;
  const expert = matrices * width * hidden;
  const [router, routed, shared] = [width * numExperts, numExperts * expert, 3 * width * sharedHidden];
  const passes = training ? 3 : 1; // the backward pass multiplies twice
  const assignments = tokens * expertsPerToken;
  const cost = (name: DispatcherName, rows: number): DispatchCost => {
    const { fixed, perExpert } = OPS[name][training ? 'training' : 'forward'];
    return {
      flops: 2 * rows * expert * passes,
      activationBytes: 4 * (rows * (2 * width + (matrices - 1) * hidden) + tokens * width),
      ops: fixed + perExpert * numExperts,
    };
  };
  const capacity = Math.min(tokens, Math.ceil((capacityFactor * assignments) / numExperts));
  return {
    parameters: {
      router,
      routed,
      shared,
      total: router + routed + shared,
      active: router + expertsPerToken * expert + shared,
    },
    commonFlops: 2 * tokens * (router + shared) * passes,
    dispatchers: {
      slices: cost('slices', assignments),
      padded: cost('padded', Math.min(numExperts * tokens, assignments * maxOverMean)),
      capacity: cost('capacity', capacity * numExperts),
      dense: cost('dense', numExperts * tokens),
    },
  };
}

/** Expected largest load over the mean if every assignment were random: the maximum of E nearly normal counts. */
function randomImbalance(assignments: number, numExperts: number): number {
  return 1 + Math.sqrt((2 * Math.log(numExperts) * numExperts) / assignments);
}
