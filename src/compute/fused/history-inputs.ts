import type { HistoryBatch } from '../history-batch.js';
import type { HistoryFeatureForm } from '../history-features.js';
import type { MaskLists } from '../mask.js';
import type { Engine } from './engine.js';
import type { EngineBuffers } from './engine-buffers.js';
import type { FeatureMatrix } from './feature-matrix.js';
import { HeadField, HeadOp, TILE } from './head-layout.js';
import type { HeadStruct } from './head-struct.js';
import type { SparseTextPlanes } from './sparse-text-planes.js';
import type { TextPlanes } from './text-planes.js';

/** An attribute's codes in engine memory. */
export interface AttributeCodes {
  /** Code of each item `[A]`, -1 for none. */
  readonly values: Int32Array;
  /** Pointer to them. */
  readonly pointer: number;
  /** One more than the largest code. */
  readonly count: number;
}

/** What a batch's histories and mask mean for the heads; the same for every head that scores the batch. */
export interface HistorySource {
  /** Whole histories. */
  readonly batch: HistoryBatch;
  /** What is excluded. */
  readonly mask: MaskLists | undefined;
  /** Number of items A. */
  readonly itemCount: number;
  /** Columns of every item's row of scores. */
  readonly stride: number;
  /** The planes, if the model has any. */
  readonly form: HistoryFeatureForm | undefined;
  /** Codes of the form's attributes. */
  readonly attributes: readonly AttributeCodes[];
  /** Features that text planes are made of. */
  readonly features: FeatureMatrix | undefined;
  /** Their planes over all items. */
  readonly planes: TextPlanes | undefined;
  /** Makes the planes of listed items where texts are sparse rows. */
  readonly sparse: SparseTextPlanes | undefined;
}

/** Which items a batch is scored by. */
export interface Asked {
  /** All items. */
  readonly all: boolean;
  /** Listed items. */
  readonly listed: boolean;
}

/** Place of the first text plane among a form's planes. */
export function textPlaneOf(form: HistoryFeatureForm): number {
  return form.repeats + 2 * form.attributes.length;
}

/**
 * Writes the histories of one batch into engine memory in the forms that the head operations read: marks (item, row) of
 * repeats and exclusions in order of the items' tiles, tables of attribute values by row, text vectors. One for each
 * batch that is alive at a time.
 */
export class HistoryInputs {
  readonly #engine: Engine;
  readonly #buffers: EngineBuffers;
  readonly #prefix: string;
  #slotMaps: { pointer: number; count: number; used: number[] }[] = [];

  /**
   * @param engine - where everything goes.
   * @param buffers - the caller's, disposed by the caller.
   * @param prefix - of the names of the buffers.
   */
  constructor(engine: Engine, buffers: EngineBuffers, prefix: string) {
    this.#engine = engine;
    this.#buffers = buffers;
    this.#prefix = prefix;
  }

  /**
   * Fills the structure's words about histories and mask.
   *
   * @param struct - a structure with sizes set; for the text planes it is run.
   * @param source - see {@link HistorySource}.
   * @param asked - which items will be scored.
   */
  fill(struct: HeadStruct, source: HistorySource, asked: Asked): void {
    const { form } = source;
    struct.set(HeadField.Repeats, form?.repeats ?? 0);
    struct.set(HeadField.Slots, 0);
    struct.set(HeadField.Attributes, 0);
    struct.set(HeadField.TextPlane, -1);
    struct.set(HeadField.PlaneRows, 0);
    struct.set(HeadField.TextItems, 0);
    if (form !== undefined) this.#writeRecent(struct, source, form);
    if (asked.all) this.#writeMarks(struct, source);
    else {
      struct.set(HeadField.TileStarts, 0);
      struct.set(HeadField.Excluded, 0);
    }
    if (form !== undefined && form.attributes.length > 0) this.#writeAttributes(struct, source, form);
    if (form?.text !== undefined) this.#writeText(struct, source, form, asked);
  }

