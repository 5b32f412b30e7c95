/**
 * The processes that train together, and the runtime's part in it. Fail-stop: when one process fails, all end with a sentence that says
 * which and why, the launcher starts them again, and they go on from the last checkpoint. Weights in memory are not to be used after an
 * error, since the step that failed may have run in part.
 */
import os from 'node:os';
import type { Collectives } from '../../collectives/index.js';
import { DitMoeError } from '../../errors.js';
import { TensorFlowError } from '../tensorflow-error.js';
import type { Launch } from './launch-info.js';
import { refuseOpenPort } from './open-port.js';
import { endsCollective, peerReason } from './peer-reason.js';
import { type RecordedCollective, type RecordedStep, recordingDifference } from './recorded-collectives.js';
import { freePort, type RendezvousOptions, rendezvous } from './rendezvous.js';
import { TensorFlowCollectives } from './tensorflow-collectives.js';

/** Another process of the cluster has failed, is gone, or did not come to a collective. */
export class PeerError extends DitMoeError {
  static override readonly code = 'E_PEER';
}

/** What the runtime does for a cluster; it attaches itself when it starts. */
export interface ClusterRuntime {
  /** Ends every collective that waits, here and on the others. */
  abort(message: string): void;
  /** Ends the others' collectives, and barriers everywhere, with this process's own words. */
  report(message: string): void;
  /** Waits until all ranks have come to the barrier of this name, at most `timeoutMs`. */
  barrier(name: string, timeoutMs: number): Promise<void>;
  /** Gives a text to all ranks, once for each key. */
  publish(key: string, text: string): Promise<void>;
  /** A text that some rank has given, or gives within `timeoutMs`. */
  published(key: string, timeoutMs: number): Promise<string>;
}

/** How a process joins its cluster. */
export interface JoinOptions extends Omit<RendezvousOptions, 'port'> {
  /** Open TensorFlow's server although the internet may reach this machine (default false). */
  acceptOpenPort?: boolean;
}

/** How long a step may take before this process gives up on the others (default of {@link Cluster.guard}). */
const STEP_TIMEOUT_MS = 600_000;

/**
 * How long a process that has lost another waits for TensorFlow to say why, which it mostly does at once: what it says is better than that
 * a connection was closed.
 */
const LAST_WORDS_MS = 2000;

/** Status codes with which TensorFlow ends a collective whose other members are gone. */
const PEER_STATUS = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'ABORTED', 'UNAVAILABLE', 'FAILED_PRECONDITION', 'INTERNAL']);

/**
 * Meets the other processes and returns the cluster, to be given to `useTensorFlow({ cluster })` before any tensor, parameter or step
 * exists.
 *
 * @throws OpenPortError if the internet may reach this machine, unless that is accepted
 * @throws RendezvousError if somebody is missing or runs something else
 */
export async function joinCluster(launch: Launch, options: JoinOptions): Promise<Cluster> {
  if (options.acceptOpenPort !== true) refuseOpenPort(os.networkInterfaces());
  const own = launch.addresses?.[launch.rank];
  const port = own === undefined ? await freePort() : Number(own.slice(own.lastIndexOf(':') + 1));
  const { addresses, gone } = await rendezvous(launch, { ...options, port });
  return new Cluster(launch, addresses, gone);
}

/** A cluster that this process is a member of. */
export class Cluster {
  readonly rank: number;
  readonly size: number;
  /** Rank on this machine: chooses the GPU. */
  readonly localRank: number;
  /** Collectives over all ranks, inside compiled steps and outside. */
  readonly collectives: Collectives;
  private runtime: ClusterRuntime | undefined;
  /** Collectives of the step that is recorded. */
  private readonly collected: RecordedCollective[] = [];
  private steps = 0;
  /** Why nothing can come of a collective any more. */
  private lost: string | undefined;
  /** Ends what is guarded now. */
  private readonly waiting = new Set<(reason: string) => void>();

  /** @param gone the first rank whose process ends */
  constructor(
    readonly launch: Launch,
    /** `host:port` of TensorFlow's server of every rank. */
    readonly addresses: readonly string[],
    gone?: Promise<number>,
  ) {
    this.rank = launch.rank;
    this.size = launch.size;
    this.localRank = launch.localRank;
    this.collectives = TensorFlowCollectives.of(launch.rank, launch.size, (collective) => this.collected.push(collective));
    void gone?.then((rank) => setTimeout(() => this.lose(`its connection was closed (rank ${rank})`), LAST_WORDS_MS).unref());
  }

