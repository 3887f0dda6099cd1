import { InvalidDataError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';

/**
 * `JSON.parse` whose error says where: source, line and column (in UTF-16 code units), both from 1.
 *
 * @param text - the whole text; a byte order mark in front is skipped.
 * @param source - what errors call it.
 * @param firstLine - line of the source on which `text` starts.
 * @throws {InvalidDataError} when the text is not JSON.
 */
export function parseJsonText(text: string, source: string, firstLine = 1): JsonValue {
  const json = text.startsWith('\ufeff') ? text.slice(1) : text;
  try {
    return JSON.parse(json) as JsonValue;
  } catch (cause) {
    const offset = firstBad(json);
    const before = json.slice(0, offset);
    const line = firstLine + (before.match(/\n/g)?.length ?? 0);
    const column = offset - before.lastIndexOf('\n');
    const got = offset >= json.length ? 'the end of the text' : JSON.stringify(json.slice(offset, offset + 20));
    throw new InvalidDataError(`expected JSON, got ${got}`, { source, line, column, cause });
  }
}

const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const SPACE = /[ \t\r\n]*/y;

/**
 * Offset of the first character at which no JSON text can go on. `JSON.parse` knows it, but engines word it differently and some messages
 * leave it out; this reads only after a failure.
 */
function firstBad(json: string): number {
  const open: ('{' | '[')[] = [];
  let wanted: 'value' | 'value or ]' | 'key' | 'key or }' | ':' | ', or end' = 'value';
  let at = 0;
  for (;;) {
    SPACE.lastIndex = at;
    SPACE.test(json);
    at = SPACE.lastIndex;
    const character = json[at];
    if (character === undefined) return at;
    const top = open.at(-1);
    if (wanted === ':') {
      if (character !== ':') return at;
      wanted = 'value';
      at++;
    } else if (wanted === ', or end') {
      if (character === ',' && top !== undefined) wanted = top === '{' ? 'key' : 'value';
      else if (character === (top === '{' ? '}' : ']') && top !== undefined) open.pop();
      else return at;
      at++;
    } else if ((wanted === 'key or }' && character === '}') || (wanted === 'value or ]' && character === ']')) {
      open.pop();
      wanted = ', or end';
      at++;
    } else if (character === '"') {
      const { end, sound } = stringEnd(json, at);
      if (!sound) return end;
      wanted = wanted.startsWith('key') ? ':' : ', or end';
      at = end;
    } else if (wanted.startsWith('key')) {
      return at;
    } else if (character === '{' || character === '[') {
      open.push(character);
      wanted = character === '{' ? 'key or }' : 'value or ]';
      at++;
    } else {
      SCALAR.lastIndex = at;
      if (!SCALAR.test(json)) return at;
      at = SCALAR.lastIndex;
      wanted = ', or end';
    }
  }
}

/** End of the string that starts at `from`, or the offset of what is wrong in it. */
function stringEnd(json: string, from: number): { readonly end: number; readonly sound: boolean } {
  let at = from + 1;
  while (at < json.length) {
    const code = json.charCodeAt(at);
    if (code === 0x22) return { end: at + 1, sound: true };
    if (code < 0x20) return { end: at, sound: false };
    if (code !== 0x5c) {
      at++;
      continue;
    }
    ESCAPE.lastIndex = at;
    if (!ESCAPE.test(json)) return { end: at, sound: false };
    at = ESCAPE.lastIndex;
  }
  return { end: at, sound: false };
}
