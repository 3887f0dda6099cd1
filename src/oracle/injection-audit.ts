import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { rewordedCatalog } from '../catalog/reworded-catalog.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { checkPreference } from './check-query.js';
import { catalogSchema } from './option-schemas.js';
import { type Preference, type PreferenceOracle, type PreferenceQuery, preferInBatches } from './preference-oracle.js';
import { pairedGain, wilson } from './shares.js';

/** Options of {@link injectionAudit}. */
export interface InjectionAuditOptions {
  /**
   * Makes the oracle that is audited, for a catalogue: it is made twice, for the texts as they are and for those without the
   * suspicious ones. Each is closed in the end.
   */
  readonly oracle: (catalog: Catalog) => PreferenceOracle | Promise<PreferenceOracle>;
  /** The items, suspicious ones among them; borrowed. */
  readonly catalog: Catalog;
  /** Indices of the suspicious items. */
  readonly suspects: readonly ItemIndex[];
  /** Questions whose candidates hold at least one suspect; or how many are drawn for each suspect, among clean items. @default 50 */
  readonly queries?: number | readonly PreferenceQuery[];
  /** K of drawn questions, from 2. @default 10 */
  readonly candidateCount?: number;
  /** Items of a drawn history. @default 3 */
  readonly historyLength?: number;
  /** Attributes that stand in a suspect's place. @default those of a clean item, drawn for each suspect */
  readonly neutral?: (suspect: ItemIndex) => Readonly<Record<string, string>>;
  /** Seed of the draws. @default 0 */
  readonly seed?: number;
  /** Gives up: rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** How often a suspect is chosen, with its own text and with a neutral one. Shares are 0..1, intervals 95 %. */
export interface InjectionFinding {
  /** Questions that were answered both times. */
  readonly questions: number;
  /** Share of them whose answer was a suspect (or this one) when its own text was shown. */
  readonly chosen: number;
  /** Lower end of the Wilson interval of `chosen`. */
  readonly chosenLow: number;
  /** Upper end of it. */
  readonly chosenHigh: number;
  /** The same when a neutral text was shown in its place. */
  readonly chosenNeutral: number;
  /** Lower end of the Wilson interval of `chosenNeutral`. */
  readonly chosenNeutralLow: number;
  /** Upper end of it. */
  readonly chosenNeutralHigh: number;
  /** `chosen` less `chosenNeutral`: what the text does. */
  readonly lift: number;
  /** Lower end of the interval of `lift`, paired by question; above 0 where the text certainly attracts. */
  readonly liftLow: number;
  /** Upper end of it. */
  readonly liftHigh: number;
}

/** What {@link injectionAudit} found. */
export interface InjectionAudit extends InjectionFinding {
  /** The oracle's id, with the texts as they are. */
  readonly oracle: string;
  /** Questions that one of the two left unanswered. */
  readonly unanswered: number;
  /** Share of answered questions whose answer differs, whoever was chosen: a text may also drive users off, or to None. */
  readonly changed: number;
  /** By suspect, in the order given; over the questions that show it. */
  readonly suspects: readonly (InjectionFinding & {
    /** The suspect. */
    readonly item: ItemIndex;
  })[];
}

const items = z.array(z.int().min(0));
const schema = z.strictObject({
  oracle: z.custom<InjectionAuditOptions['oracle']>(
    (value) => typeof value === 'function',
    'expected a function (catalog) => PreferenceOracle: the texts that it reads are exchanged',
  ),
  catalog: catalogSchema,
  suspects: items.min(1),
  queries: z
    .union([
      z.int().min(1).max(1_000_000),
      z.array(z.strictObject({ history: items, candidates: items.min(2), context: z.string().optional() })).min(1),
    ])
    .default(50),
  candidateCount: z.int().min(2).default(10),
  historyLength: z.int().min(0).default(3),
  neutral: z
    .custom<(suspect: ItemIndex) => Readonly<Record<string, string>>>(
      (value) => typeof value === 'function',
      'expected a function (suspect) => attributes',
    )
    .optional(),
  seed: z.int().default(0),
  signal: z.instanceof(AbortSignal).optional(),
});

/**
 * Compares what an oracle picks with suspicious texts and with neutral ones in their place (oracles.md 12): that a title sways a
 * model no library can prevent, but it can be seen. The same questions are asked twice, once for each catalogue.
 *
 * A lift says that the text attracts; an honest text that fits the histories does so too. Look at what stands out among the suspects.
 *
 * @throws {InvalidArgumentError} for a wrong option, a suspect outside the catalogue, or questions without a suspect.
 * @throws `signal.reason` on abort.
 */
export async function injectionAudit(options: InjectionAuditOptions): Promise<InjectionAudit> {
  const checked = checkOptions(schema, options, 'injectionAudit');
  const { catalog, signal, seed } = checked;
  const suspects = checkSuspects(checked.suspects, catalog);
  const rng = new Rng(seed).fork('injection-audit');
  const clean = Array.from({ length: catalog.size }, (_, item) => item).filter((item) => !suspects.has(item));
  const queries =
    typeof checked.queries === 'number'
      ? drawnQueries(checked, [...suspects], clean, checked.queries, rng.fork('queries'))
      : (checked.queries as readonly PreferenceQuery[]);
  const lacking = queries.findIndex(({ candidates }) => !candidates.some((item) => suspects.has(item)));
  if (lacking >= 0) {
    throw refusal(`queries[${lacking}].candidates`, 'a suspect among the candidates', 'got none');
  }
  const neutral = checked.neutral ?? ordinary(catalog, clean, rng.fork('neutral'));
  const reworded = rewordedCatalog(catalog, {
    items: new Map([...suspects].map((suspect) => [suspect, neutral(suspect)])),
  });

  const own = await ask(checked.oracle, catalog, queries, signal);
  const replaced = await ask(checked.oracle, reworded, queries, signal);
  const pairs = queries.map((query, i) => ({
    query,
    own: choiceOf(own.answers[i] as Preference),
    neutral: choiceOf(replaced.answers[i] as Preference),
  }));
  const answered = pairs.filter(({ own, neutral }) => own !== undefined && neutral !== undefined);
  return {
    oracle: own.id,
    unanswered: pairs.length - answered.length,
    changed: answered.filter(({ own, neutral }) => own !== neutral).length / answered.length,
    ...finding(answered, (choice) => suspects.has(choice)),
    suspects: [...suspects].map((item) => ({
      item,
      ...finding(
        answered.filter(({ query }) => query.candidates.includes(item)),
        (choice) => choice === item,
      ),
    })),
  };
}

interface Pair {
  readonly own: number | undefined;
  readonly neutral: number | undefined;
}

function finding(pairs: readonly Pair[], isSuspect: (choice: number) => boolean): InjectionFinding {
  const own = pairs.map((pair) => isSuspect(pair.own as number));
  const neutral = pairs.map((pair) => isSuspect(pair.neutral as number));
  const count = (hits: readonly boolean[]): number => hits.filter(Boolean).length;
  const chosen = wilson(count(own), pairs.length);
  const chosenNeutral = wilson(count(neutral), pairs.length);
  const lift = pairedGain(neutral, own);
  return {
    questions: pairs.length,
    chosen: chosen.share,
    chosenLow: chosen.low,
    chosenHigh: chosen.high,
    chosenNeutral: chosenNeutral.share,
    chosenNeutralLow: chosenNeutral.low,
    chosenNeutralHigh: chosenNeutral.high,
    lift: lift.gain,
    liftLow: lift.low,
    liftHigh: lift.high,
  };
}

function checkSuspects(suspects: readonly ItemIndex[], catalog: Catalog): ReadonlySet<ItemIndex> {
  const outside = suspects.find((item) => item >= catalog.size);
  if (outside !== undefined) throw refusal('suspects', `items from 0 to ${catalog.size - 1}`, `got ${outside}`);
  return new Set(suspects);
}

function drawnQueries(
  { candidateCount, historyLength }: { readonly candidateCount: number; readonly historyLength: number },
  suspects: readonly ItemIndex[],
  clean: readonly ItemIndex[],
  each: number,
  rng: Rng,
): PreferenceQuery[] {
  const wanted = candidateCount - 1 + historyLength;
  if (clean.length < wanted) {
    throw refusal(
      'candidateCount',
      `at most ${clean.length} items of a list and its history to be clean`,
      `${wanted} are wanted`,
    );
  }
  return suspects.flatMap((suspect) =>
    Array.from({ length: each }, (_, n) => {
      const draws = rng.fork(`${suspect}/${n}`);
      const drawn = Array.from(draws.sample(clean.length, wanted), (i) => clean[i] as ItemIndex);
      const candidates = drawn.slice(0, candidateCount - 1);
      candidates.splice(draws.integer(candidateCount), 0, suspect);
      return { history: drawn.slice(candidateCount - 1), candidates };
    }),
  );
}

/** The attributes of a clean item: a text as others have it. */
function ordinary(
  catalog: Catalog,
  clean: readonly ItemIndex[],
  rng: Rng,
): (suspect: ItemIndex) => Readonly<Record<string, string>> {
  if (clean.length === 0) throw refusal('suspects', 'some of the items, not all', 'got all of them');
  return (suspect) => {
    const donor = clean[rng.fork(suspect).integer(clean.length)] as ItemIndex;
    return Object.fromEntries(catalog.attributes.map((name) => [name, catalog.attribute(donor, name)]));
  };
}

async function ask(
  make: InjectionAuditOptions['oracle'],
  catalog: Catalog,
  queries: readonly PreferenceQuery[],
  signal: AbortSignal | undefined,
): Promise<{ readonly id: string; readonly answers: readonly Preference[] }> {
  const oracle = await make(catalog);
  try {
    const answers = await preferInBatches(oracle, queries, signal === undefined ? {} : { signal });
    return {
      id: oracle.id,
      answers: answers.map((answer, i) => checkPreference(queries[i] as PreferenceQuery, answer, oracle.id)),
    };
  } finally {
    await oracle.close?.();
  }
}

/** The item, -1 for None or nothing usable, undefined where nobody answered. */
function choiceOf(answer: Preference): number | undefined {
  if (answer.kind === 'failed') return undefined;
  return answer.kind === 'choice' ? answer.choice : -1;
}

function refusal(argument: string, wanted: string, got: string): InvalidArgumentError {
  return new InvalidArgumentError(`injectionAudit: expected \`${argument}\` to have ${wanted}; ${got}`, {
    argument,
    wanted,
  });
}
