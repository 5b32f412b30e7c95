/** The images: a row for each guidance scale, a timeline over all steps, and the experts. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import { expertColour, expertsOf, type Frame, numberColour, numbersOf, type Run } from './frames.js';
import { Lightbox } from './lightbox.js';
import { type Overlay, SampleCanvas } from './sample-canvas.js';
import { downloadSheet } from './sheet.js';

/** Milliseconds between steps when they are played. */
const PLAY_INTERVAL = 80;

export interface ResultsProps {
  runs: readonly Run[];
  model: ModelInfo;
  running: boolean;
}

export function Results({ runs, model, running }: ResultsProps) {
  /** Step that is shown; undefined: the newest. */
  const [chosen, setChosen] = useState<number | undefined>();
  const [playing, setPlaying] = useState(false);
  const [showExperts, setShowExperts] = useState(false);
  const [layer, setLayer] = useState(0);
  const [show, setShow] = useState<Overlay['show']>('which');
  const most = Math.max(...runs.map(({ frames }) => frames.length));
  useEffect(() => {
    if (running) setChosen(undefined);
  }, [running]);
  useEffect(() => {
    if (!playing) return;
    const timer = setInterval(() => setChosen((at) => ((at ?? most) >= most ? 1 : (at ?? 0) + 1)), PLAY_INTERVAL);
    return () => clearInterval(timer);
  }, [playing, most]);
  if (most < 1) return null;
  const at = Math.min(chosen ?? most, most);
  const shown = runs.filter(({ frames }) => frames.length > 0);
  const current = shown[0].frames[Math.min(at, shown[0].frames.length) - 1];
  const canShowExperts = model.layers > 0;
  return (
    <>
      {shown.map((run) => (
        <RunImages
          key={run.request.guidance}
          run={run}
          model={model}
          frame={run.frames[Math.min(at, run.frames.length) - 1]}
          {...(showExperts && { layer, show })}
        />
      ))}
      <section class="card" aria-labelledby="timeline-title">
        <h2 id="timeline-title">Denoising</h2>
        <div class="timeline">
          <button type="button" onClick={() => setPlaying(!playing)} aria-pressed={playing}>
            {playing ? 'Pause' : 'Play'}
          </button>
          <input
            type="range"
            min={1}
            max={most}
            value={at}
            aria-label="Step"
            aria-valuetext={`step ${current.step} of ${current.steps}`}
            onInput={(event) => {
              setPlaying(false);
              setChosen(Number(event.currentTarget.value));
            }}
          />
          <output>
            Step {current.step} of {current.steps}, time {current.time.toFixed(3)}
            {at === most && !running ? '' : ': the finished image as predicted now'}
          </output>
        </div>
        {canShowExperts && (
          <div class="toggles">
            <label>
              <input type="checkbox" checked={showExperts} onChange={(event) => setShowExperts(event.currentTarget.checked)} />
              Show which experts handle which patch
            </label>
            {showExperts && (
              <label>
                Layer
                <select value={layer} onChange={(event) => setLayer(Number(event.currentTarget.value))}>
                  {Array.from({ length: model.layers }, (_, l) => (
                    <option key={l} value={l}>
                      {l}
                    </option>
                  ))}
                </select>
              </label>
            )}
            {showExperts && model.expertsVary && (
              <label>
                Patches show
                <select value={show} onChange={(event) => setShow(event.currentTarget.value as Overlay['show'])}>
                  <option value="which">their experts</option>
                  <option value="number">their number of experts</option>
                </select>
              </label>
            )}
          </div>
        )}
        {showExperts && <ExpertShares frame={current} model={model} layer={layer} show={show} images={shown[0].request.labels.length} />}
      </section>
    </>
  );
}

/** Share of the patches of all images that have each expert. */
function ExpertShares(props: { frame: Frame; model: ModelInfo; layer: number; show: Overlay['show']; images: number }) {
  const { frame, model, layer, show, images } = props;
  const shares = useMemo(() => {
    const counts = Array<number>(model.experts).fill(0);
    for (let b = 0; b < images; b++)
      for (const expert of expertsOf(frame, images, model.layers, layer, b) ?? []) if (expert < model.experts) counts[expert]++;
    const total = counts.reduce((a, b) => a + b, 0);
    return counts.map((n) => (total === 0 ? 0 : n / total));
  }, [frame, layer, images]);
  return (
    <>
      <p class="hint" id="shares-title">
        Share of the assignments in layer {layer} that each expert gets.
        {show === 'which' && ' Patches have the colour and number of their first expert and the frame of their second.'}
      </p>
      <ul class="shares" aria-labelledby="shares-title">
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

/** What the rows differ in, and how it was applied. */
function guidanceTitle({ guidance, guidanceRule, guideWith }: SampleRequest): string {
  const how = [guidanceRule, guideWith && `with ${guideWith}`].filter((part) => part !== undefined);
  return `Guidance ${guidance}${how.length === 0 ? '' : ` (${how.join(', ')})`}`;
}

/** Share of the patches of all images by their number of experts. */
function ExpertNumbers({ frame, model, layer, images }: { frame: Frame; model: ModelInfo; layer: number; images: number }) {
  const { experts, layers, grid, expertsPerPatch } = model;
  const patches = grid[0] * grid[1];
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
      <p class="hint" id="numbers-title">
        Patches by their number of experts: {mean.toFixed(2)} on average here, {expertsPerPatch[layer]} in training.
      </p>
      <ul class="shares" aria-labelledby="numbers-title">
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

function RunImages({
  run,
  model,
  frame,
  layer,
  show = 'which',
}: {
  run: Run;
  model: ModelInfo;
  frame: Frame;
  layer?: number;
  show?: Overlay['show'];
}) {
  const { request, images, seconds } = run;
  /** Image that is shown alone. */
  const [enlarged, setEnlarged] = useState<number | undefined>();
  const title = guidanceTitle(request);
  const overlays = useMemo(
    () =>
      request.labels.map((_, i) => {
        const experts = layer === undefined ? undefined : expertsOf(frame, request.labels.length, model.layers, layer, i);
        return experts === undefined ? undefined : { chosen: experts, grid: model.grid, experts: model.experts, show };
      }),
    [frame, layer, show],
  );
  const labelOf = (i: number): string => `${title}: class ${model.classNames[request.labels[i]]}, image ${i + 1}, step ${frame.step}`;
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
      <ul class={request.labels.length > 12 ? 'images many' : 'images'}>
        {request.labels.map((label, i) => {
          const name = `${model.classNames[label]}`;
          return (
            <li key={i}>
              <div class="framed">
                <SampleCanvas frame={frame} index={i} label={labelOf(i)} {...(overlays[i] && { overlay: overlays[i] })} />
                <button type="button" aria-label={`Enlarge image ${i + 1}, class ${name}, ${title}`} onClick={() => setEnlarged(i)} />
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
      {enlarged !== undefined && (
        <Lightbox
          frame={frame}
          index={enlarged}
          label={labelOf(enlarged)}
          {...(overlays[enlarged] && { overlay: overlays[enlarged] })}
          onClose={() => setEnlarged(undefined)}
        />
      )}
      {seconds !== undefined && <p class="hint">{`${request.labels.length} images in ${seconds.toFixed(1)} s`}</p>}
    </section>
  );
}
