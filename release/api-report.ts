/**
 * The public interface of a package as one page: every export of every entry with its documentation and its declaration. It is committed as
 * `api.md`, so that a review shows what changes for those who import it, and it is the reference of the site.
 */
import path from 'node:path';
import ts from 'typescript';
import { entries, type Package, root } from './packages.js';

/** @param declared text of the declaration file of a source file, by the source's path */
export function apiReport(one: Package, program: ts.Program, declared: ReadonlyMap<string, string>): string {
  const checker = program.getTypeChecker();
  const parsed = new Map<string, ts.SourceFile>();
  const declarationFile = (source: string): ts.SourceFile | undefined => {
    const text = declared.get(source);
    if (text !== undefined && !parsed.has(source)) parsed.set(source, ts.createSourceFile(source, text, ts.ScriptTarget.ES2022, true));
    return parsed.get(source);
  };
  const shown = new Map<ts.Symbol, string>();
  const sections = entries(one).map(({ specifier, source }) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(path.join(root, one.folder, source))!)!;
    const exported = checker.getExportsOfModule(module).map((alias) => {
      const symbol = alias.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(alias) : alias;
      return { name: alias.name, symbol, isType: (symbol.flags & ts.SymbolFlags.Value) === 0 };
    });
    exported.sort((a, b) => Number(a.isType) - Number(b.isType) || (a.name < b.name ? -1 : 1));
    const parts = exported.map(({ name, symbol }) => {
      const elsewhere = shown.get(symbol);
      if (elsewhere !== undefined) return `### \`${name}\`\n\nThe same as in \`${elsewhere}\`.`;
      shown.set(symbol, specifier);
      return `### \`${name}\`\n\n${documentation(symbol, checker)}\n\n\`\`\`ts\n${declaration(name, symbol, declarationFile)}\n\`\`\``;
    });
    return `## \`${specifier}\`\n\n${parts.join('\n\n')}`;
  });
  return `<!-- Written by \`pnpm api\`. -->\n\n# Interface of \`${one.manifest.name}\`\n\n${sections.join('\n\n')}\n`;
}

/** What the docstring says, as Markdown. */
function documentation(symbol: ts.Symbol, checker: ts.TypeChecker): string {
  const text = ts.displayPartsToString(symbol.getDocumentationComment(checker));
  const tags = symbol.getJsDocTags(checker).map(({ name, text: parts }) => {
    const [word = '', ...rest] = ts.displayPartsToString(parts).replaceAll('\n', ' ').split(' ');
    return name === 'param' ? `- \`${word}\`: ${rest.join(' ').replace(/^- /, '')}` : `- **${name}** ${[word, ...rest].join(' ')}`;
  });
  return outsideCode([text, ...(tags.length > 0 ? [tags.join('\n')] : [])].join('\n\n'), (prose) =>
    prose.replaceAll(/\{@link ([^}]+?) *\}/g, '`$1`').replaceAll('<', '\\<'),
  ).trim();
}

/** Changes what stands between the pieces of code in a text. */
const outsideCode = (text: string, change: (prose: string) => string): string =>
  text
    .split(/(`[^`]*`)/)
    .map((part, i) => (i % 2 === 0 ? change(part) : part))
    .join('');

/** A declaration without its docstring, and without what is private in it. */
function declaration(name: string, symbol: ts.Symbol, fileOf: (source: string) => ts.SourceFile | undefined): string {
  const texts = (symbol.declarations ?? []).flatMap((node) => {
    const file = fileOf(node.getSourceFile().fileName);
    const own = ts.isVariableDeclaration(node) || ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node) ? symbol.name : undefined;
    return file === undefined ? [] : statementsNamed(file, own ?? symbol.name).map((statement) => publicText(statement, file));
  });
  if (texts.length === 0) throw new Error(`${name} has no declaration of its own.`);
  return [...new Set(texts)].join('\n');
}

function statementsNamed(file: ts.SourceFile, name: string): ts.Statement[] {
  return file.statements.filter((statement) => {
    if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.some((x) => x.name.getText(file) === name);
    return 'name' in statement && (statement.name as ts.Identifier | undefined)?.text === name;
  });
}

function publicText(statement: ts.Statement, file: ts.SourceFile): string {
  const start = statement.getStart(file);
  let text = file.text.slice(start, statement.end);
  if (ts.isClassDeclaration(statement)) {
    for (const member of statement.members.toReversed()) {
      const isPrivate =
        (ts.canHaveModifiers(member) && ts.getModifiers(member)?.some((x) => x.kind === ts.SyntaxKind.PrivateKeyword)) ||
        (member.name !== undefined && ts.isPrivateIdentifier(member.name));
      if (isPrivate) text = text.slice(0, member.pos - start) + text.slice(member.end - start);
    }
  }
  // Which word of an inferred union comes first depends on what else the compiler has read before.
  const inOrder = (union: string): string => union.split(' | ').sort().join(' | ');
  return text.replace(/^export (default )?(declare )?/, '').replaceAll(/"[^"]*"(?: \| "[^"]*")+/g, inOrder);
}
