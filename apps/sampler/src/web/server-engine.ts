/** Samples by the server that the page came from. */
import type { ModelInfo, SampleEvent } from '../serve/protocol.js';
import { type Engine, RefusalError } from './engine.js';

/** The token is given as `#token=...` once; it is kept for this tab only and never sent in an address. */
function takeToken(): string | undefined {
  const given = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (given !== undefined) {
    sessionStorage.setItem('token', decodeURIComponent(given));
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem('token') ?? undefined;
}

async function refusal(response: Response): Promise<Error> {
  const body = (await response.json().catch(() => undefined)) as { error?: { message: string; code: string; where?: string } } | undefined;
  const { message, code, where } = body?.error ?? { message: `The server answered with status ${response.status}.` };
  return new RefusalError(message, code, where);
}

export function serverEngine(): Engine {
  const token = takeToken();
  const headers = { ...(token !== undefined && { Authorization: `Bearer ${token}` }) };
  return {
    place: async () => 'on this server',
    async models() {
      const response = await fetch('api/models', { headers });
      if (!response.ok) throw await refusal(response);
      return (await response.json()) as ModelInfo[];
    },
    async sample(request, signal, onEvent) {
      const response = await fetch('api/samples', {
        method: 'POST',
        headers: { ...headers, 'Content-Type': 'application/json', Accept: 'application/x-ndjson' },
        body: JSON.stringify(request),
        signal,
      });
      if (!response.ok) throw await refusal(response);
      let rest = '';
      for (const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        const lines = (rest + value).split('\n');
        rest = lines.pop()!;
        for (const line of lines) {
          const event = JSON.parse(line) as SampleEvent;
          if (event.type === 'error') throw new RefusalError(event.message, event.code);
          onEvent(event);
        }
      }
    },
  };
}
