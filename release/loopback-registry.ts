/**
 * A package registry for one process on this machine, which holds what is published to it and nothing else. It speaks as much of npm's protocol
 * as publishing and installing need; other packages come from the registry that the package manager is set to.
 */
import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** Package managers hold back releases that are only days old; what is published here looks as old as this. */
const AGE = 30 * 24 * 3600 * 1000;

interface Published {
  versions: Record<string, Record<string, unknown>>;
  tarballs: Record<string, Buffer>;
  latest: string;
}

export interface LoopbackRegistry {
  readonly url: string;
  /** `name@version` of everything published, in order. */
  readonly published: readonly string[];
  close(): void;
}

export async function loopbackRegistry(): Promise<LoopbackRegistry> {
  const packages = new Map<string, Published>();
  const published: string[] = [];
  let url = '';

  /** Takes what `npm publish` sends: a document of one version with the tarball as attachment. */
  function publish(name: string, body: string): { status: number; answer: unknown } {
    const document = JSON.parse(body) as {
      versions: Record<string, Record<string, unknown>>;
      _attachments: Record<string, { data: string }>;
    };
    const one = packages.get(name) ?? { versions: {}, tarballs: {}, latest: '' };
    for (const [version, manifest] of Object.entries(document.versions)) {
      if (version in one.versions) return { status: 403, answer: { error: `${name}@${version} is already published` } };
      const [attachment] = Object.values(document._attachments);
      const tarball = Buffer.from(attachment.data, 'base64');
      const dist = {
        tarball: `${url}${name}/-/${version}.tgz`,
        shasum: createHash('sha1').update(tarball).digest('hex'),
        integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
      };
      one.versions[version] = { ...manifest, dist };
      one.tarballs[version] = tarball;
      one.latest = version;
      published.push(`${name}@${version}`);
    }
    packages.set(name, one);
    return { status: 201, answer: { ok: true } };
  }

  const server = http.createServer(async (request, response) => {
    const path = decodeURIComponent(request.url!.split('?')[0].slice(1));
    const [name, file] = path.split('/-/');
    const one = packages.get(name);
    const send = (status: number, answer: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    };
    if (request.method === 'PUT') {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { status, answer } = publish(name, Buffer.concat(chunks).toString());
      send(status, answer);
    } else if (one === undefined) {
      send(404, { error: `${name} is not published here` });
    } else if (file !== undefined) {
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(one.tarballs[file.replace(/\.tgz$/, '')]);
    } else {
      const date = new Date(Date.now() - AGE).toISOString();
      const time = { created: date, modified: date, ...Object.fromEntries(Object.keys(one.versions).map((version) => [version, date])) };
      send(200, { name, 'dist-tags': { latest: one.latest }, versions: one.versions, time });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return { url, published, close: () => server.close() };
}
