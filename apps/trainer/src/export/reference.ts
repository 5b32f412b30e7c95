/** State dictionaries of other implementations, so that PyTorch loads them. */
import { exportedShapes, exportWeights, type Layout, type WeightStream } from '@dit-moe/dit';
import type { Precision } from '@dit-moe/tensor-ops';
import { encodeTensor, type SafetensorsDtype, TorchTensorSource } from '@dit-moe/tensor-ops/io';
import { writeSafetensors, writeTorch } from '@dit-moe/tensor-ops/io/node';
import { UsageError } from '../errors.js';
import { readerOf } from '../model-file.js';

/**
 * Writes `out`: a PyTorch file `{"ema": state}` as the reference's samplers load it if it ends in `.pt`, else safetensors. In bf16 all
 * tensors are rounded but the router.
 */
export async function exportState(stream: WeightStream, layout: Layout, out: string, precision: Precision): Promise<void> {
  const dtypeOf = (name: string): SafetensorsDtype => (precision === 'bf16' && !name.endsWith('.gate.weight') ? 'BF16' : 'F32');
  const shapes = [...exportedShapes(stream.config, layout)];
  // Files are written in the order of the layout's names; what is made before its turn waits.
  const read = readerOf({ weights: () => exportWeights(stream.config, layout, readerOf(stream)) });
  const bytesOf = (name: string) => async () => encodeTensor(await read(name), dtypeOf(name));
  if (/\.(pt|pth)$/.test(out)) {
    await writeTorch(out, {
      ema: new Map(shapes.map(([name, shape]) => [name, new TorchTensorSource(dtypeOf(name), shape, bytesOf(name))])),
    });
  } else if (out.endsWith('.safetensors')) {
    await writeSafetensors(
      out,
      shapes.map(([name, shape]) => ({ name, shape, dtype: dtypeOf(name), bytes: bytesOf(name) })),
      { format: 'pt' },
    );
  } else throw new UsageError(`--out ${out} should end in .pt or .safetensors for this layout.`);
}
