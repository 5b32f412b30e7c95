import { expect, test } from 'vitest';
import { chosenGpu, type Nvml, readDriver } from './nvidia.js';

const GIB = 2n ** 30n;
const write = (text: string) => (buffer: Uint8Array) => {
  new TextEncoder().encodeInto(text, buffer);
  return 0;
};
/** Two cards, of which the second may not be looked at. */
function standIn(overrides: Partial<Nvml> = {}): { nvml: Nvml; calls: string[] } {
  const calls: string[] = [];
  const nvml: Nvml = {
    init: () => calls.push('init') - 1,
    shutdown: () => calls.push('shutdown') * 0,
    driverVersion: write('550.54.15'),
    cudaVersion: (version) => (version[0] = 12040) * 0,
    count: (count) => (count[0] = 2) * 0,
    device: (index, device) => Number((device[0] = BigInt(100 + index)) * 0n),
    name: (_, buffer) => write('NVIDIA A100-SXM4-80GB')(buffer),
    memory: (device, bytes) => {
      bytes.set([80n * GIB, 79n * GIB, GIB]);
      return device === 101n ? 4 : 0;
    },
    capability: (_, major, minor) => ((major[0] = 8) + (minor[0] = 0)) * 0,
    ...overrides,
  };
  return { nvml, calls };
}

test('the driver and its cards are read, and the library is closed', () => {
  const { nvml, calls } = standIn();
  expect(readDriver(nvml)).toEqual({
    version: '550.54.15',
    cuda: 12.4,
    gpus: [{ index: 0, name: 'NVIDIA A100-SXM4-80GB', computeCapability: 8, memoryBytes: 80 * 2 ** 30, usedBytes: 2 ** 30 }],
  });
  expect(calls).toEqual(['init', 'shutdown']);
});

test('a driver that does not answer is none', () => {
  expect(readDriver(standIn({ init: () => 9 }).nvml)).toBeUndefined();
  const { nvml, calls } = standIn({ count: () => 999 });
  expect(readDriver(nvml)).toBeUndefined();
  expect(calls.at(-1)).toBe('shutdown');
});

test('CUDA_VISIBLE_DEVICES says which card is the first', () => {
  const gpus = [0, 1, 2].map((index) => ({ index, name: String(index), computeCapability: 8, memoryBytes: 1, usedBytes: 0 }));
  const driver = { version: '', cuda: 12.4, gpus };
  expect([undefined, '2', '2,0', '', '-1'].map((visible) => chosenGpu(driver, 0, visible)?.index)).toEqual([0, 2, 2, undefined, undefined]);
  expect(chosenGpu(driver, 1, '2,0')?.index).toBe(0);
});
