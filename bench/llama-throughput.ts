/**
 * `npx tsx bench/llama-throughput.ts MODEL [--prompts N] [--candidates K] [--threads N] [--memory-prompts N] [--json FILE]`: the
 * likelihood read-out of `LlamaCppModel` against a bare `node-llama-cpp` loop on the same token sequences with the same reuse of what
 * is held, prompt by prompt in turns, in one run. Then the resident set over many prompts of a small generated model.
 * Exit code 1 when ours is below 90 % of the bare loop, or the resident set grew by more than 2 MB a thousand prompts.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { type ControlledEvaluateInputItem, getLlama, type LlamaContextSequence, type Token } from 'node-llama-cpp';
import { Rng } from '../src/foundation/rng.js';
import { ContinuationTree, commonLength } from '../src/llama-cpp/continuation-tree.js';
import { CHUNK, LlamaCppModel } from '../src/llama-cpp/llama-cpp-model.js';
import { LogitReader } from '../src/llama-cpp/logit-reader.js';
import { writeTinyLlama } from '../test/fixtures/gguf/tiny-llama.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompts: { type: 'string', default: '40' },
    candidates: { type: 'string', default: '10' },
    threads: { type: 'string', default: '2' },
    'memory-prompts': { type: 'string', default: '5000' },
    json: { type: 'string' },
  },
});
const [file] = positionals;
if (file === undefined) throw new Error('usage: npx tsx bench/llama-throughput.ts MODEL [--prompts N] [--json FILE]');
const threads = Number(values.threads);
const CONTEXT = 2048;
const WARM_UP = 3;
const LEAST_RATIO = 0.9;
const MOST_MB_A_THOUSAND = 2;

const NOUNS = 'kettle lamp wrench jacket teapot bolt notebook drill sofa harp gasket goggles'.split(' ');
const KINDS = ['Stainless Steel', 'Adjustable', 'Cordless', 'Heavy-Duty', 'Waterproof', 'Pack of 10'];
const BRANDS = ['Acme', 'Bosch', '3M', 'Kuka', 'Orinoco'];

/** What one answer asks: a history, and candidates of about 15 tokens. */
function question(rng: Rng): { prefix: string; continuations: string[] } {
  const pick = (from: readonly string[]): string => from[rng.integer(from.length)] as string;
  const item = (): string => `${pick(KINDS)} ${pick(NOUNS)} no. ${rng.integer(1000)}; ${pick(NOUNS)}s; ${pick(BRANDS)}`;
  const history = Array.from({ length: 2 + rng.integer(8) }, item);
  return {
    prefix: `A customer bought these products, in order:\n\n- ${history.join('\n- ')}\nThe next product the customer bought:\n-`,
    continuations: Array.from({ length: Number(values.candidates) }, () => ` ${item()}`),
  };
}

/** One call of the bare library: forget all but `keep` tokens, evaluate, read. */
interface BareStep {
  readonly keep: number;
  readonly input: ControlledEvaluateInputItem[];
  readonly asked: readonly (readonly Token[])[];
}

const rng = new Rng(1);
const questions = Array.from({ length: WARM_UP + Number(values.prompts) }, (_, i) => question(rng.fork(i)));
const model = await LlamaCppModel.load({ file, threads, contextSize: CONTEXT });
const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: 0 });
const bareModel = await llama.loadModel({ modelPath: file });
const bareContext = await bareModel.createContext({ contextSize: CONTEXT, threads, swaFullCache: true });
const sequence = bareContext.getSequence();
const reader = await LogitReader.choose(sequence, bareModel.tokenize('A pen', false));

function tokenise(text: string): Token[] {
  const { bos, shouldPrependBosToken } = bareModel.tokens;
  const tokens = bareModel.tokenize(text, false);
  return shouldPrependBosToken && bos !== null ? [bos, ...tokens] : tokens;
}

let held: readonly Token[] = [];
let lastPrefix: readonly Token[] = [];
/** What of a prefix need not be evaluated: all of the last one, of another a multiple of `CHUNK` tokens, as `LlamaCppModel` cuts it. */
function reused(prefix: readonly Token[]): number {
  const isLast = lastPrefix.length === prefix.length && commonLength(lastPrefix, prefix) === prefix.length;
  lastPrefix = prefix;
  return isLast ? prefix.length : Math.floor(commonLength(held, prefix) / CHUNK) * CHUNK;
}

/** What the bare loop has to do for a question, prepared so that its time is the library's alone. */
function prepare({ prefix, continuations }: { prefix: string; continuations: readonly string[] }): BareStep[] {
  const wholes = continuations.map((continuation) => tokenise(prefix + continuation));
  const tree = new ContinuationTree(tokenise(prefix), wholes);
  const start = reused(tree.shared.slice(0, -1));
  const steps: BareStep[] = [];
  for (const { depth, nodes } of tree.runs()) {
    const asked = nodes.map(({ children }) => [...children.keys()]);
    const input = nodes.map(({ token }, i) => reader.item(token, asked[i] as Token[]));
    if (steps.length > 0) steps.push({ keep: depth, input, asked });
    else {
      const lead = tree.shared.slice(start, -1);
      steps.push({ keep: start, input: [...lead, ...input], asked: [...lead.map(() => []), ...asked] });
    }
    held = [
      ...(depth === tree.shared.length - 1 ? tree.shared.slice(0, -1) : held.slice(0, depth)),
      ...nodes.map(({ token }) => token),
    ];
  }
  return steps;
}

