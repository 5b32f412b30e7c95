/** Samples a denoiser of one's own, here one that is known: of data that is 1 or -1 the mean given a noisy x is a tanh. */
import { finish, flowModel, sample } from '@dit-moe/diffusion';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

const model = flowModel((x, _t, { alpha, sigma }) => tf.tidy(() => tf.tanh(tf.mul(x, alpha / sigma ** 2))), { prediction: 'start' });
const noise = tf.randomNormal([1000, 1], 0, 1, 'float32', 1);
const points = await finish(sample(model, noise, { solver: 'heun', steps: 10 }));
const distance = tf.max(tf.abs(tf.sub(tf.abs(points), 1)));
console.log(`largest distance from 1 or -1: ${distance.dataSync()[0]}`);
if ((distance.dataSync()[0] ?? Number.NaN) > 0.05) throw new Error('The points are not where the data is.');
