import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { distilResultSchema } from '../../../src/experiment/result-schema.js';
import { ModelServer } from '../../fixtures/model-server/model-server.js';
import { abortWhen, ialp, temporaryFolder } from './run.js';

const PRICES = ['--price-input', '2', '--price-output', '10'];

let server: ModelServer;
beforeAll(async () => {
  server = await ModelServer.start({ kind: 'vllm', latencyMs: 2 });
});
afterAll(() => server.close());
beforeEach(() => {
  server.fault = undefined;
  server.forget();
});

interface Job {
  readonly folder: string;
  readonly out: string;
  /** `ialp distil` on own items and the server. */
  readonly distil: (...more: string[]) => string[];
}

function job(): Job {
  const folder = temporaryFolder();
  const items = join(folder, 'items.csv');
  const rows = Array.from({ length: 60 }, (_, i) => `p${i},Thing ${i} with ${'many words '.repeat(i % 5)}`);
  writeFileSync(items, `id,title\n${rows.join('\n')}\n`);
  const out = join(folder, 'answers');
  const spec = `openai-compatible:${server.url}#test-model`;
  return {
    folder,
    out,
    distil: (...more) => ['distil', '--items', items, '--attributes', 'title', '--oracle', spec, '--out', out, ...more],
  };
}

async function run(argv: readonly string[]) {
  const { code, stdout, stderr } = await ialp([...argv, '--json', '-']);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return distilResultSchema.parse(JSON.parse(stdout)).rows[0];
}

/** SHA-256 of the prompts on record. */
function recorded(out: string): string[] {
  const path = join(out, 'answers.jsonl');
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').trim().split('\n').slice(1);
  return lines.map((line) => (JSON.parse(line) as { meta: { promptHash: string } }).meta.promptHash);
}

/** Calls that the plan made: those whose prompt is on record. The probe's are others. */
function paidFor(out: string): number {
  const mine = new Set(recorded(out));
  return [...server.paid].reduce((sum, [hash, times]) => sum + (mine.has(hash) ? times : 0), 0);
}

