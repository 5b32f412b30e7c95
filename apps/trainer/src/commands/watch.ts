/** `watch`: shows the report of a running or finished run in the browser, and keeps it current. */
import { exitCodes, untilSignal } from '@dit-moe/kit';
import { serveRun } from '../watch/serve.js';

/** Serves until a signal; returns the exit code. */
export async function watchCommand(run: string, flags: { port: number; json: boolean }): Promise<number> {
  const { url, close } = await serveRun(run, flags.port);
  await untilSignal(() => console.log(flags.json ? JSON.stringify({ url }) : `${run} is shown at ${url} (Ctrl-C ends)`));
  await close();
  return exitCodes.ok;
}
