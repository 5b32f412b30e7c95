/** What every op computes for fixed inputs, to check a backend or a device against another. */
export { numbers } from './numbers.js';
export { bf16Cases, evaluateCase, evaluateCaseAsync, inputsOf, type OpCase, type OpOutcome, opCases } from './op-cases.js';
