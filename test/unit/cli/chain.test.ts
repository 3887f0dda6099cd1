import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCli } from '../../../src/cli/run-cli.js';
import { cardResultSchema, type Result, type RunRow, runResultSchema } from '../../../src/experiment/result-schema.js';
import { abortWhen, ialp, temporaryFolder } from './run.js';

const WORLD = ['--world', 'synthetic', '--world-size', '60x4'];
const PRETRAIN = [
  'pretrain',
  ...WORLD,
  '--calls',
  '160',
  '--starts',
  '16',
  '--episodes',
  '16',
  '--checkpoint-every',
  '32',
];
const ADAPT = [
  'adapt',
  ...WORLD,
  '--steps',
  '768',
  '--lanes',
  '16',
  '--marks',
  '256,768',
  '--episodes',
  '16',
  '--checkpoint-every',
  '128',
];

/** Runs a command that must succeed; its stdout must be one JSON object and nothing else. */
async function succeed(argv: readonly string[]): Promise<Result<RunRow>> {
  const { code, stdout, stderr } = await ialp([...argv, '--json', '-']);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return runResultSchema.parse(JSON.parse(stdout));
}

function rowsOf(result: Result<RunRow>, method: string): RunRow[] {
  return result.rows.filter((row) => row.method === method);
}

/** What must not depend on how long anything took. */
function timeless({ rows }: Result<RunRow>): unknown {
  return rows.map(({ wallSeconds: _, ...row }) => row);
}

describe('pretrain, adapt, evaluate', () => {
  it('hand the policy on, count on, and report', async () => {
    const folder = temporaryFolder();
    const [theta, beta] = [join(folder, 'theta'), join(folder, 'beta')];

    const pretrained = await succeed([...PRETRAIN, '--out', theta]);
    expect(pretrained).toMatchObject({ seed: 1, backend: 'wasm', kernels: 'fused', fusedShare: 1 });
    expect(pretrained.rows.map(({ method, mode }) => `${method} ${mode}`)).toEqual(
      ['random', 'untrained', 'ialp'].flatMap((method) => [`${method} sampled`, `${method} argmax`]),
    );
    const [ialpRow] = rowsOf(pretrained, 'ialp') as [RunRow];
    expect(ialpRow).toMatchObject({ algorithm: 'list', oracleCalls: 160, steps: 0, split: 'test' });
    expect(ialpRow.weightsSha256).not.toBe(rowsOf(pretrained, 'untrained')[0]?.weightsSha256);
    expect(readdirSync(theta).sort()).toEqual(['policy', 'report.html', 'result.json']);
    expect(JSON.parse(readFileSync(join(theta, 'result.json'), 'utf8'))).toEqual(pretrained);
    const report = readFileSync(join(theta, 'report.html'), 'utf8');
    expect(report).toContain('ialp pretrain --world synthetic --world-size 60x4');

    const adapted = await succeed([...ADAPT, '--from', theta, '--scheme', 'mixture', '--out', beta]);
    expect(rowsOf(adapted, 'ialp')[0]).toMatchObject({
      weightsSha256: ialpRow.weightsSha256,
      oracleCalls: 160,
      return: ialpRow.return,
    });
    const mixture = rowsOf(adapted, 'mixture');
    expect(mixture.map(({ steps, mode }) => [steps, mode])).toEqual([
      [256, 'sampled'],
      [256, 'argmax'],
      [768, 'sampled'],
      [768, 'argmax'],
    ]);
    const last = mixture.at(-1) as RunRow;
    expect(last).toMatchObject({ algorithm: 'ppo', oracleCalls: 160 });
    expect(last.updates).toBeGreaterThan(ialpRow.updates);

    const measured = await succeed([
      'evaluate',
      ...WORLD,
      '--policy',
      join(beta, 'policy'),
      '--episodes',
      '16',
      '--seeds',
      '2',
      '--temperature',
      '0.5',
    ]);
    const [own] = rowsOf(measured, 'mixture') as [RunRow];
    expect(own).toMatchObject({
      steps: 768,
      updates: last.updates,
      temperature: 0.5,
      weightsSha256: last.weightsSha256,
    });
    expect(own.perSeed).toHaveLength(2);
    expect(rowsOf(measured, 'random')).toHaveLength(2);
  });

  it('give the same weights for the same seed and others for another, and go on to fine-tune what was fine-tuned', async () => {
    const folder = temporaryFolder();
    const run = (name: string, ...more: string[]) => succeed([...ADAPT, '--out', join(folder, name), ...more]);
    const first = await run('a');
    const again = await run('b');
    const other = await run('c', '--seed', '2');
    expect(timeless(again)).toEqual(timeless(first));
    const hash = (result: Result<RunRow>) => rowsOf(result, 'scratch').at(-1)?.weightsSha256;
    expect(hash(other)).not.toBe(hash(first));
    const further = await run('d', '--from', join(folder, 'a'));
    expect(rowsOf(further, 'fineTune').map(({ steps }) => steps)).toEqual([1024, 1024, 1536, 1536]);
  });

  it('pretrain takes items of one’s own', async () => {
    const folder = temporaryFolder();
    const items = join(folder, 'items.csv');
    const lines = Array.from({ length: 40 }, (_, i) => `mine-${i},Title ${i},${i % 2 ? 'Blue' : 'Red'} shop`);
    writeFileSync(items, ['id,title,brand', ...lines, ''].join('\n'));
    const argv = [
      'pretrain',
      '--items',
      items,
      '--attributes',
      'title,brand',
      '--calls',
      '64',
      '--out',
      join(folder, 'out'),
    ];
    const { code, stdout } = await ialp([...argv, '--json', join(folder, 'x.json')]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Plan: 64 questions/);
    expect(stdout).toMatch(/What it recommends after mine-0/);
    expect(runResultSchema.parse(JSON.parse(readFileSync(join(folder, 'x.json'), 'utf8'))).rows).toEqual([]);
    expect(existsSync(join(folder, 'out', 'policy', 'policy.safetensors'))).toBe(true);

    const elsewhere = await ialp(['evaluate', ...WORLD, '--policy', join(folder, 'out')]);
    expect(elsewhere.code).toBe(1);
    expect(elsewhere.stderr).toMatch(/^error: .*it is of another world\n$/m);
  });
});

