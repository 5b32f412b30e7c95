/** `sweep`: trains the arms of a study from several seeds, and compares them by their held-out loss. */
import path from 'node:path';
import { createProgress, exitCodes, interruption } from '@dit-moe/kit';
import { formatResults } from '../study/results.js';
import { runStudy } from '../study/run-study.js';
import { readStudy } from '../study/study.js';

export interface SweepFlags {
  out: string;
  jobs: number;
  set: string[];
  threads?: number;
  json: boolean;
}

/** Runs `sweep` and returns the exit code. */
export async function sweepCommand(file: string, flags: SweepFlags): Promise<number> {
  const study = await readStudy(file, flags.set);
  const progress = createProgress();
  const stop = interruption((cause) => progress.log(`${cause}: the trainings save themselves. Once more ends at once.`));
  const total = study.runs.length;
  let done = 0;
  const began = performance.now();
  try {
    const results = await runStudy(study, {
      ...{ out: flags.out, jobs: flags.jobs, signal: stop.signal },
      trainer: [process.execPath, ...process.execArgv, process.argv[1]],
      arguments: flags.threads === undefined ? [] : ['--threads', String(flags.threads)],
      onLine: (line, { name }) => progress.update({ what: 'run', done, total, details: [name, line.trim()] }),
      onResult: (found, finished) => {
        done = finished;
        if (performance.now() - began > 1000) progress.log(`${formatResults(found)}\n`);
      },
    });
    progress.done();
    const where = path.join(flags.out, 'results.json');
    console.log(flags.json ? JSON.stringify(results) : `${formatResults(results)}\n\n${done} of ${total} runs: ${where}`);
    return stop.signal.aborted ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    stop.release();
    progress.done();
  }
}
