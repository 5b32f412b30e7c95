/** Every op with its gradients. */
import { bf16Cases, evaluateCase, inputsOf, type OpCase, opCases } from '@dit-moe/tensor-ops/conformance';
import { compare, type Multiplies } from '../compare.js';
import type { Finding } from '../finding.js';

export async function ops(multiplies: Multiplies): Promise<Finding[]> {
  const findings: Finding[] = [];
  const check = async (name: string, c: OpCase, precision: Multiplies): Promise<void> => {
    findings.push(
      await compare(name, precision, async () => {
        const { output, grads } = evaluateCase(c, inputsOf(c));
        return Object.fromEntries([output, ...grads].map((numbers, i) => [i === 0 ? 'output' : `gradient ${i}`, numbers]));
      }),
    );
  };
  for (const [name, c] of Object.entries(opCases)) await check(name, c, multiplies);
  for (const [name, c] of Object.entries(bf16Cases)) await check(`${name}, bf16`, c, 'bf16');
  return findings;
}
