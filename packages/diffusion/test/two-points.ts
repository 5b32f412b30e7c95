import { finish, flowModel, sample } from '@dit-moe/diffusion';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

// Of data that is 1 or -1 the mean given a noisy x is known; the clean sample that a trained network predicts takes its place.
const model = flowModel((x, _t, { alpha, sigma }) => tf.tidy(() => tf.tanh(tf.mul(x, alpha / sigma ** 2))), { prediction: 'start' });
const noise = tf.randomNormal([1000, 1], 0, 1, 'float32', 1); // [B, ...]
export const points = await finish(sample(model, noise, { solver: 'heun', steps: 10 })); // [B, ...], each near 1 or -1
