/** The checksums of files: CRC-32 of zip archives and CRC-32C (Castagnoli) of TFRecords, four bytes at a time ("slicing by 4"). */

/**
 * A checksum of `bytes`, an unsigned 32-bit number.
 * @param crc result for the bytes before, to continue it
 */
type Checksum = (bytes: Uint8Array, crc?: number) => number;

/** @param polynomial its bits in reverse */
function checksum(polynomial: number): Checksum {
  const tables = Array.from({ length: 4 }, () => new Int32Array(256));
  for (let i = 0; i < 256; i++) {
    let c = i;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ polynomial : c >>> 1;
    tables[0][i] = c;
  }
  for (let i = 0; i < 256; i++)
    for (let t = 1; t < 4; t++) {
      const previous = tables[t - 1][i];
      tables[t][i] = (previous >>> 8) ^ tables[0][previous & 255];
    }
  const [t0, t1, t2, t3] = tables;
  return (bytes, crc = 0) => {
    let c = ~crc;
    let i = 0;
    for (const end = bytes.length - 3; i < end; i += 4) {
      c ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
      c = t3[c & 255] ^ t2[(c >>> 8) & 255] ^ t1[(c >>> 16) & 255] ^ t0[c >>> 24];
    }
    for (; i < bytes.length; i++) c = (c >>> 8) ^ t0[(c ^ bytes[i]) & 255];
    return ~c >>> 0;
  };
}

/** CRC-32 (zip, PNG), polynomial 0xEDB88320. */
export const crc32 = /* @__PURE__ */ checksum(0xedb88320);

/** CRC-32C (TFRecord, iSCSI), polynomial 0x82F63B78. */
export const crc32c = /* @__PURE__ */ checksum(0x82f63b78);
