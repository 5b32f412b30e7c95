/** Runs in the browser: the cases on WebGPU, where a synchronous read is an error. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs';
import { evaluate } from './webgpu-cases.js';

const page = globalThis as unknown as { evaluateOnWebGpu(name: string): Promise<Record<string, number[]>> };

page.evaluateOnWebGpu = async (name) => {
  if (!(await tf.setBackend('webgpu'))) throw new Error('There is no WebGPU.');
  await tf.ready();
  const backend = tf.backend() as unknown as { readSync(): never };
  backend.readSync = () => {
    throw new Error('Something is read to the host synchronously.');
  };
  return evaluate(name);
};