describe('an interrupted run', () => {
  const hasCheckpoint = (folder: string) =>
    existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.safetensors'));

  it.each([
    ['pretrain', PRETRAIN],
    ['adapt', ADAPT],
  ])('of %s keeps its state, goes on with the same command, and ends as an unbroken one', async (phase, argv) => {
    const folder = temporaryFolder();
    const unbroken = await succeed([...argv, '--out', join(folder, 'unbroken')]);

    const out = join(folder, 'broken');
    const checkpoints = join(out, 'state', phase, 'checkpoint');
    const signal = abortWhen(() => hasCheckpoint(checkpoints));
    const stopped = await ialp([...argv, '--out', out, '--json', '-'], { signal });
    expect(stopped).toMatchObject({ code: 130, stdout: '' });
    expect(stopped.stderr).toContain(`the state is kept in ${join(out, 'state')}`);
    expect(stopped.stderr).toContain(`\n  ialp ${phase} --world synthetic`);
    expect(existsSync(join(out, 'policy'))).toBe(false);

    const other = await ialp([...argv, '--out', out, '--seed', '7']);
    expect(other.code).toBe(1);
    expect(other.stderr).toMatch(/belong to a run with another .*seed.*\n.*delete it to begin anew/);

    const resumed = await ialp([...argv, '--out', out, '--json', '-']);
    expect(resumed.code).toBe(0);
    expect(resumed.stderr).toContain(`Going on with the interrupted run in ${join(out, 'state')}`);
    expect(timeless(runResultSchema.parse(JSON.parse(resumed.stdout)))).toEqual(timeless(unbroken));
    expect(existsSync(join(out, 'state'))).toBe(false);
  });

  it('of the demo does the same', async () => {
    const folder = temporaryFolder();
    const argv = ['demo', '--steps', '512', '--calls', '64', '--episodes', '8'];
    const unbroken = await succeed([...argv, '--out', join(folder, 'unbroken')]);
    const out = join(folder, 'broken');
    const signal = abortWhen(() => hasCheckpoint(join(out, 'state', 'seed-1', 'ialp', 'checkpoint')));
    expect(await ialp([...argv, '--out', out], { signal })).toMatchObject({ code: 130 });
    expect(timeless(await succeed([...argv, '--out', out]))).toEqual(timeless(unbroken));

    const methods = new Set(unbroken.rows.map(({ method }) => method));
    const wanted = [
      'random',
      'popularity',
      'content',
      'countingBandit',
      'untrained',
      'ialp',
      'ialpShuffledOracle',
      'wrongSign',
    ];
    for (const method of [...wanted, 'scratch', 'fineTune', 'mixture', 'oracle']) expect(methods).toContain(method);
  });
});

