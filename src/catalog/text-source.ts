import { InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';

/** Text to read: whole, or in chunks as a stream gives them (a `fetch` body, a file's read stream). Bytes are UTF-8. */
export type TextSource = string | Uint8Array | AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>;

/** A line and its number in the source, from 1. */
export interface TextLine {
  /** The line without its line break. */
  readonly text: string;
  /** From 1. */
  readonly line: number;
  /** False for a last line that no line break ends: it may be torn. */
  readonly ended: boolean;
}

/**
 * Lines of a source, those of a chunk at a time (one await a line would cost more than reading it), never holding more than a chunk and a line. Ends are `\n` or `\r\n`; a byte order mark is skipped.
 *
 * @param input - the text.
 * @param source - what errors call it.
 * @param maxLineLength - the longest line allowed, in UTF-16 code units, so that a file without line breaks cannot fill the memory.
 * @throws {InvalidDataError} naming the line: bytes that are not UTF-8 (the line on which the chunk starts), a line that is too long.
 * @throws {InvalidArgumentError} when the input, or a chunk of it, is no text.
 */
export async function* textLines(
  input: TextSource,
  source: string,
  maxLineLength: number,
): AsyncGenerator<readonly TextLine[]> {
  let rest = '';
  let line = 1;
  for await (const chunk of decoded(input, source, () => line)) {
    const first = chunk.indexOf('\n');
    if (first < 0) {
      // Only appended, not searched again: a long line in many small chunks stays linear.
      rest += chunk;
      checkLength(rest.length, source, line, maxLineLength);
      continue;
    }
    const text = rest + chunk;
    const lines: TextLine[] = [];
    let from = 0;
    for (let end = rest.length + first; end >= 0; end = text.indexOf('\n', from)) {
      checkLength(end - from, source, line, maxLineLength);
      lines.push({ text: text.slice(from, end > from && text[end - 1] === '\r' ? end - 1 : end), line, ended: true });
      line++;
      from = end + 1;
    }
    yield lines;
    rest = text.slice(from);
    checkLength(rest.length, source, line, maxLineLength);
  }
  if (rest !== '') yield [{ text: rest, line, ended: false }];
}

async function* decoded(input: TextSource, source: string, line: () => number): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch (cause) {
      throw new InvalidDataError('expected UTF-8 text from this line on, got bytes that are none', {
        source,
        line: line(),
        cause,
      });
    }
  };
  let first = true;
  for await (const chunk of chunksOf(input)) {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) throw noText(chunk);
    const text = typeof chunk === 'string' ? chunk : decode(chunk);
    if (text === '') continue;
    yield first && text.startsWith('\ufeff') ? text.slice(1) : text;
    first = false;
  }
  const text = decode();
  if (text !== '') yield text;
}

/**
 * A source whose bytes are ISO-8859-1, as text: every byte is the character of its number. Strings stay as they are.
 *
 * @throws {InvalidArgumentError} when the input, or a chunk of it, is no text.
 */
export async function* latin1Text(input: TextSource): AsyncGenerator<string> {
  for await (const chunk of chunksOf(input)) {
    if (typeof chunk === 'string') yield chunk;
    else if (chunk instanceof Uint8Array) {
      let text = '';
      // A call with a whole file as arguments would overflow the stack.
      for (let at = 0; at < chunk.length; at += 4096) text += String.fromCharCode(...chunk.subarray(at, at + 4096));
      yield text;
    } else throw noText(chunk);
  }
}

function chunksOf(input: TextSource): AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array> {
  if (typeof input === 'string' || input instanceof Uint8Array) return [input];
  const isIterable =
    input !== null && typeof input === 'object' && (Symbol.asyncIterator in input || Symbol.iterator in input);
  if (!isIterable) throw noText(input);
  return input;
}

function checkLength(length: number, source: string, line: number, maxLineLength: number): void {
  if (length <= maxLineLength) return;
  const message = `expected a line of at most ${maxLineLength} characters (\`maxLineLength\`), got more`;
  throw new InvalidDataError(message, { source, line });
}

function noText(got: unknown): InvalidArgumentError {
  return new InvalidArgumentError(
    `expected the input to be a string, bytes, or an iterable of strings and bytes, got a value of type ${typeof got}`,
    { argument: 'input', wanted: 'text', got },
  );
}
