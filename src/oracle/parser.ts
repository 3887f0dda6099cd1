import { InvalidArgumentError } from '../foundation/errors.js';

/** Capital labels that begin sentences as well, "I think b": as first token of a text they decide nothing. */
export const LABEL_WORDS: readonly string[] = ['A', 'I'];

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

const THINK_TAG = /(<\/?(?:think|thinking|thought|reasoning)\s*>)/iu;
const INVISIBLE = /[\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;
/** Pictures say nothing; © and ® among them neither. */
const PICTURE = /[\p{Extended_Pictographic}\p{Emoji_Modifier}]/gu;
/** What a model's tokeniser ends or frames a turn with, where a server lets it through. */
const CONTROL_TOKEN = /<\/?s>|<\|[\w-]{1,40}\|>|<\/?(?:eos|bos|unk|pad|start_of_turn|end_of_turn)>|\[\/?INST\]/giu;
/** `<answer>`, `</label>`: markup of more than one letter, for `<b>` is a label in brackets… */
const TAG = /<\/?[a-z][\w-]{1,30}\s?>/giu;
/** …unless it is closed again. */
const LETTER_TAG = /<([a-z])>([^<\n]{0,60})<\/\1>/giu;
const FENCE = /```[\w-]{0,20}(?=\n|$)/gu;

/** `"b"`, `'b'`, `**b**`, `` `b` ``, `[b]`, `<b>`, `{b}`, `$b$`: all become `(b)`, which no English word can be. */
const WRAPPED =
  /(?<![\p{L}\p{N}])(?:\*{1,3}|_{1,2}|["“”'‘’`«「『$[<{(]){1,3} ?([a-z])([.:)]?) ?(?:\*{1,3}|_{1,2}|["“”'‘’`»」』$\]>})]){1,3}(?![\p{L}\p{N}])/giu;
/** `"None"`, `(None)`, `**None.**`: loses its wrapping. */
const WRAPPED_NONE = /["“”'‘’`«「『[({*_]{1,3} ?(none)(\.?) ?["“”'‘’`»」』\])}*_]{1,3}/giu;

/** Bullets, quotes and heading signs that a line may begin with. */
const DECORATION = /^[\s>*•#|"“”'‘’-]{1,8}(?!$)/u;

/** A line that is a label or None, with nothing beside it but signs. */
const ALONE = /^(?:\(([a-z])\)|([a-z])|(none))[\s.:;,!)|"”’]*$/iu;

/** A label at the head of a line, and what stands behind it: `b. …`, `b) …`, `b: …`, `b = …`, `(b) …`. */
const HEAD = /^(?:\(([a-z])\)|([a-z])(?:(?:[.:)]|\s=)(?=\s|$)|:(?=\p{Lo}))|([a-z])\.(?=\p{Lu}))[ \t]*(.*)$/iu;
/** `A. J. Croce …`: an initial, not a label. */
const INITIAL = /^\p{Lu}\.\s\p{Lu}\./u;

/**
 * A label that opens the whole reply, with an explanation behind it: `b, since…`, `b - …`, `b (…`, `b → …`. The words `a` and `I` need
 * more: `a, …` is no English, but `I, …`, `a (…` and `I - …` are.
 */
const OPENING = /^(?:([b-hj-z])(?:[,;]\s|\s?[–—→]\s?|\s->\s|\s-\s|\s\()|(a)[,;]\s)(.*)$/iu;

/** `None.`, `None - …`, `None because …` at the head of a line. */
const NONE_HEAD = /^\(?none\)?\s*(?:$|[.,:;!]|[-–—]\s|(?:because|since|as)\b)/iu;
/** `… fits: None.` */
const NONE_TAIL = /:\s*none[\s.!]*$/iu;
/** `k None`, `b. None`: two answers, which agree where the label is None's. */
const LABEL_AND_NONE = /^\(?([a-z])\)?[.:)]?\s+none[\s.!]*$/iu;

/** Words after which a label is an answer; some in the languages that small models slip into. */
const KEY = new RegExp(
  [
    String.raw`\b(?:will|would|should|can)\s+(?:(?:most|mostly|very)\s+)?(?:(?:likely|probably)\s+)?(?:select|choose|pick|prefer|like|recommend|go\s+with)\b`,
    String.raw`\b(?:I|user)\s+(?:select|choose|pick|recommend|go\s+with)\b`,
    String.raw`\bI['’]d\s+(?:select|choose|pick|prefer|recommend|go\s+with)\b`,
    String.raw`\b(?:selects|chooses|picks|prefers|answer|choice|option|candidate|selection|pick|label|labelled|labeled|response|boxed)\b`,
    String.raw`\bit(?:\s+is|['’]s)\b`,
    String.raw`(?<!\p{L})(?:Antwort|réponse|respuesta|resposta|risposta|antwoord|odpowiedź|ответ)(?!\p{L})`,
    '(?:答案|答え|回答|选择|選擇)',
  ].join('|'),
  'giu',
);

/** Between such a word and the label. */
const BRIDGE =
  /^["']?(?:\s*(?:\b(?:is|are|would\s+be|will\s+be|the|option|label|labelled|labeled|candidate|letter|item|ist|est|es|to)\b|é|è|是|は|为))*\s*([:=]?)\s*["“]?/iu;

/**
 * The label or None, followed by a sign, the end, or a word that goes on without it. `a` and `i` are words too: for them a mere line break
 * is no end, unless a colon announced them.
 */
const ANSWER =
  /^(?:\(([a-z])\)|([a-z])(?=\s*$|\s*(?:[.](?![a-z])|[,;:!?)\]}"—–。、！？])|\s+-\s|\s*\n\s*\n|\s+(?:or|and)\s+(?:(?:maybe|perhaps|option|label|candidate)\s+)?\(?[a-z]\b|\s+(?:because|since)\b|\s*(?:です|だ))|([b-hj-z])(?=[ \t]*\n|\s+(?:as|at\s+next|for|which)\b|\s+\()|(none)\b)/iu;
const ANNOUNCED = /^([a-z])(?=[ \t]*\n)/iu;

/** After a label: another one in the same breath ("a, b or c"). `a` and `i` only where a sign or an end follows. */
const ENUMERATED =
  /^\s*(?:,\s*(?:and|or|then)?|\/|&|\bor\b|\band\b|\bthen\b)\s*(?:(?:maybe|perhaps|possibly|option|label|candidate)\s+)?(?:\(([a-z])\)|([b-hj-z])(?=\s*(?:$|[\s.,;:!?/)&]))|([ai])(?=\s*(?:$|[.,;:!?/)&])|\s+(?:or|and)\b))/iu;

/** A label in mid-line, as an echo of the candidates has them. It decides nothing, but it may contradict. */
const ECHOED = /\s([a-z])\.\s/gu;

/** `b is the best choice`: the label before the word. */
const PREDICATE =
  /(?<![\p{L}\p{N}'’])(?:\(([a-z])\)|([a-z]))\s+is\s+(?:the|my)\s+(?:\p{L}{1,20}\s+){0,4}?(?:answer|choice|option|selection|candidate|pick|label|fit|match)\b/giu;

const NONE_OF = /\bnone\s+of\s+(?:the\s+(?!others?\b|rest\b|remaining\b)|these\b|them\b|those\b|above\b)/iu;

const NEGATION =
  /(?:\b(?:not|never|neither|nor|unlikely|doubt|dislikes?|avoids?|rejects?|except|over|than|instead\s+of|cannot)\b|n['’]t\b)/iu;

/** Before a word that announces an answer: the prompt's own words, said back. */
const ASKED = /\bplease\s*$/iu;
const CONDITION = /\bif\b/iu;

/**
 * Reads the label out of a text answer, strictly: what is not surely one label is invalid, for a wrong reward is worse than none.
 *
 * 1. Thinking out; NFKC; invisible characters, pictures, control tokens, markup and code fences out; wrapped letters become `(b)`.
 * 2. The whole reply, or a whole line of it, is a label or None.
 * 3. A line begins with a label and a sign (`b.`, `b)`, `(b)`); the reply begins with a label and an explanation (`b, since…`).
 * 4. A label after "will select", "answer is", "choice", "option"…, followed by a sign or the end; or before "is the best choice".
 * 5. "None of the…", a line that begins with None, or "…: None." at the end.
 *
 * Step 2 decides alone when it is the whole reply. Else everything found must agree: two distinct labels are `ambiguous`, a label that
 * only stands behind a "not" is `negated`. "The user will select a rock song" holds no label: `a` and `I` are words.
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
    .replace(CONTROL_TOKEN, '')
    .replace(PICTURE, ' ')
    .replace(INVISIBLE, '')
    .replace(/\r\n?|[\u2028\u2029\u0085]/gu, '\n')
    .trim();
  if (clean.length > 4 * MAX_LENGTH) return { kind: 'invalid', reason: 'too-long' };
  if (clean === '') return { kind: 'invalid', reason: 'empty' };

  const plain = withoutMarkup(clean);
  const lines = plain.split('\n').map((line) => line.replace(DECORATION, ''));
  const bare = plain
    .replace(/["“”'‘’\]}|]+$/u, '')
    .replace(DECORATION, '')
    .replace(/^\[/u, '')
    .trim();
  const whole = ALONE.exec(bare);
  if (whole !== null) return decide(new Set([lower(whole)]), false, labels);

  const found = new Set<string>();
  for (const [n, line] of lines.entries()) readLine(line, n === 0, labels, found);
  const negated = readSentences(plain, found);
  const noneOf = NONE_OF.exec(plain);
  if (noneOf !== null && !CONDITION.test(sentenceBefore(plain, noneOf.index))) found.add('none');
  if (NONE_TAIL.test(plain)) found.add('none');
  return decide(found, negated, labels);
}

/** Markup out; a lone letter in brackets, quotes or stars becomes `(b)`. */
function withoutMarkup(clean: string): string {
  return clean
    .replace(FENCE, '\n')
    .replace(LETTER_TAG, '$2')
    .replace(TAG, '\n')
    .replace(/\\boxed\s?\{/gu, 'boxed: {')
    .replace(/\\(?:text|textbf|mathrm|mathbf)\s?\{/gu, '{')
    .replace(/\\([()[\]])/gu, '$1')
    .replace(WRAPPED_NONE, '$1$2')
    .replace(WRAPPED, (_, letter: string, sign: string) => `(${letter})${sign === ')' ? '' : sign}`)
    .replace(/[*_`]{1,3}/gu, '')
    .trim();
}

/** Steps 2, 3 and half of 5: what one line says by its beginning. */
function readLine(line: string, isFirst: boolean, labels: readonly string[], found: Set<string>): void {
  const alone = ALONE.exec(line);
  if (alone !== null) {
    found.add(lower(alone));
    return;
  }
  const both = LABEL_AND_NONE.exec(line);
  if (both !== null) {
    found.add(lower(both));
    found.add('none');
    return;
  }
  const head = INITIAL.test(line) ? null : HEAD.exec(line);
  if (head !== null) {
    const label = lower(head);
    const rest = head[4] ?? '';
    found.add(label);
    // "b. None" contradicts itself unless b is None's own label.
    if (/^none[\s.!]*$/iu.test(rest) && label !== labels[labels.length - 1]) found.add('none');
    for (const echo of ` ${rest}`.matchAll(ECHOED)) found.add(echo[1] as string);
    addAnother(rest, found);
    return;
  }
  const opening = isFirst ? OPENING.exec(line) : null;
  if (opening !== null) {
    found.add((opening[1] ?? opening[2] ?? '').toLowerCase());
    addAnother(line.slice(1), found);
    return;
  }
  if (NONE_HEAD.test(line)) found.add('none');
}

/** Step 4; whether a label stood behind a negation. */
function readSentences(plain: string, found: Set<string>): boolean {
  let negated = false;
  for (const key of plain.matchAll(KEY)) {
    const before = sentenceBefore(plain, key.index);
    if (ASKED.test(before)) continue;
    const after = plain.slice(key.index + key[0].length, key.index + key[0].length + 200);
    const bridge = BRIDGE.exec(after) as RegExpExecArray;
    const answer = after.slice(bridge[0].length);
    const match = ANSWER.exec(answer) ?? (bridge[1] === '' ? null : ANNOUNCED.exec(answer));
    if (match === null) continue;
    if (NEGATION.test(before)) {
      negated = true;
      continue;
    }
    found.add(lower(match));
    addAnother(answer.slice(match[0].length), found);
  }
  for (const predicate of plain.matchAll(PREDICATE)) {
    if (NEGATION.test(sentenceBefore(plain, predicate.index))) negated = true;
    else found.add(lower(predicate));
  }
  return negated;
}

/** A second label in the same breath; "none" too. */
function addAnother(rest: string, found: Set<string>): void {
  const another = ENUMERATED.exec(rest);
  if (another !== null) found.add(lower(another));
}

/** The first group that matched. */
function lower(match: RegExpExecArray | RegExpMatchArray): string {
  for (let group = 1; group < match.length; group++)
    if (match[group] !== undefined) return match[group]?.toLowerCase() ?? '';
  return '';
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
