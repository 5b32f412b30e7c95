/**
 * Gradients of tfjs' own operations, which tfjs-core leaves out on Node. From source they come with the union package, together with much
 * else; the build takes tfjs-core's alone (bundle-tfjs.ts).
 */
export async function registerGradients(): Promise<void> {
  await import('@tensorflow/tfjs');
}
