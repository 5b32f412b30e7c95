/** What training changes (weights, optimizer, averages) and the compiled steps that change it. */
import { type Objective, objective } from '@dit-moe/diffusion';

import { type DitConfig, dit, isMatrix, isRouterState, routerLossWeights, weightSpecs } from '@dit-moe/dit';
import { clusterBalanceLoss } from '@dit-moe/moe/losses';

import type { RoutingTelemetry } from '@dit-moe/moe/telemetry';
import {
  AdamW,
  type CompiledStep,
  clipByGlobalNorm,
  compile,
  Ema,
  GradientAccumulator,
  globalNorm,
  mean,
  type Parameter,
  ParameterSet,
  RankMean,
  roundMaps,
  ShardLayout,
  tensorFlowBackend,
  valueAndGrads,
} from '@dit-moe/tensor-ops';
import type { Cluster } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { objectiveOptions } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import type { Batch } from './batches.js';
import { RouterBalance } from './router-balance.js';
import { openTelemetry } from './routing.js';
import { StateFile } from './state-file.js';
import type { Teacher } from './teacher.js';

/** Numbers of one step, on the host. */
export interface StepReport {
  /** Mean loss of the objective over the samples. */
  loss: number;
  /** Sum of the layers' balance losses, not yet times alpha; 0 without experts. */
  balance: number;
  /** The same for each further loss of the routers, by name. */
  routerLosses: Readonly<Record<string, number>>;
  /** The teacher's terms by name, not yet weighted; empty without a teacher. */
  distillation: Readonly<Record<string, number>>;
  /** Norm of the whole gradient before clipping. */
  gradNorm: number;
  /** What became of the step; nothing is changed unless it was applied. */
  outcome: 'applied' | 'not finite' | 'spike';
  /** Whether some rank of a cluster has been asked to stop: all see it after the same step. */
  stop: boolean;
}

/** Weights, optimizer and averages, with the steps over them. */
export class TrainingState {
  readonly parameters: Record<string, Parameter>;
  readonly optimizer: AdamW;
  readonly objective: Objective;
  /** One average per rate of the configuration. */
  readonly emas: readonly Ema[];
  /** What the routers did since the counters were reset, in every micro-batch: also in those of steps that were skipped. */
  readonly telemetry: RoutingTelemetry | undefined;
  /** Names of the numbers that a step reports. */
  private readonly numbers: readonly string[];
  /** The parameters that gradients move: all but the routers' biases. */
  private readonly trained: Readonly<Record<string, Parameter>>;
  /** The routers' biases. */
  private readonly biases: Readonly<Record<string, Parameter>>;
  /** How optimizer and averages are shared out over the ranks; undefined where every process has all of them. */
  private readonly layout: ShardLayout | undefined;
  /** What this process's optimizer moves: the parameters, or its shards of them. */
  private readonly owned: Readonly<Record<string, Parameter>>;
  /** The first average whole, where it is shared out; it has values between `gatherAverage` and `releaseAverage`. */
  private readonly gathered: ParameterSet | undefined;
  private readonly balance: RouterBalance | undefined;
  private readonly accumulator: GradientAccumulator | undefined;
  private readonly gradients: CompiledStep<tf.Tensor[], Record<string, tf.Tensor>>;
  private readonly update: CompiledStep<tf.Tensor[], tf.Tensor>;
  private counters: CompiledStep<[], tf.Tensor> | undefined;
  /** The means over the ranks of what was accumulated; undefined alone, or where the gradients' own step makes them. */
  private readonly reduce: CompiledStep<tf.Tensor[], Record<string, tf.Tensor>> | undefined;
  private readonly ranks: RankMean | undefined;

