/** publint and arethetypeswrong on packages as they are published. */
import { checkPackage, createPackageFromTarballData, type Problem } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import type { Staged } from './stage.js';

/** Kinds of resolution that are not served, with the reason. */
const notServed: Partial<Record<string, string>> = {
  node10: 'knows no exports; every Node since 12 does',
  'node16-cjs': 'the packages are ES modules; Node 20.19 and newer can require() them all the same',
};

/** @returns one line per problem */
export async function lintPackage({ directory, manifest }: Staged, tarball: Uint8Array): Promise<string[]> {
  const { messages, pkg } = await publint({ pkgDir: directory, strict: true, pack: false });
  const fromPublint = messages.map((message) => `publint: ${formatMessage(message, pkg)}`);
  const analysis = await checkPackage(createPackageFromTarballData(tarball));
  if (!analysis.types) return [...fromPublint, 'attw: the package has no types'];
  const served = analysis.problems.filter((problem) => !('resolutionKind' in problem && notServed[problem.resolutionKind] !== undefined));
  return [...fromPublint, ...served.map((problem) => `attw: ${manifest.name}: ${describe(problem)}`)];
}

function describe(problem: Problem): string {
  return JSON.stringify(problem);
}
