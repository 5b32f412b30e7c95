/** CRC-32C (Castagnoli), the checksum of TFRecord files. */
const table = Int32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

/** CRC-32C of `bytes`, an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  let c = -1;
  for (const byte of bytes) c = (c >>> 8) ^ table[(c ^ byte) & 255];
  return ~c >>> 0;
}

/** The checksum as TFRecord stores it: rotated and shifted, so that a checksum of checksums is not degenerate. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
