/** The part of the form for a picture to start from, on which the part that is to be new is painted. */
import { useEffect, useRef } from 'preact/hooks';
import type { ModelInfo } from '../serve/protocol.js';
import { Field } from './field.js';
import { drawCropped, maskOf, painted, type Start } from './start.js';

/** Part of the picture's edge that the brush is wide. */
const BRUSH = 0.2;
/** Pixels of the canvas that the picture has at least. */
const EDGE = 256;

export interface StartFieldProps {
  model: ModelInfo;
  start: Start | undefined;
  onStart(start: Start | undefined): void;
  /** Opens a file as a picture and says what is wrong with it. */
  onFile(file: File, use: (picture: ImageBitmap) => void): void;
  /** The field of the strength. */
  strength: preact.JSX.Element;
}

export function StartField({ model, start, onStart, onFile, strength }: StartFieldProps) {
  const { width, height } = model;
  // Painted for models of another size it would not fit.
  const mask = start?.mask?.width === width && start.mask.height === height ? start.mask : undefined;
  const chosen = (use: (picture: ImageBitmap) => void) => (event: { currentTarget: HTMLInputElement }) => {
    const file = event.currentTarget.files?.[0];
    event.currentTarget.value = '';
    if (file !== undefined) onFile(file, use);
  };
  return (
    <details class="start" open={start !== undefined}>
      <summary>Start from a picture</summary>
      <Field
        id="init"
        label="Picture"
        hint="Or drop one anywhere on the page. It is cropped to the model's size, and not part of the address."
      >
        <input id="init" type="file" accept="image/*" aria-describedby="init-hint" onChange={chosen((picture) => onStart({ picture }))} />
      </Field>
      {start !== undefined && (
        <>
          <StartCanvas model={model} start={start} onStart={onStart} />
          <p class="hint">Paint what is to be new; the rest stays. Without paint, all of it changes.</p>
          <Field id="mask" label="Mask from a file" hint="White is new.">
            <input
              id="mask"
              type="file"
              accept="image/*"
              aria-describedby="mask-hint"
              onChange={chosen((picture) => {
                onStart({ ...start, mask: maskOf(picture, { width, height }) });
                picture.close();
              })}
            />
          </Field>
          {strength}
          <div class="actions">
            <button type="button" disabled={mask === undefined} onClick={() => onStart({ picture: start.picture })}>
              Clear mask
            </button>
            <button type="button" onClick={() => onStart(undefined)}>
              Remove picture
            </button>
          </div>
        </>
      )}
    </details>
  );
}

/** The picture as the model will see it, to paint on. */
function StartCanvas({ model: { width, height }, start, onStart }: Pick<StartFieldProps, 'model' | 'onStart'> & { start: Start }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const zoom = Math.max(1, Math.ceil(EDGE / width));
  const mask = start.mask?.width === width && start.mask.height === height ? start.mask : undefined;
  useEffect(() => {
    const context = canvas.current!.getContext('2d')!;
    const small = new OffscreenCanvas(width, height);
    drawCropped(small.getContext('2d')!, start.picture, { width, height });
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width * zoom, height * zoom);
    context.fillStyle = 'rgb(255 60 120 / 55%)';
    for (const [i, value] of mask?.data.entries() ?? [])
      if (value > 127) context.fillRect((i % width) * zoom, Math.floor(i / width) * zoom, zoom, zoom);
  }, [start, width, height, zoom]);
  const paint = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const [x, y] = [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    const before = mask ?? { width, height, data: new Uint8Array(width * height) };
    onStart({ ...start, mask: painted(before, x, y, Math.max(0.75, (BRUSH * width) / 2)) });
  };
  return (
    <canvas
      ref={canvas}
      class="paint"
      width={width * zoom}
      height={height * zoom}
      role="img"
      aria-label={mask === undefined ? 'Picture to start from' : 'Picture to start from, with a mask'}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        paint(event);
      }}
      onPointerMove={(event) => event.buttons === 1 && paint(event)}
    />
  );
}
