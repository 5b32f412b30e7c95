/**
 * Documents as pages of the site: `docs/` as it is, the interface and README of each package, and what else they link to. A source that a
 * page points to becomes a page that shows it, so that no link leaves the site.
 */
import fs from 'node:fs';
import path from 'node:path';
import { root } from '../release/packages.js';
import { type Document, documents } from './documents.js';

export interface Page {
  /** From the site's root, such as `guides/router.md`. */
  file: string;
  /** Markdown, or bytes of a picture. */
  content: string | Buffer;
}

/** Page of a file of the repository, both with `/`. */
export function pageOf(file: string): string {
  if (file === 'docs/README.md') return 'pages.md';
  if (file.startsWith('docs/')) return file.slice('docs/'.length);
  const [, , name, what] = /^(packages|apps)\/([^/]+)\/(README|api)\.md$/.exec(file) ?? [];
  if (what === 'api') return `reference/interface/${name}.md`;
  if (what === 'README') return `packages/${name}.md`;
  return `source/${/\.(md|png)$/.test(file) ? file : `${file}.md`}`;
}

/** All pages. */
export function stage(): Page[] {
  const shown = documents().filter(({ file }) => /^docs\/|^(packages|apps)\/[^/]+\/(README|api)\.md$/.test(file));
  const pages = new Map<string, Page>();
  const waiting = shown.map(({ file }) => file);
  const known = new Map(shown.map((document) => [document.file, document]));
  for (const file of waiting) {
    const document = known.get(file) ?? sourceDocument(file);
    const page = pageOf(file);
    if (document === undefined) {
      pages.set(page, { file: page, content: fs.readFileSync(path.join(root, file)) });
      continue;
    }
    const { text, targets } = relinked(document);
    pages.set(page, { file: page, content: text });
    for (const target of targets) if (!waiting.includes(target)) waiting.push(target);
  }
  return [...pages.values()];
}

/** A source or folder as a page; a picture is none. */
function sourceDocument(file: string): Document | undefined {
  const at = path.join(root, file);
  if (/\.png$/.test(file)) return undefined;
  if (fs.statSync(at).isDirectory()) {
    const names = fs.readdirSync(at).filter((name) => !/^(dist|node_modules)$|\.test\.ts$/.test(name));
    return { file, text: `# ${file}\n\n${names.map((name) => `- \`${name}\``).join('\n')}\n` };
  }
  const text = fs.readFileSync(at, 'utf8');
  if (file.endsWith('.md')) return { file, text };
  const language = { ts: 'ts', tsx: 'tsx', sh: 'sh', yaml: 'yaml' }[file.split('.').at(-1)!] ?? '';
  return { file, text: `# ${file}\n\n\`\`\`\`${language}\n${text}\`\`\`\`\n` };
}

/** The document with links between pages of the site in place of those between files, and the files that it links to. */
function relinked({ file, text }: Document): { text: string; targets: string[] } {
  const targets: string[] = [];
  const from = path.posix.dirname(pageOf(file));
  // Blocks of code have brackets of their own.
  const parts = text.split(/(^ *```[\s\S]*?^ *```+$)/m).map((part, i) =>
    i % 2 === 1
      ? part
      : part.replaceAll(/\]\(([^)\s]+)\)/g, (link, address: string) => {
          if (/^(https?:|mailto:|#)/.test(address)) return link;
          const [to, anchor] = address.split('#');
          const target = readmeOf(path.posix.normalize(path.posix.join(path.posix.dirname(file), to)));
          targets.push(target);
          const relative = path.posix.relative(from, pageOf(target));
          return `](${relative.startsWith('.') ? relative : `./${relative}`}${anchor === undefined ? '' : `#${anchor}`})`;
        }),
  );
  return { text: parts.join(''), targets };
}

/** A folder of a package is its README. */
const readmeOf = (target: string): string =>
  /^(packages|apps)\/[^/]+\/?$/.test(target) ? `${target.replace(/\/$/, '')}/README.md` : target;
