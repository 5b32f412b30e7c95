/** Exit codes: the same number means the same in both programs. */

/** Listed in `--help` and in the READMEs. */
export const exitCodes = {
  /** Everything went well. */
  ok: 0,
  /** A defect: an error that nobody foresaw. */
  defect: 1,
  /** The command line or a configuration is wrong: unknown word, wrong type, value out of range. */
  usage: 2,
  /** Images, latents or statistics are missing, unreadable, or there is nothing in them to work with. */
  data: 3,
  /** What is to be written cannot be: in use, not writable, the disk is full, a port is taken. */
  output: 4,
  /** The backend asked for is not available, its memory does not suffice, or `doctor` or `selftest` has found something wrong. */
  backend: 5,
  /** A model or checkpoint is missing, damaged, or belongs to another configuration. */
  model: 6,
  /** Training diverged: no finite gradient even after rolling back. */
  diverged: 7,
  /** An evaluation cannot be computed from what is there. */
  evaluation: 8,
  /** Another process of the cluster failed, is gone, or did not come; or a training of a sweep ended without a result. */
  peer: 9,
  /** Interrupted by a signal after everything was saved (EX_TEMPFAIL: run the same again with `--resume`). */
  interrupted: 75,
} as const;

/** Code of a process that a signal has ended before everything was saved, as shells count them. */
export const signalExitCode = (signal: number): number => 128 + signal;

/** One line on all codes, for `--help`. */
export const exitCodesLine =
  'Exit codes: 0 done, 1 defect, 2 wrong usage, 3 data, 4 output, 5 backend, 6 model or checkpoint, 7 diverged, 8 evaluation, ' +
  '9 another process of the cluster or sweep, 75 interrupted and saved, 128 + n ended by signal n.';
