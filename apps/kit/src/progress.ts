/**
 * Long work on stderr: a line with a bar that is rewritten in place on a terminal, plain lines elsewhere. Whoever waits sees life
 * within a second, and then at least once per second; a log that is written for hours gets a line every ten seconds.
 */
import { formatDuration } from './format.js';
import { coloursFor, isTerminal, marked } from './terminal.js';

/** How far work has come. */
export interface ProgressState {
  /** What is counted, in the singular: `step`, `image`. */
  what: string;
  done: number;
  /** Absent where it is not known. */
  total?: number;
  /** What else there is to say, such as `loss 0.0123`. */
  details?: readonly string[];
}

export interface Progress {
  /** Work whose length nobody knows, such as `reading the images`. It is shown with the time that it has taken. */
  phase(text: string): void;
  update(state: ProgressState): void;
  /** Prints a message without tearing the line. */
  log(message: string): void;
  /** Ends the line. */
  done(): void;
}

/** Where lines go; a part of Node's streams, so that tests can look. */
export interface ProgressStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

const SECOND = 1000;
/** So long after the start plain lines become rare, for logs that are kept. */
const EAGER_MS = 60 * SECOND;
const RARE_MS = 10 * SECOND;
/** A terminal is not drawn more often than this. */
const DRAW_MS = 100;
const BAR_WIDTH = 24;

/**
 * The line of a state without its bar. The time left is an estimate from the rate so far.
 * @param since what was done when the counting began
 * @param seconds passed since then
 */
function progressLine({ what, done, total, details = [] }: ProgressState, since: number, seconds: number): string {
  const rate = seconds > 0 ? (done - since) / seconds : 0;
  const time =
    rate > 0 && total !== undefined
      ? [`${formatDuration((total - done) / rate)} left`]
      : seconds >= 1
        ? [`${formatDuration(seconds)} so far`]
        : [];
  return [`${what} ${done}${total === undefined ? '' : `/${total}`}`, ...details, ...time].join('  ');
}

function bar(share: number, { cyan, dim }: ReturnType<typeof coloursFor>): string {
  const full = Math.round(BAR_WIDTH * Math.min(1, Math.max(0, share)));
  return `${cyan('━'.repeat(full))}${dim('─'.repeat(BAR_WIDTH - full))}`;
}

/**
 * @param stream normally stderr, so that stdout stays clean for results
 * @param now milliseconds
 */
export function createProgress(stream: ProgressStream = process.stderr, now: () => number = () => performance.now()): Progress {
  const began = now();
  const colours = coloursFor(stream);
  const rewritable = isTerminal(stream);
  let current: { text: () => string; plain: () => string } | undefined;
  /** Since when the rate is measured. */
  let first: { what: string; at: number; done: number } | undefined;
  let printedAt = Number.NEGATIVE_INFINITY;
  let printed = '';
  let open = false;
  let timer: NodeJS.Timeout | undefined;

  const clear = (): void => {
    if (open) stream.write('\r\x1b[K');
    open = false;
  };
  const draw = (): void => {
    if (current === undefined) return;
    printedAt = now();
    if (rewritable) {
      // A longer line would wrap, and the next one could not replace it.
      stream.write(`\r\x1b[K${cut(current.text(), (stream.columns ?? 80) - 1)}`);
      open = true;
      return;
    }
    const line = current.plain();
    if (line !== printed) stream.write(`${line}\n`);
    printed = line;
  };
  const due = (): number => (rewritable ? DRAW_MS : now() - began < EAGER_MS ? SECOND : RARE_MS);
  const show = (next: NonNullable<typeof current>, force: boolean): void => {
    current = next;
    if (force || now() - printedAt >= due()) draw();
    // Life also while nothing is reported. It must not keep the process alive.
    timer ??= setInterval(() => now() - printedAt >= Math.max(SECOND, due()) - DRAW_MS && draw(), SECOND).unref();
  };
  return {
    phase(text) {
      const since = now();
      const elapsed = (): string => (now() - since < SECOND ? '' : `  ${formatDuration((now() - since) / SECOND)}`);
      const plain = (): string => `${text} ...${elapsed()}`;
      show({ text: () => colours.cyan(plain()), plain }, true);
    },
    update(state) {
      // A phase in between counts: the rest of a run has such phases as well.
      const isFirst = first === undefined || first.what !== state.what || state.done < first.done;
      if (isFirst) first = { what: state.what, at: now(), done: state.done };
      const { at, done } = first!;
      const line = (): string => progressLine(state, done, (now() - at) / SECOND);
      const share = state.total === undefined ? undefined : state.done / state.total;
      const next = { text: () => (share === undefined ? colours.cyan(line()) : `${bar(share, colours)} ${line()}`), plain: line };
      show(next, isFirst || state.done === state.total);
    },
    log(message) {
      clear();
      stream.write(`${marked(message, stream)}\n`);
      if (rewritable) draw();
    },
    done() {
      clearInterval(timer);
      timer = undefined;
      if (open) stream.write('\n');
      open = false;
      current = undefined;
    },
  };
}

/** The text with at most `width` visible characters; colours do not count. */
function cut(text: string, width: number): string {
  let visible = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control sequences
  const parts = text.split(/(\x1b\[[\d;]*m)/);
  return parts
    .map((part, i) => {
      if (i % 2 === 1) return part;
      const kept = part.slice(0, Math.max(0, width - visible));
      visible += part.length;
      return kept;
    })
    .join('');
}