describe('ialp distil', () => {
  it('asks, keeps, and at the same command again asks nobody; a larger count extends the set', async () => {
    const { out, distil } = job();
    expect(await run(distil('--count', '40'))).toMatchObject({ job: 'distil', questions: 40, answered: 40, asked: 40 });
    expect(await run(distil('--count', '40'))).toMatchObject({ answered: 40, asked: 0 });
    expect(await run(distil('--count', '55'))).toMatchObject({ answered: 55, asked: 15 });
    expect(recorded(out)).toHaveLength(55);
    expect(paidFor(out)).toBe(55);
  });

  it('prices a job within 10 % of the bill, and asks nothing of the plan meanwhile', async () => {
    const { out, distil } = job();
    const dry = await run(distil('--count', '220', '--dry-run', ...PRICES));
    const probes = server.paid.size;
    expect(dry).toMatchObject({ job: 'plan', questions: 220, answered: 0, asked: 0, spent: null });
    server.forget();
    const real = await run(distil('--count', '220', ...PRICES));
    // The bill: what the server itself counted, which the answers' usage tells.
    for (const unit of ['calls', 'inputTokens', 'outputTokens', 'costUsd'] as const) {
      const [planned, billed] = [dry?.toCome?.[unit] as number, real?.spent?.[unit] as number];
      expect(billed).toBeGreaterThan(0);
      expect(Math.abs(planned / billed - 1), unit).toBeLessThan(0.1);
    }
    expect(paidFor(out)).toBe(220);
    expect(probes).toBeLessThan(20);
  });

  it('--retry-invalid: the dry run prices what is asked again, and that is all that is asked', async () => {
    const { out, distil } = job();
    const argv = (...more: string[]): string[] => distil('--count', '40', '--steps', '1', '--retry-invalid', ...more);
    await run(argv());
    const path = join(out, 'answers.jsonl');
    const lines = readFileSync(path, 'utf8').split('\n');
    const unread = lines.map((line, i) =>
      i > 0 && i <= 5 ? JSON.stringify({ ...JSON.parse(line), kind: 'invalid', raw: 'eh' }) : line,
    );
    writeFileSync(path, unread.join('\n'));
    const dry = await run(argv('--dry-run', ...PRICES));
    expect(dry).toMatchObject({ questions: 40, answered: 35, asked: 0, toCome: { calls: 5 } });
    expect(dry?.toCome?.costUsd).toBeGreaterThan(0);
    expect(await run(argv())).toMatchObject({ answered: 40, asked: 5, invalid: 0 });
    expect((await run(argv('--dry-run')))?.toCome).toMatchObject({ calls: 0 });
  });

  it.each([
    ['--max-calls', ['30'], ['90'], (out: string) => paidFor(out), 30],
    ['--max-tokens', ['2500'], ['100000'], (out: string) => tokensOf(out), 2500],
    [
      '--max-usd',
      ['0.005', ...PRICES],
      ['1', ...PRICES],
      (out: string) => (2 * tokensOf(out) + 10 * recorded(out).length) / 1e6,
      0.005,
    ],
  ] as const)(
    '%s: exit 3, says how to go on, is passed by no more than what is in flight, and goes on',
    async (option, low, high, spent, limit) => {
      const { out, distil } = job();
      const argv = (value: readonly string[]): string[] =>
        distil('--count', '80', '--concurrency', '4', option, ...value);
      const { code, stderr } = await ialp(argv(low));
      expect(code).toBe(3);
      expect(stderr).toContain(`The budget is used up: ${option} is ${limit}`);
      expect(stderr).toContain(
        `All that was asked is on record in ${out}. To go on, give the same command with a higher ${option}:\n  ialp distil`,
      );
      const first = recorded(out).length;
      expect(first).toBeGreaterThan(5);
      expect(first).toBeLessThan(80);
      // Four questions in flight, each at most a tenth dearer than estimated: here nothing at all.
      expect(spent(out)).toBeLessThanOrEqual(limit * 1.001);
      expect(spent(out)).toBeGreaterThan(0.8 * limit);
      // The same budget again is used up already.
      expect((await ialp(argv(low))).code).toBe(3);
      expect(recorded(out).length).toBeLessThanOrEqual(first + 1);
      expect(await run(argv(high))).toMatchObject({ answered: 80 });
      expect(paidFor(out)).toBe(80);
    },
  );

  it('--max-minutes: stops, and the same command goes on, for time is of a run', async () => {
    const { out, distil } = job();
    server.fault = () => ({ kind: 'delay', ms: 20 });
    const argv = distil('--count', '60', '--concurrency', '2', '--max-minutes', '0.005');
    const { code, stderr } = await ialp(argv);
    expect(code).toBe(3);
    expect(stderr).toContain('--max-minutes is 0.005');
    const first = recorded(out).length;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(60);
    for (let runs = 0; runs < 20 && recorded(out).length < 60; runs++) await ialp(argv);
    expect(recorded(out)).toHaveLength(60);
    expect(paidFor(out)).toBe(60);
  });

  it('at Ctrl-C keeps what it has, says how to go on, and pays for nothing twice but what was in flight', async () => {
    const { out, distil } = job();
    const signal = abortWhen(() => recorded(out).length >= 10);
    const { code, stderr } = await ialp(distil('--count', '200', '--concurrency', '4'), { signal });
    expect(code).toBe(130);
    expect(stderr).toContain(`the state is kept in ${out}`);
    expect(await run(distil('--count', '200', '--concurrency', '4'))).toMatchObject({ answered: 200 });
    expect(paidFor(out)).toBeGreaterThanOrEqual(200);
    expect(paidFor(out)).toBeLessThanOrEqual(204);
  });

  it('with a server that fails stops with advice, and goes on when it is back', async () => {
    const { out, distil } = job();
    let answered = 0;
    server.fault = () => (++answered > 40 ? { kind: 'status', status: 400 } : undefined);
    const { code, stderr } = await ialp(distil('--count', '200'));
    expect(code).toBe(1);
    expect(stderr).toMatch(/could not be used|questions (of a batch )?failed/);
    server.fault = undefined;
    expect(await run(distil('--count', '200'))).toMatchObject({ answered: 200, failed: 0 });
    expect(recorded(out)).toHaveLength(200);
  });

  it('goes by batch files: out, answered elsewhere, in, and pretrain learns from them', async () => {
    const { folder, out, distil } = job();
    const [requests, output] = [join(folder, 'requests.jsonl'), join(folder, 'output.jsonl')];
    const batch = distil('--count', '24', '--steps', '3', '--batch-model', 'm');
    const rounds: number[] = [];
    for (let round = 0; round < 5; round++) {
      await run([...batch, '--export-batch', requests]);
      const lines = readFileSync(requests, 'utf8').trim().split('\n').filter(Boolean);
      rounds.push(lines.length);
      if (lines.length === 0) break;
      const results = lines.map((line, i) => {
        const { custom_id } = JSON.parse(line) as { readonly custom_id: string };
        const body = { choices: [{ message: { content: 'abck'[i % 4] } }] };
        return JSON.stringify({ custom_id, response: { status_code: 200, body }, error: null });
      });
      writeFileSync(output, `${results.reverse().join('\n')}\n`);
      const row = await run([...batch, '--import-batch', output]);
      expect(row).toMatchObject({ job: 'import', failed: 0, answered: lines.length });
    }
    // Eight episodes of three questions, each after the answer before.
    expect(rounds).toEqual([8, 8, 8, 0]);
    expect(server.asked).toBe(0);
    expect(readdirSync(folder).some((name) => name.endsWith('.tmp'))).toBe(false);
    const items = batch.slice(1, 5);
    const theta = join(folder, 'theta');
    const { code, stderr, stdout } = await ialp(['pretrain', ...items, '--answers', out, '--out', theta]);
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('24 answers of batch:m');
    expect(existsSync(join(theta, 'policy', 'policy.safetensors'))).toBe(true);
  });

  it('uses a world: its users’ beginnings, their logs, or single items', async () => {
    const out = join(temporaryFolder(), 'out');
    const base = ['distil', '--world', 'synthetic', '--world-size', '60x4', '--count', '30', '--out', out];
    for (const histories of ['starts', 'logs', 'items']) {
      rmSync(out, { recursive: true, force: true });
      expect(await run([...base, '--histories', histories])).toMatchObject({ answered: 30 });
    }
  });
});

