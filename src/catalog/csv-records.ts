import { parse } from 'csv-parse/browser/esm/sync';
import { InvalidDataError } from '../foundation/errors.js';
import { type TextSource, textLines } from './text-source.js';

/** A CSV record and where it starts. */
export interface CsvRecord {
  /** The fields, unquoted. */
  readonly fields: readonly string[];
  /** Line of the source on which the record starts, from 1: a quoted field may hold line breaks. */
  readonly line: number;
  /** False for a last record that no line break ends. */
  readonly ended: boolean;
}

/** How a CSV text is written. */
export interface CsvForm {
  /** What errors call the source. */
  readonly source: string;
  /** One character between fields. */
  readonly delimiter: string;
  /** The longest record allowed, in UTF-16 code units. */
  readonly maxLineLength: number;
  /** Whether a quote left open on the last line gives a record without fields (a torn line) in place of an error. */
  readonly skipTorn: boolean;
  /** Whether `"` quotes a field; otherwise it is a character like any other, as in files made by plain joining. @default true */
  readonly quoted?: boolean | undefined;
}

/**
 * Records of a CSV source (RFC 4180: `"` quotes, doubled inside), streaming, those of a chunk at a time; empty lines are skipped. Records are
 * cut here, at line breaks with an even number of quotes before them. Those without a quote are only split; csv-parse reads the others, in its
 * synchronous form for browsers, because its streams need `node:` modules. A `\r\n` within quotes becomes `\n`.
 *
 * @throws {InvalidDataError} naming the line (and the field, as column, from 1): a misplaced quote, a quote that is never closed, a record
 * that is too long.
 */
export async function* csvRecords(input: TextSource, form: CsvForm): AsyncGenerator<readonly CsvRecord[]> {
  const { source, maxLineLength, skipTorn } = form;
  let text = '';
  let start = 0;
  let open = false;
  let last = 0;
  for await (const lines of textLines(input, source, maxLineLength)) {
    const batch: Pending[] = [];
    for (const { text: piece, line, ended } of lines) {
      last = line;
      if (open) {
        text += `\n${piece}`;
        if (text.length > maxLineLength) {
          const message = `expected a record of at most ${maxLineLength} characters (\`maxLineLength\`), got more: is a quote never closed?`;
          throw new InvalidDataError(message, { source, line: start });
        }
      } else {
        if (piece === '') continue;
        text = piece;
        start = line;
      }
      if (form.quoted !== false && countQuotes(piece) % 2 === 1) open = !open;
      if (!open) batch.push({ text, line: start, ended });
    }
    yield parseBatch(batch, form);
  }
  if (open && skipTorn && start === last) yield [{ fields: [], line: start, ended: false }];
  else if (open)
    throw new InvalidDataError('expected a closing quote, got the end of the text', { source, line: start });
}

interface Pending {
  readonly text: string;
  readonly line: number;
  readonly ended: boolean;
}

function parseBatch(batch: readonly Pending[], form: CsvForm): CsvRecord[] {
  const isQuoted = (text: string): boolean => form.quoted !== false && text.includes('"');
  const quoted = batch.filter(({ text }) => isQuoted(text));
  const rows = quoted.length === 0 ? [] : parseRows(quoted, form);
  let next = 0;
  return batch.map(({ text, line, ended }) => {
    const fields = isQuoted(text) ? (rows[next++] as string[]) : text.split(form.delimiter);
    return { fields, line, ended };
  });
}

function parseRows(batch: readonly Pending[], form: CsvForm): string[][] {
  const options = {
    delimiter: form.delimiter,
    // Records are joined with \n below; inside quotes a \r\n has become \n by then.
    record_delimiter: '\n',
    relax_column_count: true,
    skip_empty_lines: false,
    bom: false,
  } as const;
  try {
    return parse(batch.map(({ text }) => text).join('\n'), options);
  } catch (cause) {
    if (batch.length > 1) {
      // One of the batch is wrong: those before it are found sound one by one, and it tells its own place.
      return batch.flatMap((pending) => parseRows([pending], form));
    }
    const { line } = batch[0] as Pending;
    const facts = cause as { readonly column?: unknown; readonly code?: unknown; readonly lines?: unknown };
    const column = typeof facts.column === 'number' ? facts.column + 1 : undefined;
    const at = typeof facts.lines === 'number' ? line + facts.lines - 1 : line;
    const wrong =
      facts.code === 'INVALID_OPENING_QUOTE'
        ? 'expected a quote only at the start of a field (doubled inside a quoted one), got one within'
        : 'expected a delimiter or the end of the record after a closing quote, got something else';
    throw new InvalidDataError(wrong, { source: form.source, line: at, column, cause });
  }
}

function countQuotes(text: string): number {
  let count = 0;
  for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at + 1)) count++;
  return count;
}
