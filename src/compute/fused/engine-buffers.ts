import type { Engine } from './engine.js';

/**
 * Named buffers in engine memory that grow and never shrink: calls of the same sizes allocate nothing. Who makes them
 * disposes them.
 */
export class EngineBuffers {
  readonly #engine: Engine;
  readonly #buffers = new Map<string, { pointer: number; bytes: number }>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * A buffer of at least so many bytes. Its contents stay as long as it need not grow; growing makes views invalid.
   *
   * @returns its pointer; 0 for no bytes.
   */
  reserve(name: string, bytes: number): number {
    if (bytes === 0) return 0;
    const known = this.#buffers.get(name);
    if (known !== undefined && known.bytes >= bytes) return known.pointer;
    // Made before the old one is freed: should memory run out, nothing has changed.
    const pointer = this.#engine.allocate(bytes);
    if (known !== undefined) this.#engine.free(known.pointer);
    this.#buffers.set(name, { pointer, bytes });
    return pointer;
  }

  /** Frees all. Idempotent. */
  dispose(): void {
    for (const { pointer } of this.#buffers.values()) this.#engine.free(pointer);
    this.#buffers.clear();
  }
}
