/** The state of a run on the device (weights, optimizer, average) and the compiled steps that change it. */
import { objective } from '@dit-moe/diffusion';
import { type DitConfig, dit, initialWeight, weightSpecs } from '@dit-moe/dit';
import {
  AdamW,
  type CompiledStep,
  clipByGlobalNorm,
  compile,
  DataType,
  Ema,
  GradientAccumulator,
  globalNorm,
  mean,
  Parameter,
  tensorFlowBackend,
  valueAndGrads,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config.js';
import type { Batch } from './batches.js';

/** Numbers of one step, on the host. */
export interface StepReport {
  /** Mean squared error of the velocity. */
  loss: number;
  /** Sum of the layers' balance losses, not yet times alpha; 0 without experts. */
  balance: number;
  gradNorm: number;
  /** Tokens per layer and expert; empty without experts. */
  load: number[][];
}

/** Weights, optimizer and average, with the steps over them. */
export class TrainingState {
  readonly parameters: Record<string, Parameter>;
  readonly optimizer: AdamW;
  readonly ema: Ema;
  private readonly accumulator: GradientAccumulator | undefined;
  private readonly gradients: CompiledStep<tf.Tensor[], Record<string, tf.Tensor>>;
  private readonly update: CompiledStep<tf.Tensor[], tf.Tensor>;

  /** Fresh weights from the configuration's seed. */
  constructor(
    readonly model: DitConfig,
    private readonly config: TrainConfig,
  ) {
    this.parameters = Object.fromEntries(
      Object.entries(weightSpecs(model)).map(([name, spec]) => [
        name,
        Parameter.create(name, () => tf.tensor(initialWeight(name, spec, config.seed), spec.shape)),
      ]),
    );
    this.optimizer = new AdamW(this.parameters, { weightDecay: config.optimizer.weightDecay });
    this.ema = new Ema(this.parameters, config.emaDecay);
    this.accumulator = config.accumulation > 1 ? new GradientAccumulator(this.parameters) : undefined;
    const names = Object.keys(this.parameters);

    this.gradients = compile(
      (x, noise, timeNormal, y) => {
        const { value, grads, extra } = this.lossAndGradients(x!, noise!, timeNormal!, y!);
        value.dispose();
        const norm = globalNorm(grads);
        if (this.accumulator === undefined) return { ...extra, norm, ...grads };
        this.accumulator.add(grads, x!.shape[0]!);
        return { ...extra, norm };
      },
      { name: 'gradients' },
    );
    this.update = compile(
      (learningRate, ...given) => {
        let grads = this.accumulator?.take() ?? Object.fromEntries(names.map((name, i) => [name, given[i]!]));
        const { clipNorm } = this.config.optimizer;
        const norm = globalNorm(grads);
        if (clipNorm !== undefined) grads = clipByGlobalNorm(grads, clipNorm, norm);
        this.optimizer.apply(grads, learningRate!);
        this.ema.update();
        return norm;
      },
      { name: 'update' },
    );
  }

  private lossAndGradients(x: tf.Tensor, noise: tf.Tensor, timeNormal: tf.Tensor, y: tf.Tensor) {
    const { model, config } = this;
    const { noisy, losses } = objective({ kind: config.objective.kind });
    const backend = tensorFlowBackend();
    const weights = Object.fromEntries(
      Object.entries(this.parameters).map(([name, parameter]) => {
        const weight = parameter.read();
        // Matrices are rounded once per step instead of at each use; router, biases and tables stay float32.
        const rounded = config.precision === 'bf16' && backend !== undefined && /(\.weight|gateUp|down)$/.test(name);
        return [name, rounded ? backend.raw('Cast', [weight], { DstT: { type: DataType.bfloat16 } })[0]! : weight];
      }),
    );
    return valueAndGrads(() => {
      const { x: shown, t } = noisy(x, noise, timeNormal);
      const result = dit(weights, model, shown, tf.mul(t, config.objective.timeScale), y, { precision: config.precision });
      const loss = mean(losses(result.output, x, noise, timeNormal).loss, 0);
      if (result.routing.length === 0) return { loss, extra: { loss } as Record<string, tf.Tensor> };
      const balance = result.losses['balance']!;
      const load = tf.stack(result.routing.map((layer) => layer.load));
      return {
        loss: tf.add(loss, tf.mul(balance, model.moe!.balanceAlpha)),
        extra: { loss, balance, load } as Record<string, tf.Tensor>,
      };
    }, weights);
  }

  /**
   * One optimizer step over the micro-batches. If loss or gradient is not finite, nothing is changed.
   * @returns the report and whether the step was applied
   */
  async step(batches: Iterable<Batch>, learningRate: number): Promise<StepReport & { applied: boolean }> {
    const report: StepReport = { loss: 0, balance: 0, gradNorm: 0, load: [] };
    let count = 0;
    let grads: tf.Tensor[] = [];
    let finite = true;
    for (const batch of batches) {
      const inputs = [batch.x, batch.noise, batch.timeNormal, batch.y];
      const { loss, balance, load, norm, ...own } = await this.gradients.run(...inputs);
      tf.dispose(inputs);
      grads = Object.values(own);
      const [lossNow, normNow, balanceNow] = await Promise.all(
        [loss!, norm!, balance].map(async (s) => (s === undefined ? 0 : (await s.data())[0]!)),
      );
      report.loss += lossNow!;
      report.balance += balanceNow!;
      report.gradNorm = normNow!;
      if (load !== undefined) {
        const rows = (await load.array()) as number[][];
        report.load = rows.map((row, l) => row.map((n, e) => n + (report.load[l]?.[e] ?? 0)));
      }
      tf.dispose([loss!, norm!, ...[balance, load].filter((s) => s !== undefined)]);
      finite &&= Number.isFinite(lossNow) && Number.isFinite(normNow);
      count++;
    }
    report.loss /= count;
    report.balance /= count;
    if (!finite) {
      this.accumulator?.reset();
      tf.dispose(grads);
      return { ...report, applied: false };
    }
    const rate = tf.scalar(learningRate);
    const norm = await this.update.run(rate, ...(this.accumulator === undefined ? grads : []));
    report.gradNorm = (await norm.data())[0]!;
    tf.dispose([rate, norm, ...grads]);
    return { ...report, applied: true };
  }

  /** Every parameter of the state by the file and name it is saved under. */
  get files(): Record<'weights' | 'ema' | 'optimizer', Record<string, Parameter>> {
    return { weights: this.parameters, ema: this.ema.averages, optimizer: this.optimizer.state };
  }

  /** Frees everything on the device. */
  dispose(): void {
    for (const step of [this.gradients, this.update]) step.dispose();
    for (const part of [this.optimizer, this.ema, this.accumulator]) part?.dispose();
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }
}
