/** Which exit code each error means. */
import { exitCodes } from './exit-codes.js';

/** Exit codes by the code of an error. An error that is not in it is a defect. */
export type ExitCodeTable = Readonly<Record<string, number>>;

const { usage, data, output, backend, model, evaluation, peer } = exitCodes;

/** Errors of the packages and of the kit, which mean the same in both programs; each adds its own. */
export const commonExitCodes: ExitCodeTable = {
  E_USAGE: usage,
  E_SETTINGS: usage,
  E_ARGUMENT: usage,
  E_ARRAY_JOB: usage,
  E_LAUNCH: usage,
  E_OPEN_PORT: usage,
  E_DATA: data,
  E_IMAGE: data,
  E_IMAGE_SOURCE: data,
  E_LATENT_CACHE: data,
  E_TOO_MANY_SKIPPED: data,
  E_OUTPUT: output,
  E_WRITE: output,
  E_LOCKED: output,
  E_BACKEND: backend,
  E_LIBRARY: backend,
  E_LIBRARY_LOAD: backend,
  E_MISSING_PACKAGE: backend,
  E_RUNTIME_START: backend,
  E_MODEL: model,
  E_FORMAT: model,
  E_FORBIDDEN_GLOBAL: model,
  E_UNSUPPORTED_CHECKPOINT: model,
  E_CHECKPOINT_DAMAGED: model,
  E_MODEL_CARD: model,
  E_MODEL_MISMATCH: model,
  E_UNTRAINED_ROUTER: model,
  E_WEIGHTS_MISMATCH: model,
  E_AUTOENCODER_WEIGHTS: model,
  E_AUTOENCODER_MISMATCH: model,
  E_NO_AUTOENCODER: model,
  E_WEIGHTS: model,
  E_PICKLE_TRUNCATED: model,
  E_HUB: model,
  E_METRIC: evaluation,
  E_PEER: peer,
  E_RENDEZVOUS: peer,
};
