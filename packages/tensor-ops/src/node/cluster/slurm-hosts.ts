/**
 * The first machine of a Slurm node list, such as `n[01-04,7],m3`: names separated by commas, with ranges in brackets, whose numbers
 * keep their leading zeros (the notation of `scontrol show hostnames`).
 */
export function firstHostOf(nodeList: string): string {
  let host = '';
  for (let at = 0; at < nodeList.length && nodeList[at] !== ','; at++) {
    if (nodeList[at] !== '[') {
      host += nodeList[at];
      continue;
    }
    const end = nodeList.indexOf(']', at);
    const numbers = nodeList.slice(at + 1, end < 0 ? undefined : end);
    host += numbers.split(/[-,]/, 1)[0];
    at += numbers.length + 1;
  }
  return host.trim();
}
