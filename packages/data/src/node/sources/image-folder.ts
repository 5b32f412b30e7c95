/** A folder of images with one sub-folder per class, as torchvision's ImageFolder. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { imagenetClasses } from '../../pictures/imagenet.js';
import { ImageError } from '../pictures/image-error.js';
import { byName, type ImageSource, ImageSourceError, imageExtensions } from './image-source.js';

/**
 * Opens an image folder. Images below a class folder belong to it, at any depth; images beside the class folders have no class.
 *
 * Classes are numbered in the order of their names. If every class folder is named as one of ImageNet (`n01440764`), the numbers
 * are ImageNet's, also when some of the 1,000 are missing. Keys are paths below the folder, with `/`.
 * @throws ImageSourceError if it is not a folder or has no image
 */
export async function openImageFolder(folder: string): Promise<ImageSource> {
  const files = (await list(folder)).sort(byName);
  if (files.length === 0)
    throw new ImageSourceError(folder, `it has no image (${[...imageExtensions].join(', ')}). Expected one sub-folder per class.`);
  const classOf = (file: string): string | undefined => (file.includes('/') ? file.slice(0, file.indexOf('/')) : undefined);
  const found = [...new Set(files.map(classOf).filter((name) => name !== undefined))].sort(byName);
  const classNames = found.length > 0 && found.every((name) => imagenetClasses.includes(name)) ? imagenetClasses : found;
  const numbers = new Map(classNames.map((name, number) => [name, number]));
  const labels = Int32Array.from(files, (file) => numbers.get(classOf(file) ?? '') ?? -1);
  return {
    location: folder,
    kind: 'folder',
    count: files.length,
    classNames,
    endings: new Set(files.map((file) => path.extname(file).slice(1).toLowerCase())),
    key: (index) => files[index],
    label: (index) => labels[index],
    async read(index) {
      try {
        return await fs.readFile(path.join(folder, files[index]));
      } catch (error) {
        throw new ImageError(files[index], `it cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'}).`, { cause: error });
      }
    },
    close: async () => {},
  };
}

/** Paths of the images below `folder`, relative, with `/`. Hidden files and folders are left out. */
async function list(folder: string): Promise<string[]> {
  try {
    const entries = await fs.readdir(folder, { withFileTypes: true });
    const found: string[] = [];
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue;
      const at = path.join(folder, entry.name);
      // Links are followed: data sets are often folders of links.
      const kind = entry.isSymbolicLink() ? await fs.stat(at).catch(() => entry) : entry;
      if (kind.isDirectory()) found.push(...(await list(at)).map((file) => `${entry.name}/${file}`));
      else if (imageExtensions.has(path.extname(entry.name).slice(1).toLowerCase())) found.push(entry.name);
    }
    return found;
  } catch (error) {
    if (error instanceof ImageSourceError) throw error;
    const reasons: Record<string, string> = { ENOENT: 'it does not exist', ENOTDIR: 'it is not a folder', EACCES: 'it may not be read' };
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new ImageSourceError(folder, `${reasons[code] ?? `it cannot be listed (${code})`}.`, { cause: error });
  }
}
