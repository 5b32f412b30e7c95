/**
 * The hub's own client, an optional dependency: it is loaded when something has to be fetched or sent. In a file of its own, since its types
 * are not there for all who import ours.
 */
import { installCommand } from '../../install-command.js';
import { HubError } from './hub-access.js';

export type Hub = typeof import('@huggingface/hub');

/** @param what needs it, as a sentence without its end */
export async function loadHub(what: string): Promise<Hub> {
  try {
    return await import('@huggingface/hub');
  } catch (cause) {
    throw new HubError(
      `${what}, which needs the optional package "@huggingface/hub": ${installCommand('@huggingface/hub')}. Or move the files by other means.`,
      { cause },
    );
  }
}
