/** `config`: prints what preset, file and overrides come to, or the schema that editors complete from. */
import { exitCodes, formatTable, UsageError } from '@dit-moe/kit';
import YAML from 'yaml';
import { resolveConfig } from '../config/resolve.js';
import { jsonSchema } from '../config/schema.js';
import { meantSearch, searchSettings } from './config-search.js';

export interface ConfigFlags {
  config?: string;
  preset?: string;
  set: string[];
  schema: boolean;
  /** Words to look for among the settings. */
  search?: string;
  json: boolean;
}

/** Prints what was asked for and returns the exit code. */
export function configCommand(flags: ConfigFlags): number {
  if (flags.search !== undefined) {
    const found = searchSettings(jsonSchema(), flags.search);
    if (found.length === 0) {
      const meant = meantSearch(jsonSchema(), flags.search);
      throw new UsageError(`--search: no setting is about "${flags.search}".${meant === undefined ? '' : ` Did you mean "${meant}"?`}`);
    }
    const rows = found.map(({ path, description, default: value }) => [
      path,
      `${description}${value === undefined || typeof value === 'object' ? '' : ` (default: ${String(value)})`}`,
    ]);
    console.log(flags.json ? JSON.stringify(found) : formatTable(rows));
    return exitCodes.ok;
  }
  if (flags.schema) {
    console.log(JSON.stringify(jsonSchema(), null, 2));
    return exitCodes.ok;
  }
  const { preset, config: file } = flags;
  const config = resolveConfig({ overrides: flags.set, ...(preset !== undefined && { preset }), ...(file !== undefined && { file }) });
  console.log(flags.json ? JSON.stringify(config, null, 2) : YAML.stringify(config).trimEnd());
  return exitCodes.ok;
}
