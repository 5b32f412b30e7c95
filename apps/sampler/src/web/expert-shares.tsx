/** How the patches of one sampling are shared among the experts. */
import { useId, useMemo } from 'preact/hooks';
import type { ModelInfo } from '../serve/protocol.js';
import { expertColour, expertsOf, type Frame, numberColour, numbersOf } from './frames.js';
import type { Overlay } from './sample-canvas.js';

/** Share of the patches of all images that have each expert. */
export function ExpertShares(props: { frame: Frame; model: ModelInfo; layer: number; show: Overlay['show']; images: number }) {
  const { frame, model, layer, show, images } = props;
  const title = useId();
  const shares = useMemo(() => {
    const counts = Array<number>(model.experts).fill(0);
    for (let b = 0; b < images; b++)
      for (const expert of expertsOf(frame, images, model.layers, layer, b) ?? []) if (expert < model.experts) counts[expert]++;
    const total = counts.reduce((a, b) => a + b, 0);
    return counts.map((n) => (total === 0 ? 0 : n / total));
  }, [frame, layer, images]);
  return (
    <>
      <p class="hint" id={title}>
        Share of the assignments in layer {layer} that each expert gets.
        {show === 'which' &&
          ' Patches have the colour of their first expert, its number when they are large, and the frame of their second.'}
      </p>
      <ul class="shares" aria-labelledby={title}>
        {shares.map((share, expert) => (
          <li key={expert}>
            <svg width="14" height="14" aria-hidden="true">
              <rect width="14" height="14" rx="3" fill={expertColour(expert, model.experts)} />
            </svg>
            <span>
              {expert}: {(100 * share).toFixed(1)} %
            </span>
          </li>
        ))}
      </ul>
      {model.expertsVary && <ExpertNumbers frame={frame} model={model} layer={layer} images={images} />}
    </>
  );
}

/** Share of the patches of all images by their number of experts. */
function ExpertNumbers({ frame, model, layer, images }: { frame: Frame; model: ModelInfo; layer: number; images: number }) {
  const { experts, layers, grid, expertsPerPatch } = model;
  const patches = grid[0] * grid[1];
  const title = useId();
  const numbers = useMemo(
    () =>
      Array.from({ length: images }, (_, b) => expertsOf(frame, images, layers, layer, b)).flatMap((chosen) =>
        chosen === undefined ? [] : numbersOf(chosen, patches, experts),
      ),
    [frame, layer, images],
  );
  const mean = numbers.reduce((a, b) => a + b, 0) / Math.max(1, numbers.length);
  const shares = Array.from(
    { length: experts + 1 },
    (_, number) => numbers.filter((n) => n === number).length / Math.max(1, numbers.length),
  );
  return (
    <>
      <p class="hint" id={title}>
        Patches by their number of experts: {mean.toFixed(2)} on average here, {expertsPerPatch[layer]} in training.
      </p>
      <ul class="shares" aria-labelledby={title}>
        {shares.map(
          (share, number) =>
            share > 0 && (
              <li key={number}>
                <svg width="14" height="14" aria-hidden="true">
                  <rect width="14" height="14" rx="3" fill={numberColour(number, experts)} />
                </svg>
                <span>
                  {number}: {(100 * share).toFixed(1)} %
                </span>
              </li>
            ),
        )}
      </ul>
    </>
  );
}
