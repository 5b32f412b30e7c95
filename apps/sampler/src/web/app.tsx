/** The page. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Choices } from '../serve/choices.js';
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import { useDrop } from './drop.js';
import type { Engine } from './engine.js';
import { type Run, withEvent } from './frames.js';
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
  open(file: File, id: string): Promise<Offer>;
}

export function App({ offered, open, choices }: AppProps) {
  const [offers, setOffers] = useState(offered);
  const [start, setStart] = useState<Start | undefined>();
  /** Newest first. */
  const [sessions, setSessions] = useState<readonly Session[]>([]);
  const [shown, setShown] = useState(0);
  /** When the sampling under way began. */
  const [since, setSince] = useState<number | undefined>();
  const [status, setStatus] = useState('');
  const [error, setError] = useState('');
  const stop = useRef<AbortController | undefined>(undefined);
  const results = useRef<HTMLElement>(null);
  const running = since !== undefined;

  const sample = async (requests: readonly SampleRequest[]): Promise<void> => {
    const id = (sessions[0]?.id ?? 0) + 1;
    // Those that were stopped have nothing to come back to.
    const kept = sessions.filter(({ runs }) => runs[0].images !== undefined);
    for (const { runs } of kept.slice(MOST_KEPT - 1))
      for (const run of runs) for (const address of run.images ?? []) URL.revokeObjectURL(address);
    setSessions([{ id, runs: requests.map((request) => ({ request, frames: [] })) }, ...kept.slice(0, MOST_KEPT - 1)]);
    setShown(id);
    setSince(performance.now());
    setError('');
    setStatus('Sampling.');
    const controller = new AbortController();
    stop.current = controller;
    const change = (i: number, next: (run: Run) => Run): void =>
      setSessions((before) =>
        before.map((session) => (session.id === id ? { id, runs: session.runs.map((run, r) => (r === i ? next(run) : run)) } : session)),
      );
    try {
      for (const [i, request] of requests.entries())
        await offers
          .find(({ info }) => info.id === request.model)!
          .engine.sample(request, controller.signal, (event) => {
            if (event.type === 'queued') setStatus(`Waiting: number ${event.position} in the queue.`);
            if (event.type === 'step' && event.step === 1) setStatus('Sampling.');
            change(i, (run) => withEvent(run, event));
          });
      setStatus(`Done: ${requests.length * requests[0].labels.length} images.`);
    } catch (problem) {
      if (controller.signal.aborted) setStatus('Stopped.');
      else {
        setStatus('');
        setError((problem as Error).message);
      }
    } finally {
      setSince(undefined);
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
  const openCheckpoint = async (file: File): Promise<void> => {
    if (running) return setError('A checkpoint can be opened when the sampling is done.');
    setError('');
    setStatus(`Opening ${file.name} in this browser.`);
    const name = file.name.replace(/\.safetensors$/, '');
    const taken = (id: string): boolean => offers.some(({ info }) => info.id === id);
    let id = name;
    for (let n = 2; taken(id); n++) id = `${name}-${n}`;
    try {
      const offer = await open(file, id);
      setOffers([...offers, offer]);
      setStatus(`Opened ${id}: it is computed ${offer.engine.place} and sent nowhere.`);
    } catch (problem) {
      setStatus('');
      setError((problem as Error).message);
    }
  };
  const dropping = useDrop((file) => {
    if (file.name.endsWith('.safetensors')) void openCheckpoint(file);
    else if (file.type.startsWith('image/')) void usePicture(file.name, file, (picture) => setStart({ picture }));
    else setError(`${file.name}: expected a picture to start from, or a checkpoint that ends with .safetensors.`);
  });

  const models = useMemo(() => offers.map(({ info }) => info), [offers]);
  const session = sessions.find(({ id }) => id === shown);
  const runs = session?.runs ?? [];
  const modelsOf = runs.map(({ request }) => models.find(({ id }) => id === request.model)!);
  const { info: model, engine } = offers.find(({ info }) => info.id === runs[0]?.request.model) ?? offers[0];
  // Where the form fills the screen, the progress, then the images, come into view: once each, and only
  // when they are there, since an empty page is too short to scroll.
  const pictured = runs.some(({ frames }) => frames.length > 0);
  useEffect(() => {
    const view = results.current!;
    if (running && view.getBoundingClientRect().top > innerHeight / 2) view.scrollIntoView({ behavior: 'smooth' });
  }, [running, pictured]);
  const finished = sessions.filter(({ runs }) => runs[0].images !== undefined);
  return (
    <div class={dropping ? 'page dropping' : 'page'}>
      <header>
        <h1>DiT-MoE sampler</h1>
        <p>
          {model.name}, step {model.step}: {model.height} x {model.width} pixels, {model.classNames.length} classes
          {model.layers > 0 && `, ${model.layers} layers of ${model.experts} experts, ${perPatch(model)}`}. Computed {engine.place}.
        </p>
      </header>
      <SettingsForm
        models={models}
        choices={choices}
        start={start}
        running={running}
        onStart={setStart}
        onFile={(file, use) => void usePicture(file.name, file, use)}
        onSample={sample}
        onStop={() => stop.current?.abort()}
        onOpen={openCheckpoint}
      />
      <main class="results" ref={results} aria-busy={running}>
        <p class={status === '' ? 'visually-hidden' : 'hint'} role="status">
          {status}
        </p>
        {since !== undefined && <ProgressBar runs={sessions[0].runs} since={since} />}
        {error !== '' && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        {runs.length === 0 && error === '' && (
          <section class="card empty">
            <h2>No images yet</h2>
            <p>Choose classes and press Sample: every step of the denoising is shown here, and which experts handle which patch.</p>
          </section>
        )}
        {runs.length > 0 && (
          <Results
            key={shown}
            runs={runs}
            models={modelsOf}
            running={running && shown === sessions[0].id}
            onStart={async (image) => void usePicture('The image', await (await fetch(image)).blob(), (picture) => setStart({ picture }))}
          />
        )}
        {finished.length > 1 && <History sessions={finished} models={models} shown={shown} onShow={({ id }) => setShown(id)} />}
      </main>
    </div>
  );
}

/** How many experts a patch has, and who chooses them. */
function perPatch({ router, expertsPerPatch, expertsVary }: ModelInfo): string {
  const [least, most] = [Math.min(...expertsPerPatch), Math.max(...expertsPerPatch)];
  const number = least === most ? `${most}` : `${least} to ${most}`;
  return `${number} for each patch${expertsVary ? ' on average' : ''} (router ${router})`;
}
