/** One image, as large as the window allows. */
import { useEffect, useRef } from 'preact/hooks';
import { SampleCanvas, type SampleCanvasProps } from './sample-canvas.js';

export function Lightbox({ onClose, ...image }: SampleCanvasProps & { onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog ref={dialog} class="lightbox" aria-label="Enlarged image" onClose={onClose}>
      <SampleCanvas {...image} label={`Enlarged. ${image.label}`} />
      <div class="rowhead">
        <span>{image.label}</span>
        <button type="button" onClick={() => dialog.current!.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}
