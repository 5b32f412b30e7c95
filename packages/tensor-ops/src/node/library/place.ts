/** Where this machine keeps libtensorflow. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Build, buildFor, TENSORFLOW_VERSION } from './wheels.js';

/** Where libtensorflow is looked for. */
export interface FindOptions {
  /** Folder for downloaded libraries (default: {@link cacheDirectory}). */
  cacheDir?: string;
  /** Look for the build with CUDA (default: whether an NVIDIA driver is loaded); it is about 3 GB. */
  gpu?: boolean;
  /** Download if nothing is found (default true). */
  fetch?: boolean;
  /** Receives one line per slow stage. */
  onProgress?: (message: string) => void;
}

/** libtensorflow's two libraries. */
export const libraryNames =
  process.platform === 'darwin'
    ? ['libtensorflow_cc.2.dylib', 'libtensorflow_framework.2.dylib']
    : ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];
/** Those of them that are not in a folder. */
export const missingFiles = (directory: string): string[] => libraryNames.filter((file) => !fs.existsSync(path.join(directory, file)));

/** The cache folder: `DIT_MOE_CACHE_DIR`, else `dit-moe` in `XDG_CACHE_HOME` or `~/.cache`. */
export function cacheDirectory(): string {
  return process.env['DIT_MOE_CACHE_DIR'] ?? path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'dit-moe');
}

/** Whether this machine has a loaded NVIDIA driver. */
export function hasNvidiaDriver(): boolean {
  return fs.existsSync('/proc/driver/nvidia/version') || fs.existsSync('/dev/nvidiactl');
}

/** The place in the cache of the library for this machine, or of the other build if `gpu` says so. */
export function libraryPlace({ gpu = hasNvidiaDriver(), cacheDir = cacheDirectory() }: FindOptions): {
  /** What is fetched; undefined where TensorFlow publishes nothing. */
  build: Build | undefined;
  kind: 'cpu' | 'gpu';
  /** Such as `linux-x64`. */
  platform: string;
  /** The whole folder. */
  target: string;
  /** The folder in it with libtensorflow. */
  directory: string;
} {
  const platform = `${process.platform}-${process.arch}`;
  const build = buildFor(gpu);
  const kind = build?.kind ?? 'cpu';
  const target = path.join(cacheDir, 'libtensorflow', `${TENSORFLOW_VERSION}-${platform}-${kind}`);
  return { build, kind, platform, target, directory: build?.layout === 'site-packages' ? path.join(target, 'tensorflow') : target };
}
