/** The colour of TIFF files that the decoder hands out as it is stored: YCbCr that is neither compressed as JPEG nor subsampled. */

const [COMPRESSION, PHOTOMETRIC, SUBSAMPLING] = [259, 262, 530];
const [YCBCR, OLD_JPEG, JPEG] = [6, 6, 7];
/** A file with more entries is not looked through. */
const MOST_ENTRIES = 4096;

/** Whether the numbers that a TIFF file decodes to are YCbCr. */
export function isStoredYcbcr(file: Uint8Array): boolean {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const little = file[0] === 0x49;
  const at = view.getUint32(4, little);
  if (at + 2 > file.length) return false;
  const count = Math.min(view.getUint16(at, little), MOST_ENTRIES);
  const values = new Map<number, [number, number]>();
  for (let entry = at + 2; entry < at + 2 + 12 * count && entry + 12 <= file.length; entry += 12)
    values.set(view.getUint16(entry, little), [view.getUint16(entry + 8, little), view.getUint16(entry + 10, little)]);
  const [compression] = values.get(COMPRESSION) ?? [1];
  // TIFF 6.0: two by two unless it is said.
  const [across, down] = values.get(SUBSAMPLING) ?? [2, 2];
  return values.get(PHOTOMETRIC)?.[0] === YCBCR && compression !== OLD_JPEG && compression !== JPEG && across === 1 && down === 1;
}

/** JFIF's YCbCr as RGB. */
export function rgbOfYcbcr(ycbcr: Uint8Array): Uint8Array {
  // Rounded and clamped by the array.
  const rgb = new Uint8ClampedArray(ycbcr.length);
  for (let i = 0; i < ycbcr.length; i += 3) {
    const [y, cb, cr] = [ycbcr[i], ycbcr[i + 1] - 128, ycbcr[i + 2] - 128];
    rgb[i] = y + 1.402 * cr;
    rgb[i + 1] = y - 0.344136 * cb - 0.714136 * cr;
    rgb[i + 2] = y + 1.772 * cb;
  }
  return new Uint8Array(rgb.buffer);
}
