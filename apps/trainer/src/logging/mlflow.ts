/**
 * A run on an MLflow tracking server, through its REST API: settings as parameters, numbers as metrics, samples as artifacts.
 *
 * Not through the files of `mlruns`, which MLflow from version 3.13 refuses to read unless told to, as its maintainers say.
 *
 * Source: mlflow.org/docs/latest/api_reference/rest-api.html.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileSystemReason, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../config/schema.js';
import { type Entry, entriesOf, nameOf, type RunEnd, type TrackedRun, type Tracker } from './tracker.js';

type MlflowSettings = NonNullable<TrainConfig['logging']['mlflow']>;

/** So long an answer may take. */
const PATIENCE_MS = 10_000;
/** Limits of one request, and of a parameter's value: those of MLflow. */
const [METRICS_AT_ONCE, PARAMETERS_AT_ONCE, LONGEST_VALUE] = [1000, 100, 6000];

interface Metric {
  key: string;
  value: number | string;
  timestamp: number;
  step: number;
}

/** The answer of a server that refuses. */
class Refusal extends Error {
  constructor(
    message: string,
    readonly errorCode: string | undefined,
  ) {
    super(message);
  }
}

export class MlflowTracker implements Tracker {
  readonly name = 'MLflow';
  private run: { id: string; artifacts: string } | undefined;
  /** The server has all up to this step. */
  private sent = 0;

  constructor(
    private readonly tracked: TrackedRun,
    private readonly settings: MlflowSettings,
    private readonly environment: NodeJS.ProcessEnv = process.env,
  ) {}

  async update(step: number): Promise<void> {
    this.run ??= await this.open();
    const { out, lines } = this.tracked;
    const entries = await entriesOf(out, lines(), this.sent, step);
    // Before the numbers: a process that is killed in between sends both again, because the steps with a loss are taken for sent.
    const refusal = await this.uploadSamples(entries).then(
      () => undefined,
      (error: Error) => error,
    );
    const metrics = entries.flatMap(metricsOf);
    for (let at = 0; at < metrics.length; at += METRICS_AT_ONCE)
      await this.post('runs/log-batch', { run_id: this.run.id, metrics: metrics.slice(at, at + METRICS_AT_ONCE) });
    if (refusal !== undefined) throw refusal;
    // A run that was killed and resumed has steps before it that the server has already.
    this.sent = Math.max(this.sent, step);
  }

  async rewind(step: number): Promise<void> {
    this.sent = Math.min(this.sent, step);
  }

  async finish(step: number, end: RunEnd): Promise<void> {
    await this.update(step);
    const status = { finished: 'FINISHED', interrupted: 'KILLED', failed: 'FAILED' }[end];
    await this.post('runs/update', { run_id: this.run!.id, status, end_time: Date.now() });
  }

  /** The run that the folder names, else a new one, with all settings. */
  private async open(): Promise<{ id: string; artifacts: string }> {
    const { info, data } = (await this.runBefore()) ?? (await this.newRun());
    const { run_id: id, artifact_uri: artifacts } = info;
    this.sent = Math.max(0, ...(data?.metrics ?? []).filter(({ key }) => key === 'loss').map(({ step }) => Number(step ?? 0)));
    const known = new Set(data?.params?.map(({ key }) => key));
    const params = parametersOf(this.tracked.config).filter(({ key }) => !known.has(key));
    for (let at = 0; at < params.length; at += PARAMETERS_AT_ONCE)
      await this.post('runs/log-batch', { run_id: id, params: params.slice(at, at + PARAMETERS_AT_ONCE) });
    if (placeOf(artifacts) === undefined)
      this.tracked.say(
        `MLflow gets no samples: the server does not keep artifacts itself, but sends clients to ${artifacts.split(':')[0]}.`,
      );
    return { id, artifacts };
  }

  private async runBefore(): Promise<RunOfServer | undefined> {
    const { server, experiment } = this.settings;
    const before = JSON.parse(await fs.readFile(this.file, 'utf8').catch(() => '{}')) as Partial<Record<string, string>>;
    const id = before['run'];
    if (id === undefined || before['server'] !== server || before['experiment'] !== experiment) return undefined;
    const { run } = await this.get<{ run: RunOfServer }>('runs/get', { run_id: id });
    await this.post('runs/update', { run_id: id, status: 'RUNNING' });
    return run;
  }

  private async newRun(): Promise<RunOfServer> {
    const { server, experiment } = this.settings;
    const { run } = await this.post<{ run: RunOfServer }>('runs/create', {
      experiment_id: await this.experiment(),
      run_name: nameOf(this.tracked, this.settings),
      start_time: Date.now(),
      tags: [{ key: 'mlflow.source.name', value: 'dit-moe-trainer' }],
    });
    await writeFileAtomically(this.file, `${JSON.stringify({ server, experiment, run: run.info.run_id }, null, 2)}\n`);
    return run;
  }

