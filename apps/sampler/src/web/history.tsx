/** Earlier samplings, to come back to. */
import type { ModelInfo, SampleRequest } from '../serve/protocol.js';
import type { Run } from './frames.js';

/** Samplings that are kept; their images stay in memory. */
export const MOST_KEPT = 12;

/** One press of the button, or what the page began with: a run for each model and guidance scale. */
export interface Session {
  id: number;
  /** Whether somebody asked for it, by the button or by the page's address. */
  own: boolean;
  runs: readonly Run[];
}

/** What was asked for, in a few words. */
const describe = ({ labels, seed, solver }: SampleRequest, runs: readonly Run[], { classNames }: ModelInfo): string => {
  const names = [...new Set(labels)].map((label) => classNames[label]);
  const shown = names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');
  const each = (values: readonly (string | number | undefined)[]): string => [...new Set(values)].join(', ');
  const requests = runs.map(({ request }) => request);
  return `${each(requests.map(({ model }) => model))}: ${shown}; seed ${seed}, ${solver}, guidance ${each(requests.map(({ guidance }) => guidance))}`;
};

export function History({
  sessions,
  models,
  shown,
  onShow,
}: {
  sessions: readonly Session[];
  models: readonly ModelInfo[];
  shown: number;
  onShow(session: Session): void;
}) {
  return (
    <nav class="card" aria-labelledby="history-title">
      <h2 id="history-title">Earlier</h2>
      <ul class="history">
        {sessions.map((session) => {
          const { request, images = [] } = session.runs[0];
          const model = models.find(({ id }) => id === request.model)!;
          return (
            <li key={session.id}>
              <button
                type="button"
                title={describe(request, session.runs, model)}
                aria-label={`Show again: ${describe(request, session.runs, model)}`}
                aria-current={session.id === shown}
                onClick={() => onShow(session)}
              >
                <img src={images[0]} alt="" />
              </button>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}
