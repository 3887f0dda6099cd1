import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type BuildOptions, build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type FusedInput, type FusedOutcome, runFusedProgram } from '../fixtures/browser/fused-program.js';
import type { Attempt } from '../fixtures/browser/page.js';
import { type Length, type Outcome, runProgram } from '../fixtures/browser/program.js';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const hasChromium = existsSync(executablePath);
if (!hasChromium) console.warn(`skipped: no browser at ${executablePath} (set CHROMIUM to one)`);

const QUIET = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
/** No graphics at all: what is left to tfjs is wasm and cpu. */
const PLAIN = [...QUIET, '--disable-gpu', '--disable-software-rasterizer'];
/** WebGL in software: correct, slow. */
const WITH_WEBGL = [...QUIET, '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'];

const fixtures = fileURLToPath(new URL('../fixtures/browser', import.meta.url));

/** Bundles as a page's author would, but lets imports of `node:` modules stand, to be counted. */
async function bundle(input: BuildOptions) {
  const { outputFiles, metafile } = await build({
    ...input,
    bundle: true,
    minify: true,
    platform: 'browser',
    format: 'esm',
    external: ['node:*'],
    metafile: true,
    write: false,
    outdir: 'out',
    logLevel: 'silent',
  });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path));
  const [file] = outputFiles;
  if (file === undefined) throw new Error('esbuild wrote nothing');
  return { script: file.contents, nodeImports: imports.filter((path) => path.startsWith('node:')), imports };
}

const wasmFolder = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'));
const TYPES: Readonly<Record<string, string>> = { '.wasm': 'application/wasm', '.js': 'text/javascript' };
const PAGE =
  '<!doctype html><title>ialp</title><link rel="icon" href="data:,"><script type="module" src="page.js"></script>';

/** What makes a page cross-origin isolated, so that its threads may share memory. */
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
/** Workers from files of this server only, none from a Blob. */
const STRICT = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; img-src data:";
const HEADERS = {
  plain: {},
  beside: {},
  spa: {},
  isolated: ISOLATED,
  strict: { ...ISOLATED, 'content-security-policy': STRICT },
} as const;
type Folder = keyof typeof HEADERS;

/**
 * Serves the page in several ways: in `/plain/` without the `.wasm` files, in `/beside/` with them, in `/spa/`, where every
 * unknown address gives the page, as many development servers do, in `/isolated/` and in `/strict/` without the files
 * and with the headers above. `/wasm/` has the files alone.
 */
function serve(script: Uint8Array, wasm: ReadonlyMap<string, Uint8Array>): Server {
  return createServer((request, response) => {
    const [, folder = '', file = ''] = new URL(request.url ?? '/', 'http://localhost').pathname.split('/');
    const send = (body: string | Uint8Array, type: string) => response.setHeader('content-type', type).end(body);
    const bytes = ['wasm', 'beside'].includes(folder) ? wasm.get(file) : undefined;
    const isPage = Object.hasOwn(HEADERS, folder);
    if (isPage) response.setHeaders(new Map(Object.entries(HEADERS[folder as Folder])));
    if (bytes) send(bytes, 'application/wasm');
    else if (isPage && file === 'page.js') send(script, TYPES[extname(file)] as string);
    else if (folder === 'spa' || (isPage && file === '')) send(PAGE, 'text/html');
    else response.writeHead(404).end();
  });
}

describe('the bundle for browsers', () => {
  it('has no import of a node: module, static or not', async () => {
    const { script, imports } = await bundle({ entryPoints: [join(fixtures, 'page.ts')] });
    expect(imports).toEqual([]);
    const kilobytes = (bytes: Uint8Array) => `${Math.round(bytes.length / 1000)} kB`;
    console.info(`browser bundle: ${kilobytes(script)} minified, ${kilobytes(gzipSync(script))} gzipped`);
    expect(script.length).toBeLessThan(3_000_000);
  });

  it('would be caught with one', async () => {
    const contents = `
      import { readFileSync } from 'node:fs';
      export * from '../../../src/index.js';
      export const read = (file: string) => readFileSync(file, 'utf8');
      export const readLater = () => import('node:fs/promises');
    `;
    const { nodeImports } = await bundle({ stdin: { contents, resolveDir: fixtures, loader: 'ts' } });
    expect(nodeImports.sort()).toEqual(['node:fs', 'node:fs/promises']);
  });
});

