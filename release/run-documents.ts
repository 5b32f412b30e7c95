/** Runs the blocks of the pages where all packages are installed: command lines, programs, and what they print beside what the page shows. */
import fs from 'node:fs';
import path from 'node:path';
import { compile } from './compile.js';
import { missingLines, type Page, pages } from './document-blocks.js';
import { given, world } from './document-rules.js';
import { Server } from './document-server.js';
import { root } from './packages.js';
import { run } from './run.js';

/** Runs a piece of work under a name, says how long it took and what it found, and remembers whether it failed. */
type Check = (name: string, work: () => Promise<string>) => Promise<unknown>;

/** Pages at once: most of a command is its start, which is one thread. */
const AT_ONCE = 2;

/**
 * @param project where everything is installed, with the run of the demo in `runs/demo`
 */
export async function runDocuments(project: string, check: Check): Promise<void> {
  const all = pages();
  const folder = path.join(project, 'pages');
  const home = path.join(folder, 'world');
  const env = {
    PATH: `${path.join(project, 'node_modules/.bin')}:${process.env['PATH']}`,
    HF_HUB_CACHE: path.join(home, 'hub'),
    HF_HUB_OFFLINE: '1',
    DIGITS: path.join(root, 'apps/trainer/data/digits'),
    PARQUET: path.join(root, 'packages/data/test/fixtures'),
    DEMO: path.join(project, 'runs/demo'),
    TF_CPP_MIN_LOG_LEVEL: '2',
  };
  fs.mkdirSync(home, { recursive: true });
  const made = await check('documents: what the pages take for granted', async () => {
    fs.symlinkSync(path.join(project, 'node_modules/@dit-moe'), path.join(home, 'apps'));
    fs.writeFileSync(path.join(home, 'world.sh'), world);
    await run('bash', ['-eu', 'world.sh'], { cwd: home, env });
    await compile(folder, all.flatMap(writeWorld(folder, home)));
    return `${all.length} pages`;
  });
  if (made === undefined) return;
  const waiting = [...all];
  const checkPage = (page: Page) => check(`documents: ${page.file}`, () => follow(page, folderOf(folder, page), env));
  const worker = async () => {
    for (let page = waiting.shift(); page !== undefined; page = waiting.shift()) await checkPage(page);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const folderOf = (folder: string, page: Page) => path.join(folder, page.file.replace(/\.md$/, '').replaceAll(/[/ ]+/g, '-'));

/** Makes the folder of a page. @returns its programs, to be compiled */
const writeWorld = (folder: string, home: string) => (page: Page) => {
  const cwd = folderOf(folder, page);
  fs.mkdirSync(cwd);
  for (const [name, source = name] of (given[page.file]?.split(' ') ?? []).map((word) => word.split('='))) {
    fs.mkdirSync(path.dirname(path.join(cwd, name)), { recursive: true });
    fs.symlinkSync(fs.realpathSync(path.join(home, source)), path.join(cwd, name));
  }
  for (const [name, text] of page.files) fs.writeFileSync(path.join(cwd, name), text);
  return page.programs.map(({ text }, i) => {
    fs.writeFileSync(path.join(cwd, `program-${i + 1}.ts`), `${text}\nexport {};\n`);
    return path.join(cwd, `program-${i + 1}.ts`);
  });
};

/** The page from above to below; then its programs, since they read what its commands have made; then its outputs. */
async function follow(page: Page, cwd: string, env: Record<string, string>): Promise<string> {
  const printed = new Map<number, string>();
  const servers: Server[] = [];
  let [commands, compared] = [0, 0];
  try {
    for (const [block, lines] of page.scripts) {
      for (const { command, serves } of lines) {
        if (command === undefined) continue;
        commands++;
        if (serves) servers.push(await Server.start(command, cwd, env));
        else printed.set(block, (printed.get(block) ?? '') + (await inShell(toServer(command, servers), cwd, env)));
      }
    }
    for (const [i, { blocks }] of page.programs.entries()) {
      const output = await inShell(`node program-${i + 1}.js`, cwd, env);
      for (const block of blocks) printed.set(block, output);
    }
  } catch (error) {
    // What went wrong first is what is told.
    await Promise.allSettled(servers.map((server) => server.stop()));
    throw error;
  }
  await Promise.all(servers.map((server) => server.stop()));
  for (const [block, shown] of page.outputs) {
    const real = printed.get(block);
    if (real === undefined) continue; // of lines that are not run
    const missing = missingLines(shown, real);
    if (missing.length > 0) throw new Error(`The page shows lines that are not printed:\n${missing.join('\n')}\nPrinted is:\n${real}`);
    compared++;
  }
  const count = (n: number, what: string) => (n === 0 ? [] : [`${n} ${what}${n === 1 ? '' : 's'}`]);
  const all = [...count(commands, 'command'), ...count(page.programs.length, 'program'), ...count(compared, 'compared output')];
  return all.join(', ') || 'nothing that is run here';
}

/** @returns all that it printed */
const inShell = (command: string, cwd: string, env: Record<string, string>): Promise<string> =>
  run('bash', ['-c', `exec 2>&1\n${command}`], { cwd, env });

/** Pages name the port that a server has unless it is told another; here any free one was taken, of the first server. */
const toServer = (command: string, [server]: readonly Server[]): string =>
  server === undefined ? command : command.replace('http://127.0.0.1:8080/', server.url);
