import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { oracleResultSchema } from '../../../src/experiment/result-schema.js';
import { sharedData } from '../../shared-data.js';
import { abortWhen, ialp, temporaryFolder } from './run.js';

const WRONG: readonly (readonly [command: string, message: RegExp])[] = [
  ['oracle', /Usage: ialp oracle/],
  ['oracle evla', /Did you mean eval\?/],
  ['oracle eval --oracle simulated', /required option '--world <name>' not specified/],
  ['oracle eval --world synthetic', /required option '--oracle <spec>' not specified/],
  ['oracle eval --world synthetic --oracle gpt', /There is no oracle 'gpt'/],
  ['oracle eval --world synthetic --oracle simulated --readout letters', /Allowed choices are label, likelihood/],
  ['oracle eval --world synthetic --oracle simulated --lists 0', /--lists.*whole number from 1/],
  [
    'oracle eval --world synthetic --oracle simulated --readout likelihood --debias pride',
    /--debias is for --readout label/,
  ],
  ['oracle eval --world synthetic --oracle simulated --attributes color', /items have no 'color', but title, category/],
  ['oracle eval --world amazon --oracle simulated', /the world amazon needs --data DIR/],
  ['oracle sft', /required option '--world <name>' not specified/],
  ['oracle sft --world synthetic --candidates 26', /--candidates.*whole number from 2 to 25/],
  ['oracle sft --world synthetic --formats csv', /There is no 'csv'/],
];

describe('wrong usage of ialp oracle', () => {
  it.each(WRONG)('ialp %s: exit 2, and says why', async (command, message) => {
    const { code, stdout, stderr } = await ialp(command.split(' '));
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stdout).toBe('');
  });
});

