/** One image, as large as the window allows. */
import { useEffect, useRef } from 'preact/hooks';
import { SampleCanvas, type SampleCanvasProps } from './sample-canvas.js';

export interface LightboxProps extends SampleCanvasProps {
  /** Takes it as the picture to start from; absent where that is not possible. */
  onStart?(): void;
  onClose(): void;
}

export function Lightbox({ onStart, onClose, ...image }: LightboxProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog ref={dialog} class="lightbox" aria-label="Enlarged image" onClose={onClose}>
      <SampleCanvas {...image} label={`Enlarged. ${image.label}`} />
      <div class="rowhead">
        <span>{image.label}</span>
        {onStart !== undefined && (
          <button
            type="button"
            onClick={() => {
              onStart();
              dialog.current!.close();
            }}
          >
            Start from it
          </button>
        )}
        <button type="button" onClick={() => dialog.current!.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}
