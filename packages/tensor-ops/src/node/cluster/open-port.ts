/**
 * TensorFlow's server listens on every interface of the machine, without encryption or a password, and whoever reaches it can run ops,
 * also those that read and write files. So a machine with an address of the internet opens no port unasked.
 */
import type os from 'node:os';
import { DitMoeError } from '../../errors.js';

/** TensorFlow's server would be open to the internet. */
export class OpenPortError extends DitMoeError {
  static override readonly code = 'E_OPEN_PORT';
}

/** Networks that are not routed on the internet (RFC 1918, 3927, 5737, 6598; RFC 4193, 4291): first address and length of the prefix. */
const privateNetworks: readonly (readonly [string, number])[] = [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['169.254.0.0', 16],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['192.0.2.0', 24],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
];

const bitsOf = (address: string): number => address.split('.').reduce((bits, part) => bits * 256 + Number(part), 0);

function isPrivate(address: string): boolean {
  if (address.includes(':')) return /^(::1$|f[cd]|fe[89ab])/i.test(address);
  const bits = bitsOf(address);
  return privateNetworks.some(
    ([network, length]) => Math.floor(bits / 2 ** (32 - length)) === Math.floor(bitsOf(network) / 2 ** (32 - length)),
  );
}

/** Addresses of this machine at which the internet may reach it. */
export function publicAddresses(interfaces: ReturnType<typeof os.networkInterfaces>): string[] {
  const all = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  return all.filter(({ internal, address }) => !internal && !isPrivate(address)).map(({ address }) => address);
}

/**
 * Refuses a machine whose port the internet may reach.
 * @throws OpenPortError naming its public addresses
 */
export function refuseOpenPort(interfaces: ReturnType<typeof os.networkInterfaces>): void {
  const addresses = publicAddresses(interfaces);
  if (addresses.length === 0) return;
  throw new OpenPortError(
    `This machine has the public address ${addresses.join(', ')}, and TensorFlow's server listens on every address without a password: whoever reaches it can read and write files.`,
    { found: addresses, hint: 'Close the ports by a firewall and accept the open port, or use a private network or a network namespace.' },
  );
}
