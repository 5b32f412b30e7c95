/** What there is to say of a run in a few sentences: whether it is over, whether it learns, whether something is wrong. */
import type { TrainConfig } from '../config/schema.js';
import type { MetricsLine } from '../training/metrics-log.js';

/** A process touches its lock every few seconds; after so many milliseconds without it is taken for dead. */
const SILENT = 30_000;
/** Share by which the held-out loss must have risen above its least value to be told. */
const RISEN = 0.02;
/** Part of the lines whose mean is compared, at the beginning and at the end. */
const PART = 0.1;

/** Whether a run's process lives, by its last sign of life; both in milliseconds since 1970. */
export const isAlive = (sign: number | undefined, now: number): boolean => sign !== undefined && now - sign <= SILENT;

/** `running`, `finished`, `stopped` (it gave up its lock) or `lost` (it did not). */
export function stateOf(
  { steps }: Pick<TrainConfig, 'steps'>,
  metrics: readonly MetricsLine[],
  sign: number | undefined,
  now: number,
): string {
  const last = metrics.at(-1)?.step ?? 0;
  if (last >= steps) return 'finished';
  if (sign === undefined) return `stopped after step ${last.toLocaleString('en')}; go on with --resume`;
  if (isAlive(sign, now)) return 'running';
  return `ended without a word after step ${last.toLocaleString('en')}; go on with --resume`;
}

/** Sentences, the worst first; none before the first line of metrics. */
export function verdict(metrics: readonly MetricsLine[]): string[] {
  const last = metrics.at(-1);
  if (last === undefined) return [];
  const sentences: string[] = [];
  if (last.skipped > 0) sentences.push(`${last.skipped === 1 ? '1 step was' : `${last.skipped} steps were`} skipped for not being finite.`);
  const dead = last.routing.reduce((sum, layer) => sum + layer.deadExperts.length, 0);
  if (dead > 0) sentences.push(`${dead === 1 ? '1 expert was' : `${dead} experts were`} chosen by no token in the last line.`);
  const held = metrics.flatMap(({ step, validation }) => (validation === undefined ? [] : [{ step, loss: validation.loss }]));
  if (held.length > 1) {
    const least = held.reduce((a, b) => (b.loss < a.loss ? b : a));
    const { loss } = held.at(-1)!;
    const number = loss.toPrecision(3);
    sentences.push(
      loss > least.loss * (1 + RISEN)
        ? `The held-out loss has risen to ${number} since step ${least.step.toLocaleString('en')} (${least.loss.toPrecision(3)}): the set is being learnt by heart.`
        : `The held-out loss is at its least, ${number}.`,
    );
  }
  const part = Math.max(1, Math.floor(metrics.length * PART));
  const mean = (lines: readonly MetricsLine[]): number => lines.reduce((sum, { loss }) => sum + loss, 0) / lines.length;
  if (metrics.length > 1) {
    const [first, now] = [mean(metrics.slice(0, part)), mean(metrics.slice(-part))];
    sentences.push(
      now < first
        ? `The training loss went from ${first.toPrecision(3)} to ${now.toPrecision(3)}.`
        : `The training loss has not fallen: ${first.toPrecision(3)} at the beginning, ${now.toPrecision(3)} now.`,
    );
  }
  return sentences;
}
