/** A data set that needs no download: coloured shapes on coloured grounds, the same for the same seed on every machine. */
import path from 'node:path';
import { encodePng, pictureOf } from '@dit-moe/data';
import { randomUniform } from '@dit-moe/tensor-ops';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';

/** Whether a point is inside, in the shape's own coordinates: centre 0, radius 1. */
type Inside = (x: number, y: number) => boolean;

/** A regular polygon, or with `inner` below 1 a star. */
const polygon = (corners: number, inner = Math.cos(Math.PI / corners)): Inside => {
  const half = Math.PI / corners;
  // The edge from a corner at radius 1 to the next point at radius `inner`, half a corner further.
  const [ex, ey] = [inner * Math.cos(half) - 1, inner * Math.sin(half)];
  return (x, y) => {
    const angle = Math.abs(((((Math.atan2(y, x) + half) % (2 * half)) + 2 * half) % (2 * half)) - half);
    const radius = Math.hypot(x, y);
    const [px, py] = [radius * Math.cos(angle) - 1, radius * Math.sin(angle)];
    return ex * py - ey * px >= 0;
  };
};

const shapes: Readonly<Record<string, Inside>> = {
  circle: (x, y) => Math.hypot(x, y) <= 1,
  cross: (x, y) => Math.min(Math.abs(x), Math.abs(y)) <= 0.33 && Math.max(Math.abs(x), Math.abs(y)) <= 1,
  ring: (x, y) => Math.hypot(x, y) <= 1 && Math.hypot(x, y) >= 0.55,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.8,
  star: polygon(5, 0.45),
  triangle: polygon(3),
};

/** Names of the classes, in the order of their labels. */
const shapeNames: readonly string[] = Object.keys(shapes);

/** Points per pixel and side that are tested. */
const SUPERSAMPLING = 4;

/** RGB pixels `[size, size, 3]` of one picture; place, radius, angle and colours follow from seed and number. */
function drawShape(name: string, size: number, seed: number, index: number): Uint8Array {
  const u = randomUniform({ seed, purpose: `shapes.${name}`, index }, 7);
  const inside = shapes[name];
  const radius = size * (0.25 + 0.17 * u[0]);
  const [cx, cy] = [u[1], u[2]].map((v) => radius + v * (size - 2 * radius)) as [number, number];
  // Squares and crosses keep their corners apart from a turn by a quarter.
  const [cos, sin] = [Math.cos(2 * Math.PI * u[3]), Math.sin(2 * Math.PI * u[3])];
  const colour = hueToRgb(u[4], 1);
  const ground = hueToRgb(u[4] + 0.25 + 0.5 * u[5], 0.15 + 0.2 * u[6]);
  const pixels = new Uint8Array(3 * size * size);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      let covered = 0;
      for (let i = 0; i < SUPERSAMPLING; i++)
        for (let j = 0; j < SUPERSAMPLING; j++) {
          const [dx, dy] = [(x + (i + 0.5) / SUPERSAMPLING - cx) / radius, (y + (j + 0.5) / SUPERSAMPLING - cy) / radius];
          if (inside(cos * dx + sin * dy, cos * dy - sin * dx)) covered++;
        }
      const share = covered / SUPERSAMPLING ** 2;
      for (let c = 0; c < 3; c++) pixels[3 * (y * size + x) + c] = Math.round(share * colour[c] + (1 - share) * ground[c]);
    }
  return pixels;
}

/** A colour of full saturation. */
function hueToRgb(hue: number, value: number): [number, number, number] {
  const channel = (offset: number): number => {
    const k = (offset + hue * 6) % 6;
    return 255 * value * (1 - Math.max(0, Math.min(k, 4 - k, 1)) * 0.9);
  };
  return [channel(5), channel(3), channel(1)];
}

/** Writes `<folder>/<class>/<number>.png`. */
export async function writeShapes(
  folder: string,
  options: { perClass: number; size: number; seed: number; signal?: AbortSignal },
): Promise<void> {
  const { perClass, size, seed, signal } = options;
  for (const name of shapeNames) {
    await makeFolder(path.join(folder, name));
    for (let i = 0; i < perClass; i++) {
      signal?.throwIfAborted();
      const data = drawShape(name, size, seed, i);
      const file = path.join(folder, name, `${String(i).padStart(5, '0')}.png`);
      await writeFileAtomically(file, encodePng(pictureOf(data, size, size)));
    }
  }
}
