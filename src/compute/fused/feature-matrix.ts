import { CosineRows, type CosineSource, type NewCosines } from './cosine-rows.js';
import type { Engine } from './engine.js';

/**
 * Item features in engine memory `[A, width]`, the width rounded up to a multiple of 4 with zeros; and rows of cosines of
 * single items to all items, which the same items of histories ask for again and again. One for each array, however many
 * kernels use it.
 */
export class FeatureMatrix implements CosineSource {
  /** Pointer to `[A, width]`. */
  readonly pointer: number;
  /** The rounded width. */
  readonly width: number;
  /** The width of the array it was made from. */
  readonly givenWidth: number;
  readonly #engine: Engine;
  readonly #rows: CosineRows;
  #users = 0;

  private constructor(engine: Engine, matrix: Float32Array, itemCount: number) {
    const givenWidth = matrix.length / itemCount;
    this.#engine = engine;
    this.givenWidth = givenWidth;
    this.width = Math.ceil(givenWidth / 4) * 4;
    this.pointer = engine.allocate(Math.max(4, itemCount * this.width * 4));
    const padded = engine.f32(this.pointer, itemCount * this.width);
    if (this.width === givenWidth) padded.set(matrix);
    else {
      padded.fill(0);
      for (let item = 0; item < itemCount; item++) {
        padded.set(matrix.subarray(item * givenWidth, (item + 1) * givenWidth), item * this.width);
      }
    }
    this.#rows = new CosineRows(engine, itemCount);
  }

  /**
   * The engine's copy of a matrix; made when no one has it yet. Who gets it calls {@link FeatureMatrix.release}.
   *
   * @param engine - where it goes.
   * @param matrix - `[A, width]`; must not change as long as it is used.
   * @param itemCount - number of items A.
   */
  static acquire(engine: Engine, matrix: Float32Array, itemCount: number): FeatureMatrix {
    const ofEngine = matrices.get(engine) ?? new Map<Float32Array, FeatureMatrix>();
    matrices.set(engine, ofEngine);
    const made = ofEngine.get(matrix) ?? new FeatureMatrix(engine, matrix, itemCount);
    ofEngine.set(matrix, made);
    made.#users++;
    return made;
  }

  /** Gives it back; the last user's call frees it. */
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#engine.free(this.pointer);
    this.#rows.dispose();
    const ofEngine = matrices.get(this.#engine);
    for (const [array, matrix] of ofEngine ?? []) if (matrix === this) ofEngine?.delete(array);
  }

  /** See {@link CosineSource.capacity}. */
  get capacity(): number {
    return this.#rows.capacity;
  }

  /** See {@link CosineSource.cosines}. */
  cosines(item: number, toMake: NewCosines[]): number {
    return this.#rows.row(item, (pointer) => toMake.push({ item, pointer }));
  }
}

const matrices = new WeakMap<Engine, Map<Float32Array, FeatureMatrix>>();
