import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type RunChunk, ThreadPool, type ThreadPoolOptions } from '../../../src/compute/fused/thread-pool.js';
import { BackendError } from '../../../src/foundation/errors.js';

/**
 * A little engine: `run(op, args, chunk)` adds `op` to the chunk's own word of the array at `args`, traps for op 127
 * and never returns for op 126.
 */
const ADDER = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0],
  ...[1, 7, 1, 96, 3, 127, 127, 127, 0], // type (i32, i32, i32) -> ()
  ...[2, 18, 1, 3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2, 3, 1, 128, 128, 4], // env.memory, shared
  ...[3, 2, 1, 0, 7, 7, 1, 3, 114, 117, 110, 0, 0], // one function, exported as run
  ...[10, 53, 1, 51, 0],
  ...[32, 0, 65, 255, 0, 70, 4, 64, 0, 11], // if op = 127: unreachable
  ...[32, 0, 65, 254, 0, 70, 4, 64, 3, 64, 12, 0, 11, 11], // if op = 126: loop
  ...[32, 1, 32, 2, 65, 2, 116, 106], // args + 4 * chunk
  ...[32, 1, 32, 2, 65, 2, 116, 106, 40, 2, 0, 32, 0, 106], // what is there + op
  ...[54, 2, 0, 11],
);

const TRAP = 127;
const HANG = 126;
const CHUNKS = 64;

function makePool(options: Partial<ThreadPoolOptions> & { readonly wrap?: (run: RunChunk) => RunChunk } = {}) {
  const module = new WebAssembly.Module(ADDER);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65_536, shared: true });
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports as { readonly run: RunChunk };
  const { wrap = (own) => own, ...rest } = options;
  const counts = { own: 0 };
  const counted: RunChunk = (op, args, chunk) => {
    counts.own++;
    run(op, args, chunk);
  };
  const pool = new ThreadPool({ module, memory, run: wrap(counted), threads: 2, startAfterMs: 0, shortMs: 0, ...rest });
  return { pool, counts, words: () => new Int32Array(memory.buffer, 1024, CHUNKS), grow: () => memory.grow(1) };
}

