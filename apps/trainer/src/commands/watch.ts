/** `watch`: shows the report of a running or finished run in the browser, and keeps it current. */
import { exitCodes } from '../errors.js';
import { serveRun } from '../watch/serve.js';

/** Serves until a signal; returns the exit code. */
export async function watchCommand(run: string, flags: { port: number; json: boolean }): Promise<number> {
  const { url, close } = await serveRun(run, flags.port);
  console.log(flags.json ? JSON.stringify({ url }) : `${run} is shown at ${url} (Ctrl-C ends)`);
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  await close();
  return exitCodes.ok;
}
