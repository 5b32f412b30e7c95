/** DiT-MoE models: outputs, activations, routing, guidance, losses, gradients, optimizer and average. */
import path from 'node:path';
import { type DitOutput, dit, isMatrix } from '@dit-moe/dit';
import { type RoutingRecord, recordRouting, replay } from '@dit-moe/moe/selectors';
import { AdamW, Ema, mean, Parameter, ParameterSet, swiglu, tensorFlowBackend, valueAndGrads } from '@dit-moe/tensor-ops';
import type { HostTensor } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, instances, json, tensors } from './golden.js';
import { ditWithGuidance } from './guidance.js';
import { stated } from './readme.js';
import { asReference, onDevice, type ReferenceModel, readModel } from './reference-model.js';

export const area = 'dit-moe/model';

export async function* run(folder: string, root: string): AsyncGenerator<Comparison> {
  const tolerances = json(path.join(folder, 'tolerances.json'));
  for (const instance of instances(folder, 'config.json', root)) yield* compareModel(instance, tolerances);
}

/** Largest error of bfloat16 outputs, relative to the largest value expected: 8 bits of mantissa, through a few blocks. */
const BF16_TOLERANCE = 2e-2;
/**
 * The same of gradients, which go through the blocks twice. 7.2e-3 with oneDNN's products (AVX-512). 2.04e-2 with TensorFlow's own, which
 * compute where oneDNN has none in bfloat16, on processors with AVX2 alone; `TF_ENABLE_ONEDNN_OPTS=0` gives the same elsewhere.
 */
const BF16_GRADIENT_TOLERANCE = 3e-2;

type Numbers = ArrayLike<number>;

const norm = (values: number[] | Float32Array): number => Math.sqrt((values as number[]).reduce((sum, v) => sum + v * v, 0));

