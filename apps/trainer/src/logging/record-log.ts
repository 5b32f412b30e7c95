/**
 * The log format of LevelDB, in which Weights & Biases keeps a run: records in blocks of 32 KiB. What does not fit into the rest of a
 * block is cut into pieces, each with checksum, length and kind.
 *
 * Source: github.com/google/leveldb, doc/log_format.md. It differs from that on purpose, as the format of Weights & Biases does: the
 * checksum is CRC-32, not a masked CRC-32C, and the file begins with seven bytes that name it.
 */
import { crc32 } from '@dit-moe/tensor-ops/io';

const BLOCK = 32_768;
const HEAD = 7;
/** Kinds of pieces. */
const [FULL, FIRST, MIDDLE, LAST] = [1, 2, 3, 4];

/** ":W&B", a magic number and version 0. */
const FILE_HEAD = Uint8Array.from([...Buffer.from(':W&B'), 0xe1, 0xbe, 0]);

/** Turns records into the bytes of a file, one after the other. */
export class RecordLog {
  private length = 0;

  /** The bytes to append for a record; the first ones begin the file. */
  encode(record: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = this.length === 0 ? [FILE_HEAD] : [];
    this.length += pieces.length * FILE_HEAD.length;
    let from = 0;
    do {
      let room = BLOCK - (this.length % BLOCK);
      if (room < HEAD) {
        pieces.push(new Uint8Array(room));
        this.length += room;
        room = BLOCK;
      }
      const to = Math.min(record.length, from + room - HEAD);
      const isLast = to === record.length;
      const kind = from === 0 ? (isLast ? FULL : FIRST) : isLast ? LAST : MIDDLE;
      const body = record.subarray(from, to);
      const head = Buffer.alloc(HEAD);
      head.writeUInt32LE(crc32(body, crc32(Uint8Array.of(kind))));
      head.writeUInt16LE(body.length, 4);
      head[6] = kind;
      pieces.push(head, body);
      this.length += HEAD + body.length;
      from = to;
    } while (from < record.length);
    return Buffer.concat(pieces);
  }
}
