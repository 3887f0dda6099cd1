import { z } from 'zod';
import type { Policy } from '../agent/policy.js';
import type { Catalog, ItemId, ItemIndex } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { historyBatch } from '../compute/history-batch.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { catalogSchema } from '../oracle/option-schemas.js';
import type { Preference, PreferenceQuery } from '../oracle/preference-oracle.js';
import type { PretrainStart } from './pretrain.js';
import { instance } from './training-options.js';

/** Which questions a set of answers is made of. The same options give the same questions, in any process. */
export interface QuestionPlanOptions {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** Questions in all, those already answered included: run again with more to extend a set. */
  readonly count: number;
  /** Candidates of a question, k, from 2; the `label` read-out takes 25. @default 10 */
  readonly candidateCount?: number | undefined;
  /** Logs: an episode begins with a random prefix of a random sequence. At most one of `histories` and `starts`. */
  readonly histories?: Sequences | undefined;
  /** Where episodes begin, each as often as the others. @default one item, drawn uniformly */
  readonly starts?: readonly (readonly ItemId[] | PretrainStart)[] | undefined;
  /** Share of episodes that begin with an empty history, 0 to 1: the first user has none. @default 0.05 */
  readonly emptyShare?: number | undefined;
  /** Latest items of a prefix that are kept, from 1. @default 20 */
  readonly historyLength?: number | undefined;
  /**
   * Questions of an episode: what the oracle chose, or for None a random candidate, becomes the next item of the history. 1: every
   * question stands alone. @default 1 with `histories`, whose prefixes are real, else 10
   */
  readonly stepsPerEpisode?: number | undefined;
  /** Draws a share of the candidates, and must not change meanwhile; borrowed. @default none: all are uniform */
  readonly policy?: Policy | undefined;
  /** Share of the candidates that `policy` draws, 0 to 1. @default 0.5 */
  readonly policyShare?: number | undefined;
  /** Seed of all that is drawn. @default 0 */
  readonly seed?: number | undefined;
}

const idList = z.array(z.string()).max(10_000);

/** The options of a plan, for schemas that add to them. */
export const questionPlanShape = {
  catalog: catalogSchema,
  count: z.int().min(1).max(10_000_000),
  candidateCount: z.int().min(2).max(1000).default(10),
  histories: z.custom<Sequences>((value) => value instanceof Sequences, 'expected Sequences').optional(),
  starts: z
    .array(
      z.union([
        idList,
        z.strictObject({ history: idList, context: z.array(z.number()).optional(), text: z.string().optional() }),
      ]),
    )
    .min(1)
    .optional(),
  emptyShare: z.number().min(0).max(1).default(0.05),
  historyLength: z.int().min(1).max(10_000).default(20),
  stepsPerEpisode: z.int().min(1).max(1000).optional(),
  policy: instance<Policy>((value) => typeof value.act === 'function', 'a Policy').optional(),
  policyShare: z.number().min(0).max(1).default(0.5),
  seed: z.int().default(0),
};

const schema = z.strictObject(questionPlanShape);

/** How a stream begins. */
interface Start {
  readonly history: readonly ItemIndex[];
  readonly context?: readonly number[] | undefined;
  readonly text?: string | undefined;
}

/** A simulated user: what was shown so far decides the next question. */
export interface QuestionStream {
  /** Questions answered so far. */
  readonly step: number;
  /** The next question, or undefined when the stream has had its share; the same until it is answered. */
  readonly next: PreferenceQuery | undefined;
  /** Goes on by an answer. One that could not be read leaves the history as it is. */
  answer(preference: Exclude<Preference, { kind: 'failed' }>): void;
  /**
   * Goes on as after an answer that could not be read. For a question whose first answer was one, whatever it was answered when it was
   * asked again: what followed was asked without it and is to stay what it was.
   */
  skip(): void;
}

/**
 * The questions of a distillation: a function of the options, so that a process that was killed asks the same ones when it is started
 * again. They come in streams, one for each simulated user, that do not depend on one another: any number may be followed at once, in
 * any order. Within a stream a question follows from the answers before it.
 */
export class QuestionPlan {
  /** Whose items are asked about. */
  readonly catalog: Catalog;
  /** Questions in all. */
  readonly count: number;
  /** Questions of a stream; the last one may have fewer. */
  readonly stepsPerEpisode: number;
  /** Streams. */
  readonly streams: number;
  readonly #options: z.output<typeof schema>;
  readonly #starts: readonly Start[] | undefined;
  readonly #fromPolicy: number;
  readonly #rng: Rng;

