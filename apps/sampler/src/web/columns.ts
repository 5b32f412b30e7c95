/** In how many columns images are shown, so that they fill the window and all fit into it. */
import { useLayoutEffect, useState } from 'preact/hooks';

/** Narrowest image in pixels: smaller ones show nothing, so there the page scrolls. */
const NARROWEST = 88;
/** The gap between images, and the line below each of them. */
const GAP = 11;
const CAPTION = 24;
/** What else there is in the first view: the title above and the timeline below. */
const AROUND = 290;
/** The title and the frame of each further row. */
const BETWEEN = 100;

/** Fewest columns of `width` with which `count` square images are not higher than `height`; as many as fit if there are none. */
export function columnsThatFit(count: number, width: number, height: number): number {
  const most = Math.max(1, Math.floor((width + GAP) / (NARROWEST + GAP)));
  for (let columns = 1; columns < most; columns++) {
    const edge = (width - (columns - 1) * GAP) / columns;
    const rows = Math.ceil(count / columns);
    if (rows * (edge + CAPTION) + (rows - 1) * GAP <= height) return columns;
  }
  return most;
}

/** The columns of a list of images, which has `beside` others in the same window. */
export function useColumns(list: { current: HTMLElement | null }, count: number, beside: number): number {
  const [columns, setColumns] = useState(1);
  useLayoutEffect(() => {
    const measure = (): void => {
      const height = (innerHeight - AROUND - beside * BETWEEN) / (1 + beside);
      setColumns(columnsThatFit(count, list.current!.clientWidth, height));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(list.current!);
    addEventListener('resize', measure);
    return () => {
      observer.disconnect();
      removeEventListener('resize', measure);
    };
  }, [count, beside]);
  return columns;
}
