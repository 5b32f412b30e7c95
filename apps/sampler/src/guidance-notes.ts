/** What `--help` says of guidance: which rules there are, when to use them, and what they cost. */
import { type GuidanceRuleRow, guidanceRules } from '@dit-moe/diffusion';

const numbersOf = ({ numbers }: GuidanceRuleRow): string =>
  Object.entries(numbers)
    .map(([name, value]) => `${name}=${value ?? 'none'}`)
    .join(', ');

/** Sentences for the end of a command's help. */
export function guidanceNotes(): string {
  const rules = Object.entries(guidanceRules as Record<string, GuidanceRuleRow>).map(([name, row]) => {
    const numbers = numbersOf(row);
    return `  ${name.padEnd(9)} ${row.title}${numbers === '' ? '' : ` (${numbers})`}`;
  });
  return `Rules of guidance:
${rules.join('\n')}
Every rule costs two evaluations of the model instead of one, and none outside of --interval; --guidance 1 always costs one.
  --interval 0.1,0.8   when high scales make all images alike: guidance where it helps, and it is cheaper
  --guide-with         when guidance takes away variety: costs an evaluation of the model and one of the weaker model`;
}
