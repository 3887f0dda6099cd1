import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import { itemText } from './item-text.js';
import { likelihoodPrefix, likelihoodTemplate } from './likelihood-template.js';
import { type EvaluationList, type Negatives, nextItemLists, splitUsers } from './next-item-lists.js';
import { catalogSchema } from './option-schemas.js';
import { renderTable1, type Table1Style, TEMPLATE_VERSION, table1Labels, table1StyleShape } from './prompt.js';

/** What an example asks the model for: Table 1's label, or the next item's text (oracles.md 10). */
export type SftForm = 'label' | 'likelihood';
/** How trainers take examples. */
export type SftFormat = 'alpaca' | 'prompt-completion' | 'openai-chat' | 'sharegpt';

/** Every {@link SftForm}. */
export const SFT_FORMS = ['label', 'likelihood'] as const satisfies readonly SftForm[];
/** Every {@link SftFormat}. */
export const SFT_FORMATS = [
  'alpaca',
  'prompt-completion',
  'openai-chat',
  'sharegpt',
] as const satisfies readonly SftFormat[];

/** Options of {@link buildSftDataset}. */
export interface BuildSftDatasetOptions extends Omit<Table1Style, 'mode'> {
  /** Whose items are written; borrowed. */
  readonly catalog: Catalog;
  /** The log: all users. Only those of the train part (`splitUsers`) are drawn from; the test part is left to evaluation. */
  readonly sequences?: Sequences;
  /** Ready-made lists instead, for data without sequences; each with its `user`. Needs `evaluationUsers`. */
  readonly lists?: readonly EvaluationList[];
  /** With `lists`: the users who evaluate. A list of one of them is refused. */
  readonly evaluationUsers?: readonly string[];
  /** Number of examples; fewer where the log has no more. @default 1000 */
  readonly n?: number;
  /** Candidates of a list made from `sequences`, 2 to 25. @default 10 */
  readonly k?: number;
  /** Share of lists without the true item, whose answer is None. With none the tuned model never says None. @default 1/11 */
  readonly noneRate?: number;
  /** Latest items before the true one. @default 10 */
  readonly historyLength?: number;
  /** How negatives are drawn; `'popularity'`: by the train users' counts. @default 'uniform' */
  readonly negatives?: Negatives;
  /** Seed by which users are dealt into parts: that of the evaluation. @default 1 */
  readonly splitSeed?: number;
  /** Seed of the draws. @default 0 */
  readonly seed?: number;
  /** What is written: one file for each pair of form and format. @default both */
  readonly forms?: readonly SftForm[];
  /** See `forms`. @default all four */
  readonly formats?: readonly SftFormat[];
}

/** One interaction to learn from. */
export interface SftExample {
  /** Items before, oldest first. */
  readonly history: readonly ItemIndex[];
  /** The items shown, in the order of the labels. */
  readonly candidates: readonly ItemIndex[];
  /** The item taken, or null where the list does not hold it: the answer is None. */
  readonly truth: ItemIndex | null;
  /** Whose it is; in no file. */
  readonly user: string;
}

/** One file of a data set. */
export interface SftFile {
  /** Its name, `label.alpaca.jsonl` for instance. */
  readonly name: string;
  /** What it asks for. */
  readonly form: SftForm;
  /** How it is laid out. */
  readonly format: SftFormat;
  /** JSON lines, one example each. */
  readonly text: string;
}

/** What a data set is: goes beside its files, so that an adapter's training can be told and repeated. Holds no user and no text. */
export interface SftManifest {
  /** `ialp-sft@1`. */
  readonly kind: 'ialp-sft@1';
  /** Versions of the wordings, the style among them: those an oracle must have to meet what was learned. */
  readonly templates: {
    /** Of the `label` read-out. */
    readonly label: string;
    /** Of the `likelihood` read-out. */
    readonly likelihood: string;
    /** How the `label` prompt writes the same words. */
    readonly style: Readonly<Omit<Table1Style, 'mode'>>;
  };
  /** SHA-256 of the catalogue's ids and attributes. */
  readonly catalog: string;
  /** The draws. */
  readonly seed: number;
  /** How users were dealt. */
  readonly splitSeed: number;
  /** How negatives were drawn. */
  readonly negatives: Negatives;
  /** What the examples are. */
  readonly counts: {
    /** All of them. */
    readonly examples: number;
    /** Those whose answer is None. */
    readonly none: number;
    /** How often each label is the answer. */
    readonly labels: Readonly<Record<string, number>>;
  };
  /** Users drawn and users who evaluate. */
  readonly users: {
    /** How many were drawn. */
    readonly drawn: number;
    /** SHA-256 of their sorted names. */
    readonly drawnSha256: string;
    /** How many evaluate. */
    readonly evaluation: number;
    /** SHA-256 of their sorted names. */
    readonly evaluationSha256: string;
    /** How many are both, which is 0. */
    readonly shared: number;
  };
  /** The files. */
  readonly files: readonly (Omit<SftFile, 'text'> & {
    /** Its examples, one a line. */
    readonly examples: number;
    /** SHA-256 of its bytes, hex. */
    readonly sha256: string;
  })[];
}

