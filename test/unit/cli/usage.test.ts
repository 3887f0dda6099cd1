import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import packageJson from '../../../package.json' with { type: 'json' };
import { ialp, temporaryFolder } from './run.js';

const WRONG: readonly (readonly [command: string, message: RegExp])[] = [
  ['dmeo', /unknown command 'dmeo'\n\(Did you mean demo\?\)/],
  ['demo --sed 3', /unknown option '--sed'\n\(Did you mean --seed\?\)/],
  ['demo --seeds 0', /--seeds.*'0' is invalid. Expected a whole number from 1 to 1000/],
  ['demo --seed x', /--seed.*'x' is invalid. Expected a whole number from 0/],
  ['demo --seed -1', /--seed/],
  ['demo --seed 1.5', /--seed.*'1.5' is invalid/],
  ['demo --backend gpu', /Allowed choices are auto, wasm/],
  ['demo extra', /too many arguments/],
  ['demo --json no/such/folder/x.json', /--json.*There is no folder .*no\/such\/folder/],
  ['demo --json .', /--json.*this is a folder/],
  ['demo --out package.json', /--out.*this is a file/],
  ['world', /Usage: ialp world/],
  ['world cadr', /Did you mean card\?/],
  ['world card', /missing required argument 'world'/],
  ['world card mars', /There is no such world and no such folder. Allowed are synthetic, coat, amazon, and the folder/],
  ['world card coat', /the world coat needs --data DIR, the folder with .*train.ascii/],
  ['world card amazon', /the world amazon needs --data DIR, the folder with Scientific.item.json/],
  ['world card synthetic --data .', /the synthetic world is generated/],
  ['world card synthetic --legacy-window', /--legacy-window is for coat/],
  ['world card coat --data . --world-size 50x4', /--world-size is for the synthetic world/],
  ['world card synthetic --world-size 50', /items x categories/],
  ['world card synthetic --policies random,beem', /There is no 'beem'. Did you mean beam\?/],
  ['world card synthetic --policies random,random', /none empty or twice/],
  ['world card synthetic --split half', /Allowed choices are all, train, validation, test/],
  ['world card synthetic --episodes 0', /--episodes.*whole number from 1/],
  ['pretrain', /exactly one of --world NAME and --items FILE, got neither/],
  ['pretrain --world synthetic --items a.csv', /got both/],
  ['pretrain --items a.csv', /--items needs --attributes/],
  ['pretrain --items a.csv --attributes title --episodes 9', /--episodes is for a world, not for --items/],
  [
    'pretrain --world synthetic --oracle gpt',
    /There is no oracle 'gpt'. Allowed are simulated, shuffled, random, none/,
  ],
  ['pretrain --world synthetic --noise -1', /--noise/],
  ['pretrain --world synthetic --calls 1e3', /--calls.*'1e3' is invalid/],
  ['pretrain --world synthetic --algorithm ppo', /Allowed choices are list, paper/],
  ['adapt', /required option '--world <name>' not specified/],
  ['adapt --world synthetic --steps 0', /--steps.*'0' is invalid. Expected a whole number from 1/],
  ['adapt --world synthetic --alpha-to 0.5', /--alpha-steps are for --scheme mixture/],
  ['adapt --world synthetic --scheme mixture --alpha-from 2', /--alpha-from.*from 0 to 1/],
  ['adapt --world synthetic --max-calls 5', /--max-calls.* are for --scheme llmOnline/],
  ['adapt --world synthetic --scheme llmOnline --oracle simulated --max-usd 1', /--max-usd needs --price-input/],
  ['pretrain --world synthetic --answers x --max-calls 5', /not for recorded answers/],
  ['pretrain --world synthetic --max-usd 1', /--max-usd needs --price-input/],
  ['pretrain --world synthetic --attributes title', /--attributes is for --items/],
  [
    'distil --world synthetic --attributes title --export-batch x --batch-model m',
    /--attributes of a world is for --readout likelihood/,
  ],
  ['distil --world synthetic --own-weight 2', /--own-weight/],
  ['adapt --world synthetic --handover-entropy 0', /--handover-entropy.*above 0/],
  ['adapt --world synthetic --marks 200,100', /rising order/],
  ['adapt --world synthetic --steps 100 --marks 50,200', /--marks go to 200, past the 100 --steps/],
  ['evaluate --world synthetic', /required option '--policy <dir>' not specified/],
  ['evaluate --world synthetic --policy . --temperature 0', /--temperature.*above 0/],
];

const SERVED = '--oracle openai-compatible:http://localhost:1#m';
/** Those who ask a model, with what they need beside. */
const ASKING = [
  'distil --world synthetic',
  'pretrain --world synthetic',
  'adapt --world synthetic --scheme llmOnline',
] as const;
const OF_MODELS = [
  ['--none-threshold', '-2'],
  ['--max-attribute-length', '50'],
  ['--per-token'],
  ['--own-weight', '0.5'],
  ['--baseline-histories', '2'],
] as const;
const OF_DEBIASING = [
  ['--debias', 'pride'],
  ['--permutations', '3'],
] as const;
const BATCH = 'distil --world synthetic --batch-model m --export-batch no-such.jsonl';

