/** What the page remembers of one sampling: every step, and the finished images. */
import { fromBase64, type SampleEvent, type SampleRequest } from '../serve/protocol.js';

export interface Frame {
  step: number;
  steps: number;
  time: number;
  height: number;
  width: number;
  channels: number;
  /** `[B, height, width, channels]` */
  pixels: Uint8Array;
  /** `[layers, B, patches, slots]`; the number of experts marks an empty slot. */
  experts?: Uint8Array;
}

/** One sampling, running or finished. */
export interface Run {
  request: SampleRequest;
  frames: Frame[];
  /** Place in the server's queue, while it waits. */
  position?: number;
  /** Finished PNGs as addresses of blobs. */
  images?: string[];
  seconds?: number;
}

/** The run after an event. */
export function withEvent(run: Run, event: SampleEvent): Run {
  if (event.type === 'queued') return { ...run, position: event.position };
  if (event.type === 'step') {
    const { type: _, pixels, experts, ...rest } = event;
    const frame: Frame = { ...rest, pixels: fromBase64(pixels), ...(experts !== undefined && { experts: fromBase64(experts) }) };
    const { position: __, ...others } = run;
    return { ...others, frames: [...run.frames, frame] };
  }
  if (event.type === 'done') {
    const images = event.images.map((png) => URL.createObjectURL(new Blob([fromBase64(png)], { type: 'image/png' })));
    return { ...run, images, seconds: event.seconds };
  }
  return run;
}

/**
 * The run with its finished images as the last frame. Previews of latents are rough and small, so of them the images themselves are read;
 * of others the last preview is the images.
 */
export async function withFinished(run: Run): Promise<Run> {
  const { frames, images } = run;
  const last = frames.at(-1);
  if (last === undefined || images === undefined) return run;
  const read = async (address: string): Promise<ImageBitmap> => createImageBitmap(await (await fetch(address)).blob());
  const first = await read(images[0]);
  const { width, height } = first;
  first.close();
  if (width === last.width && height === last.height) return run;
  const pictures = await Promise.all(images.map(read));
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
  const pixels = new Uint8Array(pictures.length * height * width * 3);
  for (const [i, picture] of pictures.entries()) {
    context.drawImage(picture, 0, 0);
    picture.close();
    const { data } = context.getImageData(0, 0, width, height);
    for (let at = 0; at < height * width; at++) pixels.set(data.subarray(4 * at, 4 * at + 3), 3 * (i * height * width + at));
  }
  return { ...run, frames: [...frames.slice(0, -1), { ...last, width, height, channels: 3, pixels }] };
}

/** Experts that image `b` of a frame has in a layer, best first for each patch: `[patches, slots]`; the number of experts marks an empty slot. */
export function expertsOf({ experts }: Frame, images: number, layers: number, layer: number, b: number): Uint8Array | undefined {
  if (experts === undefined) return undefined;
  const perImage = experts.length / layers / images;
  const start = (layer * images + b) * perImage;
  return experts.subarray(start, start + perImage);
}

/** A colour for each expert that also differs in lightness from its neighbours. */
export function expertColour(expert: number, experts: number): string {
  return `hsl(${Math.round((360 * expert) / experts)} 75% ${expert % 2 === 0 ? 62 : 45}%)`;
}

/** How many experts each patch has. */
export function numbersOf(chosen: Uint8Array, patches: number, experts: number): number[] {
  const slots = chosen.length / patches;
  return Array.from(
    { length: patches },
    (_, patch) => chosen.subarray(patch * slots, (patch + 1) * slots).filter((expert) => expert < experts).length,
  );
}

/** A colour for a number of experts: from dark blue for none to yellow for all. */
export function numberColour(number: number, experts: number): string {
  const share = number / experts;
  return `hsl(${Math.round(250 - 200 * share)} 75% ${Math.round(25 + 40 * share)}%)`;
}
