/** `config --search`: settings by what they are about. */
import { type JsonSchema, nearest } from '@dit-moe/tensor-ops/settings';

export interface FoundSetting {
  /** As `--set` wants it. */
  path: string;
  description: string;
  default?: unknown;
}

/** Parts of a JSON schema that are looked at. */
interface Node {
  description?: string;
  default?: unknown;
  properties?: Readonly<Record<string, Node>>;
  anyOf?: readonly Node[];
  oneOf?: readonly Node[];
  items?: Node;
}

/** `learningRate` and "learning rate" are the same. */
const plain = (text: string): string => text.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, '');

/** Settings whose path or description holds all words of the text, those whose path does first. */
export function searchSettings(schema: JsonSchema, text: string): FoundSetting[] {
  const words = text
    .split(/\s+/)
    .map(plain)
    .filter((word) => word !== '');
  const all = settingsOf(schema as Node);
  const holds = (where: string): boolean => words.every((word) => plain(where).includes(word));
  const named = all.filter(({ path }) => holds(path));
  return [...named, ...all.filter((setting) => !named.includes(setting) && holds(`${setting.path} ${setting.description}`))];
}

/** A text that finds settings, for one whose words are misspelt. */
export function meantSearch(schema: JsonSchema, text: string): string | undefined {
  const known = [
    ...new Set(
      settingsOf(schema as Node).flatMap(({ path }) =>
        path
          .replaceAll(/([A-Z])/g, ' $1')
          .toLowerCase()
          .split(/[. ]/),
      ),
    ),
  ];
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  const meant = words.map((word) => (searchSettings(schema, word).length > 0 ? word : (nearest(word, known) ?? word))).join(' ');
  return searchSettings(schema, meant).length > 0 ? meant : undefined;
}

function settingsOf(node: Node, path = ''): FoundSetting[] {
  const found = new Map<string, FoundSetting>();
  for (const form of [node, ...(node.anyOf ?? []), ...(node.oneOf ?? [])]) {
    for (const [name, child] of Object.entries(form.properties ?? {})) {
      const at = path === '' ? name : `${path}.${name}`;
      const { description, default: value } = child;
      // A section is found by its settings.
      const inner = settingsOf(child, at);
      const own =
        inner.length > 0 || description === undefined ? [] : [{ path: at, description, ...(value !== undefined && { default: value }) }];
      for (const setting of [...own, ...inner]) if (!found.has(setting.path)) found.set(setting.path, setting);
    }
    if (form !== node && form.properties === undefined) for (const setting of settingsOf(form, path)) found.set(setting.path, setting);
  }
  return [...found.values()];
}
