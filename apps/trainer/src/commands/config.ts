/** `config`: prints what preset, file and overrides come to, or the schema that editors complete from. */
import YAML from 'yaml';
import { resolveConfig } from '../config/resolve.js';
import { jsonSchema } from '../config/schema.js';
import { exitCodes } from '../errors.js';

export function configCommand(flags: { config?: string; preset?: string; set: string[]; schema: boolean; json: boolean }): number {
  if (flags.schema) {
    console.log(JSON.stringify(jsonSchema(), null, 2));
    return exitCodes.ok;
  }
  const { preset, config: file } = flags;
  const config = resolveConfig({ overrides: flags.set, ...(preset !== undefined && { preset }), ...(file !== undefined && { file }) });
  console.log(flags.json ? JSON.stringify(config, null, 2) : YAML.stringify(config).trimEnd());
  return exitCodes.ok;
}
