/** Frechet distance of two folders of images: of averaged pixels, or FID proper with the features of Inception. */
import { collectFeatures, frechetDistanceOf, pixelExtractor } from '@dit-moe/metrics';
import { openImageSet, openNetwork } from '@dit-moe/metrics/node';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';

await useTensorFlow();
const [real = 'digits', generated = 'digits/3', features = 'pixels'] = process.argv.slice(2);
const { extract } = features === 'inception' ? (await openNetwork('inception')).extractor : pixelExtractor(4);
const featuresOf = async (folder: string) => (await collectFeatures((await openImageSet(folder)).images(), extract)).features['pool'];
const [first, second] = [await featuresOf(real), await featuresOf(generated)];
if (first === undefined || second === undefined) throw new Error('The extractor has no pooled features.');
console.log(frechetDistanceOf(second, first).distance);
