/** `metrics.jsonl` and the TensorBoard events of a run. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { EventWriter, type Summary } from '../tensorboard/event-writer.js';
import type { LayerRouting } from './routing.js';
import { scalarsOf } from './scalars.js';
import type { ValidationLoss } from './validation.js';

/** One line of `metrics.jsonl`: means over the steps since the line before. */
export interface MetricsLine {
  step: number;
  /** When it was measured, in milliseconds since 1970; lines of earlier versions do not say. */
  at?: number;
  /** Mean loss of the objective. */
  loss: number;
  /** Sum of the layers' balance losses, not yet times alpha. */
  balance: number;
  /** The same for each further loss of the routers, by name. */
  routerLosses?: Record<string, number>;
  /** The teacher's terms by name, not yet weighted. */
  distillation?: Record<string, number>;
  /** Norm of the gradient before clipping. */
  gradNorm: number;
  learningRate: number;
  imagesPerSecond: number;
  /** Share of the time in which the step waited for data. */
  stall: number;
  /** Resident memory of the process in MiB. */
  memory: number;
  /** Memory of the GPU in use, by all processes, in MiB. */
  deviceMemory?: number;
  /** Milliseconds of a step by what they went into; see `Timing`. */
  time?: Readonly<Record<'data' | 'transfer' | 'compute' | 'host', number>>;
  /** Share of the device's peak that the model's arithmetic comes to, where the peak is known. */
  mfu?: number;
  /** Steps skipped since the run began. */
  skipped: number;
  /** What the routers of the layers with experts did since the line before; empty without experts. */
  routing: LayerRouting[];
  /** Online metrics, in the lines of the steps that have them. */
  evaluation?: Record<string, number>;
  /** Loss of the first average on held-out images, in the lines of the steps that have it. */
  validation?: ValidationLoss;
}

/** Numbers of a line; JSON has null for one that is not finite. */
const scalars = ['step', 'loss', 'balance', 'gradNorm', 'learningRate', 'imagesPerSecond', 'stall', 'memory', 'skipped'] as const;

/** Reads `metrics.jsonl`; a line that a killed process was writing is left out, as is what is no line of metrics. */
export async function readMetrics(run: string): Promise<MetricsLine[]> {
  const text = await fs.readFile(path.join(run, 'metrics.jsonl'), 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    try {
      const read = JSON.parse(line) as Partial<MetricsLine> | null;
      const isLine = Number.isInteger(read?.step) && scalars.every((name) => typeof (read?.[name] ?? 0) === 'number');
      return isLine ? [{ ...(read as MetricsLine), routing: read?.routing ?? [] }] : [];
    } catch {
      return [];
    }
  });
}

/** Appends metrics to both files. */
export class MetricsLog {
  /** Whether the last write failed, so that both files may end in the middle of a record. */
  private torn = false;

  private constructor(
    private readonly run: string,
    readonly lines: MetricsLine[],
    private events: EventWriter,
  ) {}

  /** Opens the log of a run that goes on after `step`: later lines are dropped. */
  static async open(run: string, step: number): Promise<MetricsLog> {
    const lines = (await readMetrics(run)).filter((line) => line.step <= step);
    await writeLines(run, lines);
    return new MetricsLog(run, lines, await EventWriter.create(run, step === 0 ? 0 : step + 1));
  }

  /** Drops everything after `step`, because the run goes back to it. */
  async rewind(step: number): Promise<void> {
    this.lines.splice(this.lines.findLastIndex((line) => line.step <= step) + 1);
    await writeLines(this.run, this.lines);
    await this.events.close();
    this.events = await EventWriter.create(this.run, step + 1);
  }

  async add(line: MetricsLine): Promise<void> {
    this.lines.push(line);
    const { step } = line;
    const summaries = Object.entries(scalarsOf(line)).map(([tag, scalar]) => ({ tag, scalar }));
    await this.write(async (whole) => {
      // After a failure the file was written anew, this line included.
      if (!whole) await fs.appendFile(path.join(this.run, 'metrics.jsonl'), `${JSON.stringify(line)}\n`);
      await this.events.write(step, summaries);
    });
  }

  /** Further values for TensorBoard only. */
  async summaries(step: number, summaries: readonly Summary[]): Promise<void> {
    await this.write(() => this.events.write(step, summaries));
  }

  private async write(append: (whole: boolean) => Promise<void>): Promise<void> {
    const wasTorn = this.torn;
    this.torn = true;
    if (wasTorn) {
      await writeLines(this.run, this.lines);
      await this.events.close();
      this.events = await EventWriter.create(this.run);
    }
    await append(wasTorn);
    this.torn = false;
  }

  async close(): Promise<void> {
    await this.events.close();
  }
}

const writeLines = (run: string, lines: readonly MetricsLine[]): Promise<void> =>
  writeFileAtomically(path.join(run, 'metrics.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