  /** Fresh weights from the configuration's seed. */
  constructor(
    readonly model: DitConfig,
    private readonly config: TrainConfig,
    private readonly teacher?: Teacher,
    private readonly cluster?: Cluster,
  ) {
    this.parameters = ParameterSet.create(weightSpecs(model), config.seed).parameters;
    this.numbers = ['loss', 'balance', ...Object.keys(model.moe?.losses ?? {}), ...(teacher?.terms ?? []).map(ofTeacher)];
    const { beta1, beta2, epsilon, weightDecay } = config.optimizer;
    this.objective = objective(objectiveOptions(config.objective));
    const trained = Object.entries(this.parameters).filter(([name]) => !isRouterState(name));
    this.trained = Object.fromEntries(trained);
    this.biases = Object.fromEntries(Object.entries(this.parameters).filter(([name]) => isRouterState(name)));
    const { loadBias } = model.moe ?? {};
    const biases = Object.values(this.biases);
    if (loadBias !== undefined && biases.length > 0) this.balance = new RouterBalance(biases, loadBias);
    const shapes = Object.fromEntries(trained.map(([name, { shape }]) => [name, shape]));
    this.ranks = cluster && new RankMean(cluster.collectives, shapes);
    const { zero } = config.parallel;
    if (this.ranks !== undefined && zero > 0) {
      this.layout = new ShardLayout(this.ranks.collectives, this.ranks.buckets);
      this.gathered = ParameterSet.declare(weightSpecs(model), { prefix: 'average.' });
    }
    this.owned = this.layout?.create(this.trained) ?? this.trained;
    this.optimizer = new AdamW(this.owned, { beta1, beta2, epsilon, weightDecay });
    const averaged = this.layout === undefined ? this.parameters : { ...this.owned, ...this.biases };
    this.emas = config.ema.map((decay) => new Ema(averaged, decay));
    this.telemetry = openTelemetry(model, config.objective);
    if (config.accumulation > 1) this.accumulator = new GradientAccumulator(zero === 2 ? this.owned : this.trained);
    this.gradients = compile((...batch) => this.gradientStep(...batch), { name: 'gradients' });
    if (this.ranks !== undefined && this.accumulator !== undefined)
      this.reduce = compile((stop, ...numbers) => this.reduceStep(stop, ...numbers), { name: 'reduce' });
    this.update = compile((...given) => this.updateStep(...given), { name: 'update' });
  }

  /**
   * First part of a step, over a micro-batch: losses and, unless they are accumulated, the gradient's norm and the gradients, of all ranks.
   * Alone the norm so far comes with every micro-batch.
   */
  gradientStep(...[x, noise, drawn, y, stop]: tf.Tensor[]): Record<string, tf.Tensor> {
    const { ranks, accumulator } = this;
    const { value, grads, extra } = this.lossAndGradients(x, noise, drawn, y);
    value.dispose();
    accumulator?.add(this.accumulatesShards ? this.shardsOf(grads) : grads, x.shape[0]);
    if (ranks === undefined) return accumulator ? { ...extra, norm: accumulator.norm() } : { ...extra, norm: globalNorm(grads), ...grads };
    const { sampleLosses, ...numbers } = extra;
    const rows = sampleLosses && everyRanks(ranks, { sampleLosses, drawn });
    return accumulator ? { ...numbers, ...rows } : { ...ranks.numbers({ ...numbers, stop }), ...this.reduced(grads), ...rows };
  }

  /** Between the two, with accumulation in a cluster: what all ranks accumulated. */
  reduceStep(stop: tf.Tensor, ...own: tf.Tensor[]): Record<string, tf.Tensor> {
    const numbers = Object.fromEntries(this.numbers.map((name, i) => [name, own[i]]));
    return { ...this.ranks!.numbers({ ...numbers, stop }), ...this.reduced(this.accumulator!.take()) };
  }

  /** Last part of a step: optimizer and averages. */
  updateStep(...[learningRate, norm, ...given]: tf.Tensor[]): tf.Tensor {
    const { clipNorm } = this.config.optimizer;
    const names = Object.keys(this.owned);
    let grads = given.length === 0 ? this.accumulator!.take() : Object.fromEntries(names.map((name, i) => [name, given[i]]));
    if (clipNorm !== undefined) grads = clipByGlobalNorm(grads, clipNorm, norm);
    this.optimizer.apply(grads, learningRate);
    const { cluster, layout } = this;
    this.balance?.update(cluster && ((load) => cluster.collectives.allReduce(load)));
    for (const ema of this.emas) ema.update();
    if (layout !== undefined) {
      const parts = Object.fromEntries(names.map((name) => [name, this.owned[name].read()]));
      for (const [name, weight] of Object.entries(layout.join(parts))) this.trained[name].assign(weight);
    }
    return tf.scalar(0);
  }

