/** One wrong field in a call that was right: where it may be, and what may stand there. */

/** The arguments of a public call, by name; plain objects and arrays below are walked, everything else is a leaf. */
export type Arguments = Readonly<Record<string, unknown>>;

/** Which field to change, and into what: three numbers that mean the same for any arguments. */
export interface MutationSeed {
  /** Picks the place. */
  readonly place: number;
  /** Picks the value. */
  readonly value: number;
  /** Below 90 another value, below 95 no such field, else one that nobody knows. */
  readonly kind: number;
}

/** Arguments with one field changed. */
export interface Mutated {
  readonly arguments: Arguments;
  /** The place, as `options.items[1].id`. */
  readonly path: string;
  /** What stands there now, in a word. */
  readonly as: string;
  /** Whether a number was replaced by NaN: that no call may take. */
  readonly isNumberToNaN: boolean;
}

type Path = readonly (string | number)[];

/** Values that a careless or a hostile program may pass; made anew each time. */
const HOSTILE: readonly (readonly [as: string, make: () => unknown])[] = [
  ['undefined', () => undefined],
  ['null', () => null],
  ['true', () => true],
  ['0', () => 0],
  ['-1', () => -1],
  ['0.5', () => 0.5],
  ['7', () => 7],
  ['1e9', () => 1e9],
  ['2**31', () => 2 ** 31],
  ['2**53', () => 2 ** 53],
  ['1e308', () => 1e308],
  ['NaN', () => Number.NaN],
  ['NaN ', () => Number.NaN],
  ['Infinity', () => Number.POSITIVE_INFINITY],
  ['-Infinity', () => Number.NEGATIVE_INFINITY],
  ["''", () => ''],
  ["'nonsense'", () => 'nonsense'],
  ["'__proto__'", () => '__proto__'],
  ["'constructor'", () => 'constructor'],
  ["'../../etc'", () => '../../etc'],
  ['a NUL', () => '\0'],
  ['a lone surrogate', () => '\ud800'],
  ['100,000 letters', () => 'x'.repeat(100_000)],
  ['1n', () => 1n],
  ['a symbol', () => Symbol('s')],
  ['[]', () => []],
  ['[null]', () => [null]],
  ['[NaN]', () => [Number.NaN]],
  ['a sparse array', () => new Array(3)],
  ['{}', () => ({})],
  ['an object without prototype', () => Object.create(null)],
  ['{ length: 2 }', () => ({ length: 2 })],
  ['a polluting object', () => JSON.parse('{"__proto__":{"polluted":true}}') as unknown],
  ['a function', () => () => undefined],
  ['Float32Array(3)', () => new Float32Array(3)],
  ['Float64Array [NaN]', () => Float64Array.of(Number.NaN)],
  ['Int32Array [-1]', () => Int32Array.of(-1)],
  ['Uint8Array(2)', () => new Uint8Array(2)],
  ['a Map', () => new Map()],
  ['a Date', () => new Date(0)],
  ['a promise', () => Promise.resolve(1)],
];

/** Which {@link MutationSeed.value} makes NaN of anything. */
export const HOSTILE_NAN = HOSTILE.findIndex(([as]) => as === 'NaN');

const UNKNOWN_KEYS = ['extra', '__proto__', 'constructor', 'toString'] as const;

/** Changes one field; the arguments given stay as they are. */
export function mutate(given: Arguments, seed: MutationSeed): Mutated {
  const paths: Path[] = [];
  const objects: Path[] = [];
  walk(given, [], paths, objects);
  if (seed.kind >= 95 && objects.length > 0) {
    const path = objects[seed.place % objects.length] as Path;
    const key = UNKNOWN_KEYS[seed.value % UNKNOWN_KEYS.length] as string;
    return {
      arguments: changed(given, path, (object) => withKey(object as object, key)) as Arguments,
      path: shown(path),
      as: `also ${key}`,
      isNumberToNaN: false,
    };
  }
  const path = paths[seed.place % paths.length] as Path;
  if (seed.kind >= 90) {
    return {
      arguments: without(given, path) as Arguments,
      path: shown(path),
      as: 'left out',
      isNumberToNaN: false,
    };
  }
  const before = path.reduce<unknown>((value, part) => (value as Record<string | number, unknown>)[part], given);
  const choices = [...HOSTILE, ...likeIt(before)];
  const [as, make] = choices[seed.value % choices.length] as (typeof HOSTILE)[number];
  const value = make();
  return {
    arguments: changed(given, path, () => value) as Arguments,
    path: shown(path),
    as,
    isNumberToNaN: typeof before === 'number' && Number.isNaN(value),
  };
}

