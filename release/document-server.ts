/** A command of a page that answers requests: started, asked for its page, and ended by a signal. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Milliseconds until it must have said its address, answered, or ended. */
const LIMIT_MS = 120_000;

export class Server {
  private constructor(
    private readonly command: string,
    private readonly child: ChildProcess,
    /** Resolves once it has ended, also long before anybody waits for it. */
    private readonly ended: Promise<number | null>,
    readonly url: string,
  ) {}

  /**
   * Starts a command and asks for its page; nothing is left running when that fails.
   * @throws Error if it ends, says no address in time, or does not answer with its page
   */
  static async start(command: string, cwd: string, env: Record<string, string>, limitMs = LIMIT_MS): Promise<Server> {
    const child = spawn('bash', ['-c', `exec 2>&1\nexec ${command}`], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit').then(([code]) => code as number | null);
    let output = '';
    try {
      const url = await new Promise<string>((resolve, reject) => {
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          output += text;
          const [address] = /http:[^\s"]+/.exec(output) ?? [];
          if (address !== undefined) resolve(address);
        });
        child.on('error', reject);
        child.on('close', (code) => reject(new Error(`${command} ended with ${code}:\n${output}`)));
        setTimeout(() => reject(new Error(`${command} said no address in ${limitMs} ms:\n${output}`)), limitMs).unref();
      });
      const { status } = await fetch(url, { signal: AbortSignal.timeout(limitMs) });
      if (status !== 200) throw new Error(`${command}: ${url} answers ${status}`);
      return new Server(command, child, ended, url);
    } catch (error) {
      child.kill('SIGKILL');
      await ended.catch(() => undefined);
      throw error;
    }
  }

  /** @throws Error if it does not end well: it is gone either way */
  async stop(limitMs = LIMIT_MS): Promise<void> {
    this.child.kill('SIGTERM');
    const kill = setTimeout(() => this.child.kill('SIGKILL'), limitMs);
    const code = await this.ended.finally(() => clearTimeout(kill));
    if (code !== 0) throw new Error(`${this.command} ended with ${code} on SIGTERM.`);
  }
}
