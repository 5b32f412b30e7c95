/** Every setting of a training run, from the schema that parses it. */
import { jsonSchema } from '../../apps/trainer/src/config/schema.js';
import { table } from './table.js';

/** Parts of a JSON schema that are printed. */
interface Node {
  type?: string;
  enum?: readonly unknown[];
  description?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  properties?: Readonly<Record<string, Node>>;
  required?: readonly string[];
  anyOf?: readonly Node[];
  oneOf?: readonly Node[];
  items?: Node | false;
  prefixItems?: readonly Node[];
}

interface Row {
  path: string;
  node: Node;
  required: boolean;
}

export function settingsPage(): string {
  const { properties = {}, required = [] } = jsonSchema() as Node;
  const all = Object.entries(properties).filter(([name]) => name !== '$schema');
  const isSection = (node: Node) => node.properties !== undefined || node.oneOf !== undefined;
  const single = all.filter(([, node]) => !isSection(node)).map(([path, node]) => ({ path, node, required: required.includes(path) }));
  const sections = all.filter(([, node]) => isSection(node)).map(([name, node]) => section(name, node));
  return `# Settings

You look for the name of a setting, what it may be, and why it is what it is unless you say otherwise.
A configuration is YAML or JSON; \`--set\` takes the same names on the command line, as in
\`--set optimizer.learningRate=1e-3\`. \`dit-moe-trainer config --search 'learning rate'\` finds these lines
in a terminal, and \`config --schema\` is what editors complete from. What a preset changes is in
[presets](presets.md).

## The run

${rows(single)}

${sections.join('\n\n')}
`;
}

function section(name: string, node: Node): string {
  if (node.oneOf === undefined) return `## \`${name}\`\n\n${sentence(node)}\n\n${rows(rowsOf(node, name))}`;
  const variants = node.oneOf.map((variant) => {
    const kind = String(variant.properties?.['kind']?.enum?.[0]);
    return `### \`kind: ${kind}\`\n\n${rows(rowsOf(variant, name).filter(({ path }) => path !== `${name}.kind`))}`;
  });
  return `## \`${name}\`\n\n${sentence(node)}\n\n${variants.join('\n\n')}`;
}

/** Settings below a node, each section's own line first. */
function rowsOf(node: Node, path: string): Row[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const at = `${path}.${name}`;
    const forms = [child, ...(child.anyOf ?? []), ...(child.oneOf ?? [])];
    const own = { path: at, node: child, required: node.required?.includes(name) ?? false };
    return [own, ...forms.flatMap((form) => rowsOf(form, at)), ...listed(child, at)];
  });
}

/** Fields of the elements of a list, those that several kinds of elements have once. */
function listed(node: Node, path: string): Row[] {
  const lists = [node, ...(node.anyOf ?? [])].filter(({ items }) => items !== undefined && items !== false);
  const elements = lists.flatMap(({ items }) => [items as Node, ...((items as Node).oneOf ?? [])]);
  const found = new Map<string, Row>();
  for (const row of elements.flatMap((element) => rowsOf(element, `${path}[]`))) {
    const words = [...(found.get(row.path)?.node.enum ?? []), ...(row.node.enum ?? [])];
    found.set(row.path, words.length > 0 ? { ...row, node: { ...row.node, enum: [...new Set(words)] } } : row);
  }
  return [...found.values()];
}

const rows = (all: readonly Row[]): string =>
  table(
    ['setting', 'may be', 'default', 'meaning and reason'],
    all.map(({ path, node, required }) => [
      `\`${path}\``,
      mayBe(node),
      required ? 'required' : defaultOf(node),
      withoutDefault(node.description ?? ''),
    ]),
  );

const sentence = ({ description = '' }: Node): string => `${description[0].toUpperCase()}${description.slice(1)}.`;

/** What a description says about the default, in brackets. */
const said = /(?<opening> \(|; )default:? (?<value>(?:[^();]|\([^()]*\))*)(?<closing>[;)])/;

const withoutDefault = (description: string): string =>
  description
    .replace(said, (_, opening: string, _value, closing: string) => (opening === '; ' ? closing : closing === ')' ? '' : ' ('))
    .replace('( ', '(');

/** The default where the schema has one, else what the description says about it. */
function defaultOf({ default: set, description = '', enum: enum_, anyOf }: Node): string {
  if (set !== undefined && typeof set !== 'object') return `\`${String(set)}\``;
  if (Array.isArray(set)) return `\`${JSON.stringify(set)}\``;
  const value = said.exec(description)?.groups?.['value'];
  if (value !== undefined) return value;
  // Words are explained in their order, the usual one first and marked.
  const words = enum_ ?? anyOf?.find((form) => form.enum !== undefined)?.enum;
  return words !== undefined && /\(([^()]+, )?default\b/.test(description) ? `\`${String(words[0])}\`` : '';
}

function mayBe(node: Node): string {
  if (node.enum !== undefined) return node.enum.map((word) => `\`${String(word)}\``).join(', ');
  const forms = node.anyOf ?? node.oneOf;
  if (forms !== undefined) return [...new Set(forms.map(mayBe))].join(' or ');
  if (node.prefixItems !== undefined) return `${node.prefixItems.length} numbers`;
  if (node.type === 'array') return node.items ? `a list: ${mayBe(node.items)}` : 'a list';
  if (node.type === 'object') return 'a section';
  if (node.type === 'boolean') return '`true`, `false`';
  if (node.type === 'string') return 'text';
  const limits = [
    ...(node.minimum === undefined ? [] : [`≥ ${node.minimum}`]),
    ...(node.exclusiveMinimum === undefined ? [] : [`> ${node.exclusiveMinimum}`]),
    ...(node.maximum === undefined ? [] : [`≤ ${node.maximum}`]),
    ...(node.exclusiveMaximum === undefined ? [] : [`< ${node.exclusiveMaximum}`]),
  ];
  return [node.type === 'integer' ? 'integer' : 'number', ...(limits.length > 0 ? [limits.join(', ')] : [])].join(' ');
}
