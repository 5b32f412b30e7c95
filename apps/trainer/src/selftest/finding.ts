/** What a self-test finds. */

/** One check, or one measurement. */
export interface Finding {
  /** What was looked at. */
  name: string;
  passed: boolean;
  /** What was found, for people. */
  found: string;
  /** Of a check by a number: what was found, and what it may be at most. */
  value?: number;
  limit?: number;
}

export interface SectionResult {
  section: string;
  seconds: number;
  /** A section that could not run has the reason as its only, failed finding. */
  findings: Finding[];
}

/** A measurement that nothing is asked of. */
export const measured = (name: string, found: string): Finding => ({ name, passed: true, found });

/** A statement that holds or does not. */
export const holds = (name: string, passed: boolean, found: string): Finding => ({ name, passed, found });

/** A check of a number against a limit; NaN fails. */
export const atMost = (name: string, value: number, limit: number): Finding => ({
  ...{ name, passed: value <= limit, value, limit },
  found: `${value.toPrecision(2)}, at most ${limit}`,
});
