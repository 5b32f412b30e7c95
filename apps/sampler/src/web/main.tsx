/** Starts the page. */
import { render } from 'preact';
import { App } from './app.js';
import { browserEngine } from './browser-engine.js';
import type { PageConfig } from './engine.js';
import { serverEngine } from './server-engine.js';

const root = document.getElementById('app')!;
try {
  const config = (await (await fetch('config.json')).json()) as PageConfig;
  const engine =
    config.engine === 'server' ? serverEngine() : await browserEngine(config.models, new URLSearchParams(location.search).get('backend'));
  render(<App engine={engine} models={await engine.models()} choices={config} />, root);
} catch (error) {
  render(
    <p class="error page" role="alert">
      {(error as Error).message}
    </p>,
    root,
  );
}
