import type { ControlledEvaluateIndexOutput, ControlledEvaluateInputItem, Token } from 'node-llama-cpp';
import { describe, expect, it } from 'vitest';
import { BackendError } from '../../../src/foundation/errors.js';
import { type EvaluatingSequence, LogitReader } from '../../../src/llama-cpp/logit-reader.js';

const TEXT = [3, 1, 4, 1, 5] as Token[];
const VOCABULARY = 40;

describe('LogitReader', () => {
  it('takes the way without a sort where the engine selects the largest logit', async () => {
    const reader = await LogitReader.choose(engine({}), TEXT);
    expect(reader.way).toBe('selected');
  });

  it('falls back to sorting where the selected token is not given, as after an upgrade that changes it', async () => {
    const reader = await LogitReader.choose(engine({ givesSelected: false }), TEXT);
    expect(reader.way).toBe('top');
  });

  it('falls back where the weight is relative to something else than what was given', async () => {
    const reader = await LogitReader.choose(engine({ selects: 'last' }), TEXT);
    expect(reader.way).toBe('top');
  });

  it('refuses an engine of which no way agrees with the full softmax', async () => {
    const broken = engine({ givesSelected: false, givesTop: false });
    await expect(LogitReader.choose(broken, TEXT)).rejects.toThrow(BackendError);
    await expect(LogitReader.choose(engine({ logit: () => Number.NaN }), TEXT)).rejects.toThrow(/full softmax/);
  });

  it('leaves the sequence empty', async () => {
    const sequence = engine({});
    await LogitReader.choose(sequence, TEXT);
    expect(sequence.held).toBe(0);
  });

  it('gives exact log-probabilities over the whole vocabulary', async () => {
    const reader = await LogitReader.choose(engine({}), TEXT);
    const wanted = [0, 7, 39] as Token[];
    const [output] = await engine({}).controlledEvaluate([reader.item(2 as Token, wanted)]);
    const logits = Array.from({ length: VOCABULARY }, (_, token) => defaultLogit(0, token));
    const logZ = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    for (const [i, got] of reader.logProbs(output, wanted).entries())
      expect(got).toBeCloseTo(defaultLogit(0, wanted[i] as Token) - logZ, 9);
  });

  it('gives NaN, not a number, where the engine gives nothing', async () => {
    const reader = await LogitReader.choose(engine({}), TEXT);
    expect(reader.logProbs(undefined, [1 as Token])).toEqual([Number.NaN]);
  });
});

function defaultLogit(position: number, token: number): number {
  return 4 * Math.sin(token * 12.9 + position * 3.7);
}

/** An engine of 40 tokens, with the faults that an upgrade could bring. */
function engine({
  givesSelected = true,
  givesTop = true,
  selects = 'largest',
  logit = defaultLogit,
}: {
  givesSelected?: boolean;
  givesTop?: boolean;
  selects?: 'largest' | 'last';
  logit?: (position: number, token: number) => number;
}): EvaluatingSequence & { held: number } {
  return {
    held: 0,
    async clearHistory() {
      this.held = 0;
    },
    async controlledEvaluate(input: ControlledEvaluateInputItem[]) {
      const outputs: (ControlledEvaluateIndexOutput | undefined)[] = [];
      for (const item of input) {
        const position = this.held++;
        const asked = Array.isArray(item) ? item[1].generateNext?.logits : undefined;
        if (asked === undefined || asked === false) {
          outputs.push(undefined);
          continue;
        }
        const all = Array.from({ length: VOCABULARY }, (_, token): [Token, number] => [
          token as Token,
          logit(position, token),
        ]).sort((a, b) => b[1] - a[1]);
        const max = (all[0] as [Token, number])[1];
        const filter = asked === true ? undefined : asked.filter;
        const selected = selects === 'largest' ? all[0]?.[0] : all.at(-1)?.[0];
        const given = all.filter(
          ([token], rank) =>
            filter === undefined ||
            filter.tokens.includes(token) ||
            (givesSelected && filter.includeSelected === true && token === selected) ||
            (givesTop && rank < (filter.includeTop ?? 0)),
        );
        const totalLogitWeight = all.reduce((sum, [, value]) => sum + Math.exp(value - max), 0);
        outputs.push({ next: { logits: new Map(given), totalLogitWeight } });
      }
      return outputs as Awaited<ReturnType<EvaluatingSequence['controlledEvaluate']>>;
    },
  };
}
