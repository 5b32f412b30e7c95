/**
 * Writes the type declarations of all packages from one TypeScript program: `packages/x/src/a.ts` to `packages/x/dist/a.d.ts`, with maps into
 * the shipped sources. One program per package (or per entry, as tsup does it) would check the lowest packages again for every other.
 *
 * The committed report of each package's interface must be that of its declarations; `--accept` writes it.
 */
import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { apiReport } from './api-report.js';
import { entries, packages, root } from './packages.js';
import { publicApiProblems } from './public-api.js';

/** The command lines' shared code, which nobody installs: its declarations travel with each application, as its code does. */
const KIT = 'apps/kit';

const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const kit = JSON.parse(fs.readFileSync(path.join(root, KIT, 'package.json'), 'utf8')) as { exports: Record<string, string> };
const rootNames = [
  ...packages.flatMap((one) => entries(one).map(({ source }) => path.join(root, one.folder, source))),
  // What tests of both applications share stays here.
  ...Object.values(kit.exports)
    .filter((source) => !source.includes('/testing/'))
    .map((source) => path.join(root, KIT, source)),
];
const program = ts.createProgram({
  rootNames,
  options: { ...options, noEmit: false, declaration: true, emitDeclarationOnly: true, declarationMap: true, outDir: root, rootDir: root },
});

const written: string[] = [];
/** Declarations by their source. */
const declared = new Map<string, string>();
const { diagnostics } = program.emit(undefined, (file, text, _mark, _error, sources) => {
  if (file.endsWith('.d.ts') && sources?.[0] !== undefined) declared.set(sources[0].fileName, text);
  const folders = file.startsWith(path.join(root, KIT, 'src')) ? ['trainer', 'sampler'].map((app) => `apps/${app}/dist/kit`) : undefined;
  for (const target of folders?.map((folder) => file.replace(`${KIT}/src`, folder)) ?? [file.replace(/\/src\//, '/dist/')]) {
    if (file.endsWith('.map') && folders !== undefined) continue;
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, file.endsWith('.map') ? withSources(target, text) : withKit(target, text));
    written.push(target);
  }
});

/** A declaration in which the shared code is the copy beside it. */
function withKit(target: string, text: string): string {
  const [, app] = /(.*\/apps\/\w+\/dist)\//.exec(target) ?? [];
  if (app === undefined) return text;
  const beside = path.relative(path.dirname(target), path.join(app, 'kit')).replace(/^(?!\.)/, './');
  return text
    .replace(/(['"])@dit-moe\/kit(\/\w+)?\1/g, (_, quote: string, entry = '/index') => `${quote}${beside}${entry}.js${quote}`)
    .replace(/\n?\/\/# sourceMappingURL=.*/, (map) => (target.includes('/kit/') ? '' : map));
}

/** A map whose source is named from `dist`: it lies in the same folder of `src`. */
function withSources(target: string, map: string): string {
  return map.replaceAll(/"sources":\["([^"]+)"\]/g, (_, source: string) => `"sources":["${sourceFrom(target, source)}"]`);
}

/** Path of a source from its declaration map in `dist`. */
function sourceFrom(target: string, source: string): string {
  const beside = path.dirname(target.replace(/\/dist\//, '/src/'));
  return path.relative(path.dirname(target), path.join(beside, path.basename(source)));
}

const problems = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
if (problems.length > 0) {
  const host = { getCanonicalFileName: (x: string) => x, getCurrentDirectory: () => root, getNewLine: () => '\n' };
  console.error(ts.formatDiagnostics(problems, host));
  process.exit(1);
}
const owed = publicApiProblems(program);
if (owed.length > 0) {
  console.error(`Public exports:\n${owed.join('\n')}`);
  process.exit(1);
}
const stale = packages.filter((one) => {
  const file = path.join(root, one.folder, 'api.md');
  const report = apiReport(one, program, declared);
  if (fs.existsSync(file) && fs.readFileSync(file, 'utf8') === report) return false;
  if (process.argv.includes('--accept')) fs.writeFileSync(file, report);
  return true;
});
if (stale.length > 0 && !process.argv.includes('--accept')) {
  const files = stale.map(({ folder }) => `${folder}/api.md`).join(', ');
  console.error(`The interface is not that of ${files}. If the change is meant: pnpm api`);
  process.exit(1);
}
// A path out of the package would not exist for whoever installs it.
const leaks = written.filter(
  (file) =>
    file.endsWith('.d.ts') &&
    /from ["'](\.\.\/)+(packages|apps|node_modules)\b|["'](\.\.\/)+[\w-]+\/src\//.test(fs.readFileSync(file, 'utf8')),
);
if (leaks.length > 0) {
  console.error(`Declarations that name files outside of their package; annotate the type:\n${leaks.join('\n')}`);
  process.exit(1);
}
console.log(`${written.filter((file) => file.endsWith('.d.ts')).length} declarations of ${packages.length} packages`);