/** Options that would do nothing beside the others: each is refused, and it is said what it is for. */
const UNHEARD: readonly (readonly [command: string, message: RegExp])[] = [
  ...[...OF_MODELS, ...OF_DEBIASING].flatMap(([flag, ...value]): [string, RegExp][] => [
    ...[
      ...ASKING.map((command) => [command, 'simulated'] as const),
      ...['shuffled', 'random', 'none', 'recorded:no-such'].map((spec) => [ASKING[0], spec] as const),
    ].map(([command, spec]): [string, RegExp] => [
      [command, '--oracle', spec, flag, ...value].join(' '),
      new RegExp(`^error: ${flag} is for a language model, which --oracle ${spec.split(':')[0]} is not\\n`),
    ]),
    ...['--answers no-such', '--oracle recorded:no-such'].map((from): [string, RegExp] => [
      ['pretrain --world synthetic', from, flag, ...value].join(' '),
      new RegExp(`^error: ${flag} is for an oracle that is asked, not for recorded answers\\n`),
    ]),
    [['adapt --world synthetic', flag, ...value].join(' '), new RegExp(`^error: ${flag} is for --scheme llmOnline\\n`)],
  ]),
  ...OF_MODELS.map(([flag, ...value]): [string, RegExp] => [
    ['oracle eval --world synthetic --oracle random', flag, ...value].join(' '),
    new RegExp(`^error: ${flag} is for a language model, which --oracle random is not\\n`),
  ]),
  ['pretrain --world synthetic --oracle recorded:x --max-calls 5', /--max-calls.*, not for recorded answers/],
  // Of another read-out.
  ...ASKING.flatMap((command): [string, RegExp][] => [
    [`${command} ${SERVED} --permutations 3`, /^error: --permutations is for --debias cyclic/],
    [`${command} ${SERVED} --per-token`, /^error: --per-token is for --readout likelihood/],
  ]),
  [`distil --world synthetic ${SERVED} --debias pride --permutations 3`, /--permutations is for --debias cyclic/],
  [`distil --world synthetic ${SERVED} --baseline-histories 2`, /--baseline-histories is for --readout likelihood/],
  // 0 says as much as any other weight: it must not pass for nothing said.
  [`distil --world synthetic ${SERVED} --own-weight 0`, /--own-weight is for --readout likelihood/],
  [
    `distil --world synthetic ${SERVED} --readout likelihood --own-weight 0 --baseline-histories 2`,
    /--baseline-histories is not for --own-weight 0/,
  ],
  [`distil --world synthetic ${SERVED} --readout likelihood --debias cyclic`, /--debias cyclic is for --readout label/],
  [`distil --world synthetic ${SERVED} --attributes title`, /--attributes of a world is for --readout likelihood/],
  [
    'distil --world synthetic --oracle simulated --readout likelihood --attributes title',
    /--attributes of a world is for --readout likelihood of a language model/,
  ],
  // In a batch, which others ask.
  ...['--max-calls 5', '--max-tokens 5', '--max-minutes 5', '--price-input 1 --price-output 1'].map(
    (cap): [string, RegExp] => [
      `${BATCH} ${cap}`,
      /^error: --max-calls, .* the prices are for an oracle that is asked/,
    ],
  ),
  ['distil --world synthetic --batch-model m --import-batch x --max-calls 5', /--max-calls, .* not for a batch/],
  ...[
    ...OF_MODELS.filter(([flag]) => flag !== '--max-attribute-length'),
    ...OF_DEBIASING,
    ['--per-minute', '9'],
    ['--retry-invalid'],
    ['--max-invalid-rate', '0.5'],
  ].map(([flag, ...value]): [string, RegExp] => [
    [BATCH, flag, ...value].join(' '),
    new RegExp(`^error: ${flag} is for an oracle that is asked now, not for a batch\\n`),
  ]),
  [`${BATCH} --readout likelihood`, /^error: --readout likelihood is for an oracle that is asked now, not for a batch/],
];

describe('an option that would do nothing', () => {
  it.each(UNHEARD)('ialp %s: exit 2, and says what it is for', async (command, message) => {
    const { code, stdout, stderr } = await ialp([...command.split(' '), '--out', temporaryFolder()]);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stdout).toBe('');
  });

  it('is taken where it says no more than the default, or how fast', async () => {
    const out = temporaryFolder();
    const speed = ['--concurrency', '2', '--timeout', '9', '--model-threads', '1', '--per-minute', '9'];
    const defaults = ['--debias', 'shuffle', '--own-weight', '1', '--baseline-histories', '0', '--readout', 'label'];
    const world = ['--world', 'synthetic', '--world-size', '60x4', '--histories', 'items'];
    const { code, stderr } = await ialp(['distil', ...world, '--count', '5', '--out', out, ...speed, ...defaults]);
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  });
});