  /** Says which run on the server this one is. */
  private get file(): string {
    return path.join(this.tracked.out, 'mlflow.json');
  }

  private async experiment(): Promise<string> {
    const name = this.settings.experiment;
    const find = async (): Promise<string> =>
      (await this.get<{ experiment: { experiment_id: string } }>('experiments/get-by-name', { experiment_name: name })).experiment
        .experiment_id;
    try {
      return await find();
    } catch (error) {
      if (!(error instanceof Refusal) || error.errorCode !== 'RESOURCE_DOES_NOT_EXIST') throw error;
    }
    try {
      return (await this.post<{ experiment_id: string }>('experiments/create', { name })).experiment_id;
    } catch (error) {
      // Another run that began at the same time was faster.
      if (error instanceof Refusal && error.errorCode === 'RESOURCE_ALREADY_EXISTS') return find();
      throw error;
    }
  }

  private async uploadSamples(entries: readonly Entry[]): Promise<void> {
    const place = placeOf(this.run!.artifacts);
    if (place === undefined) return;
    for (const { samples } of entries) {
      if (samples === undefined) continue;
      const target = `${place}/samples/${path.basename(samples)}`;
      await this.request(`mlflow-artifacts/artifacts/${target.split('/').map(encodeURIComponent).join('/')}`, {
        method: 'PUT',
        headers: { 'content-type': 'image/png' },
        body: new Uint8Array(await fs.readFile(samples)),
      });
    }
  }

  private get<T>(endpoint: string, query: Record<string, string>): Promise<T> {
    return this.request(`mlflow/${endpoint}?${new URLSearchParams(query)}`, {});
  }

  private post<T>(endpoint: string, body: object): Promise<T> {
    return this.request(`mlflow/${endpoint}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  }

  private async request<T>(place: string, init: RequestInit): Promise<T> {
    const url = `${this.settings.server.replace(/\/+$/, '')}/api/2.0/${place}`;
    let response: Response;
    try {
      const headers = { ...init.headers, ...authorization(this.environment) };
      response = await fetch(url, { ...init, headers, redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS) });
    } catch (error) {
      const { name, message, cause } = error as Error;
      const reason =
        name === 'TimeoutError'
          ? `no answer in ${PATIENCE_MS / 1000} s`
          : (fileSystemReason(cause)?.reason ?? (cause as Error)?.message ?? message);
      throw new Error(`${this.settings.server} cannot be reached (${reason})`, { cause: error });
    }
    const text = await response.text();
    if (!response.ok) {
      const answer = tryJson(text) as { error_code?: string; message?: string } | undefined;
      throw new Refusal(
        `${this.settings.server} refuses ${place.split('?')[0]} (${response.status}${answer?.message === undefined ? '' : `: ${answer.message.slice(0, 300)}`})`,
        answer?.error_code,
      );
    }
    return (tryJson(text) ?? {}) as T;
  }
}

/** Where a server that keeps artifacts itself has those of a run. Of the keys of other stores only Python's client knows. */
const placeOf = (artifacts: string): string | undefined => /^mlflow-artifacts:\/(?:\/[^/]*\/)?(.*)$/.exec(artifacts)?.[1];

interface RunOfServer {
  info: { run_id: string; artifact_uri: string };
  data?: { metrics?: { key: string; step?: number | string }[]; params?: { key: string }[] };
}

const tryJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

function authorization(environment: NodeJS.ProcessEnv): Record<string, string> {
  const { MLFLOW_TRACKING_TOKEN: token, MLFLOW_TRACKING_USERNAME: user, MLFLOW_TRACKING_PASSWORD: password } = environment;
  if (token !== undefined) return { authorization: `Bearer ${token}` };
  if (user !== undefined) return { authorization: `Basic ${Buffer.from(`${user}:${password ?? ''}`).toString('base64')}` };
  return {};
}

/** JSON has no name for numbers that are not finite; MLflow reads those of protobuf. Lines that were read back have null for them. */
const metricsOf = ({ step, at = Date.now(), scalars }: Entry): Metric[] =>
  Object.entries(scalars).map(([key, value]) => ({
    key,
    value: Number.isFinite(value) ? value : value === null ? 'NaN' : String(value),
    timestamp: Math.round(at),
    step,
  }));

/** Settings as a flat list, such as `optimizer.learningRate`. */
function parametersOf(config: unknown, at = ''): { key: string; value: string }[] {
  if (typeof config === 'object' && config !== null && !Array.isArray(config))
    return Object.entries(config).flatMap(([key, value]) => parametersOf(value, at === '' ? key : `${at}.${key}`));
  const value = typeof config === 'string' ? config : JSON.stringify(config);
  return config === undefined ? [] : [{ key: at, value: value.slice(0, LONGEST_VALUE) }];
}
