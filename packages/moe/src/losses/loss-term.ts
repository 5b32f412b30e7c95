import type * as tf from '@tensorflow/tfjs-core';
import type { RoutingPlan } from '../plan.js';

/**
 * A loss of the router, computed from what it did. Terms are returned by name and weighted and added by the caller, so they are
 * scaled and accumulated exactly as the main loss is.
 */
export type LossTerm = (routing: RoutingPlan) => tf.Scalar;