describe('ialp oracle eval', () => {
  const base = ['oracle', 'eval', '--world', 'synthetic', '--lists', '40', '--seed', '3'];

  it('writes rows of all who answer, for both kinds of negatives, and ends with a verdict', async () => {
    const out = temporaryFolder();
    const { code, stdout, stderr } = await ialp([...base, '--oracle', 'simulated', '--out', out, '--json', '-']);
    expect(code).toBe(0);
    const result = oracleResultSchema.parse(JSON.parse(stdout));
    expect(result.rows.map(({ oracle, negatives }) => `${negatives} ${oracle}`)).toEqual(
      ['uniform', 'popularity'].flatMap((kind) =>
        ['model', 'random', 'popularity', 'text', 'textPlusModel'].map((who) => `${kind} ${who}`),
      ),
    );
    for (const { lists, chance, readout } of result.rows) {
      expect({ lists, readout }).toEqual({ lists: 40, readout: 'label' });
      expect(chance).toBeCloseTo(0.1, 12);
    }
    expect(result.rows[0]).toMatchObject({ invalidRate: 0, flipRate: 0, noneHit: expect.any(Number) });
    expect(result.oracle).toMatch(/^simulated:/);
    // The simulated oracle reads text, and nothing else.
    expect(result).toMatchObject({ isWorthUsing: false, verdict: expect.stringMatching(/^Not worth using: /) });
    expect(stderr).toContain(result.verdict);
    expect(readdirSync(out)).toEqual(
      expect.arrayContaining([expect.stringMatching(/^answers-/), 'oracle.json', 'report.html']),
    );
  });

  it('asks nothing twice: a second run answers from the record', async () => {
    const out = temporaryFolder();
    const run = [...base, '--oracle', 'simulated', '--out', out, '--negatives', 'uniform', '--json', '-'];
    const first = oracleResultSchema.parse(JSON.parse((await ialp(run)).stdout));
    const record = readFileSync(
      join(out, readdirSync(out).find((name) => name.startsWith('answers-')) as string),
      'utf8',
    );
    const second = oracleResultSchema.parse(JSON.parse((await ialp(run)).stdout));
    expect(first.rows[0]?.secondsPerAnswer).not.toBeNull();
    expect(second.rows[0]).toEqual({ ...first.rows[0], secondsPerAnswer: null });
    expect(second.rows.slice(1)).toEqual(first.rows.slice(1));
    const after = readFileSync(
      join(out, readdirSync(out).find((name) => name.startsWith('answers-')) as string),
      'utf8',
    );
    expect(after).toBe(record);
  });

  it('stopped by Ctrl-C keeps what was answered and says how to go on', async () => {
    const folder = temporaryFolder();
    const out = join(folder, 'out');
    // An AI SDK model that takes a moment, so that there is something to stop.
    const module = join(folder, 'slow.mjs');
    writeFileSync(
      module,
      `export const model = { specificationVersion: 'v2', provider: 'test', modelId: 'slow', doGenerate: async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return { content: [{ type: 'text', text: 'b' }], finishReason: 'stop', usage: { inputTokens: 10, outputTokens: 1, totalTokens: 11 }, warnings: [] };
      } };`,
    );
    const lines = (): number => {
      const name = existsSync(out) ? readdirSync(out).find((file) => file.startsWith('answers-')) : undefined;
      return name === undefined ? 0 : readFileSync(join(out, name), 'utf8').split('\n').length - 1;
    };
    const run = [...base, '--oracle', `ai-sdk:${module}#model`, '--out', out, '--negatives', 'uniform'];
    const stopped = await ialp(run, { signal: abortWhen(() => lines() > 10) });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain(`the state is kept in ${out}`);
    // What was in flight is still written down; a process would end only then.
    for (let before = -1; before !== lines(); await new Promise((resolve) => setTimeout(resolve, 100)))
      before = lines();
    const kept = lines();
    const { code, stdout } = await ialp([...run, '--json', '-']);
    expect(code).toBe(0);
    // 40 lists, as many second orders, 10 without truth, and the header.
    expect(kept).toBeLessThan(91);
    expect(lines()).toBe(91);
    const result = oracleResultSchema.parse(JSON.parse(stdout));
    // Always b: chance, and every shift a flip.
    expect(result).toMatchObject({
      isWorthUsing: false,
      verdict: expect.stringMatching(/is not above the 0.10 of chance/),
    });
    expect(result.rows[0]).toMatchObject({ flipRate: 1, tokensPerAnswer: 11 });
    expect(result.rows[0]?.recallSpread).toBeCloseTo(0.3, 6);
  });

  it('caps what it may cost, earlier runs included, and goes on with more', async () => {
    const out = temporaryFolder();
    const module = join(out, 'quick.mjs');
    writeFileSync(
      module,
      `export const model = { specificationVersion: 'v2', provider: 'test', modelId: 'quick', doGenerate: async () =>
        ({ content: [{ type: 'text', text: 'b' }], finishReason: 'stop', usage: { inputTokens: 10, outputTokens: 1, totalTokens: 11 }, warnings: [] }) };`,
    );
    const run = [
      ...base,
      '--oracle',
      `ai-sdk:${module}#model`,
      '--out',
      join(out, 'o'),
      '--negatives',
      'uniform',
      '--orders',
      '0',
    ];
    const capped = [...run, '--none-lists', '0', '--max-calls', '15'];
    for (let again = 0; again < 2; again++) {
      const { code, stderr } = await ialp(capped);
      expect(code).toBe(3);
      expect(stderr).toMatch(/budget/i);
      const record = readdirSync(join(out, 'o')).find((name) => /^answers-\w+\.jsonl$/.test(name)) as string;
      expect(
        readFileSync(join(out, 'o', record), 'utf8')
          .trim()
          .split('\n'),
      ).toHaveLength(16);
    }
    expect((await ialp([...run, '--none-lists', '0', '--max-calls', '40'])).code).toBe(0);
  });

  it('takes the folder of a built world', async () => {
    const folder = join(temporaryFolder(), 'world');
    expect((await ialp(['world', 'build', 'synthetic', '--out', folder, '--world-size', '60x4'])).code).toBe(0);
    const { code, stdout } = await ialp([
      ...base.map((word) => (word === 'synthetic' ? folder : word)),
      '--oracle',
      'random',
      '--out',
      temporaryFolder(),
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Not worth using/);
  });

  it.each(['shuffle', 'cyclic'])('takes --debias %s', async (debias) => {
    const run = [
      ...base,
      '--oracle',
      'simulated',
      '--out',
      temporaryFolder(),
      '--debias',
      debias,
      '--negatives',
      'uniform',
    ];
    const { code, stdout } = await ialp([...run, '--json', '-']);
    expect(code).toBe(0);
    expect(oracleResultSchema.parse(JSON.parse(stdout)).oracle).toContain(`|debias=${debias}`);
  });

  const industrial = sharedData('industrial');
  it.skipIf(industrial === undefined)(
    'on real sequences: text and popularity know what oracles.md measured',
    async () => {
      const data = ['--world', 'amazon', '--data', industrial as string, '--oracle', 'none', '--lists', '500'];
      const { stdout } = await ialp([
        'oracle',
        'eval',
        ...data,
        '--out',
        temporaryFolder(),
        '--json',
        '-',
        '--orders',
        '0',
        '--none-lists',
        '0',
      ]);
      const of = (who: string, negatives: string) =>
        oracleResultSchema
          .parse(JSON.parse(stdout))
          .rows.find((row) => row.oracle === who && row.negatives === negatives)?.hitAt1;
      expect(of('text', 'uniform')).toBeGreaterThan(0.33);
      expect(of('popularity', 'uniform')).toBeGreaterThan(0.26);
      // Negatives as popular as the truth: popularity knows nothing, text as much as before.
      expect(of('popularity', 'popularity')).toBeLessThan(0.13);
      expect(of('text', 'popularity')).toBeGreaterThan(0.31);
    },
  );

  const coat = sharedData('coat');
  it.skipIf(coat === undefined)('on Coat: liked against disliked, of test users, at least 150 lists', async () => {
    const data = ['--world', 'coat', '--data', coat as string, '--oracle', 'none', '--lists', '1000'];
    const { stdout, stderr } = await ialp(['oracle', 'eval', ...data, '--out', temporaryFolder(), '--json', '-']);
    const { rows } = oracleResultSchema.parse(JSON.parse(stdout));
    expect(stderr).toMatch(/the test users give \d+ lists/);
    expect(rows[0]?.lists).toBeGreaterThanOrEqual(150);
    expect(rows[0]?.chance).toBeCloseTo(0.1, 12);
    expect(new Set(rows.map(({ negatives }) => negatives))).toEqual(new Set(['uniform']));
    const { code, stderr: refused } = await ialp(['oracle', 'eval', ...data, '--negatives', 'popularity']);
    expect(code).toBe(2);
    expect(refused).toMatch(/lists of coat have uniform negatives only/);
  });
});

describe('ialp oracle sft', () => {
  it('writes eight files and a manifest, of users who do not evaluate', async () => {
    const out = join(temporaryFolder(), 'sft');
    const { code, stdout } = await ialp(['oracle', 'sft', '--world', 'synthetic', '--n', '110', '--out', out]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/110 interactions of \d+ train users, 10 of them None; none of the 400 test users/);
    expect(readdirSync(out)).toHaveLength(9);
    const manifest = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8')) as {
      users: { shared: number };
      files: { name: string; examples: number }[];
    };
    expect(manifest.users.shared).toBe(0);
    for (const { name, examples } of manifest.files)
      expect(readFileSync(join(out, name), 'utf8').split('\n')).toHaveLength(examples + 1);
  });

  it('writes what is asked for', async () => {
    const out = temporaryFolder();
    mkdirSync(join(out, 'sft'));
    const run = ['--n', '20', '--forms', 'label', '--formats', 'alpaca', '--none-rate', '0', '--attributes', 'title'];
    const { code } = await ialp(['oracle', 'sft', '--world', 'synthetic', '--out', join(out, 'sft'), ...run]);
    expect(code).toBe(0);
    expect(readdirSync(join(out, 'sft')).sort()).toEqual(['label.alpaca.jsonl', 'manifest.json']);
    expect(readFileSync(join(out, 'sft', 'label.alpaca.jsonl'), 'utf8')).toContain('in the form of title.');
  });
});