async function runBare(target: LlamaContextSequence, steps: readonly BareStep[]): Promise<number> {
  let sum = 0;
  for (const { keep, input, asked } of steps) {
    const { nextTokenIndex } = target;
    if (nextTokenIndex > keep) await target.eraseContextTokenRanges([{ start: keep, end: nextTokenIndex }]);
    const outputs = await target.controlledEvaluate(input);
    for (const [i, next] of asked.entries())
      if (next.length > 0) for (const logProb of reader.logProbs(outputs[i], next)) sum += logProb;
  }
  return sum;
}

const total = { oursMs: 0, bareMs: 0, evaluated: 0, withoutReuse: 0, oursEvaluated: 0, outputs: 0 };
for (const [i, asked] of questions.entries()) {
  const steps = prepare(asked);
  const ours = async (): Promise<number> => {
    const from = performance.now();
    const { usage, tokens } = await model.continuationScores(asked.prefix, asked.continuations);
    const ms = performance.now() - from;
    if (i >= WARM_UP) {
      const { inputTokens = 0, cachedInputTokens = 0 } = usage ?? {};
      const all = tokens.reduce((sum, count) => sum + count, 0);
      total.oursEvaluated += inputTokens - cachedInputTokens;
      total.withoutReuse += tokens.length * (inputTokens - all) + all;
      total.outputs += all;
    }
    return ms;
  };
  const bare = async (): Promise<number> => {
    const from = performance.now();
    await runBare(sequence, steps);
    return performance.now() - from;
  };
  const [oursMs, bareMs] =
    i % 2 === 0 ? [await ours(), await bare()] : await bare().then(async (ms) => [await ours(), ms]);
  if (i < WARM_UP) continue;
  total.oursMs += oursMs as number;
  total.bareMs += bareMs as number;
  total.evaluated += steps.reduce((sum, { input }) => sum + input.length, 0);
}
if (total.evaluated !== total.oursEvaluated)
  throw new Error(`not the same work: ours evaluated ${total.oursEvaluated} tokens, the bare loop ${total.evaluated}`);
await model.close();
await bareContext.dispose();
await bareModel.dispose();

const speed = {
  prompts: Number(values.prompts),
  candidates: Number(values.candidates),
  threads,
  ratio: total.bareMs / total.oursMs,
  tokensPerSecond: (total.oursEvaluated / total.oursMs) * 1000,
  bareTokensPerSecond: (total.evaluated / total.bareMs) * 1000,
  secondsPerAnswer: total.oursMs / 1000 / Number(values.prompts),
  tokensEvaluated: total.evaluated,
  tokensWithoutReuse: total.withoutReuse,
};
console.table([speed]);

const memory = await memoryOver(Number(values['memory-prompts']));
console.table(memory);
const [early, late] = [memory[1], memory.at(-1)];
const growth =
  early === undefined || late === undefined || late.prompts === early.prompts
    ? 0
    : ((late.rssMb - early.rssMb) / (late.prompts - early.prompts)) * 1000;
console.log(
  `ratio to the bare loop ${speed.ratio.toFixed(3)}, resident set ${growth.toFixed(2)} MB a thousand prompts`,
);
if (values.json !== undefined)
  await writeFile(values.json, `${JSON.stringify({ speed, memory, growthMbPerThousand: growth }, null, 2)}\n`);
process.exitCode = speed.ratio < LEAST_RATIO || growth > MOST_MB_A_THOUSAND ? 1 : 0;

/** The resident set each 500 prompts, both read-outs in turns, every 50th call aborted. */
async function memoryOver(prompts: number): Promise<{ prompts: number; rssMb: number; heapMb: number }[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ialp-throughput-'));
  const samples: { prompts: number; rssMb: number; heapMb: number }[] = [];
  try {
    const tinyFile = join(folder, 'tiny.gguf');
    writeTinyLlama(tinyFile);
    const tiny = await LlamaCppModel.load({ file: tinyFile, threads: 1, contextSize: CONTEXT, sequences: 2 });
    for (let i = 0; i < prompts; i++) {
      const { prefix, continuations } = question(rng.fork('memory').fork(i));
      const controller = new AbortController();
      const call =
        i % 2 === 0
          ? tiny.labelScores(prefix, ['a', 'b', 'c'], { signal: controller.signal })
          : tiny.continuationScores(prefix, continuations, { signal: controller.signal });
      if (i % 50 === 49) controller.abort();
      await call.catch((error: unknown) => {
        if (!controller.signal.aborted) throw error;
      });
      if ((i + 1) % 500 !== 0) continue;
      const { rss, heapUsed } = process.memoryUsage();
      samples.push({ prompts: i + 1, rssMb: rss / 2 ** 20, heapMb: heapUsed / 2 ** 20 });
    }
    await tiny.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return samples;
}