/** What {@link buildSftDataset} makes. */
export interface SftDataset {
  /** The interactions. */
  readonly examples: readonly SftExample[];
  /** The files, to be written as they are. */
  readonly files: readonly SftFile[];
  /** What they are. */
  readonly manifest: SftManifest;
}

const { quotes, maxAttributeLength, maxHistory } = table1StyleShape;
const indices = z.array(z.int().min(0));
const schema = z
  .strictObject({
    ...{ quotes, maxAttributeLength, maxHistory },
    catalog: catalogSchema,
    sequences: z.custom<Sequences>((value) => value instanceof Sequences, 'expected Sequences').optional(),
    lists: z
      .array(
        z.strictObject({
          history: indices,
          candidates: indices.min(2).max(25),
          truth: z.int().min(0),
          replacement: z.int().min(0).optional(),
          user: z.string(),
        }),
      )
      .optional(),
    evaluationUsers: z.array(z.string()).optional(),
    n: z.int().min(1).max(10_000_000).default(1000),
    k: z.int().min(2).max(25).default(10),
    noneRate: z
      .number()
      .min(0)
      .max(1)
      .default(1 / 11),
    historyLength: z.int().min(1).default(10),
    negatives: z.enum(['uniform', 'popularity']).default('uniform'),
    splitSeed: z.int().default(1),
    seed: z.int().default(0),
    forms: z
      .array(z.enum(SFT_FORMS))
      .min(1)
      .default([...SFT_FORMS]),
    formats: z
      .array(z.enum(SFT_FORMATS))
      .min(1)
      .default([...SFT_FORMATS]),
  })
  .refine(({ sequences, lists }) => (sequences === undefined) !== (lists === undefined), {
    message: 'exactly one of `sequences` and `lists` is needed',
  })
  .refine(({ lists, evaluationUsers }) => (lists === undefined) === (evaluationUsers === undefined), {
    message: '`evaluationUsers` says who may not be learned from: it goes with `lists`, and `lists` need it',
    path: ['evaluationUsers'],
  })
  .refine(({ sequences, catalog }) => sequences === undefined || sequences.catalogSize === catalog?.size, {
    message: 'expected sequences of the catalogue',
    path: ['sequences'],
  });

/**
 * Interactions to fine-tune a language model on (section 5.4: LoRA on 1,000 of them): a user's next item among others, written
 * byte for byte as the oracles ask. The true item stands at each place equally often, to within one; a share of the lists lacks
 * it, and their answer is None. No user of the evaluation is drawn.
 *
 * In the `likelihood` form an example is the history and the true item's text; lists without it say nothing there and are left
 * out. `alpaca`, whose trainers write a frame of their own, has Table 1 cut at its "Instruction:", "Input:" and "Response:";
 * only `prompt-completion` keeps every byte of the completion form, and `openai-chat` and `sharegpt` those of the chat form.
 *
 * @throws {InvalidArgumentError} for a wrong option, a list of a user who evaluates, or a log that gives no list.
 */
export async function buildSftDataset(options: BuildSftDatasetOptions): Promise<SftDataset> {
  const checked = checkOptions(schema, options, 'buildSftDataset');
  const { catalog, seed, splitSeed, negatives, n, forms, formats } = checked;
  const style = {
    quotes: checked.quotes,
    maxAttributeLength: checked.maxAttributeLength,
    maxHistory: checked.maxHistory,
  };
  const { lists, evaluationUsers } = drawnLists(checked);
  const evaluating = new Set(evaluationUsers);
  const examples = examplesOf(lists.slice(0, n), checked.noneRate, new Rng(seed).fork('sft'));
  const drawn = new Set(examples.map(({ user }) => user));
  const shared = [...drawn].filter((user) => evaluating.has(user));
  if (shared.length > 0) {
    throw new InvalidArgumentError(
      `buildSftDataset: expected lists of users who do not evaluate, got ${shared.length} who do: a model tuned on them cannot be judged by them`,
      { argument: 'lists', wanted: 'lists of other users', got: shared.length },
    );
  }
  if (examples.length === 0) {
    const wanted = 'a log with train users of at least 2 items, and enough other items';
    throw new InvalidArgumentError(`buildSftDataset: expected ${wanted}; there was no list`, {
      argument: 'sequences',
      wanted,
    });
  }
  const files = forms.flatMap((form) =>
    formats.map((format): SftFile => {
      const text = examples
        .flatMap((example) => recordOf(catalog, example, form, format, style) ?? [])
        .map((record) => `${JSON.stringify(record)}\n`)
        .join('');
      return { name: `${form}.${format}.jsonl`, form, format, text };
    }),
  );
  const described = files.map(async ({ text, ...file }) => ({
    ...file,
    examples: text.split('\n').length - 1,
    sha256: await sha256Hex(text),
  }));
  const manifest: SftManifest = {
    kind: 'ialp-sft@1',
    templates: { label: TEMPLATE_VERSION, likelihood: likelihoodTemplate(catalog).version, style },
    catalog: await catalog.fingerprint(),
    ...{ seed, splitSeed, negatives },
    counts: {
      examples: examples.length,
      none: examples.filter(({ truth }) => truth === null).length,
      labels: labelCounts(examples),
    },
    users: {
      drawn: drawn.size,
      drawnSha256: await digest(drawn),
      evaluation: evaluating.size,
      evaluationSha256: await digest(evaluating),
      shared: shared.length,
    },
    files: await Promise.all(described),
  };
  return { examples, files, manifest };
}

