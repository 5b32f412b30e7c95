/** One image at one step, with the experts of its patches on request. */
import { useEffect, useRef } from 'preact/hooks';
import { expertColour, type Frame, numberColour, numbersOf } from './frames.js';

/** Pixels of the canvas that an image has at least, so that patches can carry numbers. */
const EDGE = 256;
/** Smallest patch on the screen whose number could be read. */
const MIN_LABEL_CELL = 18;

export interface SampleCanvasProps {
  frame: Frame;
  /** Which image of the frame. */
  index: number;
  label: string;
  overlay?: Overlay;
}

/** Experts of the patches of an image, best first: which ones, or how many. */
export interface Overlay {
  chosen: Uint8Array;
  grid: readonly [number, number];
  experts: number;
  show: 'which' | 'number';
}

export function SampleCanvas({ frame, index, label, overlay }: SampleCanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height, channels, pixels } = frame;
  const zoom = Math.max(1, Math.ceil(EDGE / width));
  useEffect(() => {
    const context = canvas.current!.getContext('2d')!;
    const data = new ImageData(width, height);
    const plane = height * width;
    for (let i = 0; i < plane; i++)
      for (let c = 0; c < 4; c++) data.data[4 * i + c] = c === 3 ? 255 : pixels[(index * plane + i) * channels + (channels === 1 ? 0 : c)];
    const small = new OffscreenCanvas(width, height);
    small.getContext('2d')!.putImageData(data, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width * zoom, height * zoom);
    // One that is not laid out yet is about to be large.
    const scale = (canvas.current!.clientWidth || width * zoom) / (width * zoom);
    if (overlay !== undefined) drawExperts(context, width * zoom, height * zoom, overlay, MIN_LABEL_CELL / scale);
  }, [frame, index, overlay, zoom]);
  return <canvas ref={canvas} width={width * zoom} height={height * zoom} role="img" aria-label={label} />;
}

/** Fills each patch with the colour of its first expert, with its number where there is room, and frames it with that of the second; or with that of its number of experts. */
function drawExperts(
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  { chosen, grid: [rows, columns], experts, show }: Overlay,
  /** Smallest patch that carries its number. */
  labelled: number,
): void {
  const patches = rows * columns;
  const [cellWidth, cellHeight] = [width / columns, height / rows];
  const slots = chosen.length / patches;
  const frame = Math.max(1, Math.round(cellWidth / 16));
  const numbers = numbersOf(chosen, patches, experts);
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.font = `600 ${Math.round(Math.min(cellHeight * 0.45, 26))}px system-ui, sans-serif`;
  for (let token = 0; token < patches; token++) {
    const [x, y] = [(token % columns) * cellWidth, Math.floor(token / columns) * cellHeight];
    const number = numbers[token];
    if (number === 0 && show === 'which') continue;
    const first = chosen[token * slots];
    context.globalAlpha = show === 'which' ? 0.4 : 0.6;
    context.fillStyle = show === 'which' ? expertColour(first, experts) : numberColour(number, experts);
    context.fillRect(x, y, cellWidth, cellHeight);
    context.globalAlpha = 0.9;
    if (show === 'which' && number > 1) {
      context.strokeStyle = expertColour(chosen[token * slots + 1], experts);
      context.lineWidth = frame;
      context.strokeRect(x + frame, y + frame, cellWidth - 2 * frame, cellHeight - 2 * frame);
    }
    if (cellWidth >= labelled) {
      const text = String(show === 'which' ? first : number);
      context.globalAlpha = 1;
      context.lineWidth = 3;
      context.strokeStyle = '#000';
      context.fillStyle = '#fff';
      context.strokeText(text, x + cellWidth / 2, y + cellHeight / 2);
      context.fillText(text, x + cellWidth / 2, y + cellHeight / 2);
    }
  }
  context.globalAlpha = 1;
}
