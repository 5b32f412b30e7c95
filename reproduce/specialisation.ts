/** What the choice of experts depends on, by layer, against the same choices with places, times and classes shuffled. */
import { finish } from '@dit-moe/diffusion';
import { ditSizes } from '@dit-moe/dit';
import { type RoutedBatch, RoutingCounter, specialisation } from '@dit-moe/moe/telemetry';
import type { Pipeline } from '@dit-moe/pipeline';
import { permutation } from '@dit-moe/tensor-ops';

/** Share of the choice that the place, time and class of a token tell, in [0, 1]; and what is told where they are shuffled. */
export interface Dependence {
  place: number;
  time: number;
  class: number;
  shuffled: { place: number; time: number; class: number };
}

const order = (purpose: string, epoch: number, count: number): number[] => {
  const at = permutation({ seed: 0, purpose: `specialisation.${purpose}`, epoch }, count);
  return Array.from({ length: count }, (_, i) => at(i));
};

/** Samples images of every class, and counts. @param perClass images of each class */
export async function dependenceOf(pipeline: Pipeline, perClass: number, steps: number): Promise<Dependence[]> {
  const { config, classNames } = pipeline.card;
  const { tokens } = ditSizes(config);
  const labels = classNames.flatMap((_, label) => Array<number>(perClass).fill(label));
  const passes: RoutedBatch[] = [];
  const images = labels.map((label, index) => ({ label, index }));
  const samples = await finish(
    pipeline.solve({ ...pipeline.settings({ steps, guidance: 1 }), images, onRouting: (pass) => passes.push(pass) }),
  );
  samples.dispose();
  const counter = () => new RoutingCounter({ numExperts: config.moe!.numExperts, tokens, classes: classNames.length });
  const [own, byPlace, byTime, byClass] = [counter(), counter(), counter(), counter()];
  // One order of the classes for all times: an image keeps the class that it gets.
  const classes = order('class', 0, labels.length);
  const times = labels.map((_, image) => order('time', image, passes.length));
  for (const [p, pass] of passes.entries()) {
    own.add(pass);
    byClass.add({ ...pass, labels: pass.labels.map((label, b) => (label === labels[b] ? labels[classes[b]] : label)) });
    byPlace.add({ ...pass, layers: pass.layers.map((layer) => shuffledTokens(layer, labels.length, tokens, p)) });
    byTime.add({ ...pass, layers: pass.layers.map((_, l) => fromOtherTimes(passes, l, p, times)) });
  }
  return own.layers.map((layer, l) => ({
    place: specialisation(layer.byPosition),
    time: specialisation(layer.byTimestep),
    class: specialisation(layer.byClass),
    shuffled: {
      place: specialisation(byPlace.layers[l].byPosition),
      time: specialisation(byTime.layers[l].byTimestep),
      class: specialisation(byClass.layers[l].byClass),
    },
  }));
}

/** The choices of each image's tokens in an order of their own. */
function shuffledTokens(chosen: Int32Array, images: number, tokens: number, pass: number): Int32Array {
  const slots = chosen.length / (images * tokens);
  const out = new Int32Array(chosen.length);
  for (let b = 0; b < images; b++)
    for (const [to, from] of order('place', pass * images + b, tokens).entries()) {
      const start = (b * tokens + from) * slots;
      out.set(chosen.subarray(start, start + slots), (b * tokens + to) * slots);
    }
  return out;
}

/** The choices of each image at another of its times. */
function fromOtherTimes(passes: readonly RoutedBatch[], layer: number, pass: number, times: readonly (readonly number[])[]): Int32Array {
  const { length } = passes[pass].layers[layer];
  const size = length / times.length;
  const out = new Int32Array(length);
  for (const [b, own] of times.entries()) out.set(passes[own[pass]].layers[layer].subarray(b * size, (b + 1) * size), b * size);
  return out;
}
