/** What every public export owes to those who import it: a sentence of documentation, and a type name that no other package has. */
import path from 'node:path';
import ts from 'typescript';
import { entries, packages, root } from './packages.js';

/** @returns one line per problem */
export function publicApiProblems(program: ts.Program): string[] {
  const checker = program.getTypeChecker();
  const undocumented = new Set<string>();
  /** Packages and declarations by name of a type. */
  const types = new Map<string, Map<ts.Symbol, string>>();
  for (const one of packages)
    for (const { specifier, source } of entries(one)) {
      const file = program.getSourceFile(path.join(root, one.folder, source));
      const module = file && checker.getSymbolAtLocation(file);
      if (module === undefined) throw new Error(`${specifier} has no module at ${source}`);
      for (const exported of checker.getExportsOfModule(module)) {
        const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
        if (symbol.getDocumentationComment(checker).length === 0) undocumented.add(`${specifier}: ${exported.name} has no documentation`);
        if ((symbol.flags & ts.SymbolFlags.Type) === 0) continue;
        const same = types.get(exported.name) ?? new Map<ts.Symbol, string>();
        if (!same.has(symbol)) same.set(symbol, specifier);
        types.set(exported.name, same);
      }
    }
  const ambiguous = [...types]
    .filter(([, symbols]) => symbols.size > 1)
    .map(([name, symbols]) => `${name} is another type in ${[...symbols.values()].join(' and in ')}`);
  return [...undocumented, ...ambiguous];
}
