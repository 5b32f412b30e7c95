/** Plans for people. */
import { formatDuration } from '@dit-moe/kit';
import type { RunPlan } from './run-plan.js';
import type { Verdict } from './verdicts.js';

export const bytes = (n: number): string => (n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(1)} GiB` : `${(n / 2 ** 20).toFixed(1)} MiB`);

/** Of whole trainings, so also in days and years. */
export function duration(seconds: number): string {
  const days = seconds / 86_400;
  if (days > 730) return `${(days / 365).toFixed(0)} years`;
  return days > 2 ? `${days.toFixed(1)} days` : formatDuration(seconds);
}

const number = (n: number): string => n.toLocaleString('en', { maximumFractionDigits: 1 });

/** What a step needs, as rows of name and value. */
export function planRows({ memory, sent, ops, flops, traffic, atPeak, largest }: RunPlan): [string, string][] {
  const { total, ...parts } = memory;
  const list = (items: readonly string[]): string => [...new Set(items)].slice(0, 4).join(', ');
  return [
    [
      'memory',
      `${bytes(total)} (${Object.entries(parts)
        .filter(([, n]) => n > 0)
        .map(([name, n]) => `${name} ${bytes(n)}`)
        .join(', ')})`,
    ],
    ...(Object.keys(sent).length === 0
      ? []
      : [
          [
            'sent per step',
            Object.entries(sent)
              .map(([kind, n]) => `${kind} ${bytes(n)}`)
              .join(', '),
          ] as [string, string],
        ]),
    ['work', `${(flops / 1e12).toPrecision(3)} TFLOP and ${bytes(traffic)} moved per step, ${number(ops)} ops`],
    ['at the peak', list(atPeak.map(({ op, bytes: n }) => `${op} ${bytes(n)}`))],
    ['largest', list(largest.map(({ op, shape, bytes: n }) => `${op} [${shape}] ${bytes(n)}`))],
  ];
}

/** One row per device. */
export const verdictRows = (verdicts: readonly Verdict[]): [string, string][] =>
  verdicts.map(({ target, needs, bytes: has, fits, settings, estimated }) => {
    const sizes = `needs ${bytes(needs)} of ${bytes(has)}`;
    if (fits) return [target, `fits: ${sizes}`];
    const none = estimated === true ? 'recompute=true and more accumulation need less' : 'no setting makes it fit';
    return [target, `does not fit: ${sizes}; ${settings === undefined ? none : `fits with --set ${settings.join(' ')}`}`];
  });

/** Rows with their names in a column. */
export function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 1;
  return rows.map(([name, value]) => `${name.padEnd(width)} ${value}`).join('\n');
}
