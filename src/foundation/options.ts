import type { z } from 'zod';
import { IalpError, InvalidArgumentError } from './errors.js';

/**
 * Checks an options object, once, at the door of a public call.
 *
 * @param schema - the zod schema beside the options' type; objects are `z.strictObject`, so that unknown keys are refused.
 * @param value - what the caller gave.
 * @param where - name of the public function or class, put first in the message.
 * @returns the checked options, with the schema's defaults filled in.
 * @throws {InvalidArgumentError} naming each wrong field, what it may be and what came, with a did-you-mean for unknown keys.
 */
export function checkOptions<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  let result: z.ZodSafeParseResult<z.output<S>>;
  try {
    result = schema.safeParse(value);
  } catch (cause) {
    // A getter or proxy of the caller's threw while it was read.
    if (cause instanceof IalpError) throw cause;
    throw new InvalidArgumentError(`${where}: the options cannot be read: ${describeValue(cause)}`, {
      got: value,
      cause,
    });
  }
  if (result.success) return result.data;
  const { issues } = result.error;
  const complaints = firstOfKinds(issues)
    .slice(0, MAX_COMPLAINTS)
    .map((issue) => complaint(schema, value, issue));
  const first = complaints[0] as Complaint;
  const shown = complaints.map(({ text }) => text);
  const more = issues.length - shown.length;
  const tail = more > 0 ? `; and ${more} more` : '';
  throw new InvalidArgumentError(`${where}: ${shown.join('; ')}${tail}`, {
    argument: first.argument,
    wanted: first.wanted,
    got: first.got,
    cause: result.error,
  });
}

/** How many wrong fields one message lists. */
const MAX_COMPLAINTS = 4;

/** What is wrong with one element of a list is mostly wrong with the others too: it is said of the first. */
function firstOfKinds(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  const met = new Set<string>();
  return issues.filter(({ code, path }) => {
    if (!path.some((part) => typeof part === 'number')) return true;
    const kind = [code, ...path.map((part) => (typeof part === 'number' ? '[]' : String(part)))].join('.');
    return !met.has(kind) && met.add(kind);
  });
}

/**
 * The member of `among` that a misspelt `word` most likely stands for.
 *
 * @param word - what was written.
 * @param among - what exists.
 * @returns the closest by edit distance (insert, delete, replace, swap of neighbours; case counts half), or `undefined`
 * when nothing is within a third of the word's length (at least 1).
 */
export function closest(word: string, among: Iterable<string>): string | undefined {
  const limit = Math.max(1, Math.floor(word.length / 3));
  if (word.length > 100) return undefined;
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of among) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    const exact = editDistance(word, candidate);
    const folded = editDistance(word.toLowerCase(), candidate.toLowerCase()) + (exact > 0 ? 0.5 : 0);
    const distance = Math.min(exact, folded);
    if (distance < bestDistance && distance <= limit) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(replace, (previous[j] as number) + 1, (current[j - 1] as number) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforePrevious[j - 2] as number) + 1);
      }
      current.push(cost);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length] as number;
}

/**
 * A value in a few words for an error message; never throws and never runs long.
 *
 * @param value - any value, hostile ones included.
 * @returns at most about 80 characters.
 */
export function describeValue(value: unknown): string {
  try {
    if (typeof value === 'string') return shorten(JSON.stringify(value.slice(0, 100)));
    if (typeof value === 'function') return 'a function';
    if (typeof value === 'bigint') return shorten(`${value}n`);
    if (typeof value !== 'object' || value === null) return String(value);
    if (value instanceof Error) return shorten(`${value.name}: ${value.message}`);
    if (ArrayBuffer.isView(value)) {
      return `${value.constructor.name}(${'length' in value ? String(value.length) : value.byteLength})`;
    }
    if (Array.isArray(value)) return value.length > 20 ? `an array of ${value.length}` : shorten(plain(value));
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === null || prototype === Object.prototype) return shorten(plain(value));
    return `an instance of ${String(value.constructor.name)}`;
  } catch {
    return 'a value that cannot be shown';
  }
}

function plain(value: object): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === 'bigint') return `${inner}n`;
    if (typeof inner === 'number' && !Number.isFinite(inner)) return String(inner);
    return typeof inner === 'function' ? 'a function' : inner;
  });
}

function shorten(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

interface Complaint {
  readonly text: string;
  readonly argument: string;
  readonly wanted: string | undefined;
  readonly got: unknown;
}

function complaint(schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue): Complaint {
  const path = issue.path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
  const argument = path === '' ? 'options' : path;
  const got = valueAt(value, issue.path);
  const target = schemaAt(schema, issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = target !== undefined ? knownKeys(target) : [];
    const hints = issue.keys.map((key) => {
      const guess = closest(key, known);
      return guess === undefined ? `\`${key}\`` : `\`${key}\` (did you mean \`${guess}\`?)`;
    });
    const inside = path === '' ? '' : ` in \`${path}\``;
    const among = known.length > 0 ? `; known are ${known.map((key) => `\`${key}\``).join(', ')}` : '';
    const key = issue.keys[0] ?? '';
    return {
      text: `unknown option ${hints.join(', ')}${inside}${among}`,
      argument: path === '' ? key : `${path}.${key}`,
      wanted: known.length > 0 ? `one of ${known.join(', ')}` : undefined,
      got: valueAt(got, [key]),
    };
  }
  const wanted = issue.code === 'custom' ? issue.message : wantedOf(target, issue);
  // A refinement's message is a sentence of its own ("`a` and `b` exclude each other").
  if (issue.code === 'custom') {
    const prefix = path === '' || issue.message.includes(`\`${path}\``) ? '' : `\`${path}\`: `;
    return { text: `${prefix}${issue.message}`, argument, wanted, got };
  }
  return { text: `expected \`${argument}\` to be ${wanted}, got ${describeValue(got)}`, argument, wanted, got };
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  try {
    for (const part of path) {
      if (current === null || current === undefined) return undefined;
      current = (current as Readonly<Record<PropertyKey, unknown>>)[part];
    }
    return current;
  } catch {
    return undefined;
  }
}

