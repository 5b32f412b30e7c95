/** What training changes (weights, optimizer, averages) and the compiled steps that change it. */
import { type Objective, objective } from '@dit-moe/diffusion';

import {
  capacityScale,
  type DitConfig,
  dit,
  ditSizes,
  expertLayers,
  expertsPerToken,
  isExpertWeight,
  isMatrix,
  isRouterState,
  type RouterTraining,
  routerLossWeights,
  routerNoiseShapes,
  weightSpecs,
} from '@dit-moe/dit';
import type { Routing } from '@dit-moe/moe';
import { capacity } from '@dit-moe/moe/dispatch';
import type { RoutingTelemetry } from '@dit-moe/moe/telemetry';
import {
  AdamW,
  after,
  type Collectives,
  type CompiledStep,
  clipFactor,
  compile,
  Ema,
  GradientAccumulator,
  globalNorm,
  type LateGradient,
  mean,
  type Parameter,
  ParameterSet,
  roundMaps,
  tensorFlowBackend,
  valueAndGrads,
} from '@dit-moe/tensor-ops';
import type { Cluster } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { objectiveOptions } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import type { Batch } from './batches.js';
import { ExpertRoom } from './expert-room.js';
import { type RouterMemories, routerMemories } from './router-memory.js';
import { openTelemetry } from './routing.js';
import { expertRanksOf, pick, type SharedPart, Sharing } from './sharing.js';
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
  /** Milliseconds of handing inputs to the device, in the first step of recording it too. */
  transferMs: number;
  /** Milliseconds in which the device computed, and the others of a cluster were waited for. */
  computeMs: number;
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
  readonly numbers: readonly string[];
  /** The parameters that gradients move: all but the routers' biases and thresholds. */
  private readonly trained: Readonly<Record<string, Parameter>>;
  /** What routers keep beside: biases and thresholds. */
  private readonly routerState: Readonly<Record<string, Parameter>>;
  /** How the state is shared out over the ranks; undefined alone. */
  private readonly sharing: Sharing | undefined;
  /** The ranks that share this one's experts out. */
  private readonly expertRanks: Collectives;
  /** What is kept of an expert's rows, where experts are shared out. */
  readonly room: ExpertRoom | undefined;
  /** What this process's optimizer moves: the parameters, or its shards of them. */
  readonly owned: Readonly<Record<string, Parameter>>;
  /** What is shared out of the first average, whole, in the precision of products; it has values between `gatherAverage` and `releaseAverage`. */
  private readonly gathered: ParameterSet | undefined;
  private readonly routers: RouterMemories;
  private capacityScale: number;
  private readonly accumulator: GradientAccumulator | undefined;
  /** By the room of experts that are shared out. */
  private readonly gradients = new Map<number | undefined, CompiledStep<tf.Tensor[], Record<string, tf.Tensor>>>();
  private readonly update: CompiledStep<tf.Tensor[], tf.Tensor>;
  private counters: CompiledStep<[], tf.Tensor> | undefined;
  /** The means over the ranks of what was accumulated; undefined alone, or where the gradients' own step makes them. */
  private readonly reduce: CompiledStep<tf.Tensor[], Record<string, tf.Tensor>> | undefined;

  /** Fresh weights from the configuration's seed. */
  constructor(
    readonly model: DitConfig,
    private readonly config: TrainConfig,
    private readonly teacher?: Teacher,
    private readonly cluster?: Cluster,
  ) {
    const { parallel } = config;
    const specs = weightSpecs(model);
    this.expertRanks = expertRanksOf(cluster, parallel);
    const partOf = (name: string) => (isExpertWeight(name) ? this.expertRanks : undefined);
    this.parameters = ParameterSet.create(specs, config.seed, { partOf }).parameters;
    this.numbers = [
      'loss',
      ...Object.keys(model.moe === undefined ? { balance: 0 } : routerLossWeights(model.moe)),
      ...(teacher?.terms ?? []).map(ofTeacher),
    ];
    const { beta1, beta2, epsilon, weightDecay } = config.optimizer;
    this.objective = objective(objectiveOptions(config.objective));
    const trained = Object.entries(this.parameters).filter(([name]) => !isRouterState(name));
    this.trained = Object.fromEntries(trained);
    this.routerState = Object.fromEntries(Object.entries(this.parameters).filter(([name]) => isRouterState(name)));
    this.routers = routerMemories(model, this.parameters, cluster?.collectives);
    this.capacityScale = capacityScaleAt(model, 0);
    this.sharing = cluster && new Sharing(cluster, this.trained, isExpertWeight, parallel.zero, this.expertRanks);
    this.owned = this.sharing?.owned ?? this.trained;
    this.optimizer = new AdamW(this.owned, { beta1, beta2, epsilon, weightDecay });
    this.emas = config.ema.map((decay) => new Ema({ ...this.owned, ...this.routerState }, decay));
    const apart = this.partsOf(this.emas[0].averages.parameters).flatMap((part) => (part.whole === undefined ? part.names : []));
    if (apart.length > 0) this.gathered = ParameterSet.declare(pick(specs, apart), { prefix: 'average.', precision: config.precision });
    if (this.expertRanks.size > 1) {
      const tokens = (config.batchSize / config.accumulation / cluster!.size) * ditSizes(model).tokens;
      this.room = new ExpertRoom(tokens, (tokens * mostPerToken(model)) / model.moe!.numExperts, parallel.capacity);
    }
    this.telemetry = openTelemetry(model, config.objective);
    if (config.accumulation > 1) this.accumulator = new GradientAccumulator(parallel.zero === 2 ? this.owned : this.trained);
    if (this.sharing !== undefined && this.accumulator !== undefined)
      this.reduce = compile((stop, ...numbers) => this.reduceStep(stop, ...numbers), { name: 'reduce' });
    this.update = compile((...given) => this.updateStep(...given), { name: 'update' });
  }

  /** Gives the routers the capacity of a step; where it changes, what follows is compiled anew. */
  scheduleCapacity(step: number): void {
    const scale = capacityScaleAt(this.model, step);
    if (scale === this.capacityScale) return;
    this.capacityScale = scale;
    for (const compiled of this.gradients.values()) compiled.dispose();
    this.gradients.clear();
  }

  /**
   * First part of a step, over a micro-batch: losses and, unless they are accumulated, the gradient's norm and the gradients, of all ranks.
   * Alone the norm so far comes with every micro-batch.
   */
  gradientStep(...[x, noise, drawn, y, ...rest]: tf.Tensor[]): Record<string, tf.Tensor> {
    const { sharing, accumulator } = this;
    const [stop, routerNoise] = this.cluster === undefined ? [undefined, rest] : [rest.at(-1)!, rest.slice(0, -1)];
    const { value, grads, extra } = this.lossAndGradients(x, noise, drawn, y, routerNoise);
    value.dispose();
    const { sampleLosses, most, ...numbers } = extra;
    // What is done again with more room must not be added up.
    const counts = most === undefined ? x.shape[0] : tf.mul(x.shape[0], tf.cast(tf.lessEqual(most, this.room!.rows), 'float32'));
    accumulator?.add(this.accumulatesShards ? sharing!.shards(grads) : grads, counts);
    if (sharing === undefined)
      return accumulator ? { ...extra, norm: accumulator.norm() } : { ...extra, norm: globalNorm(grads), ...grads };
    const rows = sampleLosses && everyRanks(this.cluster!.collectives, { sampleLosses, drawn });
    const own = { ...rows, ...(most && { most }) };
    return accumulator
      ? { ...numbers, ...own }
      : { ...sharing.numbers({ ...numbers, stop: stop! }), ...sharing.reduce(grads, false), ...own };
  }

  /** Between the two, with accumulation in a cluster: what all ranks accumulated. */
  reduceStep(stop: tf.Tensor, ...own: tf.Tensor[]): Record<string, tf.Tensor> {
    const numbers = Object.fromEntries(this.numbers.map((name, i) => [name, own[i]]));
    return { ...this.sharing!.numbers({ ...numbers, stop }), ...this.sharing!.reduce(this.accumulator!.take(), this.accumulatesShards) };
  }

  /** Last part of a step: optimizer and averages. */
  updateStep(...[learningRate, norm, ...given]: tf.Tensor[]): tf.Tensor {
    const { clipNorm } = this.config.optimizer;
    const names = Object.keys(this.owned);
    const plain = Object.fromEntries(names.map((name, i) => [name, given[i]]));
    const grads = given.length === 0 ? this.accumulator!.takeEach() : plain;
    this.optimizer.apply(clipNorm === undefined ? grads : scaledLate(grads, clipFactor(clipNorm, norm)), learningRate);
    for (const memory of this.routers.all) memory.update();
    for (const ema of this.emas) ema.update();
    this.sharing?.update();
    return tf.scalar(0);
  }

  /** Whether micro-batches are shared out before they are added up, so that no process keeps the whole gradient. */
  private get accumulatesShards(): boolean {
    return this.sharing !== undefined && this.config.parallel.zero === 2;
  }

  private lossAndGradients(x: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor, y: tf.Tensor, routerNoise: readonly tf.Tensor[]) {
    const { model, config, teacher, cluster, room, expertRanks } = this;
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
    const sharedOut = room && { dispatcher: capacity({ perExpert: room.rows }), expertRanks };
    const training = this.routerTraining(routerNoise);
    const lesson = teacher?.lesson(noisy, t, y);
    return valueAndGrads(
      () => {
        const { output, hidden, losses, routing } = dit(weights, model, noisy, modelTime, y, {
          precision: config.precision,
          recompute: config.recompute,
          training,
          ...(sharedOut && { moe: () => sharedOut }),
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
          for (const memory of this.routers.all) memory.count(routing);
          this.telemetry!.update(routing, { timesteps: modelTime, labels: y });
          if (room?.exact) extra['most'] = cluster!.collectives.allReduce(fullest(routing), 'max');
        }
        return { loss: total, extra };
      },
      Object.fromEntries(Object.keys(this.trained).map((name) => [name, weights[name]])),
      // The variance half of a flow model with learned sigma has no influence.
      { allowZeros: true },
    );
  }

  private routerTraining(noise: readonly tf.Tensor[]): RouterTraining {
    const { model, cluster, routers } = this;
    const parts = Object.keys(routerNoiseShapes(model));
    return {
      ...(cluster && { collectives: cluster.collectives }),
      capacityScale: this.capacityScale,
      ...(noise.length > 0 && {
        noise: Array.from({ length: noise.length / parts.length }, (_, layer) =>
          Object.fromEntries(parts.map((part, i) => [part, noise[layer * parts.length + i]])),
        ),
      }),
      ...(routers.stepLoad && { earlierLoad: routers.stepLoad.read() }),
    };
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
    const report: StepReport = {
      loss: 0,
      balance: 0,
      routerLosses: {},
      distillation: {},
      gradNorm: 0,
      outcome: 'applied',
      stop,
      transferMs: 0,
      computeMs: 0,
    };
    let sums = this.numbers.map(() => 0);
    let count = 0;
    let grads: tf.Tensor[] = [];
    let normTensor: tf.Tensor | undefined;
    const observed: [drawn: tf.Tensor, losses: tf.Tensor][] = [];
    const flag = tf.scalar(stop ? 1 : 0);
    // Steps take their inputs before they first wait; on a GPU their results may come after them, with the first number that is read.
    const run = async <T>(step: () => Promise<T>): Promise<T> => {
      const start = performance.now();
      const running = this.cluster?.guard('a training step', step) ?? step();
      const given = performance.now();
      report.transferMs += given - start;
      const result = await running;
      report.computeMs += performance.now() - given;
      return result;
    };
    const numbersOf = async (tensors: readonly (tf.Tensor | undefined)[]): Promise<number[]> => {
      const start = performance.now();
      const read = await Promise.all(tensors.map(numberOf));
      report.computeMs += performance.now() - start;
      return read;
    };
    for await (const { x, noise, drawn, y, routerNoise = [] } of batches) {
      const outputs = await run(() => this.gradientsOfBatch([x, noise, drawn, y, ...routerNoise, ...(this.cluster ? [flag] : [])]));
      const { sampleLosses, norm, stop: stops, drawn: drawnByAll, ...own } = outputs;
      const numbers = this.numbers.map((name) => own[name]);
      tf.dispose([x, noise, y, ...routerNoise, ...(normTensor === undefined ? [] : [normTensor])]);
      if (sampleLosses !== undefined) observed.push([drawnByAll ?? drawn, sampleLosses]);
      if (sampleLosses === undefined || drawnByAll !== undefined) drawn.dispose();
      grads = this.gradientsOf(own);
      normTensor = norm;
      const [normNow, stopNow, ...now] = await numbersOf([norm, stops, ...numbers]);
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
      const [gradNorm, stopOfAll, ...now] = await numbersOf([norm, stops, ...numbers]);
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
      for (const memory of this.routers.all) memory.reset();
    }
    tf.dispose([flag, normTensor!, ...grads, ...observed.flat()]);
    return report;
  }

  /** Runs the first part of a step, again with more room for the experts where some rank's rows found none. */
  private async gradientsOfBatch(inputs: tf.Tensor[]): Promise<Record<string, tf.Tensor>> {
    const { room } = this;
    for (;;) {
      const rows = room?.rows;
      if (!this.gradients.has(rows))
        this.gradients.set(
          rows,
          compile((...batch) => this.gradientStep(...batch), { name: 'gradients' }),
        );
      const counters = room?.exact
        ? [...Object.values(this.telemetry?.parameters ?? {}), ...this.routers.all.flatMap(({ counters }) => counters)]
        : [];
      const before = counters.map((counter) => tf.keep(counter.read()));
      try {
        const { most, ...outputs } = await this.gradients.get(rows)!.run(...inputs);
        if (most === undefined) return outputs;
        const [needed] = await most.data();
        most.dispose();
        if (room!.observe(needed)) return outputs;
        tf.dispose(outputs);
        for (const [i, counter] of counters.entries()) counter.assign(before[i]);
      } finally {
        tf.dispose(before);
      }
    }
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

  /** Puts a whole weight into the state, of which this process keeps its part. */
  assignWeight(name: string, data: Float32Array): void {
    const parameter = this.parameters[name];
    tf.tidy(() => parameter.assign(tf.tensor(this.sharing?.ownPart(name, data) ?? data, [...parameter.shape])));
  }

  /** Makes what is derived from the weights follow them, after they were given: shards, and `averages` where these start from them. */
  weightsGiven({ averages }: { averages: boolean }): void {
    this.sharing?.weightsGiven();
    if (averages) for (const ema of this.emas) ema.restart();
  }

  /** The first average by the weights' names, for sampling. Where it is shared out it has values only after {@link gatherAverage}. */
  get average(): Readonly<Record<string, Parameter>> {
    const own = this.emas[0].averages.parameters;
    return Object.fromEntries(Object.keys(this.parameters).map((name) => [name, this.gathered?.parameters[name] ?? own[name]]));
  }

  /** Puts the first average together on rank 0; every rank calls it. Nothing is to be done where every process has it. */
  async gatherAverage(): Promise<void> {
    const { gathered, cluster } = this;
    if (gathered === undefined) return;
    for (const part of this.partsOf(this.emas[0].averages.parameters)) {
      if (part.whole !== undefined) continue;
      for await (const tensors of part.read())
        if (cluster!.rank === 0) for (const [name, tensor] of Object.entries(tensors)) gathered.parameters[name].assign(tensor);
    }
  }

  /** Sums of gradients over the micro-batches of a step; empty if there is one. */
  get sums(): Readonly<Record<string, Parameter>> {
    return this.accumulator?.parameters ?? {};
  }

  /** Bytes that {@link gatherAverage} takes on rank 0. */
  get gatheredBytes(): number {
    const parameters = Object.values(this.gathered?.parameters ?? {});
    return parameters.reduce((sum, { shape, dtype }) => sum + (dtype === 'bfloat16' ? 2 : 4) * tf.util.sizeFromShape([...shape]), 0);
  }

  /** Frees what {@link gatherAverage} has put together. */
  releaseAverage(): void {
    for (const parameter of Object.values(this.gathered?.parameters ?? {})) parameter.clear();
  }

  /** How tensors for what gradients move lie on the ranks. */
  private partsOf(tensors: Readonly<Record<string, Parameter>>): SharedPart[] {
    return this.sharing?.stored(tensors) ?? [];
  }

  /** The files that the state is saved in: `ema` is the first average, `ema-0.999` a further one. */
  get files(): Record<string, StateFile> {
    const { parameters, optimizer, telemetry, cluster, routerState } = this;
    const { step, firstMoments, secondMoments } = optimizer;
    /** A file of tensors for the trained parameters, by what stands before the names, and of others. */
    const file = (
      names: readonly string[],
      tensors: Record<string, Readonly<Record<string, Parameter>>>,
      others: Record<string, Parameter>,
    ) => {
      if (cluster === undefined) {
        const own = Object.entries(tensors).flatMap(([prefix, of]) => Object.keys(this.trained).map((name) => [prefix + name, of[name]]));
        return new StateFile(names, { ...others, ...Object.fromEntries(own) });
      }
      const parts = Object.entries(tensors).flatMap(([prefix, of]) => this.partsOf(of).map((part) => ({ prefix, part })));
      return new StateFile(names, others, { cluster, parts });
    };
    const weightNames = Object.keys(parameters);
    const moments = { 'adamw.m.': firstMoments.parameters, 'adamw.v.': secondMoments.parameters };
    const momentNames = Object.keys(moments).flatMap((prefix) => Object.keys(this.trained).map((name) => prefix + name));
    const averages = this.emas.map(({ decay, averages: { parameters: own } }, i) => [
      i === 0 ? 'ema' : `ema-${decay}`,
      file(weightNames, { '': own }, pick(own, Object.keys(routerState))),
    ]);
    return {
      weights: file(weightNames, { '': this.trained }, routerState),
      ...Object.fromEntries(averages),
      optimizer: file([step.name, ...momentNames], moments, { [step.name]: step }),
      ...(telemetry && { telemetry: new StateFile(Object.keys(telemetry.parameters), telemetry.parameters) }),
    };
  }

  /** Decay of the average in a file of the state; undefined if it holds none. */
  emaDecayOf(file: string): number | undefined {
    return file === 'ema' ? this.emas[0].decay : this.emas.find(({ decay }) => file === `ema-${decay}`)?.decay;
  }

  /** Frees everything on the device. */
  dispose(): void {
    for (const step of [...this.gradients.values(), this.reduce, this.update, this.counters]) step?.dispose();
    const { optimizer, emas, accumulator, routers, telemetry, gathered, sharing } = this;
    for (const part of [optimizer, ...emas, accumulator, ...routers.all, telemetry, gathered, sharing]) part?.dispose();
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }
}

/** A teacher's term among the numbers of a step. */
const ofTeacher = (name: string): string => `distillation.${name}`;

/** Rows of the fullest expert of any layer, scalar. */
const fullest = (routing: readonly Routing[]): tf.Tensor => tf.max(tf.stack(routing.map(({ load }) => load)));

/** Gradients times a factor, one by one: all of them at once would be as much again as the weights. */
function scaledLate(grads: Readonly<Record<string, tf.Tensor | LateGradient>>, factor: tf.Tensor): Record<string, LateGradient> {
  const made = (grad: tf.Tensor | LateGradient, before?: tf.Tensor): tf.Tensor =>
    typeof grad === 'function' ? grad(before) : before === undefined ? grad : after(grad, before);
  return Object.fromEntries(
    Object.entries(grads).map(([name, grad]) => [name, (before) => tf.tidy(() => tf.mul(made(grad, before), factor))]),
  );
}

const capacityScaleAt = ({ moe }: DitConfig, step: number): number => (moe === undefined ? 1 : capacityScale(moe, step));

/** Experts per token of the layer where a token has most. */
const mostPerToken = (model: DitConfig): number =>
  Math.max(...expertLayers(model).map((layer) => expertsPerToken({ ...model, moe: model.moe! }, layer)));

const numberOf = async (scalar: tf.Tensor | undefined): Promise<number> => (scalar === undefined ? 0 : (await scalar.data())[0]);

/** Rows of all ranks, in their order. */
function everyRanks(collectives: Collectives, rows: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  return Object.fromEntries(Object.entries(rows).map(([name, x]) => [name, collectives.allGather(x)]));
}
