/**
 * How many connections a server holds. Whoever comes is let in: at a limit, the connection that has been without a request for the
 * longest time makes room. So those that send nothing keep nobody out, whoever opens them, and before anybody is asked for a token.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionLimits {
  /** Connections of one address. */
  perAddress: number;
  /** Connections in all. */
  inAll: number;
}

/** Browsers open about six; proxies that pass on many people's requests come from one address as well. */
const LIMITS: ConnectionLimits = { perAddress: 256, inAll: 1024 };

/** Applies the limits to a server. A connection that comes when all others are at work is closed. */
export function limitConnections(server: Server, { perAddress, inAll }: ConnectionLimits = LIMITS): void {
  /** Open connections with their addresses, which a socket forgets; the one that was last at work comes last. */
  const open = new Map<Socket, string>();
  const working = new Map<Socket, number>();
  const addresses = new Map<string, number>();

  const leave = (socket: Socket): void => {
    const address = open.get(socket);
    if (address === undefined) return;
    open.delete(socket);
    working.delete(socket);
    const left = addresses.get(address)! - 1;
    if (left === 0) addresses.delete(address);
    else addresses.set(address, left);
  };
  /** Closes the connection, of an address or of all, that has been idle for the longest time. */
  const makeRoom = (wanted?: string): boolean => {
    for (const [socket, address] of open)
      if (!working.has(socket) && (wanted === undefined || address === wanted)) {
        leave(socket);
        socket.destroy();
        return true;
      }
    return false;
  };
  server.on('connection', (socket) => {
    const address = socket.remoteAddress ?? '';
    if (((addresses.get(address) ?? 0) >= perAddress && !makeRoom(address)) || (open.size >= inAll && !makeRoom())) {
      socket.destroy();
      return;
    }
    open.set(socket, address);
    addresses.set(address, (addresses.get(address) ?? 0) + 1);
    socket.once('close', () => leave(socket));
  });
  server.on('request', ({ socket }, response) => {
    working.set(socket, (working.get(socket) ?? 0) + 1);
    response.once('close', () => {
      const left = (working.get(socket) ?? 1) - 1;
      if (left > 0) working.set(socket, left);
      else working.delete(socket);
      const address = open.get(socket);
      if (address === undefined) return;
      open.delete(socket);
      open.set(socket, address);
    });
  });
}
