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
  members: readonly string[] | RegExp;
}

/** What is fetched for one kind of machine. */
export interface Build {
  kind: 'cpu' | 'gpu';
  wheels: readonly Wheel[];
  /**
   * `flat`: the two libraries alone in a folder; `site-packages`: with the folders of the wheels, because the GPU library looks for
   * CUDA in `../nvidia/<part>/lib`.
   */
  layout: 'flat' | 'site-packages';
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

/** A wheel of NVIDIA's, and the file in it that TensorFlow asks for by name. */
export interface CudaWheel extends Wheel {
  /** Below the folder in which `tensorflow` lies. */
  file: string;
  /** What does not work without it. */
  neededFor: string;
}

/**
 * Shared libraries that somebody asks for, and what XLA needs of the compiler; not cuSOLVER's for several GPUs, old names of cuBLAS and cuFFT,
 * NVRTC without its own C library, and CUPTI's tools, 0.6 GB together.
 */
export const cudaMembers =
  /^nvidia\/((?!.*\/(lib(cusolverMg|nvblas|cufftw|checkpoint|nvperf_host|nvperf_target|pcsamplingutil)\.|lib\w+(-\w+)?\.alt\.))[^/]+\/lib\/[^/]+\.so[^/]*|cuda_nvcc\/bin\/ptxas|cuda_nvcc\/nvvm\/libdevice\/[^/]+)$/;

/**
 * The smallest set of NVIDIA's wheels. Without one of the first seven TensorFlow 2.21 uses no GPU: it loads libcudart, libcublas(Lt), libcufft,
 * libcusolver, libcusparse and libcudnn by these names when it looks for GPUs, and nvJitLink is linked to cuSOLVER and cuSPARSE. The others are
 * loaded when they are needed. CUDA 13's libraries have other names. TensorFlow's requirements also name cuRAND, which it does not load.
 */
export const cudaWheels: readonly CudaWheel[] = (
  [
    [
      'nvidia-cuda-runtime-cu12',
      '12.9.79',
      'manylinux2014_x86_64',
      'nvidia/cuda_runtime/lib/libcudart.so.12',
      'any GPU',
      '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3',
    ],
    [
      'nvidia-cublas-cu12',
      '12.9.3.13',
      'manylinux_2_27_x86_64',
      'nvidia/cublas/lib/libcublas.so.12',
      'any GPU',
      'd7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72',
    ],
    [
      'nvidia-cufft-cu12',
      '11.4.1.4',
      'manylinux2014_x86_64',
      'nvidia/cufft/lib/libcufft.so.11',
      'any GPU',
      'c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28',
    ],
    [
      'nvidia-cusolver-cu12',
      '11.7.5.82',
      'manylinux_2_27_x86_64',
      'nvidia/cusolver/lib/libcusolver.so.11',
      'any GPU',
      '15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88',
    ],
    [
      'nvidia-cusparse-cu12',
      '12.5.10.65',
      'manylinux2014_x86_64',
      'nvidia/cusparse/lib/libcusparse.so.12',
      'any GPU',
      '73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78',
    ],
    [
      'nvidia-nvjitlink-cu12',
      '12.9.86',
      'manylinux2010_x86_64',
      'nvidia/nvjitlink/lib/libnvJitLink.so.12',
      'any GPU',
      'e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9',
    ],
    [
      'nvidia-cudnn-cu12',
      '9.28.0.42',
      'manylinux_2_27_x86_64',
      'nvidia/cudnn/lib/libcudnn.so.9',
      'any GPU',
      '9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375',
    ],
    [
      'nvidia-cuda-nvrtc-cu12',
      '12.9.86',
      'manylinux2010_x86_64',
      'nvidia/cuda_nvrtc/lib/libnvrtc.so.12',
      'kernels that cuDNN compiles',
      '210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4',
    ],
    [
      'nvidia-cuda-nvcc-cu12',
      '12.9.86',
      'manylinux2010_x86_64',
      'nvidia/cuda_nvcc/bin/ptxas',
      'kernels that TensorFlow compiles',
      '5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0',
    ],
    [
      'nvidia-nccl-cu12',
      '2.32.3',
      'manylinux_2_27_x86_64',
      'nvidia/nccl/lib/libnccl.so.2',
      'several GPUs',
      'bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c',
    ],
    [
      'nvidia-cuda-cupti-cu12',
      '12.8.90',
      'manylinux2014_x86_64',
      'nvidia/cuda_cupti/lib/libcupti.so.12',
      'profiles',
      'ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182',
    ],
  ] as const
).map(([project, version, platform, file, neededFor, sha256]) => ({
  ...{ project, version, platform, sha256, file, neededFor },
  members: cudaMembers,
}));

const gpuWheels: readonly Wheel[] = [
  {
    project: 'tensorflow',
    version: TENSORFLOW_VERSION,
    platform: 'manylinux_2_27_x86_64',
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
    members: linux,
  },
  ...cudaWheels,
];

/** What to fetch for a platform such as `linux-x64`, or `undefined` if TensorFlow publishes no such build. */
export function buildFor(gpu: boolean, platform = `${process.platform}-${process.arch}`): Build | undefined {
  if (gpu && platform === 'linux-x64') return { kind: 'gpu', wheels: gpuWheels, layout: 'site-packages' };
  const wheel = wheels[platform];
  return wheel === undefined ? undefined : { kind: 'cpu', wheels: [wheel], layout: 'flat' };
}