function drawnLists(options: z.output<typeof schema>): {
  readonly lists: readonly EvaluationList[];
  readonly evaluationUsers: readonly string[];
} {
  const { sequences, lists, evaluationUsers, splitSeed, k, historyLength, negatives, n, seed } = options;
  if (sequences === undefined) {
    return { lists: lists as readonly EvaluationList[], evaluationUsers: evaluationUsers as readonly string[] };
  }
  const parts = splitUsers(sequences, { seed: splitSeed });
  const drawn = nextItemLists({
    sequences: parts.train,
    candidateCount: k,
    counts: parts.train.counts(),
    targets: 'any',
    limit: n,
    ...{ historyLength, negatives, seed },
  });
  return { lists: drawn, evaluationUsers: parts.test.users as readonly string[] };
}

/** Lists with the truth dealt evenly over places, a share of them without it. */
function examplesOf(lists: readonly EvaluationList[], noneRate: number, rng: Rng): SftExample[] {
  const canLack = lists.flatMap(({ candidates, replacement }, i) =>
    replacement !== undefined || candidates.length > 2 ? [i] : [],
  );
  const nones = new Set(
    rng
      .fork('none')
      .shuffle(canLack)
      .slice(0, Math.round(noneRate * lists.length)),
  );
  const order = rng.fork('order');
  const dealers = new Map<number, number[]>();
  return lists.map(({ history, candidates, truth, replacement, user = '' }, i) => {
    const others = order.shuffle(candidates.filter((item) => item !== truth));
    if (nones.has(i)) {
      if (replacement !== undefined) others.splice(order.integer(candidates.length), 0, replacement);
      return { history, candidates: others, truth: null, user };
    }
    const K = candidates.length;
    let places = dealers.get(K);
    if (places === undefined || places.length === 0) {
      places = rng.fork(`places/${K}/${i}`).shuffle(Array.from({ length: K }, (_, place) => place));
      dealers.set(K, places);
    }
    others.splice(places.pop() as number, 0, truth);
    return { history, candidates: others, truth, user };
  });
}

type Style = Required<Omit<Table1Style, 'mode'>>;
type SftRecord = Readonly<Record<string, unknown>>;

function recordOf(
  catalog: Catalog,
  example: SftExample,
  form: SftForm,
  format: SftFormat,
  style: Style,
): SftRecord | undefined {
  if (form === 'likelihood') {
    const { history, truth } = example;
    if (truth === null) return undefined;
    const text = (item: ItemIndex): string => itemText(catalog, item, style.maxAttributeLength);
    const prompt = likelihoodPrefix(likelihoodTemplate(catalog), history.slice(-style.maxHistory).map(text));
    const completion = ` ${text(truth)}`;
    return format === 'alpaca'
      ? { instruction: prompt, input: '', output: completion }
      : laidOut(format, prompt, completion);
  }
  const { history, candidates, truth } = example;
  const isChat = format === 'openai-chat' || format === 'sharegpt';
  const { text, labels } = renderTable1({
    catalog,
    history,
    candidates,
    ...style,
    mode: isChat ? 'chat' : 'completion',
  });
  const label = labels[truth === null ? candidates.length : candidates.indexOf(truth)] as string;
  if (isChat) return laidOut(format, text, label);
  return format === 'alpaca' ? alpaca(text, label) : laidOut(format, text, ` ${label}`);
}

function laidOut(format: Exclude<SftFormat, 'alpaca'>, prompt: string, completion: string): SftRecord {
  switch (format) {
    case 'prompt-completion':
      return { prompt, completion };
    case 'openai-chat':
      return {
        messages: [
          { role: 'user', content: prompt },
          { role: 'assistant', content: completion },
        ],
      };
    case 'sharegpt':
      return {
        conversations: [
          { from: 'human', value: prompt },
          { from: 'gpt', value: completion },
        ],
      };
  }
}

/** Table 1 in Alpaca's three fields; its first line is the frame that trainers write themselves. */
function alpaca(prompt: string, label: string): SftRecord {
  const [, instruction, input, choices, response] = prompt.split('\n') as [string, string, string, string, string];
  return {
    instruction: instruction.slice('Instruction: '.length),
    input: `${input.slice('Input: '.length)}\n${choices}`,
    output: `${response.slice('Response: '.length)} ${label}`,
  };
}

function labelCounts(examples: readonly SftExample[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { candidates, truth } of examples) {
    const labels = table1Labels(candidates.length);
    const label = labels[truth === null ? candidates.length : candidates.indexOf(truth)] as string;
    counts[label] = (counts[label] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function digest(users: ReadonlySet<string>): Promise<string> {
  return sha256Hex([...users].sort().join('\n'));
}
