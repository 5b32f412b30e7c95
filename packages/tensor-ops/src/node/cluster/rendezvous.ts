/**
 * Where the processes of a cluster meet before TensorFlow starts: each tells rank 0 who it is, what it runs and where its server will
 * listen, and gets the addresses of all. TensorFlow's own start cannot be timed out and says nothing about who is missing; this does.
 *
 * One TCP connection per process, one line of JSON each way. Nothing secret travels, and nothing is trusted: lines are bounded, and
 * whoever speaks another language is dropped. The connections stay open, since the end of a process closes its own at once: TensorFlow
 * notices that only where a collective is under way, and else by the signs of life that stop.
 */
import net from 'node:net';
import { DitMoeError } from '../../errors.js';
import type { Launch } from './launch-info.js';

const PROTOCOL = 'dit-moe-cluster/1';
/** Longest line that is read: the addresses of some thousand ranks. */
const MAX_LINE_BYTES = 2 ** 18;
/** How long to wait before trying again to reach rank 0, which may not have started or have no name in DNS yet. */
const RETRY_MS = 250;
/** How often somebody who waits is told for whom. */
const REPORT_MS = 10_000;
/** How much longer than rank 0 itself the others wait for its answer. */
const GRACE_MS = 5000;
/** A connection that stays open shows a sign of life so often. */
const KEEP_ALIVE_MS = 30_000;
/** Names of ranks in one message. */
const MAX_NAMED = 16;

/** The processes did not come together: some are missing, or run something else. */
export class RendezvousError extends DitMoeError {
  static override readonly code = 'E_RENDEZVOUS';
}

export interface RendezvousOptions {
  /** What must be equal on all processes, by name: versions, hash of the configuration. */
  agreement: Readonly<Record<string, string>>;
  /** Port of TensorFlow's server of this process. */
  port: number;
  /** How long to wait for the others (default 300 s: containers and schedulers start unevenly). */
  timeoutMs?: number;
  /** Receives a line every ten seconds that says for whom this process waits. */
  onWaiting?: (message: string) => void;
}

interface Greeting {
  protocol: string;
  rank: number;
  size: number;
  port: number;
  agreement: Record<string, string>;
}

type Reply = { addresses: string[] } | { problem: string };

/** What the leader says last, when one process is gone: the others end then too. */
interface Farewell {
  gone: number;
}

/** The processes that have met. */
export interface Meeting {
  /** `host:port` of TensorFlow's server of every rank, in their order. */
  addresses: readonly string[];
  /** The rank that ended first, as soon as its connection closes; it does not keep this process alive. */
  gone: Promise<number>;
}

/**
 * Meets the other processes of a launch.
 *
 * @throws RendezvousError on every process alike: who is missing after the timeout, whose agreement differs in what, which rank came twice
 */
export async function rendezvous(launch: Launch, options: RendezvousOptions): Promise<Meeting> {
  const timeoutMs = options.timeoutMs ?? 300_000;
  return launch.rank === 0 ? lead(launch, options, timeoutMs) : follow(launch, options, timeoutMs);
}

