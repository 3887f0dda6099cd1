import { InvalidDataError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { closest, describeValue } from '../foundation/options.js';
import { csvRecords } from './csv-records.js';
import { parseJsonText } from './json-text.js';
import { type TextSource, textLines } from './text-source.js';

/** How a source of records is written; see `OwnDataForm`. */
export interface RowForm {
  /** CSV with a header, or one JSON object a line. */
  readonly format: 'csv' | 'jsonl';
  /** What errors call it. */
  readonly source: string;
  /** Character between CSV fields. */
  readonly delimiter: string;
  /** The longest line or record, in UTF-16 code units. */
  readonly maxLineLength: number;
  /** What to do about a last line that is not ended and cannot be read. */
  readonly tornLastLine: 'error' | 'skip';
  /** Whether `"` quotes a CSV field. @default true */
  readonly quoted?: boolean | undefined;
}

/** One record, whatever the format. */
export interface Row {
  /** Line on which it starts, from 1. */
  readonly line: number;
  /** A field as text; `''` where one that is not needed is missing. */
  text(name: string): string;
  /** A field as a finite number. */
  number(name: string): number;
  /** The error that says what is wrong with a field, and where. */
  error(name: string, wanted: string, got: string): InvalidDataError;
}

/**
 * A field that names something, not empty.
 *
 * @throws {InvalidDataError} naming the place when it is empty or longer than ids may be.
 */
export function rowId(row: Row, name: string): string {
  const id = row.text(name);
  if (id !== '' && id.length <= 512) return id;
  throw row.error(name, 'an id of 1 to 512 characters', id === '' ? '""' : `${id.length} characters`);
}

/**
 * {@link rowId} of a field that may hold each id once.
 *
 * @param lines - the line of each id so far; the new one is added.
 * @throws {InvalidDataError} naming both lines when the id was there before.
 */
export function uniqueRowId(row: Row, name: string, lines: Map<string, number>): string {
  const id = rowId(row, name);
  const before = lines.get(id);
  if (before !== undefined) throw row.error(name, 'each id once', `${describeValue(id)}, which line ${before} has too`);
  lines.set(id, row.line);
  return id;
}

/** Which fields are read. */
export interface RowFields {
  /** All of them: a CSV header must have each, once. */
  readonly columns: readonly string[];
  /** Those that a JSONL record must have. */
  readonly needed: readonly string[];
}

/**
 * Reads the records of either format, in order.
 *
 * @param read - called with each record, or `'torn'` for a last line that was left out.
 * @throws {InvalidDataError} with the place of what is wrong.
 */
export async function eachRow(
  input: TextSource,
  form: RowForm,
  fields: RowFields,
  read: (row: Row | 'torn') => void,
): Promise<void> {
  if (form.format === 'csv') await eachCsvRow(input, form, fields.columns, read);
  else await eachJsonRow(input, form, fields.needed, read);
}

async function eachCsvRow(
  input: TextSource,
  form: RowForm,
  columns: readonly string[],
  read: (row: Row | 'torn') => void,
): Promise<void> {
  const { source, tornLastLine } = form;
  let width: number | undefined;
  let places: ReadonlyMap<string, number> = new Map();
  for await (const batch of csvRecords(input, { ...form, skipTorn: tornLastLine === 'skip' })) {
    for (const { fields, line, ended } of batch) {
      if (width === undefined) {
        width = fields.length;
        places = headerPlaces(fields, columns, source, line);
      } else if (fields.length === width) {
        read(new CsvRow(fields, places, source, line));
      } else if (!ended && tornLastLine === 'skip') {
        read('torn');
      } else {
        const hint = ended ? '' : '; the line has no end, is the file cut off? (`tornLastLine`)';
        const column = Math.min(fields.length, width) + 1;
        throw new InvalidDataError(`expected ${width} fields, got ${fields.length}${hint}`, { source, line, column });
      }
    }
  }
  if (width === undefined) throw new InvalidDataError('expected a header line, got an empty file', { source, line: 1 });
}

function headerPlaces(
  header: readonly string[],
  columns: readonly string[],
  source: string,
  line: number,
): Map<string, number> {
  const places = new Map<string, number>();
  for (const [i, name] of header.entries()) {
    if (places.has(name) && columns.includes(name)) {
      const message = `expected each column once, got ${describeValue(name)} again`;
      throw new InvalidDataError(message, { source, line, column: i + 1, field: name });
    }
    places.set(name, i);
  }
  for (const name of columns) {
    if (places.has(name)) continue;
    const near = closest(name, header);
    const hint = near === undefined ? '' : `; did you mean ${describeValue(near)}?`;
    const got = header.slice(0, 20).map(describeValue).join(', ');
    throw new InvalidDataError(`expected a column ${describeValue(name)}, got ${got}${hint}`, {
      source,
      line,
      field: name,
    });
  }
  return places;
}

class CsvRow implements Row {
  readonly line: number;
  readonly #fields: readonly string[];
  readonly #places: ReadonlyMap<string, number>;
  readonly #source: string;

  constructor(fields: readonly string[], places: ReadonlyMap<string, number>, source: string, line: number) {
    this.#fields = fields;
    this.#places = places;
    this.#source = source;
    this.line = line;
  }

  text(name: string): string {
    return this.#fields[this.#places.get(name) as number] as string;
  }

  number(name: string): number {
    return finite(this.text(name), name, this);
  }

  error(name: string, wanted: string, got: string): InvalidDataError {
    const place = {
      source: this.#source,
      line: this.line,
      column: (this.#places.get(name) as number) + 1,
      field: name,
    };
    return new InvalidDataError(`expected \`${name}\` to be ${wanted}, got ${got}`, place);
  }
}

async function eachJsonRow(
  input: TextSource,
  form: RowForm,
  needed: readonly string[],
  read: (row: Row | 'torn') => void,
): Promise<void> {
  const { source } = form;
  for await (const batch of textLines(input, source, form.maxLineLength)) {
    for (const { text, line, ended } of batch) {
      if (text.trim() === '') continue;
      let record: JsonValue;
      try {
        record = parseJsonText(text, source, line);
      } catch (error) {
        if (ended || form.tornLastLine !== 'skip') throw error;
        read('torn');
        continue;
      }
      if (record === null || typeof record !== 'object' || Array.isArray(record)) {
        throw new InvalidDataError(`expected an object, got ${describeValue(record)}`, { source, line, column: 1 });
      }
      read(new JsonRow(record as Readonly<Record<string, JsonValue>>, needed, source, line));
    }
  }
}

class JsonRow implements Row {
  readonly line: number;
  readonly #fields: Readonly<Record<string, JsonValue>>;
  readonly #needed: readonly string[];
  readonly #source: string;

  constructor(fields: Readonly<Record<string, JsonValue>>, needed: readonly string[], source: string, line: number) {
    this.#fields = fields;
    this.#needed = needed;
    this.#source = source;
    this.line = line;
    for (const name of needed) {
      if (Object.hasOwn(fields, name)) continue;
      const near = closest(name, Object.keys(fields));
      throw this.error(
        name,
        'there',
        near === undefined ? 'no such field' : `no such field; did you mean ${describeValue(near)}?`,
      );
    }
  }

  text(name: string): string {
    const got = this.#value(name);
    if (typeof got === 'string') return got;
    if (typeof got === 'number' && Number.isFinite(got)) return String(got);
    if ((got === undefined || got === null) && !this.#needed.includes(name)) return '';
    throw this.error(name, 'a string or a finite number', describeValue(got));
  }

  number(name: string): number {
    const got = this.#value(name);
    if (typeof got === 'number' && Number.isFinite(got)) return got;
    return finite(typeof got === 'string' ? got : describeValue(got), name, this);
  }

  error(name: string, wanted: string, got: string): InvalidDataError {
    const place = { source: this.#source, line: this.line, field: name };
    return new InvalidDataError(`expected \`${name}\` to be ${wanted}, got ${got}`, place);
  }

  #value(name: string): JsonValue | undefined {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

function finite(text: string, name: string, row: Row): number {
  const trimmed = text.trim();
  const value = NUMBER.test(trimmed) ? Number(trimmed) : Number.NaN;
  if (!Number.isFinite(value)) throw row.error(name, 'a finite number', describeValue(text));
  return value;
}
