/** The TensorFlow wheels that the runtime is built and tested against, with their pinned hashes. */

/** TensorFlow release whose C API the runtime is tested against. */
export const TENSORFLOW_VERSION = '2.21.0';

/** One published wheel. */
export interface Wheel {
  /** Package name for the Python package client. */
  project: string;
  version: string;
  /** Platform tag for the Python package client. */
  platform: string;
  /** SHA-256 of the wheel file. */
  sha256: string;
  /** The members that the runtime needs. */
  members: readonly string[];
}

const linux = ['tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2'];
const darwin = ['tensorflow/libtensorflow_cc.2.dylib', 'tensorflow/libtensorflow_framework.2.dylib'];

/** Python tags of the wheels; the runtime needs no Python, they only name which build is fetched. */
export const PYTHON = { version: '3.11', abi: 'cp311' } as const;

const wheels: Readonly<Record<string, Wheel>> = {
  'linux-x64': {
    project: 'tensorflow-cpu',
    version: TENSORFLOW_VERSION,
    platform: 'manylinux_2_27_x86_64',
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
    members: linux,
  },
  'linux-arm64': {
    project: 'tensorflow',
    version: TENSORFLOW_VERSION,
    platform: 'manylinux_2_27_aarch64',
    sha256: '4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c',
    members: linux,
  },
  'darwin-arm64': {
    project: 'tensorflow',
    version: TENSORFLOW_VERSION,
    platform: 'macosx_12_0_arm64',
    sha256: '51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88',
    members: darwin,
  },
};

/** The wheel for a platform such as `linux-x64`, or `undefined` if TensorFlow publishes none. */
export function wheelFor(platform = `${process.platform}-${process.arch}`): Wheel | undefined {
  return wheels[platform];
}
