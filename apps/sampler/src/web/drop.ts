/** Files that are dropped onto the page. */
import { useEffect, useRef, useState } from 'preact/hooks';

/**
 * Receives the first file of each drop, wherever on the page.
 * @returns whether files are being held over the page
 */
export function useDrop(onFile: (file: File) => void): boolean {
  const [over, setOver] = useState(false);
  const receive = useRef(onFile);
  receive.current = onFile;
  useEffect(() => {
    const listeners: Record<string, (event: DragEvent) => void> = {
      dragover(event) {
        if (!event.dataTransfer?.types.includes('Files')) return;
        event.preventDefault();
        setOver(true);
      },
      dragleave(event) {
        // Of the page, not of one of its parts.
        if (event.relatedTarget === null) setOver(false);
      },
      drop(event) {
        const file = event.dataTransfer?.files[0];
        if (file === undefined) return;
        event.preventDefault();
        setOver(false);
        receive.current(file);
      },
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener as EventListener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener as EventListener);
    };
  }, []);
  return over;
}
