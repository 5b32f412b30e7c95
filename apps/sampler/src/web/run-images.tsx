/** The images of one sampling, at one step. */
import { useMemo, useRef, useState } from 'preact/hooks';
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import { useColumns } from './columns.js';
import { ExpertShares } from './expert-shares.js';
import { expertsOf, type Frame, type Run } from './frames.js';
import { Lightbox } from './lightbox.js';
import { type Overlay, SampleCanvas } from './sample-canvas.js';
import { downloadSheet } from './sheet.js';

export interface RunImagesProps {
  run: Run;
  model: ModelInfo;
  /** Whether other rows are of other models, so that the title says whose it is. */
  named: boolean;
  /** Rows that share the window with this one. */
  beside: number;
  /** Undefined before the first step. */
  frame: Frame | undefined;
  /** Layer whose experts are shown, and how. */
  layer?: number;
  show?: Overlay['show'];
  /** Receives the address of an image to start from. */
  onStart(image: string): void;
}

/** What the rows differ in, and how it was applied. */
function titleOf({ guidance, guidanceRule, guideWith }: SampleRequest, { name, router }: ModelInfo, named: boolean): string {
  const how = [guidanceRule, guideWith && `with ${guideWith}`].filter((part) => part !== undefined);
  const title = `Guidance ${guidance}${how.length === 0 ? '' : ` (${how.join(', ')})`}`;
  return named ? `${name}${router === '' ? '' : ` (router ${router})`}, ${title.toLowerCase()}` : title;
}

export function RunImages({ run, model, named, beside, frame, layer, show = 'which', onStart }: RunImagesProps) {
  const { request, images, seconds } = run;
  /** Image that is shown alone. */
  const [enlarged, setEnlarged] = useState<number | undefined>();
  const list = useRef<HTMLUListElement>(null);
  const columns = useColumns(list, request.labels.length, beside);
  const title = titleOf(request, model, named);
  const overlays = useMemo(
    () =>
      request.labels.map((_, i) => {
        const experts =
          layer === undefined || frame === undefined ? undefined : expertsOf(frame, request.labels.length, model.layers, layer, i);
        return experts === undefined ? undefined : { chosen: experts, grid: model.grid, experts: model.experts, show };
      }),
    [frame, layer, show],
  );
  const labelOf = (i: number): string => `${title}: class ${model.classNames[request.labels[i]]}, image ${i + 1}, step ${frame?.step ?? 0}`;
  return (
    <section class="card" aria-label={title}>
      <div class="rowhead">
        <h2>{title}</h2>
        {images !== undefined && (
          <button type="button" onClick={() => downloadSheet(images, `guidance-${request.guidance}.png`)}>
            Download all
          </button>
        )}
      </div>
      <ul class="images" ref={list} style={{ gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}>
        {request.labels.map((label, i) => {
          const name = `${model.classNames[label]}`;
          return (
            <li key={i}>
              <div class="framed" style={{ aspectRatio: `${model.width} / ${model.height}` }}>
                {frame !== undefined && (
                  <>
                    <SampleCanvas frame={frame} index={i} label={labelOf(i)} {...(overlays[i] && { overlay: overlays[i] })} />
                    <button type="button" aria-label={`Enlarge image ${i + 1}, class ${name}, ${title}`} onClick={() => setEnlarged(i)} />
                  </>
                )}
              </div>
              <div class="caption">
                <span>{name}</span>
                {images !== undefined && (
                  <a
                    href={images[i]}
                    download={`${request.model}-${name}-seed${request.seed}-${i}.png`}
                    aria-label={`Download image ${i + 1}, class ${name}, ${title}`}
                  >
                    PNG
                  </a>
                )}
              </div>
            </li>
          );
        })}
      </ul>
      {enlarged !== undefined && frame !== undefined && (
        <Lightbox
          frame={frame}
          index={enlarged}
          label={labelOf(enlarged)}
          {...(overlays[enlarged] && { overlay: overlays[enlarged] })}
          {...(images !== undefined && model.encodes && { onStart: () => onStart(images[enlarged]) })}
          onClose={() => setEnlarged(undefined)}
        />
      )}
      {layer !== undefined && frame !== undefined && (
        <ExpertShares frame={frame} model={model} layer={layer} show={show} images={request.labels.length} />
      )}
      {seconds !== undefined && <p class="hint">{`${request.labels.length} images in ${seconds.toFixed(1)} s`}</p>}
    </section>
  );
}
