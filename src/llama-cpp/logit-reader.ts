import type {
  ControlledEvaluateIndexOutput,
  ControlledEvaluateInputItem,
  LlamaContextSequence,
  Token,
} from 'node-llama-cpp';
import { BackendError } from '../foundation/errors.js';
import { logSumExp } from '../oracle/score-decision.js';

type GenerateNext = NonNullable<Exclude<ControlledEvaluateInputItem, Token>[1]['generateNext']>;

/** The part of a sequence that reads logits. */
export type EvaluatingSequence = Pick<LlamaContextSequence, 'controlledEvaluate' | 'clearHistory'>;

/**
 * How the logits of some tokens are asked for, and with them the largest of the whole vocabulary, which `totalLogitWeight` is
 * relative to. Each is exact where the engine does what its documentation says; `includeMax` does not in 3.22.1.
 */
const WAYS = {
  /** Greedy sampling selects the largest, which costs no sort. */
  selected: { includeSelected: true },
  /** Sorts the whole vocabulary: 3 ms a token at 49k entries. */
  top: { includeTop: 1 },
} as const;

/** Largest disagreement in log Z, nats: a sum of 250,000 float32 terms stays below it. */
const TOLERANCE = 2e-3;

/** Asks the engine for exact log-probabilities of a few tokens at a position. */
export class LogitReader {
  /** The way in use. */
  readonly way: keyof typeof WAYS;

  private constructor(way: keyof typeof WAYS) {
    this.way = way;
  }

  /**
   * Chooses the cheapest way that agrees with the full softmax at every position of a short text, on this engine and model.
   *
   * @param sequence - an empty sequence; it is empty again afterwards.
   * @param tokens - a short text; at least one token.
   * @throws {BackendError} when none agrees.
   */
  static async choose(sequence: EvaluatingSequence, tokens: readonly Token[]): Promise<LogitReader> {
    const evaluate = async (options: GenerateNext): Promise<(ControlledEvaluateIndexOutput | undefined)[]> => {
      await sequence.clearHistory();
      return sequence.controlledEvaluate(
        tokens.map((token): ControlledEvaluateInputItem => [token, { generateNext: options }]),
      );
    };
    const full = (await evaluate({ logits: true })).map((output) => output?.next.logits ?? new Map<Token, number>());
    try {
      for (const way of Object.keys(WAYS) as (keyof typeof WAYS)[]) {
        const reader = new LogitReader(way);
        // The token asked for is not the largest, which it must not stand in for; nor the last, which a model may rule out.
        const asked = full.map((logits) => [...logits.keys()][Math.min(9, logits.size - 1)] as Token);
        await sequence.clearHistory();
        const outputs = await sequence.controlledEvaluate(
          tokens.map((token, i) => reader.item(token, [asked[i] as Token])),
        );
        const agrees = full.every((logits, i) => {
          const wanted = (logits.get(asked[i] as Token) ?? Number.NaN) - logSumExp([...logits.values()]);
          const got = reader.logProbs(outputs[i], [asked[i] as Token])[0] as number;
          return Math.abs(got - wanted) <= TOLERANCE;
        });
        if (agrees) return reader;
      }
    } finally {
      await sequence.clearHistory();
    }
    throw new BackendError(
      'llama-cpp: expected the log-probabilities of single tokens to agree with the full softmax, and no way of asking gave that; ' +
        'this version of node-llama-cpp cannot be used, or the model gives no finite logits: try node-llama-cpp 3.22.1',
      { backend: 'node-llama-cpp', install: 'npm i --omit=optional node-llama-cpp@3.22.1' },
    );
  }

  /** The input that evaluates `token` and asks for the logits of those that may follow it. */
  item(token: Token, next: readonly Token[]): ControlledEvaluateInputItem {
    return [
      token,
      { generateNext: { logits: { filter: { tokens: next, ...WAYS[this.way] } }, totalLogitWeight: true } },
    ];
  }

  /** Natural log-probabilities of `next` over the whole vocabulary, from the engine's answer; NaN where it has none. */
  logProbs(output: ControlledEvaluateIndexOutput | undefined, next: readonly Token[]): number[] {
    const { logits, totalLogitWeight } = output?.next ?? {};
    if (logits === undefined || totalLogitWeight === undefined) return next.map(() => Number.NaN);
    let max = -Infinity;
    for (const logit of logits.values()) max = Math.max(max, logit);
    const logZ = max + Math.log(totalLogitWeight);
    return next.map((token) => (logits.get(token) ?? Number.NaN) - logZ);
  }
}
