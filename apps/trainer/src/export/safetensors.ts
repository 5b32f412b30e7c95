import { cardToMetadata, isMatrix, type ModelCard, type WeightStream, weightSpecs } from '@dit-moe/dit';
import type { Precision } from '@dit-moe/tensor-ops';
import { encodeTensor } from '@dit-moe/tensor-ops/io';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { readerOf } from '../model-file.js';

/**
 * One file with all that sampling needs: weights by our names, the model card as metadata. In bf16 matrices are rounded; router, norms,
 * biases and tables stay float32.
 */
export async function exportSafetensors(
  stream: Pick<WeightStream, 'weights'>,
  card: ModelCard,
  out: string,
  precision: Precision,
): Promise<void> {
  const read = readerOf(stream);
  const tensors = Object.entries(weightSpecs(card.config)).map(([name, { shape }]) => {
    const dtype = precision === 'bf16' && isMatrix(name) ? ('BF16' as const) : ('F32' as const);
    return { name, dtype, shape, bytes: async () => encodeTensor(await read(name), dtype) };
  });
  await writeSafetensors(out, tensors, cardToMetadata(card));
}