async function* compareModel(
  folder: string,
  tolerances: Record<string, Record<string, { atol?: number; rtol?: number; kind?: string }>>,
): AsyncGenerator<Comparison> {
  const id = path.basename(folder);
  const model = await readModel(folder);
  const { config, weights, alpha } = model;
  const inputs = tensors(path.join(folder, 'inputs.safetensors'));
  const [x, t, tFraction, y, target] = ['x', 't', 't_frac', 'y', 'target'].map((name) => onDevice(inputs, name)) as [
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
  ];
  const files = Object.fromEntries(
    ['outputs', 'activations', 'routing', 'train', 'grads', 'aux', 'adamw'].map((name) => [
      name,
      tensors(path.join(folder, `${name}.safetensors`)),
    ]),
  );
  const against = (file: string, name: string, actual: Numbers): Comparison => {
    const expected = files[file].get(name);
    if (expected === undefined) return check(`${id}/${file}/${name}`, false, 'the reference has no such tensor');
    const { atol = 0, rtol = 2e-5, kind } = tolerances[`${id}/${file}.safetensors`]?.[name] ?? {};
    return compare(
      `${id}/${file}/${name}`,
      actual,
      expected.data as unknown as Numbers,
      kind === 'exact' ? { atol: 0, rtol: 0 } : { atol, rtol },
    );
  };
  const numbers = async (tensor: tf.Tensor): Promise<Numbers> => (await tensor.data()) as Numbers;

  const traced: Record<string, tf.Tensor> = {};
  const { output, routing } = dit(weights, config, x, tf.cast(t, 'float32'), y, { trace: (name, value) => (traced[name] = value) });
  yield against('outputs', 'out', await numbers(output));
  yield against('outputs', 'out_t_frac', await numbers(dit(weights, config, x, tFraction, y).output));
  const [xs, ts, ys] = ['x_cfg', 't_cfg', 'y_cfg'].map((name) => onDevice(inputs, name)) as [tf.Tensor, tf.Tensor, tf.Tensor];
  for (const name of files['outputs'].keys()) {
    const scale = /^out_cfg_(.+)$/.exec(name)?.[1];
    if (scale !== undefined)
      yield against('outputs', name, await numbers(ditWithGuidance(weights, config, xs, tf.cast(ts, 'float32'), ys, Number(scale))));
  }

  // The choices that the reference recorded, repeated: with them numerics differ apart from ties.
  const chosen = (layer: number) => ({ selector: replay(onDevice(files['routing'], `layer${layer}.topk_idx`)) });
  if (files['routing'].has('layer0.topk_idx')) {
    const replayed = await numbers(dit(weights, config, x, tf.cast(t, 'float32'), y, { moe: chosen }).output);
    yield { ...against('outputs', 'out', replayed), name: `${id}/outputs/out by the recorded choices` };
  }

  if (tensorFlowBackend() !== undefined) {
    const record = await recordRouting(routing);
    yield* compareInBf16(id, model, inputs, files as Record<'outputs' | 'activations' | 'grads', Map<string, HostTensor>>, record);
  }

  const names: Record<string, string> = {
    patch_embed: 'patches',
    tokens_in: 'tokens',
    t_emb: 'timestep',
    y_emb: 'label',
    c: 'condition',
    final_tokens: 'finalPatches',
  };
  const parts: Record<string, string> = {
    attn_in: 'attentionIn',
    attn_out: 'attentionOut',
    moe_in: 'feedForwardIn',
    moe_out: 'feedForwardOut',
    out: 'output',
  };
  for (const name of files['activations'].keys()) {
    const [, layer, part] = /^block(\d+)\.(.+)$/.exec(name) ?? [];
    if (part === 'shared_out') {
      const shared = `blocks.${layer}.moe.shared`;
      const tokens = tf.reshape(traced[`blocks.${layer}.feedForwardIn`], [-1, config.hiddenSize]);
      yield against('activations', name, await numbers(swiglu(tokens, weights[`${shared}.gateUp`], weights[`${shared}.down`])));
      continue;
    }
    const ours = part === undefined ? names[name] : `blocks.${layer}.${parts[part]}`;
    const value = traced[ours ?? ''];
    yield value === undefined
      ? check(`${id}/activations/${name}`, false, 'not traced')
      : against('activations', name, await numbers(value));
  }
  for (const name of files['routing'].keys()) {
    const [, layer, part] = /^layer(\d+)\.(.+)$/.exec(name) ?? [];
    const of: Record<string, string> = { probs: 'scores', topk_idx: 'experts', topk_weight: 'expertWeights', expert_count: 'load' };
    if (part === 'logits') {
      const tokens = tf.reshape(traced[`blocks.${layer}.feedForwardIn`], [-1, config.hiddenSize]);
      yield against('routing', name, await numbers(tf.matMul(tokens as tf.Tensor2D, weights[`blocks.${layer}.moe.gate`] as tf.Tensor2D)));
    } else yield against('routing', name, await numbers(traced[`blocks.${layer}.${of[part ?? '']}`]));
  }

  /** Loss, gradients and terms with the given weights and labels. */
  const training = (now: Record<string, tf.Tensor>, labels: tf.Tensor, settings = config) =>
    valueAndGrads(
      () => {
        const balances: tf.Tensor[] = [];
        const result: DitOutput = dit(now, settings, x, tf.cast(t, 'float32'), labels, {
          trace: (name, value) => void (name.endsWith('.balance') && balances.push(value)),
        });
        const mse = mean(tf.squaredDifference(tf.reshape(result.output, [-1]), tf.reshape(target, [-1])), 0);
        const auxiliary = tf.mul(tf.stack(balances), alpha);
        return { loss: tf.add(mse, tf.mul(result.losses['balance'], alpha)), extra: { out: result.output, mse, auxiliary } };
      },
      now,
      { allowZeros: true },
    );
  const { value, grads, extra } = training(weights, y);
  yield against('train', 'out', await numbers(extra.out));
  yield against('train', 'mse', await numbers(extra.mse));
  yield against('train', 'aux_per_layer', await numbers(extra.auxiliary));
  yield against('train', 'total_loss', await numbers(value));
  for (const [name, grad] of await asReference(model, grads)) if (files['grads'].has(name)) yield against('grads', name, grad);
  const missing = [...files['grads'].keys()].filter((name) => name === 'pos_embed');
  if (missing.length > 0) yield check(`${id}/grads/pos_embed`, false, 'positions are frozen');

  const onlyBalance = valueAndGrads(
    () => ({ loss: tf.mul(dit(weights, config, x, tf.cast(t, 'float32'), y).losses['balance'], alpha) }),
    weights,
    {
      allowZeros: true,
    },
  );
  const balanceGrads = await asReference(model, onlyBalance.grads);
  for (const name of files['aux'].keys()) {
    const theirs = /^batch_aux\.only_grad\.(.+)$/.exec(name)?.[1]?.replace(/^layer(\d+)\.gate$/, 'blocks.$1.moe.gate.weight');
    if (theirs !== undefined) yield against('aux', name, balanceGrads.get(theirs)!);
  }
  const perImage = training(weights, y, { ...config, moe: { ...config.moe!, balanceOver: 'image' } });
  yield against('aux', 'seq_aux.aux_per_layer', await numbers(perImage.extra.auxiliary));
  yield against('aux', 'seq_aux.total_loss', await numbers(perImage.value));
  const perImageGrads = await asReference(model, perImage.grads);
  for (const name of files['aux'].keys()) {
    const theirs = /^seq_aux\.grad\.(.+)$/.exec(name)?.[1]?.replace(/^layer(\d+)\.gate$/, 'blocks.$1.moe.gate.weight');
    if (theirs !== undefined) yield against('aux', name, perImageGrads.get(theirs)!);
  }

  const dropMask = inputs.get('drop_mask')?.data;
  if (config.nullLabel !== false && dropMask !== undefined) {
    const labels = tf.tensor1d(
      ((await y.data()) as Int32Array).map((label, i) => (dropMask[i] ? config.numClasses : label)),
      'int32',
    );
    const dropped = training(weights, labels);
    yield against('train', 'drop.out', await numbers(dropped.extra.out));
    yield against('train', 'drop.mse', await numbers(dropped.extra.mse));
    yield against('train', 'drop.aux_per_layer', await numbers(dropped.extra.auxiliary));
    const table = await numbers(dropped.grads['labelEmbedding.table']);
    yield against('train', 'drop.grad.y_embedder.embedding_table.weight', table);
  }

  const parameters = Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, new Parameter(name, tensor)]));
  // Averages begin at the weights, or at this multiple of them, which is in the names of the tensors: 1p5w0 is 1.5.
  const startOf = [...files['adamw'].keys()].map((name) => /^ema\.from_(\d+p\d+)w0\./.exec(name)?.[1]).find((text) => text !== undefined);
  const factor = Number((startOf ?? '1p5').replace('p', '.'));
  const scaled = Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, new Parameter(name, tf.mul(tensor, factor))]));
  const set = new ParameterSet(parameters);
  const said = (pattern: RegExp) => stated(folder, `model/${id}/adamw.safetensors`, pattern);
  const [beta1, beta2] = (said(/betas ([\d./]+)/)?.split('/') ?? []).map(Number);
  const rate = Number(said(/lr ([\d.e-]+)/) ?? 1e-4);
  const optimizer = new AdamW(parameters, {
    ...(beta2 !== undefined && { beta1, beta2 }),
    epsilon: Number(said(/eps ([\d.e-]+)/) ?? 1e-8),
    weightDecay: Number(said(/weight decay ([\d.e-]+)/) ?? 0),
  });
  const initial = await asReference(model, weights);
  const positionsStart = initial.get('pos_embed')!.map((v) => Math.fround(v * factor));
  for (const step of [1, 2]) {
    const now = training(set.read(), y);
    yield against('adamw', `step${step}.total_loss_before`, await numbers(now.value));
    optimizer.apply(now.grads, rate);
    const after = await asReference(model, set.read());
    for (const name of files['adamw'].keys()) {
      const [, theirs] = new RegExp(`^step${step}\\.(?!delta\\.|exp_avg|total_loss)(.+)$`).exec(name) ?? [];
      if (theirs !== undefined) yield against('adamw', name, after.get(theirs)!);
      const [, moved] = new RegExp(`^step${step}\\.delta\\.(.+)$`).exec(name) ?? [];
      if (moved !== undefined)
        yield against(
          'adamw',
          name,
          after.get(moved)!.map((v, i) => v - initial.get(moved)![i]),
        );
      const [, from, decay, averaged] = (step === 1 && /^ema\.from_(w0|\d+p\d+w0)\.d(0\.\d+)\.(.+)$/.exec(name)) || [];
      if (averaged === undefined) continue;
      if (averaged === 'pos_embed') {
        // Frozen in the model, but averaged by the reference like any parameter.
        const start = from === 'w0' ? initial.get('pos_embed')! : positionsStart;
        yield against(
          'adamw',
          name,
          start.map((v, i) => Number(decay) * v + (1 - Number(decay)) * initial.get('pos_embed')![i]),
        );
        continue;
      }
      const ema = new Ema(
        from === 'w0' ? Object.fromEntries(Object.entries(weights).map(([n, w]) => [n, new Parameter(n, w)])) : scaled,
        Number(decay),
      );
      // The average starts at the weights given; what it follows are the weights after the step.
      for (const [n, p] of Object.entries(
        from === 'w0' ? (ema as unknown as { parameters: Record<string, Parameter> }).parameters : scaled,
      ))
        p.assign(parameters[n].read());
      ema.update();
      yield against('adamw', name, (await asReference(model, ema.averages.read())).get(averaged)!);
      if (from !== 'w0') for (const [n, p] of Object.entries(scaled)) p.assign(tf.mul(weights[n], factor));
    }
  }
  for (const [moment, of] of [
    ['exp_avg', optimizer.firstMoments],
    ['exp_avg_sq', optimizer.secondMoments],
  ] as const) {
    const theirs = await asReference(model, of.read());
    for (const name of files['adamw'].keys())
      if (name.startsWith(`step2.${moment}.`)) yield against('adamw', name, theirs.get(name.slice(`step2.${moment}.`.length))!);
  }
  yield against('train', 'mse_after_2_adamw_steps', await numbers(training(set.read(), y).extra.mse));
}

