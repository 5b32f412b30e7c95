/** Opens a trained model (a run folder or a file) and writes pictures of two of its classes to one PNG. */
import fs from 'node:fs';
import { contactSheet, encodePng } from '@dit-moe/data';
import { openPipeline } from '@dit-moe/pipeline/node';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';

await useTensorFlow();
const pipeline = await openPipeline(process.argv[2] ?? 'runs/demo');
const pictures = await pipeline.sample({ labels: [3, 3, 3, 3, 7, 7, 7, 7], seed: 5 });
fs.writeFileSync('pictures.png', encodePng(contactSheet(pictures, 4)));
pipeline.dispose();