function tokensOf(out: string): number {
  const lines = readFileSync(join(out, 'answers.jsonl'), 'utf8').trim().split('\n').slice(1);
  return lines.reduce(
    (sum, line) => sum + (JSON.parse(line) as { meta: { usage: { inputTokens: number } } }).meta.usage.inputTokens,
    0,
  );
}

describe('ialp pretrain --oracle', () => {
  it('keeps what a model answered, so that another run, or --answers, pays for nothing', async () => {
    const { folder, distil } = job();
    const own = distil().slice(1, 5);
    const spec = ['--oracle', `openai-compatible:${server.url}#test-model`, '--calls', '40'];
    const out = join(folder, 'theta');
    const learn = ['pretrain', ...own, '--out', out];
    for (const more of [spec, spec, ['--answers', out]]) {
      const { code, stderr } = await ialp([...learn, ...more]);
      expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
      expect(recorded(out)).toHaveLength(40);
    }
    expect(paidFor(out)).toBe(40);
  });

  it('stops at a cap with what was answered on record, and goes on under a higher one', async () => {
    const { folder, distil } = job();
    const spec = ['--oracle', `openai-compatible:${server.url}#test-model`, '--calls', '40'];
    const out = join(folder, 'theta');
    const learn = ['pretrain', ...distil().slice(1, 5), '--out', out, ...spec];
    const { code, stderr } = await ialp([...learn, '--max-calls', '15']);
    expect({ code, told: /--max-calls is 15/.test(stderr) }).toEqual({ code: 3, told: true });
    expect(recorded(out).length).toBeLessThanOrEqual(15);
    expect(paidFor(out)).toBe(recorded(out).length);
    expect((await ialp([...learn, '--max-calls', '40'])).code).toBe(0);
    expect(paidFor(out)).toBe(40);
  });
});

