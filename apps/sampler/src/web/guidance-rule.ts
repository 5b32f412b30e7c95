/** A rule of guidance as text, `name:number=value,...`, and as what the form shows of it. */

export interface WrittenRule {
  name: string;
  /** Numbers that differ from the rule's defaults, as they were typed. */
  numbers: Readonly<Record<string, string>>;
}

/** The parts of a text; what they mean is looked at by the sampler. */
export function ruleOfText(text: string): WrittenRule {
  const [name, rest = ''] = text.split(':');
  const pairs = rest.split(',').filter((part) => part !== '');
  return { name, numbers: Object.fromEntries(pairs.map((pair) => pair.split('=').map((word) => word.trim()) as [string, string])) };
}

/** The text of a rule; numbers that are empty are left to their defaults. */
export function textOfRule({ name, numbers }: WrittenRule): string {
  const given = Object.entries(numbers).filter(([, value]) => value.trim() !== '');
  return given.length === 0 ? name : `${name}:${given.map(([key, value]) => `${key}=${value.trim()}`).join(',')}`;
}
