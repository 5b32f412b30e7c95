/**
 * TensorFlow's profile as Chrome's trace events, which chrome://tracing and ui.perfetto.dev show. Field numbers are from
 * tsl/profiler/protobuf/xplane.proto; the format is that of "Trace Event Format".
 */

/** One entry of a trace: something that took time, or (`M`) the name of a process or thread. */
export interface TraceEvent {
  name: string;
  ph: 'X' | 'M';
  pid: number;
  tid: number;
  /** Microseconds. */
  ts?: number;
  dur?: number;
  args?: { name: string };
}

interface Field {
  field: number;
  value: bigint;
  content: Uint8Array;
}

/** The fields of a message. Its numbers go up to 64 bits, as clocks in nanoseconds do. */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const number = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const none = new Uint8Array(0);
  while (at < bytes.length) {
    const tag = Number(number());
    const field = tag >> 3;
    if ((tag & 7) === 0) yield { field, value: number(), content: none };
    else {
      const length = (tag & 7) === 2 ? Number(number()) : (tag & 7) === 1 ? 8 : 4;
      yield { field, value: 0n, content: bytes.subarray(at, at + length) };
      at += length;
    }
  }
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const all = (bytes: Uint8Array, field: number): Uint8Array[] => [...fieldsOf(bytes)].filter((f) => f.field === field).map((f) => f.content);
const value = (bytes: Uint8Array, field: number): bigint => [...fieldsOf(bytes)].find((f) => f.field === field)?.value ?? 0n;
const string = (bytes: Uint8Array, field: number): string => text(all(bytes, field)[0] ?? new Uint8Array(0));

/** @param space an `XSpace` message */
export function traceEvents(space: Uint8Array): TraceEvent[] {
  const events: TraceEvent[] = [];
  all(space, 1).forEach((plane, pid) => {
    const names = new Map(all(plane, 4).map((entry) => [value(entry, 1), string(all(entry, 2)[0], 2)] as const));
    const lines = all(plane, 3);
    if (lines.length === 0) return;
    events.push({ name: 'process_name', ph: 'M', pid, tid: 0, args: { name: string(plane, 2) } });
    lines.forEach((line, tid) => {
      events.push({ name: 'thread_name', ph: 'M', pid, tid, args: { name: string(line, 11) || string(line, 2) } });
      const start = Number(value(line, 3)) / 1000;
      for (const event of all(line, 4)) {
        const [ts, dur] = [start + Number(value(event, 2)) / 1e6, Number(value(event, 3)) / 1e6];
        events.push({ name: names.get(value(event, 1)) ?? 'unknown', ph: 'X', pid, tid, ts, dur });
      }
    });
  });
  return events;
}
