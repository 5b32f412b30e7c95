/**
 * A restricted reader of Python's pickle format: it builds dictionaries, lists, tuples, strings and numbers, and executes nothing.
 *
 * Pickles name functions and classes to be called. Here such a name is only looked up in the caller's table; what is not in it
 * ends the reading with a {@link ForbiddenGlobalError}, before any argument is looked at. Opcodes are those that PyTorch's own
 * restricted reader takes (torch/_weights_only_unpickler.py) and the few that protocols 3 and 4 add. There is no recursion, and
 * memory grows with the bytes read, up to the limits below.
 */
import { DitMoeError } from '../errors.js';
import { FormatError } from './safetensors.js';

/** Longest pickle that is read: about 400,000 tensors. Tensors' values are not part of it. */
export const MAX_PICKLE_BYTES = 64 * 2 ** 20;
/** Most containers, dictionary entries, list elements and memo entries of a pickle. A tensor takes about 25. */
const MAX_PICKLE_VALUES = 2 ** 22;
/** Most values on the stack; Python writes long lists and dictionaries in parts of 1000. */
export const MAX_PICKLE_STACK = 2 ** 20;

/** A pickle names a function or class that is not allowed. */
export class ForbiddenGlobalError extends DitMoeError {
  static override readonly code = 'E_FORBIDDEN_GLOBAL';
  /** For example `os.system`. */
  readonly global: string;

  constructor(where: string, global: string) {
    super(
      `${where}: the pickle asks Python to use "${global}", which is not among the names that a checkpoint needs. Nothing was run. ` +
        'If you trust the file, save its tensors again with torch.save of a plain dictionary, or convert it to safetensors.',
    );
    this.global = global;
  }
}

/** A pickle ended before its STOP; more bytes may help. */
export class PickleTruncatedError extends FormatError {
  static override readonly code = 'E_PICKLE_TRUNCATED';
}

/** What an allowed name stands for. Values of the pickle are plain data: null, boolean, number, bigint, string, Uint8Array,
 * array (lists and tuples), Map (dictionaries), Set, {@link PickleObject}, PickleGlobal, or what `call` and `persistent` gave. */
export class PickleGlobal {
  constructor(
    /** Module and name, with a dot. */
    readonly name: string,
    /** What calling it, or making an instance of it, gives; without it, that is refused. */
    readonly call?: (args: readonly unknown[], where: string) => unknown,
  ) {}
}

/** An object whose class is only known by name; `state` is what Python would have restored its attributes from. */
export class PickleObject {
  state: unknown = null;

  constructor(
    readonly className: string,
    readonly args: readonly unknown[],
  ) {}
}

export interface PickleRules {
  /** The meaning of a name, or undefined if it is forbidden. */
  global(name: string): PickleGlobal | undefined;
  /** The meaning of a reference to something outside of the pickle (a storage). */
  persistent(id: unknown, where: string): unknown;
}

/**
 * Reads the pickle that begins at `start`.
 * @returns its value, and where it ended
 * @throws FormatError if it is damaged, truncated ({@link PickleTruncatedError}) or beyond a limit
 * @throws ForbiddenGlobalError if it names something that `rules` does not know
 */
export function readPickle(bytes: Uint8Array, start: number, where: string, rules: PickleRules): { value: unknown; end: number } {
  return new Reader(bytes, start, where, rules).run();
}

