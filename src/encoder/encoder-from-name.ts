import type { StateEncoder } from '../compute/state-encoder.js';
import { mean } from './mean-encoder.js';
import { sasRec } from './sasrec.js';

const MAKERS: Readonly<Record<string, (options: Record<string, number>) => StateEncoder>> = { sasRec, mean };
const NAME = /^(\w+)\((\w+=[\d.e+-]+(?:, \w+=[\d.e+-]+)*)\)$/;

/**
 * Makes the library's own encoder of a given name: `sasRec(width=32, …)` and `mean(width=32, …)` carry all their options.
 *
 * @param name - {@link StateEncoder.name}, as a saved policy holds it.
 * @returns the encoder, or undefined when the name is not one of this library's: it must then be given by the caller.
 */
export function encoderFromName(name: string): StateEncoder | undefined {
  const [, kind, settings] = NAME.exec(name) ?? [];
  const make = kind !== undefined && Object.hasOwn(MAKERS, kind) ? MAKERS[kind] : undefined;
  if (!make || settings === undefined) return undefined;
  const options = Object.fromEntries(settings.split(', ').map((pair) => pair.split('=') as [string, string]));
  try {
    const encoder = make(Object.fromEntries(Object.entries(options).map(([key, value]) => [key, Number(value)])));
    return encoder.name === name ? encoder : undefined;
  } catch {
    // Options this version refuses: the caller must say which encoder is meant.
    return undefined;
  }
}
