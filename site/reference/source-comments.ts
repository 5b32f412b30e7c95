/** What comments in a source say about the properties of its object literals: where a number of a preset is from stands beside it. */
import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { root } from '../../release/packages.js';

export interface Commented {
  /** Names from the outermost object inwards. */
  path: string;
  /** The value as it is written, on one line. */
  value: string;
  /** The comment before it, and behind it. */
  before: string;
  behind: string;
}

/** @returns the object of a variable: its properties, and those of the objects in them */
export function commentedProperties(file: string, variable: string): Commented[] {
  const text = fs.readFileSync(path.join(root, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const declarations = source.statements.filter(ts.isVariableStatement).flatMap(({ declarationList }) => [...declarationList.declarations]);
  const found = declarations.find(({ name }) => name.getText(source) === variable);
  const object = found?.initializer && unwrapped(found.initializer);
  if (object === undefined) throw new Error(`${file} has no object ${variable}.`);
  return propertiesOf(object, '');

  function propertiesOf(node: ts.ObjectLiteralExpression, above: string): Commented[] {
    return node.properties.flatMap((property) => {
      const inner = ts.isPropertyAssignment(property)
        ? unwrapped(property.initializer)
        : ts.isSpreadAssignment(property)
          ? unwrapped(property.expression)
          : undefined;
      // What is spread belongs to the object itself.
      if (ts.isSpreadAssignment(property)) return inner === undefined ? [] : withComment(propertiesOf(inner, above), behind(property.end));
      if (!ts.isPropertyAssignment(property)) return [];
      const name = ts.isStringLiteral(property.name) ? property.name.text : property.name.getText(source);
      const at = above === '' ? name : `${above}.${name}`;
      const own = {
        path: at,
        value: property.initializer
          .getText(source)
          .replaceAll(/\s*\/\/[^\n]*/g, '')
          .replaceAll(/\s+/g, ' '),
        before: words(ts.getLeadingCommentRanges(text, property.pos)),
        behind: behind(property.end),
      };
      return [own, ...(inner === undefined ? [] : withComment(propertiesOf(inner, at), own.behind))];
    });
  }

  /** The comment on the same line, behind the comma. */
  function behind(end: number): string {
    return words(ts.getTrailingCommentRanges(text, text[end] === ',' ? end + 1 : end));
  }

  function words(ranges: readonly ts.CommentRange[] | undefined): string {
    const lines = (ranges ?? []).map(({ pos, end }) =>
      text
        .slice(pos, end)
        .replaceAll(/^\/\*\*|\*\/$|^\s*(\/\/|\*) ?/gm, '')
        .trim(),
    );
    return lines.join(' ').replaceAll(/\s+/g, ' ');
  }
}

/** A comment behind several properties at once is about all of them. */
const withComment = (properties: readonly Commented[], comment: string): Commented[] =>
  properties.map((property) => ({ ...property, behind: property.behind || comment }));

function unwrapped(node: ts.Expression): ts.ObjectLiteralExpression | undefined {
  if (ts.isAsExpression(node) || ts.isSatisfiesExpression(node) || ts.isParenthesizedExpression(node)) return unwrapped(node.expression);
  return ts.isObjectLiteralExpression(node) ? node : undefined;
}