class Reader {
  private readonly data: DataView;
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  private readonly stack: unknown[] = [];
  /** Heights of the stack at the open marks. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, unknown>();
  private values = 0;
  private position: number;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly start: number,
    private readonly where: string,
    private readonly rules: PickleRules,
  ) {
    this.data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = start;
  }

  run(): { value: unknown; end: number } {
    for (;;) {
      if (this.position - this.start > MAX_PICKLE_BYTES)
        throw this.error(`the pickle is longer than the limit of ${MAX_PICKLE_BYTES} bytes`);
      const opcode = this.uint(1);
      if (opcode === 0x2e) return { value: this.pop(), end: this.position };
      this.step(opcode);
      if (this.stack.length > MAX_PICKLE_STACK || this.marks.length > MAX_PICKLE_STACK)
        throw this.error('the stack grows beyond its limit');
    }
  }

  private step(opcode: number): void {
    switch (String.fromCharCode(opcode)) {
      case '\x80': // PROTO
        if (this.uint(1) > 5) throw this.error('the pickle protocol is newer than 5');
        break;
      case '\x95': // FRAME
        this.take(8);
        break;
      case '(': // MARK
        this.marks.push(this.stack.length);
        break;
      case '0': // POP
        this.pop();
        break;
      case 'N':
        this.stack.push(null);
        break;
      case '\x88':
        this.stack.push(true);
        break;
      case '\x89':
        this.stack.push(false);
        break;
      case 'K': // BININT1
        this.stack.push(this.uint(1));
        break;
      case 'M': // BININT2
        this.stack.push(this.uint(2));
        break;
      case 'J': // BININT
        this.stack.push(this.uint(4) | 0);
        break;
      case '\x8a': // LONG1
        this.stack.push(this.long(this.uint(1)));
        break;
      case 'G': // BINFLOAT
        this.stack.push(this.data.getFloat64(this.take(8)));
        break;
      case 'X': // BINUNICODE
        this.stack.push(this.text(this.uint(4)));
        break;
      case '\x8c': // SHORT_BINUNICODE
      case 'U': // SHORT_BINSTRING
        this.stack.push(this.text(this.uint(1)));
        break;
      case 'T': // BINSTRING
        this.stack.push(this.text(this.uint(4)));
        break;
      case 'C': // SHORT_BINBYTES
        this.pushBytes(this.uint(1));
        break;
      case 'B': // BINBYTES
        this.pushBytes(this.uint(4));
        break;
      case ')':
        this.push([]);
        break;
      case ']':
        this.push([]);
        break;
      case '}':
        this.push(new Map());
        break;
      case '\x8f': // EMPTY_SET
        this.push(new Set());
        break;
      case 't': // TUPLE
        this.push(this.popMark());
        break;
      case '\x85':
      case '\x86':
      case '\x87': {
        // TUPLE1 to TUPLE3
        const items = Array.from({ length: opcode - 0x84 }, () => this.pop()).reverse();
        this.push(items);
        break;
      }
      case '\x91': // FROZENSET
        this.push(new Set(this.popMark()));
        break;
      case 'a': // APPEND
        this.append([this.pop()]);
        break;
      case 'e': // APPENDS
        this.append(this.popMark());
        break;
      case 's': {
        // SETITEM
        const value = this.pop();
        this.setItems([this.pop(), value]);
        break;
      }
      case 'u': // SETITEMS
        this.setItems(this.popMark());
        break;
      case '\x90': // ADDITEMS
        this.addItems(this.popMark());
        break;
      case 'q': // BINPUT
        this.memorize(this.uint(1));
        break;
      case 'r': // LONG_BINPUT
        this.memorize(this.uint(4));
        break;
      case '\x94': // MEMOIZE
        this.memorize(this.memo.size);
        break;
      case 'h': // BINGET
        this.recall(this.uint(1));
        break;
      case 'j': // LONG_BINGET
        this.recall(this.uint(4));
        break;
      case 'c': {
        // GLOBAL
        const module = this.line();
        this.pushGlobal(module, this.line());
        break;
      }
      case '\x93': {
        // STACK_GLOBAL
        const name = this.pop();
        this.pushGlobal(this.pop(), name);
        break;
      }
      case 'R': // REDUCE
      case '\x81': {
        // NEWOBJ
        const args = this.pop();
        const callee = this.pop();
        if (!(callee instanceof PickleGlobal) || callee.call === undefined || !Array.isArray(args))
          throw this.error(`the pickle calls ${callee instanceof PickleGlobal ? callee.name : 'a value'}, which cannot be called`);
        // A call may copy its arguments, which the memo can repeat at no cost to the file.
        this.count(copied(args));
        this.push(callee.call(args, this.where));
        break;
      }
      case 'b': {
        // BUILD
        const state = this.pop();
        const object = this.peek();
        // Attributes of dictionaries (state dicts have `_metadata`) and tensors carry nothing that is needed.
        if (object instanceof PickleObject) object.state = state;
        break;
      }
      case 'Q': // BINPERSID
        this.push(this.rules.persistent(this.pop(), this.where));
        break;
      default:
        throw this.error(`opcode 0x${opcode.toString(16).padStart(2, '0')} is none that PyTorch writes`);
    }
  }

  private error(problem: string): FormatError {
    return new FormatError(this.where, `${problem} (byte ${this.position} of the pickle).`);
  }

  private take(length: number): number {
    if (this.position + length > this.bytes.length)
      throw new PickleTruncatedError(this.where, `the pickle ends within a value (byte ${this.bytes.length}): truncated or damaged.`);
    this.position += length;
    return this.position - length;
  }

  private uint(width: 1 | 2 | 4): number {
    const at = this.take(width);
    return width === 1 ? this.bytes[at] : width === 2 ? this.data.getUint16(at, true) : this.data.getUint32(at, true);
  }

  private long(length: number): number | bigint {
    const at = this.take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i]);
    value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  private text(length: number): string {
    const at = this.take(length);
    try {
      return this.decoder.decode(this.bytes.subarray(at, at + length));
    } catch (cause) {
      throw new FormatError(this.where, `a string at byte ${at} of the pickle is not UTF-8.`, { cause });
    }
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.position);
    const text = this.text((end < 0 ? this.bytes.length : end) - this.position);
    this.take(1);
    return text;
  }

  private pushBytes(length: number): void {
    const at = this.take(length);
    this.push(this.bytes.slice(at, at + length));
  }

  private count(values: number): void {
    this.values += values;
    if (this.values > MAX_PICKLE_VALUES) throw this.error(`the pickle holds more than the limit of ${MAX_PICKLE_VALUES} values`);
  }

  /** Pushes something that takes memory of its own. */
  private push(value: unknown): void {
    this.count(1);
    this.stack.push(value);
  }

