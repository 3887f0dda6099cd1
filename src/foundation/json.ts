import { InvalidArgumentError } from './errors.js';

/** Any value that JSON can hold. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** Deepest nesting that {@link checkJson} and {@link canonicalJson} accept; a cycle ends here too. */
const MAX_DEPTH = 200;

/**
 * Checks that JSON holds `value` without loss: no `NaN`, no infinity, no `undefined` in arrays, no functions, bigints,
 * symbols, class instances or cycles. Properties that are `undefined` are absent, as in `JSON.stringify`.
 *
 * @param value - any value.
 * @param where - name of the calling function, put first in the message.
 * @throws {InvalidArgumentError} naming the path of the first value that JSON would lose.
 */
export function checkJson(value: unknown, where: string): asserts value is JsonValue {
  canonical(value, where, '$', 0);
}

/**
 * JSON text with the keys of every object sorted by UTF-16 code units and no white space: equal values give equal text,
 * whatever the order their keys were set in. Made for hashing and comparing; `JSON.parse` reads it back.
 *
 * @param value - a JSON value; properties that are `undefined` count as absent.
 * @returns the text.
 * @throws {InvalidArgumentError} when JSON would lose something, see {@link checkJson}.
 */
export function canonicalJson(value: unknown): string {
  return canonical(value, 'canonicalJson', '$', 0);
}

function canonical(value: unknown, where: string, path: string, depth: number): string {
  if (depth > MAX_DEPTH) throw lossy(where, path, `nesting of at most ${MAX_DEPTH} levels and no cycle`, value);
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw lossy(where, path, 'a finite number', value);
      return JSON.stringify(value);
    case 'object':
      break;
    default:
      throw lossy(where, path, 'a JSON value', value);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) {
    const parts: string[] = [];
    // Not `map`: it would skip the holes of a sparse array.
    for (let i = 0; i < value.length; i++) parts.push(canonical(value[i], where, `${path}[${i}]`, depth + 1));
    return `[${parts.join(',')}]`;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype && Object.getPrototypeOf(prototype) !== null) {
    throw lossy(where, path, 'a plain object or array', value);
  }
  const record = value as Readonly<Record<string, unknown>>;
  const parts: string[] = [];
  for (const key of Object.keys(record).sort()) {
    const property = record[key];
    if (property === undefined) continue;
    parts.push(`${JSON.stringify(key)}:${canonical(property, where, `${path}.${key}`, depth + 1)}`);
  }
  return `{${parts.join(',')}}`;
}

function lossy(where: string, path: string, wanted: string, got: unknown): InvalidArgumentError {
  const kind = typeof got === 'object' && got !== null ? Object.prototype.toString.call(got) : `${typeof got}`;
  const shown = typeof got === 'number' ? String(got) : kind;
  return new InvalidArgumentError(`${where}: expected \`${path}\` to be ${wanted}, got ${shown}`, {
    argument: path,
    wanted,
    got,
  });
}