/** The parts of zod's definitions that are read here; each is documented for library authors (zod.dev/library-authors). */
interface Definition {
  readonly type: string;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly items?: readonly z.ZodType[];
  readonly options?: readonly z.ZodType[];
  readonly entries?: Readonly<Record<string, string | number>>;
  readonly values?: readonly unknown[];
  readonly format?: string;
  readonly checks?: readonly { readonly _zod: { readonly def: CheckDefinition } }[];
}

interface CheckDefinition {
  readonly check: string;
  readonly value?: unknown;
  readonly inclusive?: boolean;
  readonly minimum?: number;
  readonly format?: string;
}

function definition(schema: z.ZodType): Definition {
  return schema._zod.def as unknown as Definition;
}

function unwrap(schema: z.ZodType): { schema: z.ZodType; description: string | undefined } {
  let current = schema;
  let description = current.description;
  for (;;) {
    const { innerType, in: input } = definition(current);
    const next = innerType ?? input;
    if (next === undefined) return { schema: current, description };
    current = next;
    description ??= current.description;
  }
}

function schemaAt(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodType | undefined {
  let current: z.ZodType | undefined = schema;
  for (const part of path) {
    const def = definition(unwrap(current).schema);
    if (def.shape !== undefined) current = Object.hasOwn(def.shape, part) ? def.shape[String(part)] : undefined;
    else current = def.element ?? def.valueType ?? (typeof part === 'number' ? def.items?.[part] : undefined);
    if (current === undefined) return undefined;
  }
  return current;
}

function knownKeys(schema: z.ZodType): readonly string[] {
  return Object.keys(definition(unwrap(schema).schema).shape ?? {});
}

function wantedOf(schema: z.ZodType | undefined, issue: z.core.$ZodIssue): string {
  const described = schema === undefined ? undefined : describeSchema(schema);
  if (described !== undefined) return described;
  if (issue.code === 'too_small') return `at least ${String(issue.minimum)} long`;
  if (issue.code === 'too_big') return `at most ${String(issue.maximum)} long`;
  return issue.message.replace(/^Invalid input: expected /, '').replace(/, received .*$/, '');
}

/** What a schema accepts, in words, e.g. "an integer from 2 to 25 (one letter each)"; `undefined` when it is too rich to say. */
function describeSchema(outer: z.ZodType): string | undefined {
  const { schema, description } = unwrap(outer);
  const words = kindInWords(schema);
  if (description === undefined) return words;
  return words === undefined ? description : `${words} (${description})`;
}

function kindInWords(schema: z.ZodType): string | undefined {
  const def = definition(schema);
  switch (def.type) {
    case 'number':
      return numberInWords(def);
    case 'string': {
      const nonEmpty = checksOf(def).some(({ check, minimum = 0 }) => check === 'min_length' && minimum > 0);
      return nonEmpty ? 'a non-empty string' : 'a string';
    }
    case 'boolean':
      return 'true or false';
    case 'function':
      return 'a function';
    case 'object':
      return 'an object';
    case 'array': {
      // Of a list that is too short or too long, the issue itself says more.
      if (checksOf(def).length > 0) return undefined;
      const element = def.element === undefined ? undefined : kindInWords(unwrap(def.element).schema);
      return element === undefined ? 'an array' : `an array, each ${element}`;
    }
    case 'enum':
      return oneOf(Object.values(def.entries ?? {}));
    case 'literal':
      return oneOf(def.values ?? []);
    case 'union': {
      const parts = (def.options ?? []).map((option) => describeSchema(option));
      return parts.includes(undefined) ? undefined : parts.join(', or ');
    }
    default:
      return undefined;
  }
}

function oneOf(values: readonly unknown[]): string {
  const shown = values.map((value) => describeValue(value));
  return shown.length === 1 ? String(shown[0]) : `one of ${shown.join(', ')}`;
}

function numberInWords(def: Definition): string {
  const checks = checksOf(def);
  const isInteger = [def, ...checks].some(({ format }) => format?.includes('int') === true);
  const bounds = { low: -Infinity, lowInclusive: true, high: Infinity, highInclusive: true };
  for (const { check, value, inclusive = true } of checks) {
    if (typeof value !== 'number') continue;
    if (check === 'greater_than' && value >= bounds.low) Object.assign(bounds, { low: value, lowInclusive: inclusive });
    if (check === 'less_than' && value <= bounds.high) Object.assign(bounds, { high: value, highInclusive: inclusive });
  }
  const { low, lowInclusive, high, highInclusive } = bounds;
  const noun = isInteger ? 'an integer' : 'a finite number';
  if (lowInclusive && highInclusive && low > -Infinity && high < Infinity) return `${noun} from ${low} to ${high}`;
  const parts: string[] = [];
  if (low > -Infinity) parts.push(`${lowInclusive ? 'of at least' : 'greater than'} ${low}`);
  if (high < Infinity) parts.push(`${highInclusive ? 'of at most' : 'less than'} ${high}`);
  return parts.length === 0 ? noun : `${noun} ${parts.join(' and ')}`;
}

function checksOf(def: Definition): readonly CheckDefinition[] {
  return (def.checks ?? []).map((check) => check._zod.def);
}