/** Wrong values that look like the right one, twice each because they reach further. */
function likeIt(value: unknown): (readonly [as: string, make: () => unknown])[] {
  const choices: (readonly [as: string, make: () => unknown])[] = [];
  if (value instanceof Float32Array || value instanceof Float64Array) {
    const Kind = value.constructor as Float32ArrayConstructor;
    choices.push(['one shorter', () => value.slice(1)]);
    choices.push(['with a NaN', () => Kind.from(value, (x, i) => (i === 0 ? Number.NaN : x))]);
    choices.push(['as a plain array', () => Array.from(value)]);
    choices.push(['as Int32Array', () => Int32Array.from(value)]);
  } else if (value instanceof Int32Array || value instanceof Uint8Array) {
    choices.push(['one shorter', () => value.slice(1)]);
    choices.push(['with a 99', () => value.map((x, i) => (i === 0 ? 99 : x))]);
    choices.push(['with a -1', () => value.map((x, i) => (i === 0 ? -1 : x))]);
    choices.push(['as a plain array', () => Array.from(value)]);
    choices.push(['as Float32Array', () => Float32Array.from(value)]);
  } else if (Array.isArray(value) && value.length > 0) {
    choices.push(['one shorter', () => value.slice(1)]);
    choices.push(['its first twice', () => [value[0], ...value]]);
    choices.push(['with a hole', () => Object.assign(new Array(value.length), { 0: value[0] })]);
  } else if (typeof value === 'string' && value.length > 20) {
    choices.push(['cut', () => value.slice(0, value.length >> 1)]);
    choices.push(['with a quote', () => `${value.slice(0, value.length >> 1)}"${value.slice(value.length >> 1)}`]);
    choices.push(['with a NUL', () => `${value.slice(0, value.length >> 1)}\0${value.slice(value.length >> 1)}`]);
    choices.push(['one digit replaced', () => value.replace(/\d/, 'x')]);
  } else if (typeof value === 'number') {
    choices.push(['negated', () => -value - 1]);
    choices.push(['as text', () => String(value)]);
    choices.push(['boxed', () => Object(value) as unknown]);
  }
  return [...choices, ...choices];
}

function walk(value: unknown, path: Path, paths: Path[], objects: Path[]): void {
  if (path.length > 0) paths.push(path);
  if (path.length >= 6) return;
  if (Array.isArray(value)) {
    for (let i = 0; i < Math.min(3, value.length); i++) walk(value[i], [...path, i], paths, objects);
  } else if (isPlain(value)) {
    if (path.length > 0) objects.push(path);
    for (const key of Object.keys(value)) walk(value[key], [...path, key], paths, objects);
  }
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function changed(value: unknown, path: Path, change: (before: unknown) => unknown): unknown {
  const [part, ...rest] = path;
  if (part === undefined) return change(value);
  const copy: Record<string | number, unknown> = Array.isArray(value)
    ? ([...(value as readonly unknown[])] as unknown as Record<number, unknown>)
    : { ...(value as object) };
  copy[part] = changed(copy[part], rest, change);
  return copy;
}

function without(value: unknown, path: Path): unknown {
  const parent = path.slice(0, -1);
  const last = path.at(-1) as string | number;
  return changed(value, parent, (before) => {
    if (Array.isArray(before)) return (before as readonly unknown[]).filter((_, i) => i !== last);
    return Object.fromEntries(Object.entries(before as object).filter(([key]) => key !== last));
  });
}

/** An own property, even where the name is `__proto__`. */
function withKey(object: object, key: string): object {
  const value = { polluted: true };
  return Object.defineProperty({ ...object }, key, { value, enumerable: true, configurable: true, writable: true });
}

function shown(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? part : `${text}.${part}`;
  }, '');
}
