/**
 * What multiplies in what on a GPU, by its compute capability, and how fast at most. Peaks are those of dense products that the maker's data
 * sheets state.
 */

export interface GpuGeneration {
  name: string;
  /** What float32 products are computed in: TensorFloat-32 keeps 10 of float32's 23 bits of the operands, sums are float32. */
  f32: 'TF32' | 'float32';
  /** Whether it multiplies in bfloat16. */
  bf16: boolean;
}

/** Generations by the least compute capability, newest first. */
const generations: readonly (readonly [number, string])[] = [
  [10, 'Blackwell'],
  [9, 'Hopper'],
  [8.9, 'Ada'],
  [8, 'Ampere'],
  [7.5, 'Turing'],
  [7, 'Volta'],
  [6, 'Pascal'],
];

/**
 * The generation of a GPU by its compute capability.
 * @param computeCapability such as 8.0
 * @param tensorFloat32 whether TensorFloat-32 may be used where there is any (TensorFlow's default, and that of the PyTorch reference)
 */
export function gpuGeneration(computeCapability: number, tensorFloat32 = true): GpuGeneration {
  const [, name] = generations.find(([least]) => computeCapability >= least) ?? [0, 'before Pascal'];
  const ampere = computeCapability >= 8;
  return { name, f32: ampere && tensorFloat32 ? 'TF32' : 'float32', bf16: ampere };
}

/** TFLOP/s by what multiplies. */
export interface GpuPeak {
  float32: number;
  TF32?: number;
  bfloat16?: number;
}

const peaks: readonly (readonly [RegExp, GpuPeak])[] = [
  [/\bB200\b/, { float32: 75, TF32: 1125, bfloat16: 2250 }],
  [/\b(H100|H800) PCIe\b/, { float32: 51, TF32: 378, bfloat16: 756 }],
  [/\b(H100|H200|H800|GH200)\b/, { float32: 67, TF32: 494, bfloat16: 989 }],
  [/\b(A100|A800)\b/, { float32: 19.5, TF32: 156, bfloat16: 312 }],
  [/\bL40S\b/, { float32: 91.6, TF32: 183, bfloat16: 362 }],
  [/\bL4\b/, { float32: 30.3, TF32: 60, bfloat16: 121 }],
  [/\bA10\b/, { float32: 31.2, TF32: 62.5, bfloat16: 125 }],
  [/\bA6000\b/, { float32: 38.7, TF32: 77.4, bfloat16: 154.8 }],
  [/\bRTX 4090\b/, { float32: 82.6, TF32: 82.6, bfloat16: 165.2 }],
  [/\bRTX 3090\b/, { float32: 35.6, TF32: 35.6, bfloat16: 71 }],
  [/\bV100\b/, { float32: 15.7 }],
  [/\bT4\b/, { float32: 8.1 }],
];

/** Peaks of a card by its name; `undefined` for one that is not in the table. */
export const gpuPeak = (name: string): GpuPeak | undefined => peaks.find(([pattern]) => pattern.test(name))?.[1];
