export { createFolderAtomically, TEMPORARY_PREFIX, writeAtomically, writeFileAtomically } from './atomic.js';
export { FileSource } from './file-source.js';
export { hashFile } from './hash-file.js';
export { downloadFromHub, type HubOptions, type HubProgress } from './hub.js';
export { HubError } from './hub-access.js';
export { type HubUpload, type HubUploadFile, type HubUploadOptions, uploadToHub } from './hub-upload.js';

export { type Lock, LockError, type LockTimes, takeLock } from './lock.js';
export { makeFolder } from './make-folder.js';
export * from './npz-file.js';
export * from './open-checkpoint.js';
export * from './safetensors-file.js';
export * from './sealed-manifest.js';

export * from './write-chunks.js';
export { asWriteError, fileSystemReason, WriteError } from './write-error.js';
export { shardName, writeShardedSafetensors, writeShardIndex } from './write-sharded.js';
