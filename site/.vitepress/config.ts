/** The site. Its navigation is the list of pages in `docs/README.md`. */
import fs from 'node:fs';
import path from 'node:path';
import { defineConfig } from 'vitepress';
import { anchorOf } from '../documents.js';
import { pageOf } from '../stage.js';

/** A part of the list: a heading and its links. */
function parts() {
  const text = fs.readFileSync(path.join(import.meta.dirname, '../../docs/README.md'), 'utf8');
  return text
    .split(/^## /m)
    .slice(1)
    .map((part) => ({
      text: part.split('\n')[0],
      items: [...part.matchAll(/\[([^\]]+)\]\(([^)]+)\)/g)].map(([, name, to]) => ({
        text: name.replaceAll('`', ''),
        link: `/${pageOf(path.posix.normalize(path.posix.join('docs', to))).replace(/\.md$/, '')}`,
      })),
    }));
}

const sidebar = parts();

export default defineConfig({
  title: 'DiT-MoE in TypeScript',
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  description: 'Mixture-of-experts diffusion transformers: train, sample, look inside',
  srcDir: '.pages',
  outDir: 'dist',
  cacheDir: '../node_modules/.cache/vitepress',
  markdown: { anchor: { slugify: anchorOf } },
  lastUpdated: false,
  themeConfig: {
    search: { provider: 'local' },
    nav: [
      ...sidebar.slice(0, 4).map(({ text, items }) => ({ text, link: items[0].link, activeMatch: `^/${text.toLowerCase()}/` })),
      { text: 'Try it', link: '/live-page' },
    ],
    sidebar: sidebar.map((part, i) => ({ ...part, collapsed: i > 3 })),
    outline: { level: [2, 3] },
    docFooter: { prev: 'Before', next: 'Next' },
  },
});
