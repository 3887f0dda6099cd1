import { InvalidArgumentError } from '../foundation/errors.js';

/** Why an answer names nothing. */
export type InvalidReason =
  /** Nothing but white space or thinking. */
  | 'empty'
  /** Longer than any honest answer, thinking left out. */
  | 'too-long'
  /** No place where a label stands as an answer. */
  | 'no-label'
  /** A lone letter that was not offered. */
  | 'unknown-label'
  /** More than one distinct label, or a label and None. */
  | 'ambiguous'
  /** A label only where the answer says what it is *not*. */
  | 'negated';

/** What {@link parseAnswer} reads in a reply. */
export type ParsedAnswer =
  | {
      /** A candidate was named. */
      readonly kind: 'label';
      /** Its place among the candidates shown, 0..K-1. */
      readonly index: number;
    }
  | {
      /** "None", or None's own label. */
      readonly kind: 'none';
    }
  | {
      /** Neither; never to be taken for a None. */
      readonly kind: 'invalid';
      /** Why. */
      readonly reason: InvalidReason;
    };

/** The longest reply that is read, in UTF-16 code units, after thinking was taken out. */
const MAX_LENGTH = 20_000;

const THINK_TAG = /(<\/?(?:think|thinking|thought|reasoning)>)/iu;
const INVISIBLE = /[\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;

/** `"b"`, `'b'`, `**b**`, `` `b` ``, `[b]`, `<b>`, `{b}`: all become `(b)`, which no English word can be. */
const WRAPPED =
  /(?<![\p{L}\p{N}])(?:\*{1,3}|_{1,2}|["“”'‘’`[<{(]){1,3} ?([a-z])([.:)]?) ?(?:\*{1,3}|_{1,2}|["“”'‘’`\]>})]){1,3}(?![\p{L}\p{N}])/giu;

/** The whole reply: a label or None, with nothing beside it but signs. */
const WHOLE = /^(?:\(([a-z])\)|([a-z])|(none))[\s.:;,!)]*$/iu;

/** A line that begins with a label: `b. …`, `b) …`, `b: …`, `(b) …`. Not `A. J. Croce …`, whose `A` is an initial. */
const HEAD = /^[\s>*•-]{0,8}(?:\(([a-z])\)|([a-z])(?:[.:)])(?=\s|$)(?!\s[A-Z]\.))[ \t]*(.*)$/iu;

/** `None.`, `None` alone on a line. */
const NONE_HEAD = /^[\s>*•-]{0,8}\(?none\)?\s*(?:[.,:;!].*)?$/iu;

/** Words after which a label is an answer. */
const KEY =
  /(?:\b(?:will|would|should)\s+(?:(?:most\s+)?(?:likely|probably)\s+)?(?:select|choose|pick|prefer)|\b(?:selects|chooses|picks|prefers|answer|choice|option|selection|label|boxed))\b["']?/giu;

/** Between such a word and the label. */
const BRIDGE = /^(?:\s+(?:is|are|would\s+be|will\s+be|option|label|candidate|letter|item))*\s*[:=]?\s*/iu;

/** The label or None, followed by a sign or the end. `a` and `i` are words too: for them a mere line break is not an end. */
const ANSWER =
  /^(?:\(([a-z])\)|([a-z])(?=\s*$|\s*[.,;:!?)\]}"—–]|\s+-\s|\s*\n\s*\n|\s+(?:or|and)\s+\(?[a-z]\b)|([b-hj-z])(?=[ \t]*\n)|(none)\b)/iu;

/** After a label: another one in the same breath ("a, b or c"). */
const ENUMERATED = /^\s*(?:,\s*(?:and|or)?|\/|&|\bor\b|\band\b)\s*\(?([a-z])\)?(?=\s*(?:$|[\s.,;:!?/)&]))/iu;

/** A label in mid-line, as an echo of the candidates has them. It decides nothing, but it may contradict. */
const ECHOED = /\s([a-z])\.\s/gu;

const NONE_OF = /\bnone\s+of\s+(?:the\s+(?!others?\b|rest\b|remaining\b)|these\b|them\b|those\b|above\b)/iu;

const NEGATION =
  /(?:\b(?:not|never|neither|nor|unlikely|dislikes?|avoids?|rejects?|except|over|than|instead\s+of|cannot)\b|n['’]t\b)/iu;

/**
 * Reads the label out of a text answer, strictly: what is not surely one label is invalid, for a wrong reward is worse than none.
 *
 * In this order: thinking out, NFKC, invisible characters out; the whole reply a label or None; a label at the head of a line;
 * a label after "will select", "answer is", "choice", "option"…, followed by a sign or the end; "none of the…". Everything found
 * must agree: two distinct labels are `ambiguous`. "The user will select a rock song" holds no label.
 *
 * No text makes it throw; linear in the length of the text.
 *
 * @param text - what the model wrote; untrusted.
 * @param labels - K + 1 lower-case letters, None's last, as `renderTable1` gives them.
 * @throws {InvalidArgumentError} when `text` is no string or `labels` are not at least three distinct letters.
 */
export function parseAnswer(text: string, labels: readonly string[]): ParsedAnswer {
  checkArguments(text, labels);
  const spoken = withoutThinking(text);
  if (spoken.length > MAX_LENGTH) return { kind: 'invalid', reason: 'too-long' };
  const clean = spoken
    .normalize('NFKC')
    .replace(INVISIBLE, '')
    .replace(/\r\n?|[\u2028\u2029\u0085]/gu, '\n')
    .trim();
  if (clean.length > 4 * MAX_LENGTH) return { kind: 'invalid', reason: 'too-long' };
  if (clean === '') return { kind: 'invalid', reason: 'empty' };

  const plain = clean
    .replace(/\\boxed\s?\{/gu, 'boxed: {')
    .replace(WRAPPED, (_, letter: string, sign: string) => `(${letter})${sign === ')' ? '' : sign}`)
    .replace(/[*_`]{1,3}/gu, '')
    .trim();
  const bare = plain.replace(/^["“”'‘’([{]+|["“”'‘’\]}]+$/gu, (signs) => (/[([{]/u.test(signs) ? signs : ''));
  const whole = WHOLE.exec(bare);
  if (whole !== null) return decide(new Set([(whole[1] ?? whole[2] ?? whole[3] ?? '').toLowerCase()]), false, labels);

  const found = new Set<string>();
  for (const line of plain.split('\n')) {
    const head = HEAD.exec(line);
    if (head !== null) {
      const label = (head[1] ?? head[2] ?? '').toLowerCase();
      found.add(label);
      // "b. None" contradicts itself unless b is None's own label.
      if (/^none[\s.!]*$/iu.test(head[3] ?? '') && label !== labels[labels.length - 1]) found.add('none');
      for (const echo of ` ${head[3] ?? ''}`.matchAll(ECHOED)) found.add(echo[1] as string);
    } else if (NONE_HEAD.test(line)) found.add('none');
  }
  let negated = false;
  for (const key of plain.matchAll(KEY)) {
    const after = plain.slice(key.index + key[0].length, key.index + key[0].length + 200);
    const answer = after.slice((BRIDGE.exec(after) as RegExpExecArray)[0].length);
    const match = ANSWER.exec(answer);
    if (match === null) continue;
    if (NEGATION.test(sentenceBefore(plain, key.index))) {
      negated = true;
      continue;
    }
    found.add((match[1] ?? match[2] ?? match[3] ?? match[4] ?? '').toLowerCase());
    const another = ENUMERATED.exec(answer.slice(match[0].length));
    if (another !== null) found.add((another[1] as string).toLowerCase());
  }
  if (NONE_OF.test(plain)) found.add('none');
  return decide(found, negated, labels);
}

function checkArguments(text: unknown, labels: unknown): void {
  const letters = Array.isArray(labels) && labels.every((label) => typeof label === 'string' && /^[a-z]$/u.test(label));
  if (typeof text === 'string' && letters && labels.length >= 3 && new Set(labels).size === labels.length) return;
  const [argument, wanted] =
    typeof text === 'string' ? ['labels', 'three or more distinct letters a-z'] : ['text', 'a string'];
  throw new InvalidArgumentError(`parseAnswer: expected \`${argument}\` to be ${wanted}`, { argument, wanted });
}

function decide(found: ReadonlySet<string>, negated: boolean, labels: readonly string[]): ParsedAnswer {
  const none = labels.length - 1;
  const places = new Set<number>();
  for (const word of found) places.add(word === 'none' ? none : labels.indexOf(word));
  if (places.size === 0) return { kind: 'invalid', reason: negated ? 'negated' : 'no-label' };
  if (places.size > 1) return { kind: 'invalid', reason: 'ambiguous' };
  const [place] = places as Iterable<number>;
  if (place === undefined || place < 0)
    return { kind: 'invalid', reason: found.size > 1 ? 'ambiguous' : 'unknown-label' };
  return place === none ? { kind: 'none' } : { kind: 'label', index: place };
}

/** The text without `<think>…</think>`; an unclosed block reaches to the end, a lone closing tag (prefilled opening) from the start. */
function withoutThinking(text: string): string {
  if (!text.includes('<')) return text;
  let depth = 0;
  let spoken = '';
  for (const part of text.split(THINK_TAG)) {
    if (!THINK_TAG.test(part)) {
      if (depth === 0) spoken += part;
    } else if (!part.startsWith('</')) depth++;
    else if (depth > 0) depth--;
    else spoken = '';
  }
  return spoken;
}

/** At most 200 characters before `end`, from the start of the sentence. */
function sentenceBefore(text: string, end: number): string {
  const before = text.slice(Math.max(0, end - 200), end);
  return before.slice(
    Math.max(before.lastIndexOf('.'), before.lastIndexOf('!'), before.lastIndexOf('?'), before.lastIndexOf('\n')) + 1,
  );
}
