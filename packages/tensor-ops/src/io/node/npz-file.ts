/** An .npz file on disk, for arrays of any size. */
import { Npz } from '../npz.js';
import { openWith } from './file-source.js';

/** An open .npz file. */
export interface NpzFile {
  arrays: Npz;
  close(): Promise<void>;
}

/**
 * Opens an .npz file; nothing but its directory is read.
 * @throws FormatError if it is no .npz file or damaged, or the file system's error
 */
export function openNpz(path: string): Promise<NpzFile> {
  return openWith(path, async (source) => ({ arrays: await Npz.open(source), close: () => source.close() }));
}
