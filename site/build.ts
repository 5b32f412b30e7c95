/**
 * `pnpm docs:build`, after `pnpm build`: the site in `site/dist`, for any host of static files. `--base /folder/` is
 * where it will lie there; `--serve` shows it.
 *
 * VitePress makes the pages and fails at a dead link; the live page is what `dit-moe-sampler serve --static` writes of the models that come
 * along. Afterwards every address that a page loads something from must be its own.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { build, serve } from 'vitepress';
import { root } from '../release/packages.js';
import { siteProblems } from './check-site.js';
import { stage } from './stage.js';

const { values: options } = parseArgs({ options: { base: { type: 'string', default: '/' }, serve: { type: 'boolean', default: false } } });
const site = path.join(root, 'site');
const staged = path.join(site, '.pages');
const dist = path.join(site, 'dist');

fs.rmSync(staged, { recursive: true, force: true });
for (const { file, content } of stage()) write(path.join(staged, file), content);
for (const file of fs.readdirSync(path.join(site, 'pages'))) fs.copyFileSync(path.join(site, 'pages', file), path.join(staged, file));
fs.mkdirSync(path.join(staged, 'public'), { recursive: true });
fs.copyFileSync(path.join(root, 'docs/figures/emoji.png'), path.join(staged, 'public/emoji.png'));
const live = path.join(staged, 'public/live');
execFileSync(process.execPath, [path.join(root, 'apps/sampler/dist/cli.js'), 'serve', '--static', live], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
await build(site, { base: options.base });
const problems = siteProblems(dist, options.base);
if (problems.length > 0) throw new Error(`The site:\n${problems.join('\n')}`);
console.log(`${dist}: ${fs.readdirSync(dist, { recursive: true }).filter((file) => String(file).endsWith('.html')).length} pages`);
if (options.serve) await serve({ root: site });

function write(file: string, content: string | Buffer): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, content);
}