const where = hasChromium ? 'headless Chromium' : `no browser at ${executablePath}`;

describe.skipIf(!hasChromium)(`the library in ${where}`, () => {
  let server: Server;
  let origin: string;
  let plain: Browser;
  let withWebgl: Browser;
  const opened: Page[] = [];

  beforeAll(async () => {
    const names = (await readdir(wasmFolder)).filter((name) => name.endsWith('.wasm'));
    expect(names.length).toBe(3);
    const files = await Promise.all(names.map(async (name) => [name, await readFile(join(wasmFolder, name))] as const));
    server = serve((await bundle({ entryPoints: [join(fixtures, 'page.ts')] })).script, new Map(files));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    plain = await chromium.launch({ executablePath, args: PLAIN });
    withWebgl = await chromium.launch({ executablePath, args: WITH_WEBGL });
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((page) => page.close()));
  });
  afterAll(async () => {
    await Promise.all([plain?.close(), withWebgl?.close()]);
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
  });

  /** Opens a page; `troubles` collects what it complains of, and requests to anyone but the server. */
  async function open(browser: Browser, folder: Folder) {
    const page = await browser.newPage();
    opened.push(page);
    const troubles: string[] = [];
    const requests: string[] = [];
    page.on('console', (message) => {
      // Chromium's own remarks on how fast a synchronous read of WebGL is.
      if (/GL Driver Message \(OpenGL, Performance/.test(message.text())) return;
      if (['error', 'warning'].includes(message.type())) troubles.push(message.text());
    });
    page.on('pageerror', (error) => troubles.push(String(error)));
    page.on('request', (request) => {
      const { protocol, origin: to, pathname } = new URL(request.url());
      if (protocol === 'data:' || protocol === 'blob:') return;
      if (to === origin) requests.push(pathname);
      else troubles.push(request.url());
    });
    await page.goto(`${origin}/${folder}/`);
    const call = <T>(name: string, ...input: unknown[]): Promise<T> =>
      page.evaluate(`${name}(...${JSON.stringify(input)})`) as Promise<T>;
    return { page, troubles, requests, call };
  }

  const wasmPaths = () => `${origin}/wasm/`;

  /** That a run learned, left nothing behind, and gives numbers one can use. */
  function expectSound(run: Outcome, { calls, steps }: Length = { calls: 48, steps: 96 }): void {
    const { hashes, losses, weights, recommended, reloaded, ...outcome } = run;
    expect(new Set(Object.values(hashes)).size).toBe(3);
    expect(outcome).toMatchObject({
      oracleCalls: calls,
      parsed: ['One, and\n"more"', 'Two'],
      leaked: { tensors: 0, buffers: 0 },
    });
    expect(outcome.pretrainUpdates).toBeGreaterThanOrEqual(calls / 8);
    expect(outcome.adaptUpdates).toBeGreaterThanOrEqual(steps / 16);
    const numbers = [...losses, ...numbersOf(weights), outcome.meanReturn];
    expect(numbers.filter((value) => !Number.isFinite(value))).toEqual([]);
    expect(losses.length).toBeGreaterThan(1);
    expect(losses[0]).toBeGreaterThan(0);
    expect(recommended.length).toBe(5);
    for (const { probability } of recommended) expect(probability).toBeGreaterThan(0);
    expect(reloaded).toEqual(recommended);
  }

  const numbersOf = (weights: Outcome['weights']): readonly number[] => Object.values(weights).flat();

  function largestDifference(a: readonly number[], b: readonly number[]): number {
    expect(a.length).toBe(b.length);
    return a.reduce((largest, value, n) => Math.max(largest, Math.abs(value - (b[n] as number))), 0);
  }

  it('would hear of a complaint, an uncaught error and a request to another host', async () => {
    const { troubles, call } = await open(plain, 'plain');
    await call('console.warn', 'careful');
    await call('setTimeout', 'throw new Error("lost")');
    await call('new Image().setAttribute', 'src', 'http://127.0.0.2:9/');
    for (const trouble of ['careful', 'lost', 'http://127.0.0.2:9/']) {
      await expect.poll(() => troubles.join(' ')).toContain(trouble);
    }
  });

  let inNode: Outcome;
  beforeAll(async () => {
    inNode = await runProgram('wasm');
    expectSound(inNode);
  });

  /** Bitwise the same weights. Losses and probabilities are made by JavaScript's `Math.exp`, whose last digit differs between engines. */
  function expectSameAsInNode({ report, losses, recommended, reloaded: _again, ...outcome }: Outcome): void {
    const { report: _report, losses: lossesInNode, recommended: wantedItems, reloaded: _, ...wanted } = inNode;
    expect(report.backend).toBe('wasm');
    expect(largestDifference(losses, lossesInNode)).toBeLessThan(1e-12);
    expect(recommended.map(({ id }) => id)).toEqual(wantedItems.map(({ id }) => id));
    const probabilities = (items: Outcome['recommended']) => items.map(({ probability }) => probability);
    expect(largestDifference(probabilities(recommended), probabilities(wantedItems))).toBeLessThan(1e-12);
    expect(outcome).toEqual(wanted);
  }

  it('distils, pre-trains, adapts and recommends on wasm, to the very weights that Node gets', async () => {
    const { troubles, requests, call } = await open(plain, 'plain');
    const outcome = await call<Outcome>('runProgram', 'auto', { wasmPaths: wasmPaths() });
    expect(outcome.report).toMatchObject({ backend: 'wasm', requested: 'auto', patched: true });
    expectSound(outcome);
    expectSameAsInNode(outcome);
    expect(troubles).toEqual([]);
    expect(requests).toEqual(['/plain/', '/plain/page.js', '/wasm/tfjs-backend-wasm-simd.wasm']);
  });

  it('does the same in a worker', async () => {
    const { troubles, call } = await open(plain, 'plain');
    const outcome = await call<Outcome>('runInWorker', 'runProgram', 'wasm', { wasmPaths: wasmPaths() });
    expectSameAsInNode(outcome);
    expect(troubles).toEqual([]);
  });

  it('runs on cpu, asked for by name', async () => {
    const { troubles, requests, call } = await open(plain, 'plain');
    const outcome = await call<Outcome>('runProgram', 'cpu');
    expect(outcome.report).toMatchObject({ backend: 'cpu', patched: false });
    expectSound(outcome);
    expect(largestDifference(outcome.losses, inNode.losses)).toBeLessThan(1e-3);
    expect(troubles.filter((text) => !text.includes('cpu'))).toEqual([]);
    expect(requests).toEqual(['/plain/', '/plain/page.js']);
  });

  it('runs on webgl with the losses of wasm', { timeout: 180_000 }, async () => {
    const short = { calls: 16, steps: 32 };
    const { troubles, call } = await open(withWebgl, 'plain');
    const outcome = await call<Outcome>('runProgram', 'webgl', {}, short);
    expect(outcome.report).toMatchObject({ backend: 'webgl', requested: 'webgl' });
    expectSound(outcome, short);
    const onWasm = await runProgram('wasm', {}, short);
    const losses = largestDifference(outcome.losses, onWasm.losses);
    const weights = largestDifference(numbersOf(outcome.weights), numbersOf(onWasm.weights));
    console.info(
      `webgl against wasm: losses differ by ${losses.toExponential(1)}, weights by ${weights.toExponential(1)}`,
    );
    expect(losses).toBeLessThan(1e-3);
    expect(weights).toBeLessThan(1e-3);
    expect(troubles).toEqual([]);
  });

  it("'auto' finds the .wasm files beside the page by itself", async () => {
    const { troubles, call } = await open(plain, 'beside');
    const { report, current } = await call<Attempt>('attempt');
    expect(report).toMatchObject({ backend: 'wasm', requested: 'auto' });
    expect(current).toEqual(report);
    expect(troubles).toEqual([]);
  });

  it.each(['plain', 'spa'] as const)("'auto' without .wasm files takes webgl and says why (%s)", async (folder) => {
    const { call } = await open(withWebgl, folder);
    const { report } = await call<Attempt>('attempt');
    expect(report).toMatchObject({ backend: 'webgl', requested: 'auto' });
    expect(report?.reason).toMatch(/wasm backend does not start.*wasmPaths/);
  });

  it.each(['plain', 'spa'] as const)("'auto' never takes cpu (%s)", async (folder) => {
    const { call } = await open(plain, folder);
    const { error, current } = await call<Attempt>('attempt');
    expect(error).toMatchObject({ code: 'BACKEND', backend: 'auto' });
    expect(error?.message).toMatch(/wasm.*wasmPaths.*webgl.*cpu is only used when asked for by name/);
    expect(current).toBeUndefined();
  });

  it('names the way to the .wasm files, and that only a fresh page can take it', async () => {
    const { call } = await open(plain, 'plain');
    const { error } = await call<Attempt>('attempt', 'wasm', { wasmPaths: '/nowhere' });
    expect(error).toMatchObject({ code: 'BACKEND', backend: 'wasm' });
    expect(error?.message).toMatch(/wasmPaths/);
    const again = await call<Attempt>('attempt', 'wasm', { wasmPaths: wasmPaths() });
    expect(again.error?.message).toMatch(/page is loaded again/);
    const cpu = await call<Attempt>('attempt', 'cpu');
    expect(cpu.report?.backend).toBe('cpu');
  });

  it('takes a folder without its last stroke, and a map of files', async () => {
    const first = await open(plain, 'plain');
    expect((await first.call<Attempt>('attempt', 'wasm', { wasmPaths: '/wasm' })).report?.backend).toBe('wasm');
    expect((await first.call<Attempt>('attempt', 'wasm', { wasmPaths: '/wasm' })).report?.backend).toBe('wasm');
    const second = await open(plain, 'plain');
    const names = ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm', 'tfjs-backend-wasm-threaded-simd.wasm'];
    const map = Object.fromEntries(names.map((name) => [name, `/wasm/${name}`]));
    expect((await second.call<Attempt>('attempt', 'wasm', { wasmPaths: map })).report?.backend).toBe('wasm');
    expect([...first.troubles, ...second.troubles]).toEqual([]);
  });

  it.each([
    ['webgl', 'webgl', undefined],
    ['webgpu', '@tensorflow/tfjs-backend-webgpu', 'npm install @tensorflow/tfjs-backend-webgpu'],
    ['node', 'in Node only', undefined],
    ['node-gpu', 'in Node only', undefined],
  ] as const)('says that it has no %s, and stays on what ran before', async (name, mentioned, install) => {
    const { call } = await open(plain, 'plain');
    await call<Attempt>('attempt', 'wasm', { wasmPaths: wasmPaths() });
    const { error, current } = await call<Attempt>('attempt', name);
    expect(error).toMatchObject({ code: 'BACKEND', backend: name });
    expect(error?.install).toBe(install);
    expect(error?.message).toContain(mentioned);
    expect(current?.backend).toBe('wasm');
    expect((await call<Outcome>('runProgram', 'wasm')).hashes).toEqual(inNode.hashes);
  });

  it('refuses a webgl that has 16-bit floats only', async () => {
    const { call } = await open(withWebgl, 'plain');
    await call('pretendHalfFloats');
    const { error, current } = await call<Attempt>('attempt', 'webgl');
    expect(error).toMatchObject({ code: 'BACKEND', backend: 'webgl' });
    expect(error?.message).toMatch(/16-bit/);
    expect(current).toBeUndefined();
  });

  describe('on the fused engine', () => {
    let inNode: FusedOutcome;
    beforeAll(async () => {
      inNode = await runFusedProgram({ options: { threads: 1 } });
    });

    const input = (): FusedInput => ({ options: { threads: 2, wasmPaths: wasmPaths() } });

    /** The same losses, and bitwise the same weights. */
    function expectSameNumbers({ losses, initial, weights }: FusedOutcome): void {
      expect({ initial, weights }).toEqual({ initial: inNode.initial, weights: inNode.weights });
      expect(largestDifference(losses, inNode.losses)).toBeLessThan(1e-12);
    }

    function expectShared({ report, kernels, workers, chunksOfWorkers }: FusedOutcome): void {
      expect(report).toMatchObject({ backend: 'wasm', kernels: 'fused', threads: 2, variant: 'simd' });
      expect({ kernels, workers }).toEqual({ kernels: 'fused', workers: 1 });
      expect(chunksOfWorkers).toBeGreaterThan(0);
    }

    function expectAlone({ report, kernels, workers, chunksOfWorkers }: FusedOutcome, threads: number): void {
      expect(report).toMatchObject({ backend: 'wasm', kernels: 'fused', threads, variant: 'simd' });
      expect({ kernels, workers, chunksOfWorkers }).toEqual({ kernels: 'fused', workers: 0, chunksOfWorkers: 0 });
    }

    it('gives in Node the same with a second thread', async () => {
      expectAlone(inNode, 1);
      const outcome = await runFusedProgram({ options: { threads: 2 } });
      expectShared(outcome);
      expectSameNumbers(outcome);
    });

    it('would be caught with one other bit in one weight, and with another seed', async () => {
      const flipped = await runFusedProgram({ options: { threads: 1 }, flipsBit: true });
      expect(() => expectSameNumbers(flipped)).toThrow();
      expect({ ...flipped.weights, 'actor/id': '' }).toEqual({ ...inNode.weights, 'actor/id': '' });
      const reseeded = await runFusedProgram({ options: { threads: 1 }, seed: 2 });
      expect(() => expectSameNumbers(reseeded)).toThrow();
      expect(() => expectSameNumbers({ ...inNode, losses: reseeded.losses })).toThrow();
    });

    it('shares work with a worker on an isolated page, gives the weights of Node, and ends the worker', async () => {
      const { page, troubles, requests, call } = await open(plain, 'isolated');
      const outcome = await call<FusedOutcome>('runFusedProgram', input());
      expect(outcome.isIsolated).toBe(true);
      expectShared(outcome);
      expectSameNumbers(outcome);
      await expect.poll(() => page.workers().length).toBe(1);
      await call<Attempt>('attempt', 'wasm', { threads: 1 });
      await expect.poll(() => page.workers().length).toBe(0);

      const again = await call<FusedOutcome>('runFusedProgram', input());
      expectShared(again);
      expectSameNumbers(again);
      await expect.poll(() => page.workers().length).toBe(1);
      expect(troubles).toEqual([]);
      expect(requests).toEqual(['/isolated/', '/isolated/page.js', '/wasm/tfjs-backend-wasm-simd.wasm']);
      await call<Attempt>('attempt', 'cpu');
      await expect.poll(() => page.workers().length).toBe(0);
    });

    it('runs in one thread on a page that is not isolated, says so, and gives the same weights', async () => {
      const { page, troubles, call } = await open(plain, 'plain');
      const outcome = await call<FusedOutcome>('runFusedProgram', input());
      expect(outcome.isIsolated).toBe(false);
      expectAlone(outcome, 1);
      expect(outcome.report.kernelsReason).toMatch(/one thread because memory cannot be shared/);
      expectSameNumbers(outcome);
      expect(page.workers()).toEqual([]);
      expect(troubles).toEqual([]);
    });

    it('shares work with a worker of a worker, beside the threads that tfjs has there, and gives the same weights', async () => {
      const { page, troubles, requests, call } = await open(plain, 'isolated');
      const outcome = await call<FusedOutcome>('runInWorker', 'runFusedProgram', input());
      expect(outcome.isIsolated).toBe(true);
      expectShared(outcome);
      expectSameNumbers(outcome);
      expect(requests).toContain('/wasm/tfjs-backend-wasm-simd.wasm');
      // A worker that sleeps when its parent ends is not told: the browser ends it by force, after two seconds.
      await expect.poll(() => page.workers().length, { timeout: 20_000 }).toBe(0);
      expect(troubles).toEqual([]);
    });

    it('goes on alone where a Content-Security-Policy forbids its worker, warns once, and gives the same weights', async () => {
      const { page, troubles, call } = await open(plain, 'strict');
      for (const _ of [1, 2]) {
        const outcome = await call<FusedOutcome>('runFusedProgram', input());
        expect(outcome.isIsolated).toBe(true);
        expectAlone(outcome, 2);
        expectSameNumbers(outcome);
        // The next run has a pool of its own, whose worker fails too.
        await call<Attempt>('attempt', 'wasm', { threads: 1 });
      }
      expect(page.workers()).toEqual([]);
      const [warnings, remarks] = [/^ialp: /, /^(?!ialp: )/].map((of) => troubles.filter((text) => of.test(text)));
      expect(warnings).toEqual([expect.stringMatching(/no further threads.*goes on without.*worker-src blob:/)]);
      // Chromium's own.
      expect(remarks?.length).toBe(2);
      for (const text of remarks ?? []) expect(text).toMatch(/blob:.*Content Security Policy.*worker-src 'self'/);
    });
  });
});
