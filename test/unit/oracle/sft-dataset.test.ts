import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { sha256Hex } from '../../../src/foundation/sha256.js';
import { LikelihoodOracle } from '../../../src/oracle/likelihood-oracle.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import { nextItemLists, splitUsers } from '../../../src/oracle/next-item-lists.js';
import {
  buildSftDataset,
  SFT_FORMATS,
  SFT_FORMS,
  type SftForm,
  type SftFormat,
} from '../../../src/oracle/sft-dataset.js';
import { shop } from './fixtures.js';

const catalog = shop(80, 6);
const rng = new Rng(9);
const sequences = Sequences.from(
  Array.from({ length: 400 }, (_, user) => Array.from(rng.fork(user).sample(80, 5 + (user % 4)))),
  { itemCount: 80, users: Array.from({ length: 400 }, (_, i) => `user-${i}`) },
);
const base = { catalog, sequences, n: 550, seed: 2 } as const;
const dataset = await buildSftDataset(base);

function records(form: SftForm, format: SftFormat): Record<string, unknown>[] {
  const file = dataset.files.find((one) => one.form === form && one.format === format);
  return (file?.text ?? '')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('buildSftDataset', () => {
  it('draws n interactions, a share of them without the true item, whose answer is None', () => {
    const { examples, manifest } = dataset;
    expect(examples).toHaveLength(550);
    expect(examples.filter(({ truth }) => truth === null)).toHaveLength(50);
    for (const { history, candidates, truth } of examples) {
      expect(new Set(candidates).size).toBe(10);
      expect(history.length).toBeGreaterThan(0);
      if (truth !== null) expect(candidates).toContain(truth);
      for (const item of candidates) expect(item === truth || !history.includes(item)).toBe(true);
    }
    expect(manifest.counts).toMatchObject({ examples: 550, none: 50 });
  });

  it('a None list holds nothing that its user ever took', () => {
    const taken = new Map(Array.from({ length: 400 }, (_, i) => [`user-${i}`, new Set(sequences.sequence(i))]));
    for (const { candidates, truth, user } of dataset.examples)
      if (truth === null) expect(candidates.filter((item) => taken.get(user)?.has(item))).toEqual([]);
  });

  it('puts the true label at every place alike, by chi-square; control: a truth that is always first', () => {
    const places = dataset.examples.flatMap(({ candidates, truth }) =>
      truth === null ? [] : [candidates.indexOf(truth)],
    );
    // 9 degrees of freedom: 27.9 at p = 0.001. To within one each, it is far below.
    expect(chiSquare(places, 10)).toBeLessThan(1);
    expect(
      chiSquare(
        places.map(() => 0),
        10,
      ),
    ).toBeGreaterThan(27.9);
    const counts = Object.entries(dataset.manifest.counts.labels);
    expect(counts.map(([label]) => label)).toEqual([...'abcdefghijk']);
    for (const [, count] of counts) expect(count).toBe(50);
  });

  it('shares no user with the lists that evaluate, and says so', async () => {
    const judging = splitUsers(sequences, { seed: 1 }).test;
    const lists = nextItemLists({ sequences: judging });
    const evaluating = new Set(lists.map(({ user }) => user));
    expect(evaluating.size).toBe(80);
    const drawn = new Set(dataset.examples.map(({ user }) => user));
    expect([...drawn].filter((user) => evaluating.has(user))).toEqual([]);
    expect(dataset.manifest.users).toEqual({
      drawn: drawn.size,
      drawnSha256: await sha256Hex([...drawn].sort().join('\n')),
      evaluation: 80,
      evaluationSha256: await sha256Hex([...evaluating].sort().join('\n')),
      shared: 0,
    });
    // Control: dealt by another seed, the parts do share users.
    const other = await buildSftDataset({ ...base, splitSeed: 2, formats: ['alpaca'] });
    expect(other.examples.some(({ user }) => evaluating.has(user))).toBe(true);
  });

  it('refuses lists of users who evaluate', async () => {
    const lists = nextItemLists({ sequences, limit: 30 });
    const users = lists.map(({ user }) => user as string);
    const make = (evaluationUsers: string[]) => buildSftDataset({ catalog, lists: lists as never, evaluationUsers });
    await expect(make([users[3] as string])).rejects.toThrow(/who do not evaluate, got 1 who do/);
    expect((await make(['somebody'])).manifest.users).toMatchObject({ drawn: 30, shared: 0 });
  });

  it.each(['completion', 'chat'] as const)('has the bytes of the %s prompt that LlmOracle writes', async (mode) => {
    const asked: string[] = [];
    const oracle = new LlmOracle({
      ...{ catalog, mode, shuffle: false, concurrency: 1 },
      complete: async (prompt) => {
        asked.push(prompt);
        return 'a';
      },
    });
    await oracle.prefer(dataset.examples.map(({ history, candidates }) => ({ history, candidates })));
    const written =
      mode === 'completion'
        ? records('label', 'prompt-completion').map(({ prompt }) => prompt)
        : records('label', 'openai-chat').map(({ messages }) => (messages as { content: string }[])[0]?.content);
    expect(written).toEqual(asked);
    if (mode === 'chat')
      expect(
        records('label', 'sharegpt').map(({ conversations }) => (conversations as { value: string }[])[0]?.value),
      ).toEqual(asked);
  });

  it('has the bytes of the prefixes and texts that LikelihoodOracle writes', async () => {
    const asked: { prefix: string; text: string }[] = [];
    const oracle = new LikelihoodOracle({
      catalog,
      concurrency: 1,
      languageModel: {
        id: 'listening',
        continuationScores: async (prefix, texts) => {
          asked.push({ prefix, text: texts[0] as string });
          return { logLikelihoods: texts.map(() => -1), tokens: texts.map(() => 1) };
        },
      },
    });
    const known = dataset.examples.filter(({ truth }) => truth !== null).slice(0, 100);
    await oracle.prefer(
      known.map(({ history, candidates, truth }) => ({
        history,
        candidates: [truth as number, ...candidates.filter((item) => item !== truth)],
      })),
    );
    const written = records('likelihood', 'prompt-completion');
    expect(written).toHaveLength(500);
    const conditional = asked.filter(({ prefix }) => !prefix.startsWith('A customer bought:'));
    expect(written.slice(0, 100)).toEqual(
      conditional.map(({ prefix, text }) => ({ prompt: prefix, completion: text })),
    );
  });

  it('answers with the label of the true item, or the last one', () => {
    for (const [i, { completion }] of records('label', 'prompt-completion').entries()) {
      const { candidates, truth } = dataset.examples[i] as (typeof dataset.examples)[number];
      const place = truth === null ? 10 : candidates.indexOf(truth);
      expect(completion).toBe(` ${'abcdefghijk'[place]}`);
    }
  });

  it("gives Table 1 back from Alpaca's three fields", () => {
    const whole = records('label', 'prompt-completion');
    for (const [i, { instruction, input, output }] of records('label', 'alpaca').entries()) {
      const { prompt, completion } = whole[i] as { prompt: string; completion: string };
      const frame = prompt.split('\n')[0];
      expect(`${frame}\nInstruction: ${instruction}\nInput: ${input}\nResponse: ${output}`).toBe(prompt + completion);
    }
  });

  it('lists every file with its hash, and is a function of its seed', async () => {
    const { files, manifest } = dataset;
    expect(manifest.files.map(({ name }) => name)).toEqual(
      SFT_FORMS.flatMap((form) => SFT_FORMATS.map((format) => `${form}.${format}.jsonl`)),
    );
    for (const [i, { sha256, examples, form }] of manifest.files.entries()) {
      expect(sha256).toBe(await sha256Hex(files[i]?.text ?? ''));
      expect(examples).toBe(form === 'label' ? 550 : 500);
    }
    expect((await buildSftDataset(base)).manifest).toEqual(manifest);
    expect((await buildSftDataset({ ...base, seed: 3 })).files[0]?.text).not.toBe(files[0]?.text);
  });

  it('holds no user and no text of items in the manifest', () => {
    expect(JSON.stringify(dataset.manifest)).not.toMatch(/user-\d|number\d|department/);
  });

  it.each([
    ['neither log nor lists', { sequences: undefined }],
    ['lists without those who evaluate', { sequences: undefined, lists: [] }],
    ['sequences of another catalogue', { sequences: Sequences.from([[1, 2]], { itemCount: 9 }) }],
    ['a rate above 1', { noneRate: 1.5 }],
    ['more candidates than letters', { k: 26 }],
    [
      'a log that gives no list',
      {
        sequences: Sequences.from(
          Array.from({ length: 10 }, () => [1]),
          { itemCount: 80 },
        ),
      },
    ],
  ])('refuses %s', async (_, options) => {
    await expect(buildSftDataset({ ...base, ...options } as never)).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});

function chiSquare(places: readonly number[], K: number): number {
  const wanted = places.length / K;
  return Array.from({ length: K }, (_, k) => places.filter((place) => place === k).length).reduce(
    (sum, seen) => sum + (seen - wanted) ** 2 / wanted,
    0,
  );
}
