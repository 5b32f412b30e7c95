/** Starts the page. */
import { render } from 'preact';
import { App, type Offer } from './app.js';
import { browserEngine } from './browser-engine.js';
import type { Objective, PageConfig } from './engine.js';
import { serverEngine } from './server-engine.js';

const root = document.getElementById('app')!;
try {
  const config = (await (await fetch('config.json')).json()) as PageConfig;
  const backend = new URLSearchParams(location.search).get('backend');
  let inBrowser = config.engine === 'browser' ? browserEngine(config.models, backend) : undefined;
  const engine = inBrowser ?? serverEngine();
  const offers = (await engine.models()).map((info) => ({ info, engine }));
  const open = async (file: File, id: string, objective?: Objective): Promise<Offer> => {
    inBrowser ??= browserEngine([], backend);
    return { info: await inBrowser.open(file, id, objective), engine: inBrowser };
  };
  render(<App offered={offers} open={open} choices={config} />, root);
} catch (error) {
  render(
    <p class="error page" role="alert">
      {(error as Error).message}
    </p>,
    root,
  );
}
