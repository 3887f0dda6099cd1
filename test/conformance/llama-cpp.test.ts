import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getLlama, type LlamaContextSequence, type Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Catalog, type ItemIndex } from '../../src/catalog/catalog.js';
import { Rng } from '../../src/foundation/rng.js';
import { CHUNK, LlamaCppModel } from '../../src/llama-cpp/llama-cpp-model.js';
import { LogitReader } from '../../src/llama-cpp/logit-reader.js';
import { renderTable1 } from '../../src/oracle/prompt.js';
import { type TinyLlama, TinyLora, writeTinyLlama } from '../fixtures/gguf/tiny-llama.js';
import { sharedAdapter, sharedModel } from '../shared-model.js';

const folder = mkdtempSync(join(tmpdir(), 'ialp-llama-'));
const LABELS = [...'abcdefghijk'];
const TOLERANCE = 1e-4;
const NOUNS = [
  'kettle',
  'lamp',
  'torque wrench',
  'rain jacket',
  'teapot',
  'bolt',
  'notebook',
  'drill bit',
  'sofa',
  'harp',
];
const MAKERS = ['Acme', 'Zyx', 'Kuka', 'Orinoco', 'Müller & Söhne', '山田'];
const catalog = Catalog.fromItems(
  Array.from({ length: 60 }, (_, i) => ({
    id: `p${i}`,
    title: `${NOUNS[i % 10]} ${i}`,
    brand: MAKERS[i % 6] as string,
  })),
  { scenario: 'shopping', itemNoun: 'product', behavior: 'purchase', attributes: ['title', 'brand'] },
);
const prompts = Array.from({ length: 60 }, (_, i) => table1(new Rng(7).fork(i)));
const file = join(folder, 'tiny.gguf');
const loraFile = join(folder, 'lora.gguf');
const lora = new TinyLora();
let library: ReturnType<typeof getLlama> | undefined;
let tiny: TinyLlama;
let model: LlamaCppModel;

