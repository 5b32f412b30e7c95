/**
 * The type check of everything, and of `!` where there is nothing to take away: `noUncheckedIndexedAccess` is off, so an element of an array is not
 * `undefined` to the compiler, and a `!` behind it says something that is not so. None of biome's rules knows types well enough for this. The
 * TypeScript of the documents is checked with it.
 */
import path from 'node:path';
import ts from 'typescript';
import { documentPrograms } from './document-programs.js';
import { root } from './packages.js';

const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const inDocuments = documentPrograms();
const compilerHost = ts.createCompilerHost({ ...options, noEmit: true });
const { readFile, fileExists } = compilerHost;
compilerHost.readFile = (file) => inDocuments.get(file) ?? readFile(file);
compilerHost.fileExists = (file) => inDocuments.has(file) || fileExists(file);
compilerHost.getSourceFile = (file, languageVersion) => {
  const text = compilerHost.readFile(file);
  return text === undefined ? undefined : ts.createSourceFile(file, text, languageVersion);
};
const program = ts.createProgram([...fileNames, ...inDocuments.keys()], { ...options, noEmit: true, incremental: false }, compilerHost);
// An example may end before it uses all that it has made.
const diagnostics = ts
  .getPreEmitDiagnostics(program)
  .filter((one) => !(one.reportsUnnecessary && inDocuments.has(one.file?.fileName ?? '')));
const host = { getCanonicalFileName: (x: string) => x, getCurrentDirectory: () => root, getNewLine: () => '\n' };
if (diagnostics.length > 0) console.error(ts.formatDiagnostics(diagnostics, host));

const checker = program.getTypeChecker();
const needless: string[] = [];
for (const file of program.getSourceFiles()) {
  // Examples of documents are what people paste into projects where that option may be on.
  if (file.isDeclarationFile || /node_modules|\/test\/(readme-example|spiral)/.test(file.fileName) || inDocuments.has(file.fileName))
    continue;
  const visit = (node: ts.Node): void => {
    if (ts.isNonNullExpression(node)) {
      const type = checker.getTypeAtLocation(node.expression);
      const unknown =
        (type.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown | ts.TypeFlags.TypeParameter | ts.TypeFlags.IndexedAccess)) !== 0;
      // A variable that is assigned in a callback is "used before being assigned" without it.
      const declared = ts.isIdentifier(node.expression) && checker.getSymbolAtLocation(node.expression)?.valueDeclaration;
      const late = declared && ts.isVariableDeclaration(declared) && declared.initializer === undefined;
      if (!unknown && !late && checker.getNonNullableType(type) === type) {
        const { line } = file.getLineAndCharacterOfPosition(node.getEnd());
        needless.push(`${path.relative(root, file.fileName)}:${line + 1}: ${node.getText(file).slice(-60)}`);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
}
if (needless.length > 0) console.error(`The ! is needless:\n${needless.join('\n')}`);
process.exit(diagnostics.length + needless.length > 0 ? 1 : 0);
