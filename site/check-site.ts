/** What a built site may not do: load from elsewhere, or point to a file or a heading that it does not have. */
import fs from 'node:fs';
import path from 'node:path';
import { parseHTML } from 'linkedom';

/**
 * @param base address of the folder on its host
 * @returns one line per problem
 */
export function siteProblems(folder: string, base: string): string[] {
  const files = fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => file.replaceAll('\\', '/'));
  const pages = new Map(
    files
      .filter((file) => file.endsWith('.html') && !file.startsWith('live/'))
      .map((file) => [file, parseHTML(fs.readFileSync(path.join(folder, file), 'utf8')).document]),
  );
  const problems: string[] = [];
  for (const [file, document] of pages) {
    for (const element of document.querySelectorAll('[src], link[href], a[href]')) {
      const address = element.getAttribute('src') ?? element.getAttribute('href') ?? '';
      const isLink = element.tagName === 'A';
      if (/^(https?:)?\/\//.test(address)) {
        if (!isLink) problems.push(`${file} loads ${address}`);
        continue;
      }
      if (/^(data|mailto):/.test(address)) continue;
      const { pathname, hash } = new URL(address, `http://site${base}${file}`);
      const target = decodeURIComponent(pathname.slice(base.length)) || 'index.html';
      const found = [target, `${target}.html`, `${target.replace(/\/$/, '')}/index.html`].find(
        (name) => files.includes(name) && !isFolder(folder, name),
      );
      if (found === undefined) problems.push(`${file} points to ${address}, which is not there`);
      else if (
        isLink &&
        hash !== '' &&
        pages.get(found) !== undefined &&
        !pages.get(found)!.getElementById(decodeURIComponent(hash.slice(1)))
      )
        problems.push(`${file} points to ${address}, a heading that is not there`);
    }
  }
  for (const file of files.filter((name) => name.endsWith('.css'))) {
    const style = fs.readFileSync(path.join(folder, file), 'utf8');
    for (const [, address] of style.matchAll(/(?:@import\s*|url\()["']?((?:https?:)?\/\/[^"')]+)/g))
      problems.push(`${file} loads ${address}`);
  }
  return problems;
}

const isFolder = (folder: string, name: string): boolean => fs.statSync(path.join(folder, name)).isDirectory();