  /**
   * @param options - see {@link QuestionPlanOptions}.
   * @param where - the caller's name, for messages.
   * @throws {InvalidArgumentError} for a wrong option, or a catalogue too small for the candidates.
   */
  constructor(options: QuestionPlanOptions, where = 'QuestionPlan') {
    const checked = checkOptions(schema, options, where);
    const { catalog, count, histories, starts, candidateCount, policy, policyShare, seed } = checked;
    if (histories !== undefined && starts !== undefined) {
      throw new InvalidArgumentError(`${where}: expected at most one of \`histories\` and \`starts\`, got both`, {
        argument: 'histories',
      });
    }
    if (histories !== undefined && (histories.catalogSize !== catalog.size || histories.count === 0)) {
      throw new InvalidArgumentError(
        `${where}: expected \`histories\` to hold sequences of the catalogue's ${catalog.size} items, got ${histories.count} of ${histories.catalogSize}`,
        { argument: 'histories' },
      );
    }
    this.catalog = catalog;
    this.count = count;
    this.stepsPerEpisode = checked.stepsPerEpisode ?? (histories === undefined ? 10 : 1);
    this.streams = Math.ceil(count / this.stepsPerEpisode);
    this.#options = checked;
    this.#starts = starts?.map((given) => {
      const start: PretrainStart = 'history' in given ? given : { history: given };
      return { ...start, history: start.history.map((id) => catalog.indexOf(id)) };
    });
    this.#fromPolicy = policy === undefined ? 0 : Math.round(candidateCount * policyShare);
    this.#rng = new Rng(seed).fork('distil');
    const longest = this.#longestStart();
    const needed = longest + this.stepsPerEpisode - 1 + candidateCount;
    if (catalog.size < needed) {
      throw new InvalidArgumentError(
        `${where}: expected a catalogue of at least ${needed} items (longest history ${longest} + ${this.stepsPerEpisode - 1} steps + ${candidateCount} new candidates), got ${catalog.size}; lower \`candidateCount\`, \`historyLength\` or \`stepsPerEpisode\``,
        { argument: 'candidateCount', wanted: `a catalogue of ${needed} items`, got: catalog.size },
      );
    }
  }

  /** Questions of stream `s`. */
  stepsOf(s: number): number {
    return Math.min(this.stepsPerEpisode, this.count - s * this.stepsPerEpisode);
  }

  /** Stream `s`, 0 to `streams` - 1, at its beginning. */
  stream(s: number): QuestionStream {
    const rng = this.#rng.fork(s);
    const { history: start, context, text } = this.#start(rng.fork('start'));
    const history = [...start];
    const steps = this.stepsOf(s);
    let step = 0;
    let next: PreferenceQuery | undefined;
    const ask = (): PreferenceQuery => ({
      history: [...history],
      candidates: this.#candidates(history, context, rng.fork(`candidates/${step}`)),
      ...(text === undefined ? {} : { context: text }),
    });
    return {
      get step() {
        return step;
      },
      get next() {
        if (step < steps) next ??= ask();
        return next;
      },
      skip() {
        step++;
        next = undefined;
      },
      answer(preference) {
        const asked = next ?? ask();
        // Eq. 2: for None one of the k at random.
        if (preference.kind === 'choice') history.push(preference.choice);
        else if (preference.kind === 'none') {
          history.push(asked.candidates[rng.fork(`none/${step}`).integer(asked.candidates.length)] as ItemIndex);
        }
        this.skip();
      },
    };
  }

  #longestStart(): number {
    const { histories, historyLength } = this.#options;
    if (histories !== undefined) {
      let longest = 0;
      for (let s = 0; s < histories.count; s++) longest = Math.max(longest, histories.sequence(s).length - 1);
      return Math.min(historyLength, Math.max(1, longest));
    }
    return this.#starts?.reduce((most, { history }) => Math.max(most, history.length), 0) ?? 1;
  }

  #start(rng: Rng): Start {
    const isEmpty = rng.uniform() < this.#options.emptyShare;
    const start = this.#drawnStart(rng);
    return isEmpty ? { ...start, history: [] } : start;
  }

  #drawnStart(rng: Rng): Start {
    const { catalog, histories, historyLength } = this.#options;
    if (histories !== undefined) {
      const sequence = histories.sequence(rng.integer(histories.count));
      // At least one item, and not the last where there are more: something came after it.
      const length = 1 + rng.integer(Math.max(1, sequence.length - 1));
      return { history: Array.from(sequence.subarray(Math.max(0, length - historyLength), length)) };
    }
    const starts = this.#starts;
    if (starts === undefined) return { history: [rng.integer(catalog.size)] };
    return starts[rng.integer(starts.length)] as Start;
  }

  /** k distinct items that the history does not hold, in random order. One row a call, so that streams do not depend on one another. */
  #candidates(history: readonly ItemIndex[], context: readonly number[] | undefined, rng: Rng): ItemIndex[] {
    const { catalog, candidateCount, policy } = this.#options;
    const drawn: ItemIndex[] = [];
    if (policy !== undefined && this.#fromPolicy > 0) {
      const batch = historyBatch([history], context === undefined ? {} : { context: [context] });
      for (let j = 0; j < this.#fromPolicy; j++) {
        const { actions } = policy.act(batch, {
          mode: 'sampled',
          uniforms: rng.uniforms(1),
          mask: { noRepeat: true, excludeRows: [drawn] },
        });
        drawn.push(actions[0] as ItemIndex);
      }
    }
    const barred = new Set([...history, ...drawn]);
    while (drawn.length < candidateCount) {
      const item = rng.integer(catalog.size);
      if (barred.has(item)) continue;
      barred.add(item);
      drawn.push(item);
    }
    return rng.shuffle(drawn);
  }
}