function lead(launch: Launch, options: RendezvousOptions, timeoutMs: number): Promise<Meeting> {
  const { size, leader } = launch;
  const members = new Map<number, { socket: net.Socket; greeting: Greeting; address: string }>();
  let ownHost = leader.host;
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    const waiting = setInterval(() => options.onWaiting?.(`waiting for ${ranks(absent())} of ${size} processes`), REPORT_MS);
    const timer = setTimeout(
      () => end({ problem: `${ranks(absent())} of ${size} processes did not come to ${leader.host}:${leader.port} in time` }),
      timeoutMs,
    );
    const absent = (): number[] => Array.from({ length: size - 1 }, (_, i) => i + 1).filter((rank) => !members.has(rank));
    const end = (reply: Reply): void => {
      clearInterval(waiting);
      clearTimeout(timer);
      server.close();
      const line = `${JSON.stringify(reply)}\n`;
      if ('addresses' in reply) {
        for (const { socket } of members.values()) socket.write(line);
        resolve({ addresses: reply.addresses, gone: firstToLeave(new Map([...members].map(([rank, { socket }]) => [rank, socket]))) });
        return;
      }
      for (const { socket } of members.values()) socket.end(line);
      reject(new RendezvousError(`The cluster did not come together: ${reply.problem}.`));
    };
    /** Takes in one process; the reply to all once everybody is there, or something is wrong. */
    const admit = (socket: net.Socket, greeting: Greeting): Reply | undefined => {
      const { rank } = greeting;
      const address = hostPort(plainAddress(socket.remoteAddress), greeting.port);
      const known = members.get(rank);
      if (greeting.size !== size) return { problem: `rank ${rank} at ${address} counts ${greeting.size} processes, not ${size}` };
      if (rank === 0 || known !== undefined)
        return { problem: `two processes say that they are rank ${rank}: ${known?.address ?? 'this one'} and ${address}` };
      members.set(rank, { socket, greeting, address });
      // Others reach this process where those on other machines did.
      if (!isLoopback(plainAddress(socket.remoteAddress))) ownHost = plainAddress(socket.localAddress);
      if (members.size < size - 1) return undefined;
      const all = Array.from({ length: size - 1 }, (_, i) => members.get(i + 1)).filter((member) => member !== undefined);
      const problem = differences(
        options.agreement,
        all.map((member) => member.greeting),
      );
      if (problem !== '') return { problem };
      return { addresses: [...(launch.addresses ?? [hostPort(ownHost, options.port), ...all.map((member) => member.address)])] };
    };
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      readLine(socket).then(
        (line) => {
          const greeting = greetingOf(line);
          const reply = greeting === undefined ? undefined : admit(socket, greeting);
          if (greeting === undefined) socket.destroy();
          if (reply !== undefined) end(reply);
        },
        () => socket.destroy(),
      );
    });
    server.on('error', (cause: NodeJS.ErrnoException) => {
      clearInterval(waiting);
      clearTimeout(timer);
      const reason = cause.code === 'EADDRINUSE' ? 'another program listens there' : cause.message;
      reject(new RendezvousError(`Rank 0 cannot listen at port ${leader.port}: ${reason}.`, { hint: 'Choose another port.', cause }));
    });
    server.listen(leader.port);
  });
}

/** Routers between machines forget connections on which nothing moves. It is no reason for this process to go on. */
const keep = (socket: net.Socket): void => void socket.setKeepAlive(true, KEEP_ALIVE_MS).unref();

/** The first of the leader's connections that closes, which the others are told of. */
function firstToLeave(sockets: ReadonlyMap<number, net.Socket>): Promise<number> {
  return new Promise((resolve) => {
    for (const [rank, socket] of sockets) {
      keep(socket);
      const left = (): void => {
        resolve(rank);
        const farewell: Farewell = { gone: rank };
        for (const other of sockets.values()) if (!other.writableEnded) other.end(JSON.stringify(farewell));
      };
      if (socket.closed) left();
      else socket.once('close', left);
    }
  });
}