/**
 * Outputs, block outputs and gradients with bfloat16 matrices and products; only the TensorFlow runtime computes so. Which experts are
 * chosen is compared in float32; here the choice is replayed, because bfloat16 activations may swap two experts that are nearly tied,
 * and another expert is another function.
 */
async function* compareInBf16(
  id: string,
  { config, weights, alpha, ...model }: ReferenceModel,
  inputs: Map<string, HostTensor>,
  files: Record<'outputs' | 'activations' | 'grads', Map<string, HostTensor>>,
  record: RoutingRecord,
): AsyncGenerator<Comparison> {
  const backend = tensorFlowBackend()!;
  const chosen = backend.bf16Products;
  // Also on processors that are faster in float32.
  backend.bf16Products = true;
  const stored = Object.entries(weights).map(([name, value]) => new Parameter(name, value, isMatrix(name) ? 'bfloat16' : 'float32'));
  const low = new ParameterSet(Object.fromEntries(stored.map((parameter) => [parameter.name, parameter]))).read();
  const [x, y, target] = ['x', 'y', 'target'].map((name) => onDevice(inputs, name)) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const t = tf.cast(onDevice(inputs, 't'), 'float32');
  const traced: Record<string, tf.Tensor> = {};
  const options = { precision: 'bf16' as const, replay: record };
  const { value, grads, extra } = valueAndGrads(
    () => {
      const { output, losses } = dit(low, config, x, t, y, {
        ...options,
        trace: (name, tensor) => (traced[name] = tf.keep(tf.clone(tensor))),
      });
      const error = mean(tf.squaredDifference(tf.reshape(output, [-1]), tf.reshape(target, [-1])), 0);
      return { loss: tf.add(error, tf.mul(losses['balance'], alpha)), extra: { output } };
    },
    low,
    { allowZeros: true },
  );
  const against = async (file: keyof typeof files, name: string, tensor: ArrayLike<number>): Promise<Comparison> => {
    const expected = files[file].get(name)!.data as Float32Array;
    const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    return compare(`${id}/${file}/${name} in bf16`, tensor, expected, { atol: BF16_TOLERANCE * largest, rtol: 0 });
  };
  yield await against('outputs', 'out', (await extra.output.data()) as Float32Array);
  for (const name of files.activations.keys()) {
    const layer = /^block(\d+)\.out$/.exec(name)?.[1];
    if (layer !== undefined) yield await against('activations', name, (await traced[`blocks.${layer}.output`].data()) as Float32Array);
  }
  // Experts with a handful of tokens have gradients of a few rounded products, so all gradients are compared as one vector.
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (const [name, gradient] of await asReference({ config, weights, alpha, ...model }, grads)) {
    const expected = files.grads.get(name)?.data as Float32Array | undefined;
    if (expected === undefined) continue;
    ours.push(norm(gradient.map((v, i) => v - expected[i])));
    theirs.push(norm(expected));
  }
  yield compare(`${id}/grads/norm of the error in bf16`, [norm(ours)], [0], {
    atol: BF16_GRADIENT_TOLERANCE * norm(theirs),
    rtol: 0,
  });
  backend.bf16Products = chosen;
  tf.dispose([value, grads, extra, traced]);
  for (const parameter of stored) parameter.dispose();
}
