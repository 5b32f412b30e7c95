import { AdamW, compile, linear, mean, Parameter, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

await useTensorFlow(); // finds or fetches libtensorflow; leave it out to use the backend that is current
const weight = Parameter.create('weight', () => tf.zeros([2, 1]));
const optimizer = new AdamW({ weight });
const step = compile((x: tf.Tensor, target: tf.Tensor) => {
  const w = { weight: weight.read() };
  const { value, grads } = valueAndGrads(() => ({ loss: mean(tf.square(tf.sub(linear(x, w.weight), target))) }), w);
  optimizer.apply(grads, 0.05);
  return value;
});

const x = tf.tensor2d([
  [1, 0],
  [0, 1],
  [1, 1],
]);
const target = tf.tensor2d([[2], [-1], [1]]);
for (let i = 0; i <= 200; i++) {
  const loss = await step.run(x, target);
  if (i % 100 === 0) console.log(i, (await loss.data())[0]!.toFixed(5));
  loss.dispose();
}
console.log(await weight.data()); // near 2 and -1
