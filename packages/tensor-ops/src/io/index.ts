export { type ByteSource, memorySource } from './byte-source.js';
export * from './checkpoint.js';
export { crc32, crc32c } from './crc.js';
export { fetchCheckpoint } from './fetch-checkpoint.js';
export { decodeNpy, encodeNpy, encodeNpyHeader, type NpyDtype, type NpyHeader } from './npy.js';
export * from './npz.js';
export { ForbiddenGlobalError } from './pickle.js';
export * from './protobuf.js';
export { safeFileName } from './safe-file-name.js';
export {
  decodeSafetensors,
  decodeTensor,
  encodeSafetensors,
  encodeTensor,
  FormatError,
  type HostData,
  type HostTensor,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type TensorBytes,
  type TensorEntry,
  widenFloat16,
} from './safetensors.js';
export { TorchCheckpoint, type TorchCheckpointOptions } from './torch-checkpoint.js';
export { TorchFile } from './torch-reader.js';
export { findStateDict, type TorchAdamState, type TorchStateDict, torchAdamState, torchPlain } from './torch-state.js';
export { TorchTensor } from './torch-tensor.js';
export { TorchTensorSource, type TorchWritable, torchChunks } from './torch-writer.js';
