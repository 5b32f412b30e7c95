import { expect, test } from 'vitest';
import { OpenPortError, publicAddresses, refuseOpenPort } from './open-port.js';

const interfacesOf = (...addresses: string[]) => ({
  eth0: addresses.map((address) => ({
    address,
    internal: address === '127.0.0.1' || address === '::1',
    family: address.includes(':') ? ('IPv6' as const) : ('IPv4' as const),
    netmask: '',
    mac: '',
    cidr: null,
    scopeid: 0,
  })),
});

test.each([
  '127.0.0.1',
  '::1',
  '10.1.2.3',
  '172.16.0.1',
  '172.31.255.254',
  '192.168.1.1',
  '169.254.3.4',
  '100.127.0.1',
  '192.0.2.2',
  '203.0.113.9',
  'fe80::1',
  'fd12:3456::1',
])('%s is not of the internet', (address) => {
  expect(publicAddresses(interfacesOf(address))).toEqual([]);
});

test.each(['8.8.8.8', '172.32.0.1', '192.169.0.1', '100.128.0.1', '11.0.0.1', '2001:db8::1'])('%s is', (address) => {
  expect(publicAddresses(interfacesOf('10.0.0.1', address))).toEqual([address]);
  expect(() => refuseOpenPort(interfacesOf(address))).toThrow(OpenPortError);
});