describe('wrong usage', () => {
  it.each(WRONG)('ialp %s: exit 2, and says why', async (command, message) => {
    const { code, stdout, stderr } = await ialp(command.split(' '));
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
  });

  it('without a command shows what there is', async () => {
    const { code, stderr } = await ialp([]);
    expect(code).toBe(2);
    for (const name of ['demo', 'world', 'distil', 'pretrain', 'adapt', 'evaluate', 'schema'])
      expect(stderr).toContain(`\n  ${name} `);
  });
});

describe('a secret on the command line', () => {
  it.each([
    ['openai-compatible:http://user:SECRET@h/v1#m', /'openai-compatible:http:\/\/…@h\/v1#m' is invalid.*IALP_API_KEY/],
    ['openai-compatible:http://user:S@ECRET@h/v1#m', /'openai-compatible:http:\/\/…@h\/v1#m' is invalid/],
    ['openai-compatible:http://user:SE/CRET@h/v1#m', /Expected a URL such as .*got 'openai-compatible:http:\/\/…@h/],
    ['openai-compatible:http://user:SE#CRET@h/v1#m', /Expected a URL such as .*got 'openai-compatible:http:\/\/…@h/],
    ['openai-compatible:user:SECRET@h/v1#m', /Expected a URL such as .*got 'openai-compatible:…@h\/v1#m'/],
    ['openai-compatible:http://user:SECRET@h/v1', /Expected openai-compatible:URL#MODEL, got '.*…@h\/v1'/],
    ['openai-compatable:http://user:SECRET@h/v1#m', /Did you mean openai-compatible\?/],
    ['my server: http://user:SECRET@h/v1#m', /There is no oracle 'my server: http:\/\/…@h/],
  ])('--oracle %s is refused without repeating it', async (spec, message) => {
    for (const oracle of [['--oracle', spec], [`--oracle=${spec}`]]) {
      const { code, stdout, stderr } = await ialp(['distil', '--world', 'synthetic', ...oracle]);
      expect(code).toBe(2);
      expect(stderr).toMatch(message);
      expect(stdout + stderr).not.toMatch(/user:|CRET|SE/);
    }
  });

  it('stands in no message about another option either', async () => {
    const { code, stderr } = await ialp(['distil', '--oracel=openai-compatible:http://user:SECRET@h/v1#m']);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('unknown option') });
    expect(stderr).not.toContain('SECRET');
  });

  it('leaves a wrong spec without one as it was typed', async () => {
    for (const spec of ['openai-compatible:localhost:8000#m', 'ai-sdk:./node_modules/@mine/model.mjs']) {
      const { code, stderr } = await ialp(['distil', '--world', 'synthetic', '--oracle', spec]);
      expect(code).toBe(2);
      expect(stderr).toContain(`argument '${spec}' is invalid. Expected`);
      expect(stderr).toContain(`got '${spec}'`);
    }
  });
});

describe('wrong input', () => {
  it('says in one message which file is missing, without a stack', async () => {
    const folder = temporaryFolder();
    const { code, stdout, stderr } = await ialp(['world', 'card', 'coat', '--data', folder]);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^error: .*\.ascii: expected a file that can be read: there is none\n$/);
  });

  it('shows the stack with --verbose', async () => {
    const { stderr } = await ialp(['world', 'card', 'coat', '--verbose', '--data', temporaryFolder()]);
    expect(stderr).toMatch(/InvalidDataError: .*\n +at /);
  });

  it('names file, line and column of a bad row of own items, and leaves nothing behind', async () => {
    const folder = temporaryFolder();
    const items = join(folder, 'items.csv');
    writeFileSync(items, 'id,title\na,One\nb,Two,too much\n');
    const out = join(folder, 'out');
    const { code, stderr } = await ialp(['pretrain', '--items', items, '--attributes', 'title', '--out', out]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/items\.csv:3/);
    expect(() => mkdirSync(out)).not.toThrow();
  });

  it('names the folder that holds no policy', async () => {
    const folder = temporaryFolder();
    for (const command of ['adapt --from', 'evaluate --policy']) {
      const { code, stderr } = await ialp([...command.split(' '), folder, '--world', 'synthetic']);
      expect(code).toBe(1);
      expect(stderr).toContain(`error: ${folder}: expected a folder with policy.safetensors`);
    }
  });
});

describe('what asks nothing', () => {
  it('--version is that of the package', async () => {
    expect(await ialp(['--version'])).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: '' });
  });

  it.each(['', 'demo', 'world card', 'distil', 'pretrain', 'adapt', 'evaluate', 'schema'])(
    '%s --help exits 0',
    async (command) => {
      const { code, stdout, stderr } = await ialp([...command.split(' ').filter(Boolean), '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain('Usage: ialp');
      expect(stderr).toBe('');
    },
  );

  it('schema is the JSON Schema of a run', async () => {
    const { code, stdout } = await ialp(['schema']);
    expect(code).toBe(0);
    const schema = z
      .object({ $schema: z.string(), $defs: z.record(z.string(), z.unknown()) })
      .parse(JSON.parse(stdout));
    expect(Object.keys(schema.$defs)).toEqual(expect.arrayContaining(['CardRow', 'RunRow']));
  });
});