async function until(isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error('waited for 20 seconds');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Threads of this process; 0 where the system does not say. */
function threadsOfProcess(): number {
  const path = '/proc/self/status';
  if (!existsSync(path)) return 0;
  return Number(/^Threads:\s*(\d+)/m.exec(readFileSync(path, 'utf8'))?.[1]);
}

/** Runs regions until a worker has taken a chunk of one, so that it is known to be awake. */
function runUntilShared({ pool, counts }: ReturnType<typeof makePool>): void {
  const deadline = performance.now() + 20_000;
  for (let before = 0; ; ) {
    before = counts.own;
    pool.run(0, 1024, CHUNKS);
    if (counts.own - before < CHUNKS) return;
    if (performance.now() > deadline) throw new Error('no worker took a chunk in 20 seconds');
  }
}

describe('ThreadPool', () => {
  it('runs every chunk once in each of 100,000 small regions, on several threads', () => {
    const made = makePool();
    runUntilShared(made);
    made.counts.own = 0;
    let total = 0;
    const wanted = new Int32Array(CHUNKS);
    for (let region = 0; region < 100_000; region++) {
      const chunks = 1 + (region % 7);
      const op = region % 3;
      made.pool.run(op, 1024, chunks);
      total += chunks;
      for (let chunk = 0; chunk < chunks; chunk++) wanted[chunk] = (wanted[chunk] as number) + op;
    }
    expect([...made.words()]).toEqual([...wanted]);
    expect(made.counts.own).toBeLessThan(total);
    made.pool.dispose();
  });

  it('keeps to itself what was short the last time, and shares the same where nothing counts as short', () => {
    for (const shortMs of [10_000, 0]) {
      const made = makePool({ shortMs });
      if (shortMs === 0) runUntilShared(made);
      made.pool.run(0, 1024, CHUNKS);
      made.counts.own = 0;
      for (let region = 0; region < 20_000; region++) made.pool.run(1, 1024, CHUNKS);
      expect([...made.words()]).toEqual(new Array(CHUNKS).fill(20_000));
      if (shortMs > 0) expect(made.counts.own).toBe(20_000 * CHUNKS);
      else expect(made.counts.own).toBeLessThan(20_000 * CHUNKS);
      made.pool.dispose();
    }
  });

  it('wakes workers that fell asleep, and they see memory that has grown', async () => {
    const made = makePool();
    runUntilShared(made);
    await new Promise((resolve) => setTimeout(resolve, 50));
    made.grow();
    runUntilShared(made);
    const far = 65_536 + 4096;
    for (let region = 0; region < 1000; region++) made.pool.run(1, far, CHUNKS);
    const words = new Int32Array(made.words().buffer.byteLength > far ? made.words().buffer : new ArrayBuffer(0));
    expect([...words.subarray(far / 4, far / 4 + CHUNKS)]).toEqual(new Array(CHUNKS).fill(1000));
    made.pool.dispose();
  });

  it('starts no worker before there was work, and leaves none after dispose', async () => {
    const before = threadsOfProcess();
    const { pool } = makePool({ threads: 3, startAfterMs: 50 });
    pool.run(1, 1024, 2);
    expect(pool.workers).toBe(0);
    expect(threadsOfProcess()).toBeLessThanOrEqual(before);
    const started = performance.now();
    while (performance.now() - started < 200) pool.run(1, 1024, CHUNKS);
    expect(pool.workers).toBe(2);
    if (before > 0) await until(() => threadsOfProcess() > before);
    pool.dispose();
    pool.dispose();
    expect(pool.workers).toBe(0);
    await until(() => threadsOfProcess() <= before);
    pool.run(1, 1024, 2); // goes on alone
    expect(pool.workers).toBe(0);
  });

  it('is made and disposed 1,000 times', async () => {
    const before = threadsOfProcess();
    for (let n = 0; n < 1000; n++) {
      const made = makePool({ startAfterMs: n % 50 === 0 ? 0 : Number.POSITIVE_INFINITY });
      made.pool.run(1, 1024, CHUNKS);
      if (n % 200 === 0) runUntilShared(made);
      expect([...made.words()].every((word) => word === 1)).toBe(true);
      made.pool.dispose();
    }
    await until(() => threadsOfProcess() <= before);
  });

  it('reports a trap on whichever thread, after all chunks were begun, and goes on', () => {
    const made = makePool();
    runUntilShared(made);
    for (let n = 0; n < 50; n++) {
      expect(() => made.pool.run(TRAP, 1024, CHUNKS)).toThrow(BackendError);
      expect(() => made.pool.run(TRAP, 1024, CHUNKS)).toThrow(/operation 127, chunk \d+/);
    }
    made.words().fill(0);
    for (let n = 0; n < 1000; n++) made.pool.run(2, 1024, CHUNKS);
    expect([...made.words()]).toEqual(new Array(CHUNKS).fill(2000));
    made.pool.dispose();
  });

  it('says that a worker was lost with a chunk, and goes on without', async () => {
    // The calling thread leaves this operation to the worker, where it never ends.
    const wrap = (run: RunChunk): RunChunk => {
      return (op, args, chunk) => {
        const started = performance.now();
        if (op !== HANG) run(op, args, chunk);
        else while (performance.now() - started < 20);
      };
    };
    const before = threadsOfProcess();
    const made = makePool({ wrap, lostAfterMs: 200 });
    runUntilShared(made);
    expect(() => made.pool.run(HANG, 1024, CHUNKS)).toThrow(/ended while it worked on operation 126/);
    expect(made.pool.workers).toBe(0);
    made.words().fill(0);
    made.pool.run(3, 1024, CHUNKS);
    expect([...made.words()]).toEqual(new Array(CHUNKS).fill(3));
    await until(() => threadsOfProcess() <= before);
  });

  it('keeps no process alive: it ends by itself while workers sleep', () => {
    const engine = fileURLToPath(new URL('../../../src/compute/fused/engine.ts', import.meta.url));
    const program = `
      import { loadEngine } from ${JSON.stringify(engine)};
      const engine = await loadEngine({ variant: 'simd', threads: 3 });
      const started = performance.now();
      const pointer = engine.allocate(4096);
      engine.i32(pointer, 1024).fill(0);
      while (performance.now() - started < 500) engine.run(1, pointer, 2);
      console.log('workers', engine.workers);`;
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000 });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'workers 2\n', stderr: '' });
  });
});
