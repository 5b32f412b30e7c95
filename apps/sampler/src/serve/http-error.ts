/** Refusals of the server, with their HTTP status. */
import { DitMoeError } from '@dit-moe/tensor-ops';

export class HttpError extends DitMoeError {
  static override readonly code = 'E_HTTP';
  constructor(
    readonly status: number,
    code: string,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message, { code });
  }
}
