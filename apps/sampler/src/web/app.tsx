/** The page. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Choices } from '../serve/choices.js';
import { firstRequest } from '../serve/first-request.js';
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import { useDrop } from './drop.js';
import { type Engine, type Objective, RefusalError } from './engine.js';
import { type FieldError, fieldErrorOf } from './form-requests.js';
import { type Run, withEvent, withFinished } from './frames.js';
import { History, MOST_KEPT, type Session } from './history.js';
import { ProgressBar } from './progress-bar.js';
import { Results } from './results.js';
import { SettingsForm } from './settings-form.js';
import type { Start } from './start.js';

/** A model, and what samples it. */
export interface Offer {
  info: ModelInfo;
  engine: Engine;
}

export interface AppProps {
  offered: readonly Offer[];
  choices: Choices;
  /** Opens a checkpoint inside this browser. */
  open(file: File, id: string, objective?: Objective): Promise<Offer>;
}

/** A sampling under way. */
interface Work {
  /** When it began. */
  since: number;
  /** Whether nobody asked for it, so that it gives way to anything. */
  idle: boolean;
}

/** Endings of files with weights. */
const CHECKPOINT = /\.(safetensors|pt|pth|bin|ckpt)$/;

export function App({ offered, open, choices }: AppProps) {
  const [offers, setOffers] = useState(offered);
  const [start, setStart] = useState<Start | undefined>();
  /** Newest first. */
  const [sessions, setSessions] = useState<readonly Session[]>([]);
  const [shown, setShown] = useState(0);
  const [work, setWork] = useState<Work | undefined>();
  const [status, setStatus] = useState('');
  const [error, setError] = useState('');
  const [refused, setRefused] = useState<FieldError | undefined>();
  /** A file that does not say how its model was trained. */
  const [asked, setAsked] = useState<File | undefined>();
  const [place, setPlace] = useState('');
  const stop = useRef<AbortController | undefined>(undefined);
  /** Of all models, those that are being opened included. */
  const ids = useRef(new Set(offered.map(({ info }) => info.id)));
  const results = useRef<HTMLElement>(null);
  const running = work !== undefined && !work.idle;

  /** Samples; what nobody asked for is not kept. */
  const sample = async (requests: readonly SampleRequest[], { idle, own }: { idle: boolean; own: boolean }): Promise<void> => {
    stop.current?.abort();
    const controller = new AbortController();
    stop.current = controller;
    const id = (sessions[0]?.id ?? 0) + 1;
    // Those that were stopped, or that nobody asked for, have nothing to come back to, but for the one on the screen until there is another.
    const kept = sessions.filter(({ id, runs, own }) => id === shown || (own && runs[0].images !== undefined)).slice(0, MOST_KEPT);
    for (const { runs } of sessions.filter((session) => !kept.includes(session)))
      for (const run of runs) for (const address of run.images ?? []) URL.revokeObjectURL(address);
    setSessions([{ id, own, runs: requests.map((request) => ({ request, frames: [] })) }, ...kept]);
    setShown(id);
    setWork({ since: performance.now(), idle });
    setError('');
    setRefused(undefined);
    setStatus('Sampling.');
    const change = (i: number, next: (run: Run) => Run): void =>
      setSessions((before) =>
        before.map((session) =>
          session.id === id ? { ...session, runs: session.runs.map((run, r) => (r === i ? next(run) : run)) } : session,
        ),
      );
    let begun = false;
    try {
      for (const [i, request] of requests.entries()) {
        let run: Run = { request, frames: [] };
        await offers
          .find(({ info }) => info.id === request.model)!
          .engine.sample({ ...request, ...(idle && { idle }) }, controller.signal, (event) => {
            if (controller.signal.aborted) return;
            if (event.type === 'queued') setStatus(`Waiting: number ${event.position} in the queue.`);
            if (event.type === 'step' && event.step === 1) setStatus('Sampling.');
            begun ||= event.type === 'step';
            run = withEvent(run, event);
            const now = run;
            change(i, () => now);
          });
        const finished = await withFinished(run);
        change(i, () => finished);
      }
      // What was pressed meanwhile has the word.
      if (stop.current !== controller) return;
      const count = requests.length * requests[0].labels.length;
      setStatus(own ? `Done: ${count} images.` : `A first look: ${count} images in ${requests[0].steps} steps. Press Sample for your own.`);
    } catch (problem) {
      if (stop.current !== controller) return;
      if (!begun) {
        setSessions(kept);
        setShown(shown);
      }
      const ofField = fieldErrorOf(problem);
      setStatus('');
      if (controller.signal.aborted) setStatus('Stopped.');
      else if (isTurnedAway(problem as RefusalError, idle)) setStatus('Somebody else came first. Press Sample to wait for your turn.');
      else if (ofField !== undefined) setRefused(ofField);
      else setError((problem as Error).message);
    } finally {
      if (stop.current === controller) setWork(undefined);
    }
  };

  const usePicture = async (name: string, data: Blob, use: (picture: ImageBitmap) => void): Promise<void> => {
    try {
      use(await createImageBitmap(data));
      setError('');
    } catch {
      setError(`${name} is no picture that this browser can read.`);
    }
  };
  const openCheckpoint = async (file: File, objective?: Objective): Promise<void> => {
    if (running) return setError('A checkpoint can be opened when the sampling is done.');
    stop.current?.abort();
    stop.current = undefined;
    setWork(undefined);
    setError('');
    setAsked(undefined);
    setStatus(`Opening ${file.name} in this browser.`);
    const name = file.name.replace(CHECKPOINT, '');
    let id = name;
    for (let n = 2; ids.current.has(id); n++) id = `${name}-${n}`;
    ids.current.add(id);
    try {
      const offer = await open(file, id, objective);
      setOffers((before) => [...before, offer]);
    } catch (problem) {
      ids.current.delete(id);
      setStatus('');
      if (problem instanceof RefusalError && problem.where?.endsWith(': objective')) setAsked(file);
      else setError((problem as Error).message);
    }
  };
  const dropping = useDrop((file) => {
    if (CHECKPOINT.test(file.name)) void openCheckpoint(file);
    else if (file.type.startsWith('image/')) void usePicture(file.name, file, (picture) => setStart({ picture }));
    else setError(`${file.name}: expected a picture to start from, or a checkpoint that ends with .safetensors or .pt.`);
  });

  const models = useMemo(() => offers.map(({ info }) => info), [offers]);
  const session = sessions.find(({ id }) => id === shown);
  const runs = session?.runs ?? [];
  const modelsOf = runs.map(({ request }) => models.find(({ id }) => id === request.model)!);
  const { info: model, engine } = offers.find(({ info }) => info.id === runs[0]?.request.model) ?? offers[0];
  useEffect(() => {
    engine.place().then(setPlace, (problem: Error) => setError(problem.message));
  }, [engine]);
  // The images that were asked for come into view: once when it begins, and once when they are there.
  const pictured = runs.some(({ frames }) => frames.length > 0);
  useEffect(() => {
    const view = results.current!;
    const { top } = view.getBoundingClientRect();
    if (running && (top < 0 || top > innerHeight / 2)) view.scrollIntoView();
  }, [running, pictured]);
  const finished = sessions.filter(({ runs, own }) => own && runs[0].images !== undefined);
  return (
    <div class={dropping ? 'page dropping' : 'page'}>
      <header>
        <h1>DiT-MoE sampler</h1>
        <p>
          {model.name}, step {model.step}: {model.height} x {model.width} pixels, {model.classNames.length} classes
          {model.layers > 0 && `, ${model.layers} layers of ${model.experts} experts, ${perPatch(model)}`}.{' '}
          {place !== '' && `Computed ${place}.`}
        </p>
      </header>
      <SettingsForm
        models={models}
        choices={choices}
        start={start}
        running={running}
        stoppable={work !== undefined}
        refused={refused}
        onStart={setStart}
        onFile={(file, use) => void usePicture(file.name, file, use)}
        onSample={(requests) => void sample(requests, { idle: false, own: true })}
        onLook={(model, requests) =>
          running ? undefined : void sample(requests ?? [firstRequest(model)], { idle: true, own: requests !== undefined })
        }
        onStop={() => stop.current?.abort()}
        onOpen={openCheckpoint}
      />
      <main class="results" ref={results} aria-busy={work !== undefined}>
        <div class="state">
          <p class="hint" role="status">
            {status}
          </p>
          {work !== undefined && <ProgressBar runs={sessions[0].runs} since={work.since} />}
        </div>
        {error !== '' && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        {asked !== undefined && (
          <section class="card" role="alert">
            <p>
              {asked.name} does not say how its model was trained. Of the published DiT-MoE files, S/2 and B/2 are Gaussian, XL/2 and G/2
              flow.
            </p>
            <div class="actions">
              <button type="button" onClick={() => void openCheckpoint(asked, 'ddpm')}>
                Gaussian diffusion
              </button>
              <button type="button" onClick={() => void openCheckpoint(asked, 'flow')}>
                Flow matching
              </button>
            </div>
          </section>
        )}
        {runs.length > 0 && (
          <Results
            key={shown}
            runs={runs}
            models={modelsOf}
            running={work !== undefined && shown === sessions[0].id}
            onStart={async (image) => void usePicture('The image', await (await fetch(image)).blob(), (picture) => setStart({ picture }))}
          />
        )}
        {finished.length > 1 && <History sessions={finished} models={models} shown={shown} onShow={({ id }) => setShown(id)} />}
      </main>
    </div>
  );
}

/** Whether there was no time for what nobody asked for: that is no error. */
const isTurnedAway = ({ code }: RefusalError, idle: boolean): boolean => code === 'E_GAVE_WAY' || (idle && code === 'E_QUEUE_FULL');

/** How many experts a patch has, and who chooses them. */
function perPatch({ router, expertsPerPatch, expertsVary }: ModelInfo): string {
  const [least, most] = [Math.min(...expertsPerPatch), Math.max(...expertsPerPatch)];
  const number = least === most ? `${most}` : `${least} to ${most}`;
  return `${number} for each patch${expertsVary ? ' on average' : ''} (router ${router})`;
}