describe('a stop', () => {
  /** Adapts, and aborts as soon as a step was taken that no checkpoint holds. */
  async function stopped(out: string) {
    const controller = new AbortController();
    let stderr = '';
    const write = (text: string): void => {
      stderr += text;
      if (text.includes('adapting')) controller.abort(new Error('stopped by the test'));
    };
    const io = { stdout: { write: () => {} }, stderr: { write }, signal: controller.signal, isVerbose: false };
    const code = await runCli([...ADAPT, '--checkpoint-every', '100000', '--out', out], io);
    expect(controller.signal.aborted).toBe(true);
    return { code, stderr };
  }

  it('does not say that the state is kept when it could not be written', async () => {
    const out = join(temporaryFolder(), 'out');
    // No folder of checkpoints can be made where a file is.
    mkdirSync(join(out, 'state'), { recursive: true });
    writeFileSync(join(out, 'state', 'adapt'), '');
    const { code, stderr } = await stopped(out);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*adapt/m);
    expect(stderr).not.toMatch(/Stopped|is kept|delete it/);
  });

  it('says so when it could', async () => {
    const out = join(temporaryFolder(), 'out');
    const { code, stderr } = await stopped(out);
    expect(code).toBe(130);
    expect(stderr).toContain(`Stopped; the state is kept in ${join(out, 'state')}`);
  });
});

describe('demo and card', () => {
  it('print tables for a reader, and say which backend runs', async () => {
    const folder = temporaryFolder();
    const { code, stdout, stderr } = await ialp([
      'demo',
      '--steps',
      '256',
      '--calls',
      '32',
      '--episodes',
      '4',
      '--out',
      folder,
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Backend wasm: .*not the cpu backend\./);
    expect(stdout).toMatch(/\nrandom +both +\d/);
    expect(stdout).toMatch(/\nfineTune +sampled +\d/);
    expect(stdout).toContain(`Report  ${join(folder, 'report.html')}`);
    expect(stderr).toMatch(/^ *\d+ % {2}card\n/);
    expect(
      Math.max(
        ...stdout
          .slice(stdout.indexOf('All methods'))
          .split('\n')
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(110);
  });

  it('the card’s rows are the public contract', async () => {
    const folder = temporaryFolder();
    const argv = [
      'world',
      'card',
      'synthetic',
      '--world-size',
      '60x4',
      '--episodes',
      '8',
      '--seeds',
      '2',
      '--policies',
      'random,greedy',
    ];
    const { code, stdout } = await ialp([...argv, '--out', folder, '--json', '-']);
    expect(code).toBe(0);
    const card = cardResultSchema.parse(JSON.parse(stdout));
    expect(card).toMatchObject({ backend: 'none', fusedShare: 0 });
    expect(card.rows.map(({ policy, split, episodes }) => [policy, split, episodes])).toEqual([
      ['random', 'test', 16],
      ['greedy', 'test', 16],
    ]);
    expect(readdirSync(folder).sort()).toEqual(['card.json', 'report.html']);
  });
});