beforeAll(async () => {
  tiny = writeTinyLlama(file, { usual: prompts.slice(0, 30) });
  lora.write(loraFile);
  model = await LlamaCppModel.load({ file, threads: 1, sequences: 2 });
});
afterAll(async () => {
  await model?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('llama.cpp on a model that is known in closed form', () => {
  it('counts the tokens that a tokeniser written again counts', () => {
    for (const text of [...prompts.slice(0, 5), 'a  b\n\n c', '<s> </s> <0x0A>', 'İstanbul 😀 \u200bx', ' select None'])
      expect(model.countTokens(text)).toBe(tiny.tokenizer.tokenise(text).length);
  });

  it('gives label scores to 1e-4, and at least 8 labels win', async () => {
    const winners = new Set<string>();
    const answers = await Promise.all(prompts.map((prompt) => model.labelScores(prompt, LABELS)));
    for (const [i, prompt] of prompts.entries()) {
      const wanted = tiny.labelScores(prompt, LABELS);
      const got = (answers[i] as { logProbs: readonly number[] }).logProbs;
      expect(largestDifference(got, wanted)).toBeLessThan(TOLERANCE);
      winners.add(LABELS[got.indexOf(Math.max(...got))] as string);
    }
    expect(winners.size).toBeGreaterThanOrEqual(8);
  });

  it('writes the winning label, with and without the grammar', async () => {
    const signal = new AbortController().signal;
    for (const prompt of prompts.slice(0, 8)) {
      const scores = tiny.labelScores(prompt, LABELS);
      const winner = ` ${LABELS[scores.indexOf(Math.max(...scores))]}`;
      const constrained = await model.complete(prompt, { signal, labels: LABELS, constrained: true });
      expect(constrained.text).toBe(winner);
    }
  });

  it('gives log-likelihoods of continuations to 1e-3 a text, whatever they share', async () => {
    const continuations = [
      ' kettle 3; Acme',
      ' kettle 33; Zyx',
      ' kettle',
      ' İstanbul 山田 </s>',
      ' sofa\nbed',
      ' kettle 3; Acme',
    ];
    for (const prefix of ['A customer bought:\n-', prompts[0] as string, prompts[1] as string]) {
      const { logLikelihoods, tokens } = await model.continuationScores(prefix, continuations);
      const wanted = continuations.map((continuation) => tiny.continuationScore(prefix, continuation));
      expect(largestDifference(logLikelihoods, wanted)).toBeLessThan(1e-3);
      const whole = tiny.tokenizer.tokenise(prefix + continuations[3]).length;
      expect(tokens[3]).toBe(whole - tiny.tokenizer.tokenise(prefix).length);
    }
  });

  it('applies an adapter at its scale', async () => {
    const [prompt] = prompts as [string];
    for (const scale of [1, 0.25]) {
      const adapted = await LlamaCppModel.load({
        file,
        threads: 1,
        contextSize: 2048,
        lora: { file: loraFile, scale },
      });
      const { logProbs } = await adapted.labelScores(prompt, LABELS);
      await adapted.close();
      expect(largestDifference(logProbs, tiny.labelScores(prompt, LABELS, { weights: lora, scale }))).toBeLessThan(
        TOLERANCE,
      );
      expect(largestDifference(logProbs, tiny.labelScores(prompt, LABELS))).toBeGreaterThan(100 * TOLERANCE);
    }
  });

  it('notices an exchanged history item', async () => {
    const [before, after] = [table1(new Rng(1)), table1(new Rng(1), { exchanged: true })];
    const [one, other] = [await model.labelScores(before, LABELS), await model.labelScores(after, LABELS)];
    expect(before.length - after.length).toBeLessThan(10);
    expect(largestDifference(one.logProbs, other.logProbs)).toBeGreaterThan(100 * TOLERANCE);
  });

  it('does not notice it with attention switched off (negative control)', async () => {
    const deafFile = join(folder, 'deaf.gguf');
    writeTinyLlama(deafFile, { attention: 0 });
    const deaf = await LlamaCppModel.load({ file: deafFile, threads: 1, contextSize: 2048 });
    const one = await deaf.labelScores(table1(new Rng(1)), LABELS);
    const other = await deaf.labelScores(table1(new Rng(1), { exchanged: true }), LABELS);
    await deaf.close();
    expect(largestDifference(one.logProbs, other.logProbs)).toBeLessThan(TOLERANCE);
  });

  it('shows a wrong reuse of the prefix: what was not erased moves the scores (negative control)', async () => {
    const [first, second] = prompts as [string, string];
    await withSequence(file, async (sequence, reader) => {
      const tokens = tiny.tokenizer.tokenise(second) as Token[];
      const asked = LABELS.map((label) => tiny.tokenizer.idOf(`▁${label}`) as Token);
      const scores = async (from: number): Promise<number[]> => {
        const rest = tokens.slice(from, -1);
        const outputs = await sequence.controlledEvaluate([...rest, reader.item(tokens.at(-1) as Token, asked)]);
        return reader.logProbs(outputs.at(-1), asked);
      };
      const wanted = tiny.labelScores(second, LABELS);
      expect(largestDifference(await scores(0), wanted)).toBeLessThan(TOLERANCE);
      await sequence.clearHistory();
      const before = tiny.tokenizer.tokenise(first) as Token[];
      await sequence.controlledEvaluate(before);
      const shared = before.findIndex((token, i) => token !== tokens[i]);
      expect(largestDifference(await scores(shared), wanted)).toBeGreaterThan(100 * TOLERANCE);
    });
  });

  it('reads logits without a sort in this version of the library', async () => {
    await withSequence(file, async (_, reader) => expect(reader.way).toBe('selected'));
  });
});

describe('llama.cpp on SmolLM2-135M', () => {
  const real = sharedModel();
  const adapter = sharedAdapter();
  const history = ['Safety goggles; Personal protection', 'Nitrile gloves, box of 100; Personal protection'];
  const prefix = `A customer bought these products, in order:\n\n- ${history.join('\n- ')}\nThe next product the customer bought:\n-`;

  it.skipIf(real === undefined)('gives what the full softmax gives, token by token', async () => {
    const continuations = [' Nitrile gloves', ' Hex bolt'];
    const smol = await LlamaCppModel.load({ file: real as string, threads: 1, contextSize: 1024 });
    const fast = await smol.continuationScores(prefix, continuations);
    const again = await smol.continuationScores(prefix, continuations);
    await smol.close();
    expect(largestDifference(fast.logLikelihoods, again.logLikelihoods)).toBeLessThan(0.02);
    await withSequence(real as string, async (sequence, reader) => {
      expect(reader.way).toBe('selected');
      const { model: engine } = sequence;
      for (const [i, continuation] of continuations.entries()) {
        const tokens = engine.tokenize(prefix + continuation, false);
        const start = engine.tokenize(prefix, false).length;
        await sequence.clearHistory();
        const outputs = await sequence.controlledEvaluate(
          tokens.map((token, at) => (at < start - 1 ? token : [token, { generateNext: { logits: true } }])),
        );
        let sum = 0;
        for (let at = start; at < tokens.length; at++) {
          const logits = outputs[at - 1]?.next.logits as Map<Token, number>;
          const max = Math.max(...logits.values());
          const logZ = max + Math.log([...logits.values()].reduce((total, logit) => total + Math.exp(logit - max), 0));
          sum += (logits.get(tokens[at] as Token) as number) - logZ;
        }
        expect(Math.abs((fast.logLikelihoods[i] as number) - sum)).toBeLessThan(0.02);
      }
    });
    // The model weighs texts: what goes with the history is likelier than what does not.
    expect(fast.logLikelihoods[0]).toBeGreaterThan(fast.logLikelihoods[1] as number);
  });

  it.skipIf(real === undefined)('gives the same numbers whatever was asked before', async () => {
    const continuations = [' Nitrile gloves', ' Hex bolt M8, zinc plated'];
    const smol = await LlamaCppModel.load({ file: real as string, threads: 1, contextSize: 1024 });
    // Less than a chunk, and two chunks and some.
    for (const asked of [prefix, `${'- Disposable gloves; Personal protection; Acme\n'.repeat(24)}${prefix}`]) {
      const alone = await smol.continuationScores(asked, continuations);
      const cached: unknown[] = [];
      // A longer and a shorter text with the same beginning, one that goes on as the answers do past the end of a chunk, itself, and
      // another one: each leaves other keys behind.
      for (const before of [
        `${asked.slice(0, -40)} and much more of it`,
        asked.slice(0, -120),
        `${asked}${continuations[0]}, ${'powder free, '.repeat(60)}`,
        asked,
        'A customer bought:\n-',
      ]) {
        await smol.continuationScores(before, [' Hex bolt', ' Drill']);
        const after = await smol.continuationScores(asked, continuations);
        expect(after.logLikelihoods).toEqual(alone.logLikelihoods);
        cached.push((after.usage?.cachedInputTokens as number) - (alone.usage?.cachedInputTokens as number));
      }
      // That much was used again: without it nothing was shown.
      const most = smol.countTokens(asked) - 1;
      const whole = Math.floor(most / CHUNK) * CHUNK;
      expect(cached).toEqual([whole, whole, whole, most, 0]);
      // Nor do they hang on which continuation comes first, and is evaluated with the prefix's last token.
      const { logLikelihoods } = await smol.continuationScores(asked, continuations.toReversed());
      expect(largestDifference(logLikelihoods.toReversed(), alone.logLikelihoods)).toBeLessThan(0.02);
    }
    await smol.close();
  });

  it.skipIf(real === undefined || adapter === undefined)(
    'loads an adapter, which makes the likely likelier',
    async () => {
      const continuations = [
        ' Safety harness; Personal protection; 3M',
        ' Ear plugs, 200 pairs; Personal protection; Honeywell',
      ];
      const score = async (options: { lora?: string }): Promise<readonly number[]> => {
        const smol = await LlamaCppModel.load({ file: real as string, threads: 1, contextSize: 1024, ...options });
        const { logLikelihoods } = await smol.continuationScores(prefix, continuations);
        await smol.close();
        return logLikelihoods;
      };
      const [plain, adapted] = [await score({}), await score({ lora: adapter as string })];
      expect(largestDifference(plain, adapted)).toBeGreaterThan(0.5);
    },
  );
});

/** A prompt of Table 1; `exchanged`: with another product at the history's first place. */
function table1(rng: Rng, { exchanged = false } = {}): string {
  const items = rng.fork('items').shuffle(Array.from({ length: catalog.size }, (_, i) => i as ItemIndex));
  const history = items.slice(10, 11 + rng.fork('length').integer(6));
  if (exchanged) history[0] = items.at(-1) as ItemIndex;
  return renderTable1({ catalog, history, candidates: items.slice(0, 10) }).text;
}

function largestDifference(a: readonly number[], b: readonly number[]): number {
  return Math.max(...a.map((value, i) => Math.abs(value - (b[i] as number))));
}

/** The bare library on a file, for what our own class would not do. */
async function withSequence(
  path: string,
  work: (sequence: LlamaContextSequence, reader: LogitReader) => Promise<void>,
): Promise<void> {
  library ??= getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: 0 });
  const llama = await library;
  const bare = await llama.loadModel({ modelPath: path });
  const context = await bare.createContext({ contextSize: 1024, threads: 1 });
  const sequence = context.getSequence();
  try {
    await work(sequence, await LogitReader.choose(sequence, bare.tokenize('A pen', false)));
  } finally {
    await context.dispose();
    await bare.dispose();
  }
}
