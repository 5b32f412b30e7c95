/**
 * For tests: LightningDiT's forward pass in float64 and plain loops, from the tensors of its state dictionary, independent of everything
 * else here. With SiT's options (no RMSNorm, rotary positions or SwiGLU) it is SiT's and DiT's.
 */
export type State = Record<string, { shape: number[]; data: Float32Array }>;

export interface LightningOptions {
  channels: number;
  side: number;
  patch: number;
  width: number;
  depth: number;
  heads: number;
  rms: boolean;
  rope: boolean;
  swiglu: boolean;
}

type Vector = number[];

const silu = (x: number): number => x / (1 + Math.exp(-x));
const tanhGelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const plus = (a: Vector, b: Vector): Vector => a.map((v, i) => v + b[i]);

/** Output `[C][H W]` of one image `[C H W]` at a time for a label. */
export function lightningForward(state: State, options: LightningOptions, image: ArrayLike<number>, t: number, label: number): Vector {
  const { channels, side, patch, width, depth, heads, rms, rope, swiglu } = options;
  const grid = side / patch;
  const headSize = width / heads;
  const linear = (name: string, x: Vector): Vector => {
    const { shape, data } = state[`${name}.weight`];
    const bias = state[`${name}.bias`].data;
    const inputs = shape.slice(1).reduce((a, b) => a * b, 1);
    return Array.from({ length: shape[0] }, (_, o) => x.reduce((sum, value, i) => sum + value * data[o * inputs + i], bias[o]));
  };
  const norm = (name: string, x: Vector): Vector => {
    const mean = rms ? 0 : x.reduce((a, b) => a + b) / x.length;
    const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length;
    return x.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-6)) * (rms ? state[`${name}.weight`].data[i] : 1));
  };
  const modulate = (x: Vector, shift: Vector, scale: Vector): Vector => x.map((v, i) => v * (1 + scale[i]) + shift[i]);
  const chunks = (x: Vector, count: number): Vector[] =>
    Array.from({ length: count }, (_, i) => x.slice((i * x.length) / count, ((i + 1) * x.length) / count));

  /** Sines, then cosines of the column, then of the row. */
  const position = (row: number, column: number): Vector => {
    const half = width / 2;
    return [column, row].flatMap((place) => {
      const angles = Array.from({ length: half / 2 }, (_, i) => place / 10_000 ** (i / (half / 2)));
      return [...angles.map(Math.sin), ...angles.map(Math.cos)];
    });
  };
  const tokens = Array.from({ length: grid * grid }, (_, token): Vector => {
    const [row, column] = [Math.floor(token / grid), token % grid];
    const pixels: Vector = [];
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < patch; y++)
        for (let x = 0; x < patch; x++) pixels.push(image[(c * side + row * patch + y) * side + column * patch + x]);
    return plus(linear('x_embedder.proj', pixels), position(row, column));
  });
  const angles = Array.from({ length: 128 }, (_, i) => t * Math.exp((-Math.log(10_000) * i) / 128));
  const time = linear('t_embedder.mlp.2', linear('t_embedder.mlp.0', [...angles.map(Math.cos), ...angles.map(Math.sin)]).map(silu));
  const rows = state['y_embedder.embedding_table.weight'].data;
  const condition = plus(time, [...rows.slice(label * width, (label + 1) * width)]).map(silu);

  /** Pairs of neighbouring channels turned: the first half of a head by the row, the second by the column. */
  const turned = (head: Vector, token: number): Vector => {
    if (!rope) return head;
    const half = headSize / 2;
    return head.map((value, c) => {
      const place = c < half ? Math.floor(token / grid) : token % grid;
      const angle = place / 10_000 ** ((2 * Math.floor((c % half) / 2)) / half);
      const other = c % 2 === 0 ? -head[c + 1] : head[c - 1];
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  };
  let h = tokens;
  for (let layer = 0; layer < depth; layer++) {
    const block = `blocks.${layer}`;
    const [shift1, scale1, gate1, shift2, scale2, gate2] = chunks(linear(`${block}.adaLN_modulation.1`, condition), 6);
    const qkv = h.map((x) => chunks(linear(`${block}.attn.qkv`, modulate(norm(`${block}.norm1`, x), shift1, scale1)), 3));
    const attended = h.map(
      (_, token): Vector =>
        Array.from({ length: heads }, (_, head): Vector => {
          const of = (x: Vector): Vector => x.slice(head * headSize, (head + 1) * headSize);
          const query = turned(of(qkv[token][0]), token);
          const scores = h.map((_, other) => {
            const key = turned(of(qkv[other][1]), other);
            return query.reduce((sum, q, i) => sum + q * key[i], 0) / Math.sqrt(headSize);
          });
          const largest = Math.max(...scores);
          const weights = scores.map((score) => Math.exp(score - largest));
          const total = weights.reduce((a, b) => a + b);
          return Array.from({ length: headSize }, (_, i) =>
            weights.reduce((sum, weight, other) => sum + (weight / total) * qkv[other][2][head * headSize + i], 0),
          );
        }).flat(),
    );
    h = h.map((x, token) =>
      plus(
        x,
        linear(`${block}.attn.proj`, attended[token]).map((v, i) => v * gate1[i]),
      ),
    );
    h = h.map((x) => {
      const input = modulate(norm(`${block}.norm2`, x), shift2, scale2);
      let output: Vector;
      if (swiglu) {
        const [gate, value] = chunks(linear(`${block}.mlp.w12`, input), 2);
        output = linear(
          `${block}.mlp.w3`,
          gate.map((g, i) => silu(g) * value[i]),
        );
      } else output = linear(`${block}.mlp.fc2`, linear(`${block}.mlp.fc1`, input).map(tanhGelu));
      return plus(
        x,
        output.map((v, i) => v * gate2[i]),
      );
    });
  }
  const [shift, scale] = chunks(linear('final_layer.adaLN_modulation.1', condition), 2);
  const patches = h.map((x) => linear('final_layer.linear', modulate(norm('final_layer.norm_final', x), shift, scale)));
  const out = Array<number>(channels * side * side);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        out[(c * side + y) * side + x] =
          patches[Math.floor(y / patch) * grid + Math.floor(x / patch)][((y % patch) * patch + (x % patch)) * channels + c];
  return out;
}

/** Random tensors under LightningDiT's names, as its module would save them. */
export function lightningState(
  { channels, side, patch, width, depth, heads, rms, rope, swiglu }: LightningOptions,
  classes: number,
  random: (name: string, length: number) => Float32Array,
): State {
  const state: State = {};
  const add = (name: string, shape: number[], around = 0): void => {
    const length = shape.reduce((a, b) => a * b, 1);
    state[name] = { shape, data: random(name, length).map((v) => around + 0.2 * v) };
  };
  const linear = (name: string, outputs: number, inputs: number[]): void => {
    add(`${name}.weight`, [outputs, ...inputs]);
    add(`${name}.bias`, [outputs]);
  };
  linear('x_embedder.proj', width, [channels, patch, patch]);
  linear('t_embedder.mlp.0', width, [256]);
  linear('t_embedder.mlp.2', width, [width]);
  add('y_embedder.embedding_table.weight', [classes + 1, width]);
  const hidden = Math.floor((2 / 3) * 4 * width);
  for (let layer = 0; layer < depth; layer++) {
    const block = `blocks.${layer}`;
    if (rms) for (const name of ['norm1', 'norm2']) add(`${block}.${name}.weight`, [width], 1);
    linear(`${block}.attn.qkv`, 3 * width, [width]);
    linear(`${block}.attn.proj`, width, [width]);
    if (swiglu) {
      linear(`${block}.mlp.w12`, 2 * hidden, [width]);
      linear(`${block}.mlp.w3`, width, [hidden]);
    } else {
      linear(`${block}.mlp.fc1`, 4 * width, [width]);
      linear(`${block}.mlp.fc2`, width, [4 * width]);
    }
    linear(`${block}.adaLN_modulation.1`, 6 * width, [width]);
  }
  if (rms) add('final_layer.norm_final.weight', [width], 1);
  linear('final_layer.linear', patch * patch * channels, [width]);
  linear('final_layer.adaLN_modulation.1', 2 * width, [width]);
  if (rope) {
    const grid = side / patch;
    const half = width / heads / 2;
    const angle = (token: number, c: number): number =>
      (c < half ? Math.floor(token / grid) : token % grid) / 10_000 ** ((2 * Math.floor((c % half) / 2)) / half);
    const table = (f: (x: number) => number) => ({
      shape: [grid * grid, 2 * half],
      data: Float32Array.from({ length: grid * grid * 2 * half }, (_, i) => f(angle(Math.floor(i / (2 * half)), i % (2 * half)))),
    });
    state['feat_rope.freqs_cos'] = table(Math.cos);
    state['feat_rope.freqs_sin'] = table(Math.sin);
  }
  return state;
}
