import fs from 'node:fs';

/** Peak resident memory of this process in MiB. Linux counts the parent's memory at the start into `maxRSS`, so the process's own mark is read there. */
export function ownPeak(): number {
  const mark = process.platform === 'linux' ? /VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8')) : null;
  return (mark === null ? process.resourceUsage().maxRSS : Number(mark[1])) / 1024;
}
