/** Pictures and films as the bytes of a file. */
import { encodePng, type Pixels } from '@dit-moe/data';
import sharp, { type Sharp } from 'sharp';
import type { PictureFormat } from './picture-format.js';

/** Close to what the eye can tell; colours at full resolution. */
const JPEG = { quality: 95, chromaSubsampling: '4:4:4' } as const;
/** The last frame of a film is shown for so long. */
const LAST_FRAME_MS = 1500;

/** What is kept with a picture: as text in PNG, as EXIF in JPEG and WebP. GIF has no place for it. */
export interface PictureNotes {
  Software: string;
  /** JSON. */
  Comment: string;
}

const channelsOf = ({ channels }: Pixels): 1 | 3 => (channels === 1 ? 1 : 3);

/** Encodes one picture. PNG and WebP keep every pixel. */
export async function encodePicture(picture: Pixels, format: PictureFormat, notes: PictureNotes): Promise<Uint8Array> {
  if (format === 'png') return encodePng(picture, { ...notes });
  const { data, width, height } = picture;
  const image = sharp(data, { raw: { width, height, channels: channelsOf(picture) } });
  return encoded(image, format, notes, {});
}

/**
 * Encodes a moving picture, which repeats.
 * @param frames pictures of one size, joined
 * @param delay milliseconds from frame to frame; the last one stays longer
 */
export async function encodeFilm(frames: Pixels, format: 'gif' | 'webp', notes: PictureNotes, delay: number): Promise<Uint8Array> {
  const { data, width, height, count } = frames;
  const image = sharp(data, { raw: { width, height: height * count, channels: channelsOf(frames), pageHeight: height } });
  const delays = Array.from({ length: count }, (_, i) => (i === count - 1 ? LAST_FRAME_MS : delay));
  return encoded(image, format, notes, { delay: delays, loop: 0 });
}

function encoded(
  image: Sharp,
  format: Exclude<PictureFormat, 'png'>,
  { Software, Comment }: PictureNotes,
  film: { delay?: number[]; loop?: number },
): Promise<Buffer> {
  if (format === 'gif') return image.gif({ ...film, effort: 7 }).toBuffer();
  // EXIF has ASCII only; JSON can say every letter in it.
  const description = Comment.replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const withNotes = image.withExif({ IFD0: { Software, ImageDescription: description } });
  return (format === 'jpeg' ? withNotes.jpeg(JPEG) : withNotes.webp({ lossless: true, ...film })).toBuffer();
}
