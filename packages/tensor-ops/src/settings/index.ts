export * from './nearest.js';
export * from './parse.js';
export * from './setting.js';
