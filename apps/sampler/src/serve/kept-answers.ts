/** Answers that were given lately. The same request has the same pictures, so they are given again instead of being computed again. */

/** Characters of all answers together, and of one. */
const MOST = 48e6;
const MOST_OF_ONE = MOST / 4;

/** The lines of an answer while it is made. */
export class Recording {
  private all: string[] | undefined = [];
  private size: number;

  constructor(request: string) {
    this.size = request.length;
  }

  /** All lines so far; undefined once they are more than are kept of one answer, and held no longer. */
  get lines(): readonly string[] | undefined {
    return this.all;
  }

  add(line: string): void {
    this.size += line.length;
    if (this.size > MOST_OF_ONE) this.all = undefined;
    this.all?.push(line);
  }
}

export class KeptAnswers {
  /** Lines of an answer by its request; the one that was asked for last comes last. */
  private readonly answers = new Map<string, readonly string[]>();
  private size = 0;

  get(request: string): readonly string[] | undefined {
    const lines = this.answers.get(request);
    if (lines === undefined) return undefined;
    this.answers.delete(request);
    this.answers.set(request, lines);
    return lines;
  }

  /** Keeps an answer; the oldest ones make room for it. One that is too large is not kept. */
  set(request: string, lines: readonly string[]): void {
    if (sizeOf(request, lines) > MOST_OF_ONE) return;
    this.forget(request);
    this.answers.set(request, lines);
    this.size += sizeOf(request, lines);
    for (const oldest of this.answers.keys()) {
      if (this.size <= MOST) return;
      this.forget(oldest);
    }
  }

  private forget(request: string): void {
    const lines = this.answers.get(request);
    if (lines === undefined) return;
    this.answers.delete(request);
    this.size -= sizeOf(request, lines);
  }
}

const sizeOf = (request: string, lines: readonly string[]): number => lines.reduce((sum, { length }) => sum + length, request.length);