  #reserve(name: string, bytes: number): number {
    return this.#buffers.reserve(`${this.#prefix}/${name}`, bytes);
  }

  #writeRecent(struct: HeadStruct, { batch }: HistorySource, form: HistoryFeatureForm): void {
    const { size, length, items, lengths } = batch;
    const read = Math.max(form.repeats, form.attributes.length > 0 || form.text !== undefined ? form.recent : 0);
    let longest = 0;
    for (let row = 0; row < size; row++) longest = Math.max(longest, lengths[row] as number);
    // At least one column, so that "the last item" can be read of an empty history.
    const width = Math.max(1, Math.min(read, longest));
    const pointer = this.#reserve('recent', size * width * 4);
    const recent = this.#engine.i32(pointer, size * width);
    for (let row = 0; row < size; row++) {
      const start = row * length;
      const end = start + (lengths[row] as number);
      for (let j = 0; j < width; j++) {
        const at = end - 1 - j;
        recent[row * width + j] = at >= start ? (items[at] as number) : -1;
      }
    }
    struct.set(HeadField.Recent, pointer);
    struct.set(HeadField.RecentWidth, width);
  }

  #writeMarks(struct: HeadStruct, { batch, mask, itemCount, form }: HistorySource): void {
    const { size, length, items, lengths } = batch;
    const repeats = form?.repeats ?? 0;
    const tiles = Math.ceil(itemCount / TILE);
    struct.set(HeadField.Excluded, 0);
    if (mask !== undefined && mask.everywhere.length > 0) {
      const excluded = this.#reserve('excluded', itemCount);
      const flags = this.#engine.u8(excluded, itemCount);
      flags.fill(0);
      for (const item of mask.everywhere) flags[item] = 1;
      struct.set(HeadField.Excluded, excluded);
    }
    const firstMask = mask?.rowStart[0] ?? 0;
    const lastMask = mask?.rowStart[size] ?? 0;
    let count = lastMask - firstMask;
    if (repeats > 0) for (let row = 0; row < size; row++) count += Math.min(repeats, lengths[row] as number);
    struct.set(HeadField.TileStarts, 0);
    if (count === 0) return;
    // Counting sort by tile; within a tile masks come after the repeats of all rows, and a mask sets the score.
    const startsAt = this.#reserve('starts', (tiles + 1) * 4);
    const pairsAt = this.#reserve('pairs', count * 12);
    const starts = this.#engine.i32(startsAt, tiles + 1);
    const pairs = this.#engine.i32(pairsAt, count * 3);
    starts.fill(0);
    for (let row = 0; row < size && repeats > 0; row++) {
      const end = row * length + (lengths[row] as number);
      const first = Math.max(row * length, end - repeats);
      for (let at = first; at < end; at++) (starts[((items[at] as number) / TILE) | 0] as number)++;
    }
    const excludedItems = mask?.rowItems;
    for (let i = firstMask; i < lastMask; i++) (starts[((excludedItems?.[i] as number) / TILE) | 0] as number)++;
    let total = 0;
    for (let tile = 0; tile <= tiles; tile++) {
      const here = starts[tile] as number;
      starts[tile] = total;
      total += here;
    }
    // Each tile's start moves on as marks are put there, and ends as the next tile's start.
    const put = (item: number, row: number, plane: number): void => {
      const tile = (item / TILE) | 0;
      const at = 3 * (starts[tile] as number);
      (starts[tile] as number)++;
      pairs[at] = item;
      pairs[at + 1] = row;
      pairs[at + 2] = plane;
    };
    for (let row = 0; row < size && repeats > 0; row++) {
      const end = row * length + (lengths[row] as number);
      for (let j = 0; j < repeats && end - 1 - j >= row * length; j++) put(items[end - 1 - j] as number, row, j);
    }
    if (mask !== undefined) {
      for (let row = 0; row < size; row++) {
        const end = mask.rowStart[row + 1] as number;
        for (let i = mask.rowStart[row] as number; i < end; i++) put(mask.rowItems[i] as number, row, -1);
      }
    }
    starts.copyWithin(1, 0, tiles);
    starts[0] = 0;
    struct.set(HeadField.Pairs, pairsAt);
    struct.set(HeadField.TileStarts, startsAt);
  }

  #writeAttributes(struct: HeadStruct, source: HistorySource, form: HistoryFeatureForm): void {
    const { batch, stride, attributes } = source;
    const { size, length, items, lengths } = batch;
    if (this.#slotMaps.length !== attributes.length) {
      this.#slotMaps = attributes.map(({ count }, i) => {
        const pointer = this.#reserve(`slots${i}`, Math.max(1, count) * 4);
        this.#engine.i32(pointer, count).fill(-1);
        return { pointer, count, used: [] };
      });
    }
    // Which codes the histories hold; each gets a slot.
    let slots = 0;
    const slotAttributes: number[] = [];
    for (const [i, { values }] of attributes.entries()) {
      const map = this.#slotMaps[i] as { pointer: number; count: number; used: number[] };
      const slotOf = this.#engine.i32(map.pointer, map.count);
      for (const code of map.used) slotOf[code] = -1;
      map.used.length = 0;
      for (let row = 0; row < size; row++) {
        const end = row * length + (lengths[row] as number);
        for (let at = Math.max(row * length, end - form.recent); at < end; at++) {
          const code = values[items[at] as number] as number;
          if (code < 0 || (slotOf[code] as number) >= 0) continue;
          slotOf[code] = slots++;
          map.used.push(code);
          slotAttributes.push(i);
        }
      }
    }
    struct.set(HeadField.Slots, slots);
    struct.set(HeadField.Attributes, attributes.length);
    struct.set(HeadField.AttributePlane, form.repeats);
    if (slots === 0) return;
    const attributesAt = this.#reserve('slotAttributes', slots * 4);
    const tablesAt = this.#reserve('attributeTables', attributes.length * 8);
    const lastAt = this.#reserve('attributeLast', slots * stride * 4);
    const shareAt = this.#reserve('attributeRecent', slots * stride * 4);
    this.#engine.i32(attributesAt, slots).set(slotAttributes);
    const tables = this.#engine.i32(tablesAt, attributes.length * 2);
    const last = this.#engine.f32(lastAt, slots * stride).fill(0);
    const share = this.#engine.f32(shareAt, slots * stride).fill(0);
    for (const [i, { values, pointer }] of attributes.entries()) {
      const map = this.#slotMaps[i] as { pointer: number; count: number };
      tables[2 * i] = pointer;
      tables[2 * i + 1] = map.pointer;
      const slotOf = this.#engine.i32(map.pointer, map.count);
      for (let row = 0; row < size; row++) {
        const end = row * length + (lengths[row] as number);
        const first = Math.max(row * length, end - form.recent);
        let total = 0;
        let weight = 1;
        for (let at = end - 1; at >= first; at--) {
          total += weight;
          weight *= form.decay;
        }
        weight = 1 / total;
        for (let at = end - 1; at >= first; at--) {
          const code = values[items[at] as number] as number;
          if (code >= 0) {
            const place = (slotOf[code] as number) * stride + row;
            share[place] = (share[place] as number) + weight;
            if (at === end - 1) last[place] = 1;
          }
          weight *= form.decay;
        }
      }
    }
    struct.set(HeadField.SlotAttributes, attributesAt);
    struct.set(HeadField.AttributeTables, tablesAt);
    struct.set(HeadField.AttributeLast, lastAt);
    struct.set(HeadField.AttributeRecent, shareAt);
  }

  /** For listed items the text of the histories, for all items the planes. */
  #writeText(
    struct: HeadStruct,
    { batch, stride, features, planes, sparse }: HistorySource,
    form: HistoryFeatureForm,
    { all, listed }: Asked,
  ): void {
    const { size } = batch;
    struct.set(HeadField.TextPlane, textPlaneOf(form));
    struct.set(HeadField.TextItems, form.recent);
    struct.setFloat(HeadField.Decay, form.decay);
    if (listed && sparse === undefined) {
      const bytes = size * (features as FeatureMatrix).width * 4;
      struct.set(HeadField.TextLast, this.#reserve('textLast', bytes));
      struct.set(HeadField.TextRecent, this.#reserve('textRecent', bytes));
      struct.run(HeadOp.HistoryText, struct.rowChunks(size));
    }
    if (!all) return;
    const rowsAt = this.#reserve('planeRows', stride * 4);
    // Planes are made first: room for them may move what a view shows.
    const rows = (planes as TextPlanes).rows(this.#prefix, batch, stride, struct);
    this.#engine.i32(rowsAt, stride).set(rows);
    struct.set(HeadField.PlaneRows, rowsAt);
  }
}
