/** The page. */
import { useRef, useState } from 'preact/hooks';
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import type { SolverChoice } from '../serve/solver-choices.js';
import type { Engine } from './engine.js';
import { type Run, withEvent } from './frames.js';
import { Results } from './results.js';
import { SettingsForm } from './settings-form.js';

export function App({ engine, models, solvers }: { engine: Engine; models: readonly ModelInfo[]; solvers: readonly SolverChoice[] }) {
  const [runs, setRuns] = useState<readonly Run[]>([]);
  const [running, setRunning] = useState(false);
  const [status, setStatus] = useState('');
  const [error, setError] = useState('');
  const stop = useRef<AbortController | undefined>(undefined);

  const sample = async (requests: readonly SampleRequest[]): Promise<void> => {
    for (const run of runs) for (const address of run.images ?? []) URL.revokeObjectURL(address);
    setRuns(requests.map((request) => ({ request, frames: [] })));
    setRunning(true);
    setError('');
    setStatus('Sampling.');
    const controller = new AbortController();
    stop.current = controller;
    try {
      for (const [i, request] of requests.entries())
        await engine.sample(request, controller.signal, (event) => {
          if (event.type === 'queued') setStatus(`Waiting: number ${event.position} in the queue.`);
          if (event.type === 'step' && event.step === 1) setStatus('Sampling.');
          setRuns((before) => before.map((run, r) => (r === i ? withEvent(run, event) : run)));
        });
      setStatus(`Done: ${requests.length * requests[0].labels.length} images.`);
    } catch (problem) {
      if (controller.signal.aborted) setStatus('Stopped.');
      else {
        setStatus('');
        setError((problem as Error).message);
      }
    } finally {
      setRunning(false);
    }
  };

  const model = models.find(({ id }) => id === runs[0]?.request.model) ?? models[0];
  return (
    <div class="page">
      <header>
        <h1>DiT-MoE sampler</h1>
        <p>
          {model.name}, step {model.step}: {model.height} x {model.width} pixels, {model.classNames.length} classes
          {model.layers > 0 && `, ${model.layers} layers of ${model.experts} experts, ${model.topK} for each patch`}. Computed{' '}
          {engine.place}.
        </p>
      </header>
      <SettingsForm models={models} solvers={solvers} running={running} onSample={sample} onStop={() => stop.current?.abort()} />
      <main class="results" aria-busy={running}>
        <p class={status === '' ? 'visually-hidden' : 'hint'} role="status">
          {status}
        </p>
        {error !== '' && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        {runs.length > 0 && <Results runs={runs} model={model} running={running} />}
      </main>
    </div>
  );
}
