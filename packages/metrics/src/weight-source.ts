import type { HostTensor, TensorInfo } from '@dit-moe/tensor-ops/io';

/** Where weights come from: an open checkpoint (`openCheckpoint` of tensor-ops), or anything that answers alike. */
export interface WeightSource {
  readonly names: readonly string[];
  info(name: string): TensorInfo;
  read(name: string): Promise<HostTensor>;
}