async function follow(launch: Launch, options: RendezvousOptions, timeoutMs: number): Promise<Meeting> {
  const { rank, size, leader } = launch;
  const place = hostPort(leader.host, leader.port);
  const greeting: Greeting = { protocol: PROTOCOL, rank, size, port: options.port, agreement: { ...options.agreement } };
  const deadline = performance.now() + timeoutMs;
  let failure = 'nobody answered';
  let reported = performance.now();
  while (performance.now() < deadline) {
    try {
      const { line, end } = await ask(leader, `${JSON.stringify(greeting)}\n`, timeoutMs);
      const reply = JSON.parse(line) as Reply;
      if ('problem' in reply) throw new RendezvousError(`The cluster did not come together: ${reply.problem}.`);
      if (Array.isArray(reply.addresses) && reply.addresses.length === size)
        return { addresses: reply.addresses, gone: end.then((text) => farewellOf(text)?.gone ?? 0) };
      failure = 'it answered something else';
    } catch (error) {
      if (RendezvousError.isInstance(error)) throw error;
      failure = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    }
    if (performance.now() - reported > REPORT_MS) {
      reported = performance.now();
      options.onWaiting?.(`waiting for rank 0 at ${place} (${failure})`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  throw new RendezvousError(`The cluster did not come together: rank ${rank} could not reach rank 0 at ${place} in time (${failure}).`, {
    hint: 'Check that rank 0 runs, and that this machine may reach that port.',
  });
}

/**
 * Says `line` to the leader and waits for its line: as long as the leader itself waits, which names who is missing.
 * @returns the line, and what came after it when the connection has closed
 */
async function ask(leader: Launch['leader'], line: string, timeoutMs: number): Promise<{ line: string; end: Promise<string> }> {
  const socket = net.connect(leader.port, leader.host);
  const late = (): void => void socket.destroy(new Error('no answer'));
  let timer = setTimeout(late, timeoutMs);
  socket.on('connect', () => {
    clearTimeout(timer);
    timer = setTimeout(late, timeoutMs + GRACE_MS);
    socket.write(line);
  });
  try {
    const reply = await readLine(socket);
    keep(socket);
    const end = new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (part: string) => {
        text = (text + part).slice(0, MAX_LINE_BYTES);
      });
      socket.once('close', () => resolve(text));
    });
    return { line: reply, end };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** The first line that arrives; rejected if the connection ends before it, fails, or sends more than a line may hold. */
function readLine(socket: net.Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const take = (part: string): void => {
      text += part;
      const end = text.indexOf('\n');
      if (end < 0 && text.length <= MAX_LINE_BYTES) return;
      socket.off('data', take);
      if (end >= 0) resolve(text.slice(0, end));
      else reject(new Error('the line is too long'));
    };
    socket.setEncoding('utf8');
    socket.on('data', take);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));
  });
}

/** What the leader said last; nothing if it was killed. */
function farewellOf(text: string): Farewell | undefined {
  try {
    const { gone } = JSON.parse(text) as Farewell;
    return Number.isInteger(gone) ? { gone } : undefined;
  } catch {
    return undefined;
  }
}

function greetingOf(line: string): Greeting | undefined {
  try {
    const { protocol, rank, size, port, agreement } = JSON.parse(line) as Greeting;
    const numbers = [rank, size, port].every((n) => Number.isInteger(n) && n >= 0);
    const valid = protocol === PROTOCOL && numbers && rank < size && port < 65_536 && typeof agreement === 'object' && agreement !== null;
    return valid ? { protocol, rank, size, port, agreement } : undefined;
  } catch {
    return undefined;
  }
}

/** Who differs in what from rank 0, or ''. */
function differences(own: Readonly<Record<string, string>>, others: readonly Greeting[]): string {
  const names = [...new Set([own, ...others.map(({ agreement }) => agreement)].flatMap((agreement) => Object.keys(agreement)))];
  return names
    .flatMap((name) => {
      const different = others.filter(({ agreement }) => agreement[name] !== own[name]);
      if (different.length === 0) return [];
      const found = different[0].agreement[name] ?? 'none';
      return [`${name} is ${own[name] ?? 'none'} on rank 0 and ${found} on ${ranks(different.map(({ rank }) => rank))}`];
    })
    .join('; ');
}

function ranks(list: readonly number[]): string {
  const sorted = [...list].sort((a, b) => a - b);
  const named = sorted.slice(0, MAX_NAMED).join(', ');
  return `${list.length === 1 ? 'rank' : 'ranks'} ${named}${list.length > MAX_NAMED ? ` and ${list.length - MAX_NAMED} more` : ''}`;
}

/** An IPv4 address that came through an IPv6 socket, as IPv4. */
const plainAddress = (address = ''): string => address.replace(/^::ffff:(?=\d+\.)/, '');
const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');
const hostPort = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

/** A port that is free at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
