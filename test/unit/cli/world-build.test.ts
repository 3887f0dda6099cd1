import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCli } from '../../../src/cli/run-cli.js';
import { cardResultSchema, runResultSchema } from '../../../src/experiment/result-schema.js';
import { sharedData } from '../../shared-data.js';
import { ialp, temporaryFolder } from './run.js';

/** A shop of 24 things of 4 kinds, and 20 users who mostly stay with a kind. */
function shop(folder: string) {
  const items = join(folder, 'items.csv');
  const log = join(folder, 'log.csv');
  const things = Array.from({ length: 24 }, (_, i) => `t${i},Thing ${i},kind ${i % 4}`);
  const visits = Array.from({ length: 20 }, (_, u) =>
    [0, 4, 8, 13].map((step, n) => `u${u},t${(u * 5 + step) % 24},${n},${1 + ((u + n) % 5)}`),
  ).flat();
  writeFileSync(items, ['sku,title,kind', ...things, ''].join('\n'));
  writeFileSync(log, ['buyer,sku,when,stars', ...visits, ''].join('\n'));
  return [
    ...['--items', items, '--interactions', log, '--attributes', 'title', '--category', 'kind', '--id-column', 'sku'],
    ...[
      '--user-column',
      'buyer',
      '--item-column',
      'sku',
      '--time-column',
      'when',
      '--members',
      '2',
      '--max-epochs',
      '3',
    ],
  ];
}
const build = (folder: string, ...more: string[]) => [
  'world',
  'build',
  'custom',
  ...shop(folder),
  '--out',
  join(folder, 'world'),
  ...more,
];

describe('ialp world build custom', () => {
  it('makes a world that every command takes, and fits nothing the second time', async () => {
    const folder = temporaryFolder();
    const world = join(folder, 'world');
    const first = await ialp(build(folder));
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(/Data: 24 items, 20 sequences of 4.0 on average, 80 interactions/);
    expect(first.stdout).toMatch(/^train +2 models, held-out AUC 0\.\d{3}, HR@10 \d\.\d{3}; reward 5 sigmoid/m);
    expect(first.stdout).toContain(`Next    ialp world card ${world}`);
    expect(first.stderr).toMatch(/^ *0 % {2}fitting train 1 {2}epoch 1\n/);

    const again = await ialp(build(folder));
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(again.stdout).toContain('This world is there already');

    const other = await ialp(build(folder, '--seed', '2'));
    expect(other).toMatchObject({ code: 1 });
    expect(other.stderr).toMatch(/^error: .*another world is here.*give another folder\n$/m);

    const card = await ialp([
      'world',
      'card',
      world,
      '--episodes',
      '4',
      '--seeds',
      '2',
      '--policies',
      'random,transfer',
      '--json',
      '-',
    ]);
    expect(card.code).toBe(0);
    expect(cardResultSchema.parse(JSON.parse(card.stdout)).rows.map(({ policy }) => policy)).toEqual([
      'random',
      'transfer',
    ]);
    const kept = JSON.parse(readFileSync(join(world, 'card.json'), 'utf8')) as Record<string, { rows: unknown[] }>;
    expect(Object.keys(kept)).toEqual(['test']);
    expect(kept.test?.rows).toEqual(JSON.parse(card.stdout).rows);

    const policy = join(folder, 'theta');
    const pretrained = await ialp([
      'pretrain',
      '--world',
      world,
      '--calls',
      '32',
      '--starts',
      '8',
      '--episodes',
      '8',
      '--out',
      policy,
      '--json',
      '-',
    ]);
    expect(pretrained, pretrained.stderr).toMatchObject({ code: 0 });
    const adapted = await ialp([
      'adapt',
      '--world',
      world,
      '--from',
      policy,
      '--steps',
      '128',
      '--lanes',
      '8',
      '--episodes',
      '8',
      '--out',
      join(folder, 'ft'),
      '--json',
      '-',
    ]);
    expect(adapted, adapted.stderr).toMatchObject({ code: 0 });
    const judged = await ialp([
      'evaluate',
      '--world',
      world,
      '--policy',
      join(folder, 'ft'),
      '--split',
      'validation',
      '--episodes',
      '8',
      '--json',
      '-',
    ]);
    expect(judged, judged.stderr).toMatchObject({ code: 0 });
    expect(runResultSchema.parse(JSON.parse(judged.stdout)).rows[0]).toMatchObject({
      world: 'custom',
      split: 'validation',
      reward: 'model',
    });
  });

  it('stopped half-way says how to go on, and goes on', async () => {
    const folder = temporaryFolder();
    const controller = new AbortController();
    let stderr = '';
    const write = (text: string): void => {
      stderr += text;
      if (text.includes('fitting validation')) controller.abort(new Error('stopped by the test'));
    };
    const io = { stdout: { write: () => {} }, stderr: { write }, signal: controller.signal, isVerbose: false };
    expect(await runCli(build(folder), io)).toBe(130);
    const world = join(folder, 'world');
    expect(stderr).toContain(`the state is kept in ${world}`);
    expect(stderr).toMatch(/give the same command again:\n {2}ialp world build custom/);
    expect(existsSync(join(world, 'manifest.json'))).toBe(false);
    const card = await ialp(['world', 'card', world]);
    expect(card).toMatchObject({ code: 1 });
    expect(card.stderr).toMatch(/the build of this world was interrupted/);
    const resumed = await ialp(build(folder));
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.stdout).toContain('Going on with the interrupted build');
    expect(resumed.stderr).not.toContain('fitting train');
  });

  it('names file and line of a bad row, and leaves no folder', async () => {
    const folder = temporaryFolder();
    const argv = build(folder);
    writeFileSync(join(folder, 'log.csv'), 'buyer,sku,when,stars\nu1,t1,1,5\nu1,t99,2,5\n');
    const { code, stderr } = await ialp(argv);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*log\.csv:3:2: .*the id of an item of the catalogue, got "t99"/);
    expect(existsSync(join(folder, 'world'))).toBe(false);
  });
});

