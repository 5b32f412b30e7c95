/** The report of a self-test: one page of Markdown for people, and the same as JSON. */
import type { SectionResult } from './finding.js';
import { titleOf } from './sections/index.js';

export interface SelftestResult {
  passed: boolean;
  /** When it was made, ISO 8601. */
  date: string;
  version: string;
  machine: Readonly<Record<string, string>>;
  seconds: number;
  sections: readonly SectionResult[];
}

export function formatSelftest({ passed, date, version, machine, seconds, sections }: SelftestResult): string {
  const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
    ...[head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`),
    '',
  ];
  const checks = sections.flatMap(({ findings }) => findings);
  const failed = sections.flatMap(({ section, findings }) =>
    findings.filter((finding) => !finding.passed).map((finding) => [titleOf(section), finding.name, finding.found]),
  );
  const measurements = sections.flatMap(({ section, findings }) =>
    findings.filter(({ passed: good, value }) => good && value === undefined).map(({ name, found }) => [titleOf(section), name, found]),
  );
  return [
    `# Self-test: ${passed ? 'passed' : 'FAILED'}`,
    '',
    `dit-moe-trainer ${version}, ${date.slice(0, 10)}, ${checks.length} findings in ${seconds.toFixed(0)} s.`,
    '',
    ...table(['machine', ''], Object.entries(machine)),
    ...table(['section', 'findings', 'largest value of its limit', 'seconds', ''], sections.map(sectionRow)),
    ...(failed.length === 0 ? [] : ['## Failed', '', ...table(['section', 'what', 'found'], failed)]),
    ...(measurements.length === 0 ? [] : ['## Measured', '', ...table(['section', 'what', 'found'], measurements)]),
    'Differences are root mean squares relative to the reference: the same in plain JavaScript (of Inception: in WebAssembly).',
  ].join('\n');
}

/** Of the checks with the same limit the largest value stands for the others. */
function sectionRow({ section, seconds, findings }: SectionResult): string[] {
  const largest = new Map<number, number>();
  for (const { value, limit } of findings)
    if (value !== undefined && limit !== undefined) largest.set(limit, Math.max(value, largest.get(limit) ?? 0));
  return [
    titleOf(section),
    String(findings.length),
    [...largest].map(([limit, value]) => `${Number(value.toPrecision(2))} of ${limit}`).join(', '),
    seconds.toFixed(1),
    findings.every(({ passed }) => passed) ? 'passed' : 'FAILED',
  ];
}
