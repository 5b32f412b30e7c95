/** Refusals of the server, with their HTTP status. */
import { DitMoeError } from '@dit-moe/tensor-ops';

export class HttpError extends DitMoeError {
  constructor(
    readonly status: number,
    code: string,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(code, message);
  }
}
