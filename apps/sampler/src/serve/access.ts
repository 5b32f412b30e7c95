/**
 * Who may ask: the right host name (against DNS rebinding), the page's own origin (against other sites in the same browser), and
 * the token, if there is one.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { UsageError } from '@dit-moe/kit';
import { HttpError } from './http-error.js';

export interface AccessRules {
  /** Address that the server binds to. */
  host: string;
  /** Needed unless the address is a loopback one. */
  token?: string;
  /** Further host names under which the server may be reached. */
  allowedHosts?: readonly string[];
}

const loopback = new Set(['127.0.0.1', '::1', 'localhost']);

/** @throws UsageError for an address that others can reach, without a token */
export function checkBinding({ host, token }: AccessRules): void {
  if (!loopback.has(host) && token === undefined)
    throw new UsageError(`--host ${host}: others could reach it, so it needs a token: set DIT_MOE_SAMPLER_TOKEN, or stay with 127.0.0.1.`);
  if (token !== undefined && token.length < MIN_TOKEN) throw new UsageError(`The token must have at least ${MIN_TOKEN} characters.`);
}
const MIN_TOKEN = 16;

/** The host without port, and without the brackets of IPv6. */
function hostName(text: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(text);
  return (match?.[1] ?? match?.[2])?.toLowerCase();
}

/**
 * Checks host and origin of every request.
 * @throws HttpError 403
 */
export function checkOrigin(request: IncomingMessage, { host, token, allowedHosts = [] }: AccessRules): void {
  const { headers } = request;
  const name = headers.host === undefined ? undefined : hostName(headers.host);
  // A rebinding attack needs a name; with a token, any address of this machine is fine.
  const known =
    name !== undefined &&
    (loopback.has(name) || name === host.toLowerCase() || allowedHosts.includes(name) || (token !== undefined && isIP(name) > 0));
  if (!known) throw new HttpError(403, 'E_HOST', 'This server does not answer to that host name. Allow it with --allow-host.');
  const { origin } = headers;
  if (origin !== undefined && origin !== `http://${headers.host}` && origin !== `https://${headers.host}`)
    throw new HttpError(403, 'E_ORIGIN', 'Requests from other sites are refused.');
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && request.url?.startsWith('/api/'))
    throw new HttpError(403, 'E_ORIGIN', 'Requests from other sites are refused.');
}

/** @throws HttpError 401 */
export function checkToken(request: IncomingMessage, { token }: AccessRules): void {
  if (token === undefined) return;
  const given = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (!timingSafeEqual(hash(given), hash(token)))
    throw new HttpError(401, 'E_TOKEN', 'A token is needed: "Authorization: Bearer ...".', { 'WWW-Authenticate': 'Bearer' });
}
