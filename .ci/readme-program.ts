import { readFileSync } from 'node:fs';
import { programsOf } from '../test/package/snippets.js';

// Prints the README's program: its one block marked `ts program`. Usage: tsx .ci/readme-program.ts README.md
const page = process.argv[2] ?? 'README.md';
const marked = programsOf(readFileSync(page, 'utf8'), page).filter(({ marks }) => marks.has('program'));
const [program] = marked;
if (program === undefined || marked.length > 1) {
  console.error(`${page}: expected one block marked \`ts program\`, got ${marked.length}`);
  process.exit(1);
}
process.stdout.write(`${program.code.trim()}\n`);
