/** A PyTorch file as a checkpoint, wherever its bytes are. */
import type { ByteSource } from './byte-source.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';
import { FormatError, type HostTensor } from './safetensors.js';
import { TorchFile } from './torch-reader.js';
import { findStateDict, type TorchStateDict, torchObjects, torchPlain } from './torch-state.js';
import type { TorchTensor } from './torch-tensor.js';

/** Which part of a PyTorch file is opened. */
export interface TorchCheckpointOptions {
  /** Entry of the file that holds the weights, for example `model`; default: the averaged ones, see `findStateDict`. */
  entry?: string;
}

/** An open PyTorch file whose weights have been found. */
export class TorchCheckpoint implements Checkpoint {
  readonly format = 'torch';

  private constructor(
    private readonly source: ByteSource & { close?(): Promise<void> },
    /** The whole file, with optimizer state and options. */
    readonly file: TorchFile,
    private readonly stateDict: TorchStateDict,
  ) {}

  /**
   * @param source is closed with the checkpoint, if it can be
   * @throws FormatError if it is damaged or has no weights
   * @throws ForbiddenGlobalError if it asks Python to run anything
   */
  static async open(source: ByteSource & { close?(): Promise<void> }, { entry }: TorchCheckpointOptions = {}): Promise<TorchCheckpoint> {
    const file = await TorchFile.open(source);
    return new TorchCheckpoint(source, file, findStateDict(file.value, source.name, entry));
  }

  get path(): string {
    return this.source.name;
  }

  /** Options that the file records, in JSON: `args` as DiT and its relatives, `config` as LightningDiT. */
  get metadata(): Readonly<Record<string, string>> {
    const { value } = this.file;
    if (!(value instanceof Map)) return {};
    const entries = ['args', 'config'].filter((name) => value.has(name));
    return Object.fromEntries(entries.map((name) => [name, JSON.stringify(torchPlain(value.get(name), this.path))]));
  }

  get objects(): readonly string[] {
    return torchObjects(this.file.value);
  }

  get names(): string[] {
    return [...this.stateDict.tensors.keys()];
  }

  /** Entry that the weights are of; `''` if the file is nothing else. */
  get entry(): string {
    return this.stateDict.entry;
  }

  info(name: string): TensorInfo {
    return this.tensor(name);
  }

  async read(name: string): Promise<HostTensor> {
    return this.file.read(this.tensor(name));
  }

  async close(): Promise<void> {
    await this.source.close?.();
  }

  private tensor(name: string): TorchTensor {
    const tensor = this.stateDict.tensors.get(name);
    if (tensor === undefined) throw new FormatError(this.path, `it has no tensor "${name}".`);
    return tensor;
  }
}
