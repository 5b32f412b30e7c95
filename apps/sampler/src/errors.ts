/** Errors of the sampler, and the exit code that each error means. */
import { commonExitCodes, type ExitCodeTable, exitCodes } from '@dit-moe/kit';

/** Which exit code each error means; one that is not in it is a defect. */
export const exitCodeTable: ExitCodeTable = {
  ...commonExitCodes,
  E_NOT_FINITE: exitCodes.model,
  E_STEP_SIZE: exitCodes.usage,
};
