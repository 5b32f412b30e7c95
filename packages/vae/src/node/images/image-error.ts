import { DitMoeError } from '@dit-moe/tensor-ops';

/** An image that cannot be used: which one, and why. */
export class ImageError extends DitMoeError {
  /** Name of the image: a path, or a key of its source. */
  readonly image: string;
  readonly reason: string;

  constructor(image: string, reason: string, options?: ErrorOptions) {
    super('E_IMAGE', `${image}: ${reason}`, options);
    this.image = image;
    this.reason = reason;
  }
}
