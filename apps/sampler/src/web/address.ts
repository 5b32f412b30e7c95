/** The form's settings in the page's address, behind the #, so that an address shows the same images again. */

/** Fields by name from an address such as `#classes=3&seed=5`; only those of `known`, as text. */
export function fieldsOfAddress<Name extends string>(hash: string, known: readonly Name[]): Partial<Record<Name, string>> {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  return Object.fromEntries(known.flatMap((name) => (given.has(name) ? [[name, given.get(name)!]] : []))) as Partial<Record<Name, string>>;
}

/** The part of the address for these fields. */
export const addressOf = (fields: Readonly<Record<string, string>>): string => `#${new URLSearchParams(fields)}`;
