/** The images: a row for each model and guidance scale, a timeline over all steps, and the experts. */
import { useEffect, useState } from 'preact/hooks';
import type { ModelInfo } from '../serve/protocol.js';
import type { Frame, Run } from './frames.js';
import { RunImages, type RunImagesProps } from './run-images.js';
import type { Overlay } from './sample-canvas.js';

/** Milliseconds between steps when they are played. */
const PLAY_INTERVAL = 80;

export interface ResultsProps extends Pick<RunImagesProps, 'onStart'> {
  runs: readonly Run[];
  /** Of each run. */
  models: readonly ModelInfo[];
  running: boolean;
}

export function Results({ runs, models, running, onStart }: ResultsProps) {
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
  if (most < 1 && !running) return null;
  const at = Math.min(chosen ?? most, most);
  // While they are sampled, those to come have their places.
  const shown = running ? runs : runs.filter(({ frames }) => frames.length > 0);
  const current: Frame | undefined = shown[0].frames[Math.min(at, shown[0].frames.length) - 1];
  const layers = Math.max(...models.map((model) => model.layers));
  const several = new Set(models).size > 1;
  return (
    <>
      {shown.map((run, i) => (
        <RunImages
          key={i}
          run={run}
          model={models[i]}
          named={several}
          beside={shown.length - 1}
          frame={run.frames.at(Math.min(at, run.frames.length) - 1)}
          onStart={onStart}
          {...(showExperts && layer < models[i].layers && { layer, show })}
        />
      ))}
      {current !== undefined && (
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
          {layers > 0 && (
            <div class="toggles">
              <label>
                <input type="checkbox" checked={showExperts} onChange={(event) => setShowExperts(event.currentTarget.checked)} />
                Show which experts handle which patch
              </label>
              {showExperts && (
                <label>
                  Layer
                  <select value={layer} onChange={(event) => setLayer(Number(event.currentTarget.value))}>
                    {Array.from({ length: layers }, (_, l) => (
                      <option key={l} value={l}>
                        {l}
                      </option>
                    ))}
                  </select>
                </label>
              )}
              {showExperts && models.some(({ expertsVary }) => expertsVary) && (
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
        </section>
      )}
    </>
  );
}
