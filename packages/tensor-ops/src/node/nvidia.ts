/**
 * NVIDIA's GPUs and driver, asked of the driver's own management library (NVML), which comes with every driver: TensorFlow's C API says
 * neither how much of a card's memory is in use nor what the card can do. Signatures are from nvml.h.
 */
export interface NvidiaGpu {
  /** Number by which the driver counts; `CUDA_VISIBLE_DEVICES` takes it. */
  index: number;
  /** Such as `NVIDIA A100-SXM4-80GB`. */
  name: string;
  /** Major and minor, such as 8.0 for an A100. */
  computeCapability: number;
  memoryBytes: number;
  /** By all processes together. */
  usedBytes: number;
}

/** What the loaded NVIDIA driver says of itself. */
export interface NvidiaDriver {
  /** Such as `550.54.15`. */
  version: string;
  /** Newest CUDA that it runs, such as 12.4. */
  cuda: number;
  gpus: readonly NvidiaGpu[];
}

/** The functions of NVML that are used; each gives 0 when it succeeds. */
export interface Nvml {
  init(): number;
  shutdown(): number;
  driverVersion(text: Uint8Array, length: number): number;
  cudaVersion(version: Int32Array): number;
  count(count: Uint32Array): number;
  device(index: number, device: BigUint64Array): number;
  name(device: bigint, text: Uint8Array, length: number): number;
  /** Total, free and used bytes. */
  memory(device: bigint, bytes: BigUint64Array): number;
  capability(device: bigint, major: Int32Array, minor: Int32Array): number;
}

const TEXT = 96;

/** The driver that runs, or `undefined` where there is none, or no koffi to ask it with. */
export async function nvidiaDriver(): Promise<NvidiaDriver | undefined> {
  const nvml = await loadNvml();
  return nvml && readDriver(nvml);
}

/** What NVML says; `undefined` where no driver answers. */
export function readDriver(nvml: Nvml): NvidiaDriver | undefined {
  if (nvml.init() !== 0) return undefined;
  try {
    const [cuda, count] = [new Int32Array(1), new Uint32Array(1)];
    const version = text((buffer) => nvml.driverVersion(buffer, TEXT));
    if (nvml.cudaVersion(cuda) !== 0 || nvml.count(count) !== 0) return undefined;
    const gpus = Array.from({ length: count[0] }, (_, index) => readGpu(nvml, index)).filter((gpu) => gpu !== undefined);
    // 12040 is CUDA 12.4.
    return { version, cuda: Math.floor(cuda[0] / 1000) + (Math.floor(cuda[0] / 10) % 100) / 10, gpus };
  } finally {
    nvml.shutdown();
  }
}

/** A card that this process may not look at is left out. */
function readGpu(nvml: Nvml, index: number): NvidiaGpu | undefined {
  const [device, bytes] = [new BigUint64Array(1), new BigUint64Array(3)];
  const [major, minor] = [new Int32Array(1), new Int32Array(1)];
  if (nvml.device(index, device) !== 0) return undefined;
  if (nvml.memory(device[0], bytes) !== 0 || nvml.capability(device[0], major, minor) !== 0) return undefined;
  return {
    index,
    name: text((buffer) => nvml.name(device[0], buffer, TEXT)),
    computeCapability: major[0] + minor[0] / 10,
    memoryBytes: Number(bytes[0]),
    usedBytes: Number(bytes[2]),
  };
}

/** A text that a function writes with a zero at its end. */
function text(write: (buffer: Uint8Array) => number): string {
  const buffer = new Uint8Array(TEXT);
  if (write(buffer) !== 0) return 'unknown';
  return new TextDecoder().decode(buffer.subarray(0, buffer.indexOf(0)));
}

async function loadNvml(): Promise<Nvml | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const [{ default: koffi }, { enlargeStacks }] = await Promise.all([import('koffi'), import('./c-api.js')]);
    enlargeStacks();
    const library = koffi.load('libnvidia-ml.so.1');
    const bind = (name: string, ...args: string[]) => library.func(name, 'int', args);
    return {
      init: bind('nvmlInit_v2'),
      shutdown: bind('nvmlShutdown'),
      driverVersion: bind('nvmlSystemGetDriverVersion', 'void *', 'uint'),
      cudaVersion: bind('nvmlSystemGetCudaDriverVersion_v2', 'void *'),
      count: bind('nvmlDeviceGetCount_v2', 'void *'),
      device: bind('nvmlDeviceGetHandleByIndex_v2', 'uint', 'void *'),
      name: bind('nvmlDeviceGetName', 'uintptr_t', 'void *', 'uint'),
      memory: bind('nvmlDeviceGetMemoryInfo', 'uintptr_t', 'void *'),
      capability: bind('nvmlDeviceGetCudaComputeCapability', 'uintptr_t', 'void *', 'void *'),
    };
  } catch {
    // No driver on this machine, or one from before these functions.
    return undefined;
  }
}

/** The cards that `CUDA_VISIBLE_DEVICES` leaves, in its order. */
export function visibleGpus({ gpus }: NvidiaDriver, visible = process.env['CUDA_VISIBLE_DEVICES']): NvidiaGpu[] {
  if (visible === undefined) return [...gpus];
  return visible.split(',').flatMap((word) => gpus.find(({ index }) => String(index) === word.trim()) ?? []);
}

/** The card that TensorFlow computes on when it is told this number (default 0). */
export const chosenGpu = (driver: NvidiaDriver, number = 0, visible?: string): NvidiaGpu | undefined =>
  visibleGpus(driver, visible)[number];
