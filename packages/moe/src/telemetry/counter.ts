/**
 * What routers chose, counted on the host: for choices that are read anyway, such as those that are shown while a picture is made. It
 * has a column for every label and every time, of which the table on the device, which has a cell for each combination, has no room.
 */
import { type RoutingTables, zeroTable } from './tables.js';

/** What the routers of one pass through a model chose. */
export interface RoutedBatch {
  /** Experts of every token, image by image, best first, per layer with experts: `[B * tokens * k]`. */
  layers: Int32Array[];
  /** Labels of the images, `[B]`; the null label for unconditional ones. */
  labels: Int32Array;
  /** Time of the evaluation. */
  time: number;
}

/** Tables with how many experts tokens had beside. */
export interface HostRoutingTables extends RoutingTables {
  /** Tokens by their number of experts, `[E + 1]`. */
  perToken: number[];
}

/** Mean number of experts of a token. */
export function meanPerToken({ load, perToken }: Pick<HostRoutingTables, 'load' | 'perToken'>): number {
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  return sum(load) / Math.max(1, sum(perToken));
}

/** Sizes of the tables. */
export interface RoutingCounterConfig {
  /** Routed experts of each layer. */
  numExperts: number;
  /** Tokens per image. */
  tokens: number;
  /** Labels 0 to `classes - 1` are counted; images with others are left out, as the unconditional ones that guidance adds. */
  classes: number;
}

/** Counts batches on the host, exactly. */
export class RoutingCounter {
  /** Times of the evaluations in the order in which they came: the columns of `byTimestep`. */
  readonly times: number[] = [];
  /** One for each layer with experts, once a batch was counted. */
  readonly layers: HostRoutingTables[] = [];
  private counted = 0;

  constructor(private readonly config: RoutingCounterConfig) {}

  /** Evaluations times images. */
  get evaluations(): number {
    return this.counted;
  }

  /** Counts one batch. */
  add({ layers, labels, time }: RoutedBatch): void {
    const { times } = this;
    const { numExperts, tokens, classes } = this.config;
    let column = times.indexOf(time);
    if (column < 0) {
      column = times.push(time) - 1;
      for (const { byTimestep } of this.layers) for (const row of byTimestep) row.push(0);
    }
    while (this.layers.length < layers.length)
      this.layers.push({
        load: Array<number>(numExperts).fill(0),
        coActivation: zeroTable(numExperts, numExperts),
        byTimestep: zeroTable(numExperts, times.length),
        byClass: zeroTable(numExperts, classes),
        byPosition: zeroTable(numExperts, tokens),
        perToken: Array<number>(numExperts + 1).fill(0),
      });
    this.counted += labels.filter((label) => label < classes).length;
    for (const [l, chosen] of layers.entries()) {
      const { load, byClass, byPosition, byTimestep, coActivation, perToken } = this.layers[l];
      const slots = chosen.length / (labels.length * tokens);
      for (const [b, label] of labels.entries()) {
        if (label >= classes) continue;
        for (let token = 0; token < tokens; token++) {
          const first = (b * tokens + token) * slots;
          let number = 0;
          for (let i = first; i < first + slots; i++) {
            const expert = chosen[i];
            // Layers whose tokens have a varying number of experts mark empty slots with this.
            if (expert >= numExperts) continue;
            number++;
            load[expert]++;
            byClass[expert][label]++;
            byPosition[expert][token]++;
            byTimestep[expert][column]++;
            for (let j = first; j < first + slots; j++) if (chosen[j] < numExperts) coActivation[expert][chosen[j]]++;
          }
          perToken[number]++;
        }
      }
    }
  }
}
