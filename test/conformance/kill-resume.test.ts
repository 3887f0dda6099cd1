/**
 * `kill -9` at random moments of pretrain and of adapt, in child processes with files on a disk: every run goes on, repeats
 * less than one checkpoint interval, asks nothing twice but what was in flight, and ends with the weights of the unbroken run.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../src/foundation/rng.js';

const SCRIPT = fileURLToPath(new URL('../fixtures/train-until-killed.ts', import.meta.url));
const KILLS = 20;
/** Of those, at least so many when a checkpoint is there. */
const KILLS_AFTER_CHECKPOINT = 15;
/** Kills are spread over this share of the time that the child took to load, from then on: on a busy machine both take longer. */
const SPREAD = 0.8;
/** Nothing here takes so long; a child that hangs is a failure. */
const TIMEOUT_MS = 900_000;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'ialp-kill-'));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

interface Ended {
  readonly hash: string;
  readonly steps: number;
  readonly updates: number;
  readonly resumed: boolean;
}

/** Runs the child; kills it when it has trained for `share` of the time it took to load. @returns what it ended with, or undefined when it was killed. */
async function train(phase: string, folder: string, share?: number): Promise<Ended | undefined> {
  const child = spawn(process.execPath, ['--import', 'tsx', SCRIPT, phase, folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  let timer: NodeJS.Timeout | undefined;
  const began = Date.now();
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes;
    if (share === undefined || timer || !output.includes('loaded\n')) return;
    timer = setTimeout(() => child.kill('SIGKILL'), share * (Date.now() - began));
  });
  child.stderr.on('data', (bytes: Buffer) => {
    errors += bytes;
  });
  const { code, signal } = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('close', (exitCode, by) => resolve({ code: exitCode, signal: by }));
  });
  clearTimeout(timer);
  if (signal === 'SIGKILL') return undefined;
  if (code !== 0) throw new Error(`${phase}: exit ${code}\n${output}\n${errors}`);
  return JSON.parse(output.trim().split('\n').at(-1) as string) as Ended;
}

function hasCheckpoint(folder: string): boolean {
  try {
    return readdirSync(join(folder, 'run', 'checkpoint')).some((name) => name.endsWith('.safetensors'));
  } catch {
    return false;
  }
}

/** What the log of one chain of attempts says. */
function readLog(folder: string) {
  const attempts: { readonly start: number; readonly steps: number[]; readonly batches: string[][] }[] = [];
  for (const line of readFileSync(join(folder, 'log.txt'), 'utf8').split('\n')) {
    const [kind, rest = ''] = [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)];
    const attempt = attempts.at(-1);
    if (kind === 'start') attempts.push({ start: Number(rest), steps: [], batches: [] });
    else if (kind === 'step') {
      attempt?.steps.push(Number(rest));
      attempt?.batches.push([]);
    } else if (kind === 'ask') attempt?.batches.at(-1)?.push(rest);
  }
  return attempts;
}

describe(`killed ${KILLS} times`, () => {
  // Side by side: two children at a time.
  it.concurrent.each([
    { phase: 'pretrain', interval: 80 },
    { phase: 'adapt', interval: 128 },
  ])(
    '$phase ends as if it had never stopped',
    async ({ phase, interval }) => {
      const rng = new Rng(`kill ${phase}`);
      const unbrokenFolder = join(root, `${phase}-unbroken`);
      const whole = (await train(phase, unbrokenFolder)) as Ended;
      const folders: string[] = [];
      const ends: Ended[] = [];
      let kills = 0;
      let killsAfterCheckpoint = 0;
      const isEnough = () => kills >= KILLS && killsAfterCheckpoint >= KILLS_AFTER_CHECKPOINT;
      // One chain of attempts after another, until enough were killed; then the last one is left to end.
      while (!isEnough()) {
        const folder = join(root, `${phase}-${folders.length}`);
        folders.push(folder);
        for (let ended: Ended | undefined; !ended; ) {
          ended = await train(phase, folder, isEnough() ? undefined : rng.uniform() * SPREAD);
          if (ended) ends.push(ended);
          else {
            kills++;
            if (hasCheckpoint(folder)) killsAfterCheckpoint++;
          }
        }
      }

      let atWork = 0;
      let mostRepeated = 0;
      let repeated = 0;
      let askedTwice = 0;
      let questions = 0;
      for (const folder of folders) {
        const attempts = readLog(folder);
        const inFlight = new Set<string>();
        const asked = new Set<string>();
        for (const [i, attempt] of attempts.entries()) {
          if (i < attempts.length - 1 && attempt.steps.length > 0) atWork++;
          // Logged steps had begun; the last one may not have ended.
          const before = attempts[i - 1];
          const done = before?.steps.at(-1) ?? before?.start;
          if (done !== undefined) {
            const again = Math.max(0, done - attempt.start);
            mostRepeated = Math.max(mostRepeated, again);
            repeated += again;
          }
          for (const question of attempt.batches.flat()) {
            questions++;
            if (asked.has(question)) {
              askedTwice++;
              expect(inFlight.has(question), `asked twice: ${question}`).toBe(true);
            }
            asked.add(question);
          }
          for (const question of attempt.batches.at(-1) ?? []) inFlight.add(question);
        }
      }
      process.stdout.write(
        `${phase}: ${kills} kills (${killsAfterCheckpoint} after a checkpoint, ${atWork} at work) in ${folders.length} chains; at most ${mostRepeated} steps of an interval of ${interval} done again, ${repeated} in all; ${questions} questions, ${askedTwice} again (in flight at a kill); weights ${whole.hash.slice(0, 12)}\n`,
      );
      expect(kills).toBeLessThan(2 * KILLS);
      expect(whole.resumed).toBe(false);
      expect(ends.some(({ resumed }) => resumed)).toBe(true);
      for (const end of ends) {
        expect({ hash: end.hash, steps: end.steps, updates: end.updates }).toEqual({
          hash: whole.hash,
          steps: whole.steps,
          updates: whole.updates,
        });
      }
      // A kill while the checkpoint is being written costs the interval that it closes, and no more.
      expect(mostRepeated).toBeLessThanOrEqual(interval);
      expect(repeated).toBeLessThan(kills * interval);
      // The control: many kills hit a run at work, not one that was still restoring.
      expect(atWork).toBeGreaterThanOrEqual(KILLS / 4);
      expect(repeated).toBeGreaterThan(0);
      if (phase === 'pretrain')
        expect(questions - askedTwice).toBe(
          new Set(readLog(unbrokenFolder).flatMap(({ batches }) => batches.flat())).size * folders.length,
        );
    },
    TIMEOUT_MS,
  );
});
