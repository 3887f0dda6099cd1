/** Greatest common divisor of two whole numbers >= 0, by Euclid: the step that a list of marks has in common. */
export function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
