import type { ParameterStore } from '../parameter-store.js';
import type { EngineBuffers } from './engine-buffers.js';
import { HeadField, HeadOp } from './head-layout.js';
import type { HeadStruct } from './head-struct.js';

/**
 * The vectors `[A, D]` that a head scores all items by: its id table, or with item features `id + features projection`, made
 * once for each version of the parameters. An update's batch, and every step of a rollout with the same policy, then reads
 * D columns an item, however wide the features.
 */
export class ItemVectors {
  readonly #store: ParameterStore;
  readonly #buffers: EngineBuffers;
  readonly #name: string;
  #version: number | undefined;

  /**
   * @param store - the parameters.
   * @param buffers - the caller's, disposed by the caller.
   * @param name - of their buffer.
   */
  constructor(store: ParameterStore, buffers: EngineBuffers, name: string) {
    this.#store = store;
    this.#buffers = buffers;
    this.#name = name;
  }

  /** Points a structure, whose sizes, table, features and projection are set, to vectors that are those of its parameters. */
  update(struct: HeadStruct): void {
    if (struct.get(HeadField.Projection) === 0) {
      struct.set(HeadField.Vectors, struct.get(HeadField.Table));
      return;
    }
    const bytes = struct.get(HeadField.Items) * struct.get(HeadField.Width) * 4;
    struct.set(HeadField.Vectors, this.#buffers.reserve(this.#name, bytes));
    if (this.#version === this.#store.version) return;
    struct.run(HeadOp.ItemVectors, struct.get(HeadField.Chunks));
    this.#version = this.#store.version;
  }
}
