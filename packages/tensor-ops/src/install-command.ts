/** How an optional package is installed so that this one finds it. */

/**
 * The command that puts an optional package where this one looks for it: what npm has installed with `--global` looks in npm's own folder only,
 * not in the one that a person works in.
 * @param self where this package lies
 * @param project the folder that a person works in
 */
export function installCommand(packageName: string, self = import.meta.url, project = currentFolder()): string {
  // `lib` below npm's prefix, and on Windows `npm`.
  const [, home] = /^file:\/\/(.*?\/(?:lib|npm))\/node_modules\//.exec(self) ?? [];
  const isGlobal = home !== undefined && !`${project}/`.startsWith(`${home}/`);
  return `npm install ${isGlobal ? '--global ' : ''}${packageName}`;
}

/** As the path of a URL; browsers have none. */
const currentFolder = (): string =>
  typeof process === 'undefined' ? '' : encodeURI(process.cwd().replaceAll('\\', '/')).replace(/^(?=[A-Za-z]:)/, '/');
