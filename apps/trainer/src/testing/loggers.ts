/**
 * For tests: the Python whose programs read back what is logged here, TensorBoard, Weights & Biases and MLflow.
 *
 * DIT_MOE_LOGGERS_PYTHON says where it is (default `python3`). What it lacks is skipped; with DIT_MOE_REQUIRE_LOGGERS=1 it fails instead.
 */
import { execFileSync } from 'node:child_process';

export const python = process.env['DIT_MOE_LOGGERS_PYTHON'] ?? 'python3';

/** Whether what needs a module cannot be tested here, and need not be. */
export function isMissing(module: string): boolean {
  if (process.env['DIT_MOE_REQUIRE_LOGGERS'] === '1') return false;
  try {
    execFileSync(python, ['-c', `import ${module}`], { stdio: 'pipe' });
    return false;
  } catch {
    return true;
  }
}
