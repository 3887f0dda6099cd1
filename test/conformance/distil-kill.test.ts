/**
 * `kill -9` at random moments of `ialp distil`, a process of its own, against a model server that is another: in the end every prompt is
 * answered once on record, and none was paid for twice but those that were in flight at a kill, which are counted one by one.
 *
 * IALP_KILLS sets the number of kills (default 8).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../src/foundation/rng.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const SERVER = fileURLToPath(new URL('../fixtures/model-server/main.ts', import.meta.url));
const KILLS = Number(process.env.IALP_KILLS ?? 8);
const CONCURRENCY = 4;
const LATENCY_MS = 25;
/** A child is killed within so many milliseconds of its first answer: long before it could be done. */
const SPREAD_MS = 300;
/** More than that many kills could let through. */
const COUNT = Math.ceil((KILLS + 2) * CONCURRENCY * (SPREAD_MS / LATENCY_MS));
/** The first line of a record, which is no answer, is shorter. */
const HEADER_BYTES = 600;
const TIMEOUT_MS = 1_800_000;

interface Counts {
  readonly paid: Readonly<Record<string, number>>;
}

let root: string;
let server: ChildProcess;
let url: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'ialp-distil-kill-'));
  const rows = Array.from({ length: 120 }, (_, i) => `p${i},Thing ${i} of kind ${i % 7}`);
  writeFileSync(join(root, 'items.csv'), `id,title\n${rows.join('\n')}\n`);
  server = spawn(process.execPath, ['--import', 'tsx', SERVER, 'vllm', String(LATENCY_MS)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  url = await new Promise<string>((resolve) => {
    let said = '';
    server.stdout?.on('data', (bytes: Buffer) => {
      said += bytes;
      if (said.includes('\n')) resolve((JSON.parse(said) as { readonly url: string }).url);
    });
  });
}, TIMEOUT_MS);
afterAll(() => {
  server.kill('SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

async function counts(): Promise<Counts> {
  return (await (await fetch(`${url}/__test/counts`)).json()) as Counts;
}

async function forget(): Promise<void> {
  await fetch(`${url}/__test/forget`, { method: 'POST' });
}

/** Runs `ialp distil`; with `kill` it is killed so long after its first new answer is on record, or after its start. */
async function distil(
  out: string,
  count: number,
  kill?: { readonly after: 'answer' | 'start'; readonly ms: number },
): Promise<'killed' | 'done'> {
  const argv = ['distil', '--items', join(root, 'items.csv'), '--attributes', 'title', '--out', out];
  const asked = ['--oracle', `openai-compatible:${url}#test-model`, '--count', String(count)];
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', MAIN, ...argv, ...asked, '--concurrency', String(CONCURRENCY)],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes: Buffer) => {
      said += bytes;
    });
  }
  const ended = new Promise<{ readonly code: number | null; readonly signal: string | null }>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  if (kill !== undefined) {
    const had = sizeOf(out);
    while (kill.after === 'answer' && child.exitCode === null && sizeOf(out) <= had + HEADER_BYTES) await sleep(5);
    await sleep(kill.ms);
    child.kill('SIGKILL');
  }
  const { code, signal } = await ended;
  if (signal === 'SIGKILL') {
    // What the server had begun it ends, and bills, with nobody left to read it.
    await sleep(3 * LATENCY_MS + 50);
    return 'killed';
  }
  if (code !== 0) throw new Error(`exit ${code}\n${said}`);
  return 'done';
}

function sizeOf(out: string): number {
  const path = join(out, 'answers.jsonl');
  return existsSync(path) ? statSync(path).size : 0;
}

/** SHA-256 of each prompt on record, as often as it stands there. A last line may be torn. */
function recorded(out: string): string[] {
  const path = join(out, 'answers.jsonl');
  if (!existsSync(path)) return [];
  const hashes: string[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n').slice(1)) {
    try {
      const { meta } = JSON.parse(line) as { readonly meta: { readonly promptHash: string } };
      hashes.push(meta.promptHash);
    } catch {}
  }
  return hashes;
}

describe(`ialp distil, killed ${KILLS} times`, () => {
  it(
    'answers every prompt once, and pays twice only for what was in flight',
    async () => {
      const out = join(root, 'out');
      const rng = new Rng('distil-kill');
      await forget();
      /** Prompt -> attempts that paid for it and did not come to write it down. */
      const lost = new Map<string, number>();
      const paidBefore = new Map<string, number>();
      let kills = 0;
      let atWork = 0;
      let mostLost = 0;
      while (kills < KILLS) {
        const had = recorded(out).length;
        // Most while it is asking, some while it is loading, reading its record or probing the server.
        const isAtWork = kills % 4 !== 3;
        const ms = isAtWork ? rng.uniform() * SPREAD_MS : rng.uniform() * 1500;
        expect(await distil(out, COUNT, { after: isAtWork ? 'answer' : 'start', ms })).toBe('killed');
        kills++;
        const { paid } = await counts();
        const onRecord = recorded(out);
        if (onRecord.length > had) atWork++;
        const written = new Set(onRecord);
        let lostNow = 0;
        for (const [hash, times] of Object.entries(paid)) {
          const isNew = times > (paidBefore.get(hash) ?? 0);
          paidBefore.set(hash, times);
          if (!isNew || written.has(hash)) continue;
          lost.set(hash, (lost.get(hash) ?? 0) + 1);
          lostNow++;
        }
        mostLost = Math.max(mostLost, lostNow);
      }
      expect(await distil(out, COUNT)).toBe('done');

      const record = recorded(out);
      expect(record).toHaveLength(COUNT);
      expect(new Set(record).size).toBe(COUNT);
      const { paid } = await counts();
      let paidTwice = 0;
      for (const hash of record) {
        const times = paid[hash] as number;
        expect(times, `paid for ${hash}`).toBe(1 + (lost.get(hash) ?? 0));
        paidTwice += times - 1;
      }
      const probes = Object.keys(paid).filter((hash) => !record.includes(hash)).length;
      process.stdout.write(
        `distil: ${kills} kills (${atWork} with answers won), ${COUNT} prompts, each answered once; ${paidTwice} answers paid again, all in flight at a kill (at most ${CONCURRENCY} are); ${probes} prompts of the probe\n`,
      );
      expect(paidTwice).toBeLessThanOrEqual(kills * CONCURRENCY);
      expect(mostLost).toBeLessThanOrEqual(CONCURRENCY + probes);
      // The kills must have hit a job at work, or nothing was shown.
      expect(atWork).toBeGreaterThanOrEqual(Math.floor(KILLS / 2));
      expect(paidTwice).toBeGreaterThan(0);
      // What is complete asks nobody.
      await forget();
      expect(await distil(out, COUNT)).toBe('done');
      const again = Object.keys((await counts()).paid).filter((hash) => record.includes(hash));
      expect(again).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it(
    'without the record, the negative control, pays again for what it had',
    async () => {
      const out = join(root, 'control');
      await forget();
      expect(await distil(out, 80)).toBe('done');
      const record = recorded(out);
      rmSync(out, { recursive: true });
      expect(await distil(out, 80)).toBe('done');
      const { paid } = await counts();
      expect(record.map((hash) => paid[hash])).toEqual(record.map(() => 2));
    },
    TIMEOUT_MS,
  );
});
