/**
 * What is done to the columns of a minibatch. Loops over typed arrays: `TypedArray.from` and `map` with a callback take
 * several times as long, and minibatches are made all day.
 */

/** Some rows of a column of float32. */
export function gatherFloats(column: Float32Array, rows: Int32Array): Float32Array {
  const into = new Float32Array(rows.length);
  for (let i = 0; i < rows.length; i++) into[i] = column[rows[i] as number] as number;
  return into;
}

/** Some rows of a column of int32. */
export function gatherIntegers(column: Int32Array, rows: Int32Array): Int32Array {
  const into = new Int32Array(rows.length);
  for (let i = 0; i < rows.length; i++) into[i] = column[rows[i] as number] as number;
  return into;
}

/** Some rows of a column of flags. */
export function gatherFlags(column: Uint8Array, rows: Int32Array): Uint8Array {
  const into = new Uint8Array(rows.length);
  for (let i = 0; i < rows.length; i++) into[i] = column[rows[i] as number] as number;
  return into;
}

/** Some rows of a column of `[rows, width]` vectors, `[B, width]`. */
export function gatherVectors<A extends Float32Array | Int32Array>(
  column: A,
  width: number,
  rows: Int32Array,
  into: A,
): A {
  for (let i = 0, at = 0; i < rows.length; i++) {
    const from = (rows[i] as number) * width;
    for (let c = 0; c < width; c++) into[at++] = column[from + c] as number;
  }
  return into;
}

/** A column times a number. */
export function scaled(column: Float32Array, factor: number): Float32Array {
  const into = new Float32Array(column.length);
  for (let i = 0; i < column.length; i++) into[i] = (column[i] as number) * factor;
  return into;
}

/** The mean of a column; NaN of an empty one. */
export function meanOf(column: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < column.length; i++) sum += column[i] as number;
  return sum / column.length;
}
