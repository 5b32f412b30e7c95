/** The pages that are written from the code. */
import { commandsPage } from './commands.js';
import { exitCodesPage } from './exit-codes.js';
import { presetsPage } from './presets.js';
import { settingsPage } from './settings.js';

/** Pages by their file in `docs/reference`. */
export const generatedPages = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    Object.entries({
      'settings.md': settingsPage(),
      'commands.md': await commandsPage(),
      'exit-codes.md': exitCodesPage(),
      'presets.md': presetsPage(),
    }).map(([file, text]) => [file, text.replace('\n', '\n\n<!-- Written by `pnpm docs:reference`. -->\n')]),
  );