  /** Whether micro-batches are shared out before they are added up, so that no process keeps the whole gradient. */
  private get accumulatesShards(): boolean {
    return this.layout !== undefined && this.config.parallel.zero === 2;
  }

  private shardsOf(grads: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> {
    return this.layout!.named(this.ranks!.shards(grads));
  }

  /** Means over the ranks as this process's optimizer takes them, and the norm of the whole. */
  private reduced(own: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> {
    const ranks = this.ranks!;
    if (this.layout === undefined) {
      const { grads, norm } = ranks.gradients(own);
      return { norm, ...grads };
    }
    const shards = this.accumulatesShards && this.accumulator !== undefined ? own : this.shardsOf(own);
    return { norm: ranks.normOfShards(Object.values(shards)), ...shards };
  }

  private lossAndGradients(x: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor, y: tf.Tensor) {
    const { model, config, teacher } = this;
    const backend = tensorFlowBackend();
    const weights = Object.fromEntries(
      Object.entries(this.parameters).map(([name, parameter]) => {
        const weight = parameter.read();
        // Rounded once per step instead of at each use.
        const rounded = config.precision === 'bf16' && backend?.bf16Products === true && isMatrix(name);
        return [name, rounded ? roundMaps(weight) : weight];
      }),
    );
    const { x: noisy, t } = this.objective.noisy(x, noise, drawn);
    const modelTime = config.objective.kind === 'flow' ? tf.mul(t, config.objective.timeScale) : t;
    // Balance over the batch means the whole batch, however many processes share it.
    const acrossRanks = this.ranks && model.moe?.balanceOver !== 'image' ? clusterBalanceLoss(this.ranks.collectives) : undefined;
    const lesson = teacher?.lesson(noisy, t, y);
    return valueAndGrads(
      () => {
        const { output, hidden, losses, routing } = dit(weights, model, noisy, modelTime, y, {
          precision: config.precision,
          recompute: config.recompute,
          ...(acrossRanks && { moe: () => ({ losses: { balance: acrossRanks } }) }),
        });
        const sampleLosses = this.objective.losses(output, x, noise, drawn).loss;
        const loss = mean(sampleLosses, 0);
        let total = loss;
        const extra: Record<string, tf.Tensor> = this.objective.observe === undefined ? { loss } : { loss, sampleLosses };
        if (teacher !== undefined) {
          const taught = teacher.teach(loss, { output, hidden }, lesson!);
          total = taught.total;
          for (const [name, term] of Object.entries(taught.terms)) extra[ofTeacher(name)] = term;
        }
        if (routing.length > 0) {
          for (const [name, weight] of Object.entries(routerLossWeights(model.moe!))) total = tf.add(total, tf.mul(losses[name], weight));
          Object.assign(extra, losses);
          this.balance?.count(routing);
          this.telemetry!.update(routing, { timesteps: modelTime, labels: y });
        }
        return { loss: total, extra };
      },
      Object.fromEntries(Object.keys(this.trained).map((name) => [name, weights[name]])),
      // The variance half of a flow model with learned sigma has no influence.
      { allowZeros: true },
    );
  }

  /**
   * One optimizer step over the micro-batches, which it disposes. If loss or gradient is not finite, or the gradient's norm is
   * beyond `maxNorm`, nothing is changed. In a cluster the micro-batches are this rank's, and what is reported is of all ranks.
   * @param stop whether this process has been asked to stop
   * @throws PeerError if another process of the cluster fails
   */
  async step(
    batches: Iterable<Batch> | AsyncIterable<Batch>,
    learningRate: number,
    maxNorm = Number.POSITIVE_INFINITY,
    stop = false,
  ): Promise<StepReport> {
    const report: StepReport = { loss: 0, balance: 0, routerLosses: {}, distillation: {}, gradNorm: 0, outcome: 'applied', stop };
    let sums = this.numbers.map(() => 0);
    let count = 0;
    let grads: tf.Tensor[] = [];
    let normTensor: tf.Tensor | undefined;
    const observed: [drawn: tf.Tensor, losses: tf.Tensor][] = [];
    const flag = tf.scalar(stop ? 1 : 0);
    const run = <T>(step: () => Promise<T>): Promise<T> => this.cluster?.guard('a training step', step) ?? step();
    for await (const { x, noise, drawn, y } of batches) {
      const outputs = await run(() => this.gradients.run(x, noise, drawn, y, ...(this.cluster ? [flag] : [])));
      const { sampleLosses, norm, stop: stops, drawn: drawnByAll, ...own } = outputs;
      const numbers = this.numbers.map((name) => own[name]);
      tf.dispose([x, noise, y, ...(normTensor === undefined ? [] : [normTensor])]);
      if (sampleLosses !== undefined) observed.push([drawnByAll ?? drawn, sampleLosses]);
      if (sampleLosses === undefined || drawnByAll !== undefined) drawn.dispose();
      grads = this.gradientsOf(own);
      normTensor = norm;
      const [normNow, stopNow, ...now] = await Promise.all([norm, stops, ...numbers].map(numberOf));
      sums = sums.map((sum, i) => sum + now[i]);
      report.gradNorm = normNow;
      report.stop ||= stopNow > 0;
      tf.dispose([...numbers, stops].filter((x) => x !== undefined));
      count++;
    }
    let means = sums.map((sum) => sum / count);
    if (this.reduce !== undefined) {
      const { reduce } = this;
      const own = means.map((value) => tf.scalar(value));
      const { stop: stops, norm, ...ofAll } = await run(() => reduce.run(flag, ...own));
      const numbers = this.numbers.map((name) => ofAll[name]);
      const [gradNorm, stopOfAll, ...now] = await Promise.all([norm, stops, ...numbers].map(numberOf));
      Object.assign(report, { gradNorm, stop: stopOfAll > 0 });
      means = now;
      tf.dispose([stops, ...numbers, ...own]);
      [normTensor, grads] = [norm, this.gradientsOf(ofAll)];
    }
    [report.loss, report.balance] = means;
    const further = Object.fromEntries(this.numbers.map((name, i) => [name, means[i]]).slice(2)) as Record<string, number>;
    const lessons = this.teacher?.terms ?? [];
    report.distillation = Object.fromEntries(lessons.map((name) => [name, further[ofTeacher(name)]]));
    report.routerLosses = Object.fromEntries(Object.entries(further).filter(([name]) => !lessons.map(ofTeacher).includes(name)));
    if (!Number.isFinite(report.loss) || !Number.isFinite(report.gradNorm)) report.outcome = 'not finite';
    else if (report.gradNorm > maxNorm) report.outcome = 'spike';
    if (report.outcome === 'applied') {
      const rate = tf.scalar(learningRate);
      const done = await run(() => this.update.run(rate, normTensor!, ...grads));
      tf.dispose([rate, done]);
      for (const [drawn, losses] of observed) await this.objective.observe!(drawn, losses);
    } else {
      this.accumulator?.reset();
      this.balance?.reset();
    }
    tf.dispose([flag, normTensor!, ...grads, ...observed.flat()]);
    return report;
  }

  /** The gradients among a step's results, in the order in which `update` takes them. */
  private gradientsOf(results: Readonly<Record<string, tf.Tensor>>): tf.Tensor[] {
    return Object.keys(this.owned).flatMap((name) => results[name] ?? []);
  }

  /** Moves what the routers of all ranks counted to rank 0; the others count from zero. */
  async gatherCounters(): Promise<void> {
    const { cluster, telemetry } = this;
    if (cluster === undefined || telemetry === undefined) return;
    this.counters ??= compile(
      () => {
        for (const counter of Object.values(telemetry.parameters)) {
          const total = cluster.collectives.allReduce(counter.read());
          counter.assign(cluster.rank === 0 ? total : tf.zerosLike(total));
        }
        return tf.scalar(0);
      },
      { name: 'counters' },
    );
    const { counters } = this;
    (await cluster.guard('adding up counters', () => counters.run())).dispose();
  }

  /** Makes what is derived from the weights follow them, after they were given: shards, and `averages` where these start from them. */
  weightsGiven({ averages }: { averages: boolean }): void {
    this.layout?.assign(this.owned, this.trained);
    if (averages) for (const ema of this.emas) ema.restart();
  }

  /** The first average by the weights' names, for sampling. Where it is shared out it has values only after {@link gatherAverage}. */
  get average(): Readonly<Record<string, Parameter>> {
    return (this.gathered ?? this.emas[0].averages).parameters;
  }

  /** Puts the first average together on rank 0; every rank calls it. Nothing is to be done where every process has it. */
  async gatherAverage(): Promise<void> {
    const { gathered, layout, cluster } = this;
    if (layout === undefined) return;
    const average = this.emas[0].averages.parameters;
    for await (const tensors of layout.read(average, (run) => cluster!.guard('gathering the average', run)))
      if (cluster!.rank === 0) for (const [name, tensor] of Object.entries(tensors)) gathered!.parameters[name].assign(tensor);
    if (cluster!.rank === 0)
      for (const name of Object.keys(this.biases)) tf.tidy(() => gathered!.parameters[name].assign(average[name].read()));
  }

  /** Frees what {@link gatherAverage} has put together. */
  releaseAverage(): void {
    for (const parameter of Object.values(this.gathered?.parameters ?? {})) parameter.clear();
  }

  /** The files that the state is saved in: `ema` is the first average, `ema-0.999` a further one. */
  get files(): Record<string, StateFile> {
    const { parameters, optimizer, telemetry, layout, cluster } = this;
    const whole = (tensors: Readonly<Record<string, Parameter>>) => new StateFile(Object.keys(tensors), tensors);
    const shared = layout && cluster && { layout, cluster };
    const averages = this.emas.map(({ decay, averages: { parameters: own } }, i) => {
      const file = shared
        ? new StateFile(Object.keys(parameters), pick(own, Object.keys(this.biases)), { ...shared, parts: { '': own } })
        : whole(own);
      return [i === 0 ? 'ema' : `ema-${decay}`, file] as const;
    });
    const moments = { 'adamw.m.': optimizer.firstMoments.parameters, 'adamw.v.': optimizer.secondMoments.parameters };
    const names = Object.keys(moments).flatMap((prefix) => Object.keys(this.trained).map((name) => prefix + name));
    const { step } = optimizer;
    return {
      weights: whole(parameters),
      ...Object.fromEntries(averages),
      optimizer: shared
        ? new StateFile([step.name, ...names], { [step.name]: step }, { ...shared, parts: moments })
        : whole(optimizer.state),
      ...(telemetry && { telemetry: whole(telemetry.parameters) }),
    };
  }

  /** Decay of the average in a file of the state; undefined if it holds none. */
  emaDecayOf(file: string): number | undefined {
    return file === 'ema' ? this.emas[0].decay : this.emas.find(({ decay }) => file === `ema-${decay}`)?.decay;
  }

  /** Frees everything on the device. */
  dispose(): void {
    for (const step of [this.gradients, this.reduce, this.update, this.counters]) step?.dispose();
    const { optimizer, emas, accumulator, balance, telemetry, gathered, layout } = this;
    for (const part of [optimizer, ...emas, accumulator, balance, telemetry, gathered, layout]) part?.dispose();
    for (const parameter of Object.values({ ...this.parameters, ...this.owned })) parameter.dispose();
  }
}

/** A teacher's term among the numbers of a step. */
const ofTeacher = (name: string): string => `distillation.${name}`;

const pick = <T>(record: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> =>
  Object.fromEntries(names.map((name) => [name, record[name]]));

const numberOf = async (scalar: tf.Tensor | undefined): Promise<number> => (scalar === undefined ? 0 : (await scalar.data())[0]);

/** Rows of all ranks, in their order. */
function everyRanks({ collectives }: RankMean, rows: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  return Object.fromEntries(Object.entries(rows).map(([name, x]) => [name, collectives.allGather(x)]));
}
