/** Limits of {@link checkUniqueKeys}. */
export interface KeyLimits {
  /** Deepest nesting of objects and arrays. */
  readonly maxDepth: number;
  /** Most keys that one object may have. */
  readonly maxKeys: number;
}

/**
 * Refuses JSON text in which an object has the same key twice: `JSON.parse` keeps the last one without a word. It also
 * bounds nesting and keys before anything is built. Only keys and nesting are looked at: text that passes may still be
 * no JSON, which `JSON.parse` then says.
 *
 * @param text - JSON text from outside.
 * @param limits - see {@link KeyLimits}.
 * @throws {SyntaxError} naming the key, or the limit that was passed.
 */
export function checkUniqueKeys(text: string, limits: KeyLimits): void {
  // One entry for each open bracket: the keys of an object, or undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let expectsKey = false;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '{':
      case '[':
        open.push(text[i] === '{' ? new Set() : undefined);
        expectsKey = text[i] === '{';
        if (open.length > limits.maxDepth) throw new SyntaxError(`nested deeper than ${limits.maxDepth} levels`);
        break;
      case '}':
      case ']':
        open.pop();
        expectsKey = false;
        break;
      case ',':
        expectsKey = open.at(-1) !== undefined;
        break;
      case '"': {
        const start = i;
        for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
        const keys = open.at(-1);
        if (!expectsKey || keys === undefined) break;
        // Unescaped, because "\u0061" and "a" are the same key.
        const key = String(JSON.parse(text.slice(start, i + 1)));
        if (keys.has(key)) throw new SyntaxError(`the key ${JSON.stringify(key)} stands twice`);
        keys.add(key);
        if (keys.size > limits.maxKeys) throw new SyntaxError(`more than ${limits.maxKeys} keys`);
        expectsKey = false;
        break;
      }
      default:
    }
  }
}