  /** Called by the runtime that runs in this cluster. */
  attach(runtime: ClusterRuntime): void {
    this.runtime = runtime;
  }

  /**
   * Runs a step that contains collectives, with a watchdog: a process that is gone or frozen is noticed, but not one that never comes to
   * the collective.
   *
   * @param timeoutMs after which all waiting collectives are ended (default 10 minutes)
   * @throws PeerError if another process failed, is gone, or did not come in time
   */
  async guard<T>(what: string, run: () => Promise<T>, timeoutMs = STEP_TIMEOUT_MS): Promise<T> {
    const late = `rank ${this.rank} waited ${Math.round(timeoutMs / 1000)} s for the others in ${what}`;
    const failed = (reason: string, cause?: Error): PeerError =>
      new PeerError(`Another process of the cluster failed during ${what}: ${reason}`, { where: what, ...(cause && { cause }) });
    if (this.lost !== undefined) throw failed(this.lost);
    let end: (reason: string) => void = () => {};
    const ended = new Promise<never>((_, reject) => {
      end = (reason) => reject(failed(reason));
    });
    this.waiting.add(end);
    const watchdog = setTimeout(() => this.lose(late), timeoutMs);
    try {
      return await Promise.race([run(), ended]);
    } catch (error) {
      if (!TensorFlowError.isInstance(error) || !(PEER_STATUS.has(error.status) || endsCollective(error.message))) throw error;
      const reason = endsCollective(error.message) ? peerReason(error.message, this.size) : error.message;
      throw failed(reason, error);
    } finally {
      clearTimeout(watchdog);
      this.waiting.delete(end);
    }
  }

  /** Ends everything that waits, and whatever comes later. */
  private lose(reason: string): void {
    this.lost ??= reason;
    if (this.waiting.size === 0) return;
    this.runtime?.abort(reason);
    // Barriers end by this only, and a process that exits waits for the thread that stands there.
    this.tell(reason);
    for (const end of this.waiting) end(reason);
  }

  /**
   * Called by the runtime when it has recorded a step.
   *
   * @returns nothing if the step has no collectives, else what must be awaited before it runs: whether all ranks recorded the same ones, by
   *   a PeerError on all of them that names the rank and what differs
   */
  recorded(name: string): (() => Promise<void>) | undefined {
    const collectives = this.collected.splice(0);
    if (collectives.length === 0) return undefined;
    const key = `recorded step ${this.steps++}`;
    let agreed: Promise<void> | undefined;
    return () => {
      agreed ??= this.compare(key, { name, collectives });
      return agreed;
    };
  }

  private async compare(key: string, step: RecordedStep): Promise<void> {
    const { runtime, rank, size } = this;
    if (runtime === undefined) return;
    const of = (other: number): string => `${key}/${other}`;
    await runtime.publish(of(rank), JSON.stringify(step));
    await this.barrier(key);
    let difference: string;
    if (rank === 0) {
      const steps: RecordedStep[] = [];
      for (let other = 0; other < size; other++) steps.push(JSON.parse(await runtime.published(of(other), STEP_TIMEOUT_MS)));
      difference = recordingDifference(steps);
      await runtime.publish(`${key}/difference`, JSON.stringify(difference));
    } else difference = JSON.parse(await runtime.published(`${key}/difference`, STEP_TIMEOUT_MS));
    if (difference !== '') throw new PeerError(`The processes of the cluster recorded different steps: ${difference}.`);
  }

  /** Tells the others why this process ends; their collectives end with these words. */
  report(reason: string): void {
    this.tell(`rank ${this.rank}: ${reason}`);
  }

  private tell(message: string): void {
    try {
      this.runtime?.report(message);
    } catch (error) {
      // They know already that something is wrong.
      if (!TensorFlowError.isInstance(error)) throw error;
    }
  }

  /** Waits until all ranks are here. @throws PeerError naming who did not come in time */
  barrier(name: string, timeoutMs = STEP_TIMEOUT_MS): Promise<void> {
    return this.guard(`the barrier ${name}`, async () => this.runtime?.barrier(name, timeoutMs), 2 * timeoutMs);
  }
}
