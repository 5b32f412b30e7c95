/** For tests: documentation of settings. */

interface Schema {
  description?: string;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  oneOf?: Schema[];
  anyOf?: Schema[];
  items?: Schema | false;
  prefixItems?: Schema[];
}

/** Paths of the settings in a JSON schema that have no description, however deep. */
export function undescribed(schema: unknown, at = ''): string[] {
  const { properties = {}, oneOf = [], anyOf = [], items = false, prefixItems = [] } = schema as Schema;
  const own = Object.entries(properties).flatMap(([name, node]) => {
    const here = at === '' ? name : `${at}.${name}`;
    return [...(/\w/.test(node.description ?? '') ? [] : [here]), ...undescribed(node, here)];
  });
  // The word that tells variants apart is described with them.
  const tags = oneOf
    .flatMap((variant) => Object.entries(variant.properties ?? {}).filter(([, node]) => node.enum?.length === 1))
    .map(([name]) => (at === '' ? name : `${at}.${name}`));
  const inner = [...oneOf, ...anyOf, ...(items === false ? [] : [items]), ...prefixItems].flatMap((node) => undescribed(node, at));
  return [...own, ...inner.filter((path) => !tags.includes(path))];
}

/** How many settings a JSON schema has. */
export function countSettings(schema: unknown): number {
  const { properties = {}, oneOf = [], anyOf = [] } = schema as Schema;
  const nodes = Object.values(properties);
  return nodes.length + [...nodes, ...oneOf, ...anyOf].reduce((sum, node) => sum + countSettings(node), 0);
}
