import { existsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { InvalidArgumentError as WrongOption } from 'commander';
import { closest } from '../foundation/options.js';

/** Parsers of option values; what they refuse, commander prints beside the option's name. */

/** A whole number from `min` to `max`. */
export function integer(min: number, max = 1_000_000_000): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new WrongOption(`Expected a whole number from ${min} to ${max}.`);
  };
}

/** A number from `min` to `max`, `min` itself left out where `isOpen`. */
export function real(min: number, max: number, { isOpen = false } = {}): (text: string) => number {
  return (text) => {
    const value = /^\d*\.?\d+(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if ((isOpen ? value > min : value >= min) && value <= max) return value;
    throw new WrongOption(`Expected a number ${isOpen ? `above ${min} and at most` : `from ${min} to`} ${max}.`);
  };
}

/** Whole numbers in rising order, separated by commas. */
export function risingIntegers(text: string): number[] {
  const values = text.split(',').map(integer(1));
  if (values.every((value, i) => i === 0 || value > (values[i - 1] as number))) return values;
  throw new WrongOption('Expected whole numbers in rising order, separated by commas.');
}

/** Names separated by commas, at least one, none empty or twice. */
export function names(text: string): string[] {
  const values = text.split(',').map((name) => name.trim());
  if (values.every((name) => name !== '') && new Set(values).size === values.length) return values;
  throw new WrongOption('Expected names separated by commas, none empty or twice.');
}

/** Names separated by commas, each among `known`. */
export function namesAmong<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    names(text).map((name) => {
      const found = known.find((one) => one === name);
      if (found !== undefined) return found;
      const near = closest(name, known);
      const hint = near === undefined ? '' : ` Did you mean ${near}?`;
      throw new WrongOption(`There is no '${name}'.${hint} Expected some of ${known.join(', ')}.`);
    });
}

/** `600x12`: items and categories of the synthetic world. */
export function worldSize(text: string): { items: number; categories: number } {
  const [, items, categories] = /^(\d{1,6})x(\d{1,4})$/.exec(text) ?? [];
  const size = { items: Number(items), categories: Number(categories) };
  if (size.items >= 50 && size.categories >= 1) return size;
  throw new WrongOption('Expected items x categories, such as 600x12, with at least 50 items.');
}

/** A file that can be written, or `-` for stdout: told now, not after an hour of training. */
export function jsonTarget(path: string): string {
  if (path === '-') return path;
  if (path === '') throw new WrongOption('Expected a file, or - for the standard output.');
  if (existsSync(path) && statSync(path).isDirectory()) throw new WrongOption('Expected a file, this is a folder.');
  const folder = dirname(resolve(path));
  if (!existsSync(folder)) throw new WrongOption(`There is no folder ${folder}.`);
  return path;
}

/** A folder, there or to be made. */
export function folder(path: string): string {
  if (path === '') throw new WrongOption('Expected a folder.');
  if (existsSync(path) && !statSync(path).isDirectory()) throw new WrongOption('Expected a folder, this is a file.');
  return path;
}