describe('ialp adapt --scheme llmOnline', () => {
  it('keeps what a model chose online after success, asks nothing twice, and pretrain learns from it', async () => {
    const out = join(temporaryFolder(), 'out');
    const world = ['--world', 'synthetic', '--world-size', '60x4'];
    const spec = ['--oracle', `openai-compatible:${server.url}#test-model`];
    const small = ['--steps', '48', '--lanes', '8', '--episodes', '8', '--candidates', '5', '--out', out];
    const adapt = ['adapt', ...world, '--scheme', 'llmOnline', ...spec, ...small];
    const capped = await ialp([...adapt, '--max-calls', '20']);
    expect({ code: capped.code, told: /--max-calls is 20/.test(capped.stderr) }).toEqual({ code: 3, told: true });
    for (let run = 0; run < 2; run++) {
      const { code, stdout, stderr } = await ialp(adapt);
      expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(/48 questions in \d+ of \d+ s/);
      expect(recorded(out)).toHaveLength(new Set(recorded(out)).size);
      expect(paidFor(out)).toBe(recorded(out).length);
    }
    const other = await ialp([...adapt, '--seed', '5']);
    expect({ code: other.code, told: /give another --out/.test(other.stderr) }).toEqual({ code: 1, told: true });
    const asked = recorded(out).length;
    expect(asked).toBeGreaterThan(20);
    // Histories are in it.
    if (process.platform !== 'win32') expect(statSync(join(out, 'answers.jsonl')).mode & 0o077).toBe(0);
    const theta = join(out, 'theta');
    const learned = await ialp(['pretrain', ...world, '--answers', out, '--episodes', '8', '--out', theta]);
    expect({ code: learned.code, stderr: learned.code === 0 ? '' : learned.stderr }).toEqual({ code: 0, stderr: '' });
    expect(learned.stdout).toContain(`${asked} answers of`);
  });
});

describe('ialp oracle rate', () => {
  it('rates every item once, tells the rank correlation, and goes on where it was', async () => {
    const out = join(temporaryFolder(), 'out');
    const spec = `openai-compatible:${server.url}#test-model`;
    const argv = ['oracle', 'rate', '--world', 'synthetic', '--world-size', '60x4', '--oracle', spec, '--out', out];
    for (const method of ['contrast', 'levels']) {
      rmSync(out, { recursive: true, force: true });
      const { code, stdout, stderr } = await ialp([...argv, '--method', method, '--max-calls', '1']);
      expect(code, stderr + stdout).toBe(3);
      expect(await run([...argv, '--method', method])).toMatchObject({
        job: 'rate',
        questions: 60,
        failed: 0,
        invalid: 0,
      });
      server.forget();
      const { stdout: again } = await ialp([...argv, '--method', method]);
      expect(again).toMatch(/Rank correlation with the log counts of train users: -?0\.\d+/);
      expect(again).toContain('0 of them now');
    }
  });
});

describe('wrong usage', () => {
  it.each([
    ['distil', /exactly one of --world NAME and --items FILE, got neither/],
    ['distil --items a.csv', /--items needs --attributes/],
    ['distil --world synthetic --oracle llamacpp:a', /Did you mean llama-cpp\?/],
    ['distil --world synthetic --max-usd 3', /--max-usd needs --price-input and --price-output/],
    ['distil --world synthetic --price-input 3', /both of --price-input and --price-output/],
    ['distil --world synthetic --dry-run --export-batch a', /at most one of --dry-run/],
    ['distil --world synthetic --export-batch a', /needs --batch-model/],
    ['distil --world synthetic --interactions a', /--interactions is for --items/],
    ['distil --items a.csv --attributes t --histories logs', /--histories logs needs --interactions/],
    ['pretrain --world synthetic --oracle none --answers a', /at most one of --oracle SPEC and --answers/],
    ['pretrain --world synthetic --answers a --calls 5', /--calls is for an oracle that is asked/],
  ])('ialp %s: exit 2, and says why', async (command, message) => {
    const { code, stderr } = await ialp(command.split(' '));
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});
