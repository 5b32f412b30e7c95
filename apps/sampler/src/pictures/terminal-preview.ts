/** Pictures in a terminal with 24-bit colours: two pixels in each character, the upper half block. */
import type { Pixels } from '@dit-moe/data';

/**
 * The picture as text. Wider ones are shrunk by averaging, smaller ones are left as they are.
 * @param columns width of the terminal in characters
 */
export function terminalPreview({ data, width, height, channels }: Pixels, columns: number): string {
  const factor = Math.max(1, Math.ceil(width / columns));
  const [w, h] = [Math.floor(width / factor), Math.floor(height / factor)];
  const colour = (x: number, y: number): string => {
    const sum = [0, 0, 0];
    for (let dy = 0; dy < factor; dy++)
      for (let dx = 0; dx < factor; dx++)
        for (let c = 0; c < 3; c++) sum[c] += data[((y * factor + dy) * width + x * factor + dx) * channels + (channels >= 3 ? c : 0)];
    return sum.map((v) => Math.round(v / (factor * factor))).join(';');
  };
  let text = '';
  for (let y = 0; y < h; y += 2) {
    for (let x = 0; x < w; x++) text += `\x1b[38;2;${colour(x, y)}m${y + 1 < h ? `\x1b[48;2;${colour(x, y + 1)}m` : ''}\u2580`;
    text += '\x1b[0m\n';
  }
  return text;
}