  private pop(): unknown {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw this.error('the pickle takes a value from an empty stack');
    return this.stack.pop();
  }

  private peek(): unknown {
    const value = this.pop();
    this.stack.push(value);
    return value;
  }

  private popMark(): unknown[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.error('the pickle closes a group that it did not open');
    return this.stack.splice(mark);
  }

  private append(items: readonly unknown[]): void {
    const list = this.peek();
    if (!Array.isArray(list)) throw this.error('the pickle appends to something that is not a list');
    this.count(items.length);
    for (const item of items) list.push(item);
  }

  private setItems(items: readonly unknown[]): void {
    const map = this.peek();
    if (!(map instanceof Map) || items.length % 2 !== 0) throw this.error('the pickle sets entries of something that is not a dictionary');
    this.count(items.length / 2);
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  private addItems(items: readonly unknown[]): void {
    const set = this.peek();
    if (!(set instanceof Set)) throw this.error('the pickle adds to something that is not a set');
    this.count(items.length);
    for (const item of items) set.add(item);
  }

  private memorize(index: number): void {
    this.count(1);
    this.memo.set(index, this.peek());
  }

  private recall(index: number): void {
    if (!this.memo.has(index)) throw this.error(`the pickle refers to value ${index}, which it did not define`);
    this.stack.push(this.memo.get(index));
  }

  private pushGlobal(module: unknown, name: unknown): void {
    const global = `${typeof module === 'string' ? module : '?'}.${typeof name === 'string' ? name : '?'}`;
    const known = this.rules.global(global);
    if (known === undefined) throw new ForbiddenGlobalError(this.where, global.slice(0, 200));
    this.stack.push(known);
  }
}

/** How many elements or bytes a call with these arguments can copy. */
function copied(args: readonly unknown[]): number {
  let sum = args.length;
  for (const arg of args)
    if (typeof arg === 'string' || Array.isArray(arg) || arg instanceof Uint8Array) sum += arg.length;
    else if (arg instanceof Map || arg instanceof Set) sum += arg.size;
  return sum;
}