describe('ialp world build, the others', () => {
  it('synthetic: stored as its options', async () => {
    const world = join(temporaryFolder(), 'world');
    expect(await ialp(['world', 'build', 'synthetic', '--world-size', '60x4', '--out', world])).toMatchObject({
      code: 0,
    });
    const { code, stdout } = await ialp([
      'world',
      'card',
      world,
      '--episodes',
      '4',
      '--seeds',
      '1',
      '--policies',
      'random',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/World card: synthetic, test users/);
  });

  it('coat: its window and evaluation mode come with the folder', async ({ skip }) => {
    const data = sharedData('coat');
    if (data === undefined) return skip();
    const world = join(temporaryFolder(), 'world');
    const argv = [
      'world',
      'build',
      'coat',
      '--data',
      data,
      '--window',
      'legacy',
      '--evaluation',
      'NX_0',
      '--out',
      world,
    ];
    expect(await ialp(argv)).toMatchObject({ code: 0 });
    const { stdout } = await ialp([
      'world',
      'card',
      world,
      '--split',
      'all',
      '--episodes',
      '20',
      '--seeds',
      '1',
      '--policies',
      'random',
      '--json',
      '-',
    ]);
    expect(cardResultSchema.parse(JSON.parse(stdout)).rows[0]).toMatchObject({
      world: 'coat',
      window: 'legacy',
      evaluation: 'NX_0',
    });
  });
});

describe('wrong usage', () => {
  it.each([
    ['world build mars --out w', /Allowed choices are coat, industry, lfm, tracks, movielens, synthetic, custom/],
    ['world build lfm', /required option '--out <dir>' not specified/],
    ['world build lfm --out w', /the world lfm needs --data DIR, the folder with artists.dat, user_artists.dat/],
    [
      'world build coat --out w --data . --fatigue 0.5',
      /--fatigue is not for the world coat; its options are --data, --reward/,
    ],
    ['world build lfm --out w --data . --items x.csv', /--items is not for the world lfm/],
    ['world build custom --out w --items x.csv', /the world custom needs --interactions/],
    [
      'world build custom --out w --items x --interactions y --attributes t --min-rating 3',
      /--min-rating needs --rating-column/,
    ],
    ['world build lfm --out w --data . --diversity hrad', /Allowed choices are none, soft, hard/],
    ['evaluate --policy . --world package.json', /the folder of a built world, this is a file/],
    ['evaluate --policy . --world cota', /no such world and no such folder. Did you mean coat\?/],
    ['evaluate --policy . --world ./docs --data .', /--data is said when a world is built/],
  ])('ialp %s: exit 2, and says why', async (command, message) => {
    const { code, stderr } = await ialp(command.split(' '));
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });

  it('a folder that is no world is refused, naming what was looked for', async () => {
    const { code, stderr } = await ialp(['world', 'card', temporaryFolder()]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/manifest\.json: expected the folder of a world, as `ialp world build` writes it/);
  });
});
