import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DisposedError, InvalidArgumentError, InvalidDataError, OracleError } from '../../../src/foundation/errors.js';
import { LlamaCppModel, type LlamaCppModelOptions } from '../../../src/llama-cpp/llama-cpp-model.js';
import { sha256OfFile } from '../../../src/node/hash-file.js';
import { TinyLora, writeTinyLlama } from '../../fixtures/gguf/tiny-llama.js';

const folder = mkdtempSync(join(tmpdir(), 'ialp-llama-'));
const file = join(folder, 'tiny.gguf');
const PREFIX =
  'A customer bought these products, in order:\n\n- Blue kettle\n- Red lamp\nThe next product the customer bought:\n-';
const LONG = 'The quick brown fox jumps over the lazy dog. '.repeat(120);

beforeAll(() => {
  writeTinyLlama(file);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function load(options: Partial<LlamaCppModelOptions> = {}): Promise<LlamaCppModel> {
  return LlamaCppModel.load({ file, threads: 1, contextSize: 4096, ...options });
}

describe('LlamaCppModel.load', () => {
  it('refuses wrong options, naming them', async () => {
    await expect(load({ sequences: 0 })).rejects.toThrow(/`sequences` to be an integer from 1 to 64/);
    await expect(load({ spareSequences: 65 })).rejects.toThrow(/`spareSequences` to be an integer from 0 to 64/);
    await expect(load({ sha256: 'abc' })).rejects.toThrow(/64 hexadecimal digits/);
    await expect(LlamaCppModel.load({ model: file } as never)).rejects.toThrow(InvalidArgumentError);
  });

  it('says what is wrong with a file, without a word on the console', async () => {
    const whole = readFileSync(file);
    const torn = (length: number): string => {
      const path = join(folder, `torn-${length}.gguf`);
      writeFileSync(path, whole.subarray(0, length));
      return path;
    };
    const cases: [string, RegExp][] = [
      [join(folder, 'absent.gguf'), /absent\.gguf: expected a GGUF file: there is none/],
      [folder, /it is a folder/],
      [fileURLToPath(new URL('../../../package.json', import.meta.url)), /does not begin as one/],
      [torn(10), /does not begin as one/],
      [torn(5000), /whole GGUF model.*failed to read key-value pairs/],
      [torn(whole.length - 1), /whole GGUF model.*corrupted or incomplete/],
    ];
    for (const [path, message] of cases) {
      const loading = load({ file: path });
      await expect(loading).rejects.toThrow(InvalidDataError);
      await expect(loading).rejects.toThrow(message);
    }
  });

  it('checks SHA-256 where one is given', async () => {
    const model = await load({ sha256: (await sha256OfFile(file)).toUpperCase() });
    await model.close();
    await expect(load({ sha256: '0'.repeat(64) })).rejects.toThrow(/expected SHA-256 0000.*not the file it should be/);
  });

  it('refuses an adapter of another architecture, of another model, and one that is no adapter', async () => {
    const other = join(folder, 'gemma-lora.gguf');
    new TinyLora().write(other, { architecture: 'gemma' });
    await expect(load({ lora: other })).rejects.toThrow(
      /gemma-lora\.gguf: expected a LoRA adapter made for tiny\.gguf.*arch/,
    );
    await expect(load({ lora: file })).rejects.toThrow(/expected a LoRA adapter/);
    await expect(load({ lora: { file: join(folder, 'absent.gguf') } })).rejects.toThrow(/there is none/);
  });

  it('names file, hash, adapter and scale in the id', async () => {
    const lora = join(folder, 'lora.gguf');
    new TinyLora().write(lora);
    const [hash, loraHash] = [await sha256OfFile(file), await sha256OfFile(lora)];
    const model = await load({ lora: { file: lora, scale: 0.5, sha256: loraHash } });
    expect(model.id).toBe(`llama-cpp:tiny.gguf#${hash.slice(0, 16)}+lora:${loraHash.slice(0, 16)}@0.5`);
    await model.close();
  });
});

describe('LlamaCppModel', () => {
  let model: LlamaCppModel;
  beforeAll(async () => {
    model = await load({ sequences: 2 });
  });
  afterAll(() => model.close());

  it('says how many tokens it reused, and gives the same answer', async () => {
    const continuations = [' Green lamp; Lights', ' Green kettle; Kitchen', ' Green lamp; Kitchen'];
    const fresh = await load();
    const first = await fresh.continuationScores(PREFIX, continuations);
    const again = await fresh.continuationScores(PREFIX, continuations);
    await fresh.close();
    const prefixTokens = model.countTokens(PREFIX);
    expect(first.usage?.inputTokens).toBe(prefixTokens + first.tokens.reduce((sum, count) => sum + count, 0));
    // The second time only the prefix's last token is evaluated again, and of each continuation what it does not share.
    expect((again.usage?.cachedInputTokens as number) - (first.usage?.cachedInputTokens as number)).toBe(
      prefixTokens - 1,
    );
    again.logLikelihoods.forEach((value, i) => {
      expect(value).toBeCloseTo(first.logLikelihoods[i] as number, 4);
    });
  });

  it('scores a continuation alike whatever stands beside it', async () => {
    const alone = await model.continuationScores(PREFIX, [' Green lamp']);
    const among = await model.continuationScores(PREFIX, [
      ' Green',
      ' Green lamp; Lights',
      ' Green lamp',
      ' Green lamp',
    ]);
    expect(among.logLikelihoods[2]).toBeCloseTo(alone.logLikelihoods[0] as number, 4);
    expect(among.logLikelihoods[3]).toBe(among.logLikelihoods[2]);
  });

  it('takes control tokens in a text for text', () => {
    expect(model.countTokens('</s>')).toBeGreaterThan(3);
    expect(model.countTokens('<s>')).toBeGreaterThan(2);
  });

  it('works on as many calls at once as it has sequences, with the same answers', async () => {
    expect(model.concurrency).toBe(2);
    const prompts = Array.from({ length: 8 }, (_, i) => `Number ${i} of them. The user will select`);
    const together = await Promise.all(prompts.map((prompt) => model.labelScores(prompt, ['a', 'b', 'c'])));
    for (const [i, prompt] of prompts.entries()) {
      const { logProbs } = await model.labelScores(prompt, ['a', 'b', 'c']);
      logProbs.forEach((value, j) => {
        expect(together[i]?.logProbs[j]).toBeCloseTo(value, 4);
      });
    }
  });

  it('holds as many beginnings as it has spare sequences, and works on no more calls for them', async () => {
    const prefixes = ['one', 'two', 'three'].map((word) => `${PREFIX} ${word.repeat(40)}`);
    // What the last of three rounds over all prefixes did not evaluate again.
    const reused = async (spareSequences: number): Promise<number> => {
      const fresh = await load({ spareSequences });
      expect(fresh.concurrency).toBe(1);
      let cached = 0;
      for (let round = 0; round < 3; round++) {
        cached = 0;
        for (const prefix of prefixes) {
          const { usage } = await fresh.continuationScores(prefix, [' Green lamp']);
          cached += usage?.cachedInputTokens as number;
        }
      }
      await fresh.close();
      return cached;
    };
    // A prefix's last token is evaluated again, a continuation's last never.
    const whole = prefixes.reduce((sum, prefix) => sum + model.countTokens(prefix), 0);
    expect(await reused(2)).toBe(whole);
    expect(await reused(0)).toBeLessThan(whole / 2);
  });

  it('refuses what is longer than the context, not to be asked again, and goes on', async () => {
    const small = await load({ contextSize: 256 });
    const tooLong = small.labelScores(LONG, ['a']);
    await expect(tooLong).rejects.toThrow(/at most \d+ tokens, got \d+.*`contextSize`/);
    await expect(tooLong).rejects.toMatchObject({ code: 'ORACLE', status: 413 });
    await expect(small.complete(LONG, options())).rejects.toThrow(OracleError);
    expect((await small.labelScores('The user will select', ['a'])).logProbs[0]).toBeLessThan(0);
    await small.close();
  });

  it('refuses arguments that are no texts', async () => {
    await expect(model.labelScores(5 as never, ['a'])).rejects.toThrow(/`prompt` to be a text, got 5/);
    await expect(model.continuationScores('x', [])).rejects.toThrow(/`continuations` to be texts, at least one/);
  });

  it('ends at once on abort, before and inside an evaluation, and answers the next call rightly', async () => {
    const before = await model.labelScores('The user will select', ['a', 'b']);
    const reason = new Error('enough');
    await expect(model.labelScores(LONG, ['a'], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const asked = [LONG, `${LONG}a`, `${LONG}b`].map((text) =>
      model.labelScores(text, ['a'], { signal: controller.signal }),
    );
    const completing = model.complete(LONG, options(controller.signal));
    await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort(reason);
    for (const call of [...asked, completing]) await expect(call).rejects.toBe(reason);
    const after = await model.labelScores('The user will select', ['a', 'b']);
    expect(after.logProbs[0]).toBeCloseTo(before.logProbs[0] as number, 4);
  });

  it('writes a label, by itself and under the grammar', async () => {
    const prompt = 'Response: the user will select';
    expect((await model.complete(prompt, options())).text).toMatch(/^ [a-z]/);
    const { text, usage } = await model.complete('Something else altogether', { ...options(), constrained: true });
    expect(text).toMatch(/^ [a-c]$/);
    expect(usage?.inputTokens).toBe(model.countTokens('Something else altogether'));
  });
});

describe('LlamaCppModel.close', () => {
  it('ends what is in flight, is safe to call twice, and refuses later calls', async () => {
    const model = await load();
    const calls = [model.labelScores(LONG, ['a']), model.labelScores(LONG, ['b']), model.complete(LONG, options())];
    const closing = [model.close(), model.close()];
    for (const call of calls) await expect(call).rejects.toThrow(DisposedError);
    await Promise.all(closing);
    await expect(model.labelScores('x', ['a'])).rejects.toThrow(DisposedError);
    expect(() => model.countTokens('x')).toThrow(DisposedError);
    await model.close();
  });

  it('leaves another model of the process as it was', async () => {
    const [first, second] = [await load(), await load()];
    const before = await second.labelScores('The user will select', ['a']);
    await first.close();
    expect((await second.labelScores('The user will select', ['a'])).logProbs).toEqual(before.logProbs);
    await second.close();
  });

  it('lets the process end, and nothing was printed', async () => {
    const program = `
      import { LlamaCppModel } from ${JSON.stringify(new URL('../../../src/llama-cpp/index.ts', import.meta.url).href)};
      const model = await LlamaCppModel.load({ file: process.argv[2], threads: 1 });
      await model.labelScores('The user will select', ['a']);
      await LlamaCppModel.load({ file: process.argv[2], lora: process.argv[2] }).catch(() => {});
      await model.close();
      process.on('exit', (code) => console.log('ended', code));`;
    const script = join(folder, 'load-and-close.mts');
    writeFileSync(script, program);
    const run = promisify(execFile)(process.execPath, ['--import', 'tsx', script, file], { timeout: 40_000 });
    expect(await run).toEqual({ stdout: 'ended 0\n', stderr: '' });
  });
});

function options(signal: AbortSignal = new AbortController().signal): {
  signal: AbortSignal;
  labels: string[];
  constrained: boolean;
} {
  return { signal, labels: ['a', 'b', 'c'], constrained: false };
}
