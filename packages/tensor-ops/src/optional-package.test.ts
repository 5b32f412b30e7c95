import { expect, test } from 'vitest';
import { MissingPackageError, optionalPackage } from './optional-package.js';

/** What Node throws when a package is not there. */
const notFound = (name: string) =>
  Object.assign(new Error(`Cannot find package '${name}' imported from /app/index.js`), { code: 'ERR_MODULE_NOT_FOUND' });

test('a package that is not installed is named with the command that installs it', async () => {
  const error = await optionalPackage('koffi', 'calls into libtensorflow', () => Promise.reject(notFound('koffi'))).catch((e) => e);
  expect(error).toBeInstanceOf(MissingPackageError);
  expect(error.message).toBe('The package "koffi", which calls into libtensorflow, is not installed. To install it: npm install koffi');
  expect(error.cause.message).toContain('/app/index.js');
});

test('what an installed package lacks or throws itself is passed on', async () => {
  const ofItsOwn = notFound('something-below');
  await expect(optionalPackage('koffi', 'x', () => Promise.reject(ofItsOwn))).rejects.toBe(ofItsOwn);
  const broken = new Error('Cannot find the native Koffi module');
  await expect(optionalPackage('koffi', 'x', () => Promise.reject(broken))).rejects.toBe(broken);
  expect(await optionalPackage('koffi', 'x', async () => 5)).toBe(5);
});
