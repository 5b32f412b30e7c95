import { DitMoeError } from '@dit-moe/tensor-ops';

/** An image that cannot be used: which one, and why. */
export class ImageError extends DitMoeError {
  static override readonly code = 'E_IMAGE';
  /** Name of the image: a path, or a key of its source. */
  readonly image: string;
  readonly reason: string;

  constructor(image: string, reason: string, options?: ErrorOptions) {
    super(`${image}: ${reason}`, options);
    this.image = image;
    this.reason = reason;
  }
}
