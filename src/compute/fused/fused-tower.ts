import type { CheckedCall } from '../scoring-call.js';
import type { SasRecForm } from '../state-encoder.js';
import { TOWER_PREFIXES, type TowerName } from '../tower.js';
import { Arena, aligned } from './arena.js';
import { chunkRows, type DistinctItems, distinctItems, type Segments, segmentsOf } from './segments.js';
import type { StateTower, TowerParts } from './state-tower.js';
import { BlockField, CollectField, TowerField, TowerOp } from './tower-layout.js';

/** Most chunks that rows, items or features are cut into. */
const MOST_CHUNKS = 16;
/** Fewest distinct items in a chunk that makes their vectors. */
const FEWEST_DISTINCT = 16;
/** Chunks that share out the items, a power of 2; and how many tokens must be there for each. */
const ITEM_CHUNKS = 8;
const FEWEST_TOKENS = 64;
/** Chunks that share out the encoder's parameters, and bytes of a piece of them. */
const PIECE_CHUNKS = 8;
const PIECE_BYTES = 8192;
/** Distinct items whose features the engine copies side by side, see `assembly/tower-items.ts`. */
const COPIED_ITEMS = 64;

/** Parameters of a block, by the words that point to them and to their gradients in a part. */
const BLOCK_PARAMETERS = [
  ['query/w', BlockField.PlainQuery, BlockField.QueryPart],
  ['query/b', BlockField.PlainQueryBias, BlockField.QueryBiasPart],
  ['keyValue/w', BlockField.PlainKeyValue, BlockField.KeyValuePart],
  ['output/w', BlockField.PlainOutput, BlockField.OutputPart],
  ['output/b', BlockField.OutputBias, BlockField.OutputBiasPart],
  ['feed1/w', BlockField.Feed1, BlockField.Feed1Part],
  ['feed1/b', BlockField.Feed1Bias, BlockField.Feed1BiasPart],
  ['feed2/w', BlockField.Feed2, BlockField.Feed2Part],
  ['feed2/b', BlockField.Feed2Bias, BlockField.Feed2BiasPart],
] as const;

/** What one forward pass is about. */
interface Pass {
  readonly segments: Segments;
  /** The distinct items, where their vectors are made from features. */
  readonly distinct: DistinctItems | undefined;
  readonly isTraining: boolean;
}

/**
 * SASRec on the engine: from histories without padding to states, and back to gradients, each in a few operations over
 * engine memory. The formula stands at `sasRec`, the arithmetic in `assembly/tower*.ts`.
 */
export class FusedTower implements StateTower {
  readonly #prefixes: (typeof TOWER_PREFIXES)[TowerName];
  readonly #form: SasRecForm;
  readonly #parts: TowerParts;
  /** A forward pass that acts must not disturb one that `backward` will come back to. */
  readonly #arenas: Readonly<Record<'train' | 'act', Arena>>;
  /** Bytes from a part's start to the gradient of each of the encoder's parameters, by names without prefix. */
  readonly #partOffsets = new Map<string, number>();
  readonly #partBytes: number;
  readonly #pieceCount: number;
  /** Width of a head rounded up to a multiple of 4, and of all heads. */
  readonly #paddedHead: number;
  readonly #inner: number;
  readonly #places: Int32Array;
  #last: Pass | undefined;

  /**
   * @param name - which tower of the model.
   * @param form - of the model's encoder; its width and feed-forward width are multiples of 4.
   * @param parts - engine, parameters and model; borrowed.
   */
  constructor(name: TowerName, form: SasRecForm, parts: TowerParts) {
    this.#prefixes = TOWER_PREFIXES[name];
    this.#form = form;
    this.#parts = parts;
    this.#paddedHead = upTo4(form.width / form.heads);
    this.#inner = form.heads * this.#paddedHead;
    this.#places = new Int32Array(parts.features === undefined ? 0 : parts.spec.itemCount).fill(-1);
    const start = `${this.#prefixes.encoder}/`;
    let bytes = 0;
    let pieces = 0;
    for (const { name: parameter, data } of parts.store.parameters()) {
      if (!parameter.startsWith(start)) continue;
      this.#partOffsets.set(parameter.slice(start.length), bytes);
      bytes += aligned(data.length * 4);
      pieces += Math.ceil((data.length * 4) / PIECE_BYTES);
    }
    this.#partBytes = bytes;
    this.#pieceCount = pieces;
    const words = TowerField.Count + form.blocks * BlockField.Count;
    this.#arenas = { train: new Arena(parts.engine, words), act: new Arena(parts.engine, words) };
    this.#setModel(this.#arenas.train, true);
    this.#setModel(this.#arenas.act, false);
  }

  forward(use: 'train' | 'act', call: CheckedCall, next: CheckedCall | undefined): number {
    const { features, engine } = this.#parts;
    const isTraining = use === 'train';
    if (isTraining) this.#last = undefined;
    const hasDropout = call.dropoutSeed !== undefined && this.#form.dropout > 0;
    const segments = segmentsOf(call.window, next?.window, !hasDropout);
    const distinct = features && distinctItems(segments.tokenItem, this.#places);
    const pass: Pass = { segments, distinct, isTraining };
    const chunks = chunkRows(segments, segments.rows);
    const { weightStart, weights } = keptWeights(pass, this.#form.heads);
    const group = Math.max(FEWEST_DISTINCT, Math.ceil((distinct?.items.length ?? 0) / MOST_CHUNKS));
    const arena = this.#arenas[use];
    arena.set(TowerField.ChunkDistinct, group);
    this.#setDropout(arena, call, hasDropout);
    arena.build(() => {
      this.#layOutInputs(arena, pass);
      this.#layOutActivations(arena, pass);
      for (let index = 0; index < this.#form.blocks; index++) {
        this.#layOutWeights(arena, index, isTraining);
        this.#layOutBlock(arena, index, pass, weights);
      }
      if (isTraining) this.#layOutGradients(arena, pass, chunks.length - 1);
    });
    arena.copy(TowerField.TokenVector, distinct?.tokenVector ?? segments.tokenItem);
    arena.copy(TowerField.TokenPosition, segments.tokenPosition);
    arena.copy(TowerField.SegmentStart, segments.start);
    arena.copy(TowerField.PrefixStart, segments.prefixStart);
    arena.copy(TowerField.PrefixLength, segments.prefixLength);
    arena.copy(TowerField.ChunkStart, chunks);
    arena.copy(TowerField.WeightStart, weightStart);
    this.#copyContext(arena, call, next);
    engine.run(TowerOp.Prepare, arena.structure, 1);
    if (distinct !== undefined) {
      arena.copy(TowerField.DistinctItems, distinct.items);
      engine.run(TowerOp.Vectors, arena.structure, Math.ceil(distinct.items.length / group));
    }
    engine.run(TowerOp.Forward, arena.structure, chunks.length - 1);
    if (isTraining) this.#last = pass;
    return arena.get(TowerField.States);
  }

  backward(stateGradient: number, rows: number): void {
    if (this.#last === undefined) return;
    const { engine, store, parameters, features } = this.#parts;
    const { segments, distinct } = this.#last;
    const arena = this.#arenas.train;
    const isWanted = (name: string): boolean => store.has(name) && !parameters.isFrozen(name);
    const gradientOf = (name: string): number => parameters.gradient + parameters.offsetOf(name);
    const id = `${this.#prefixes.item}/id`;
    const projection = `${this.#prefixes.item}/projection`;
    const pieces = this.#pieces(isWanted);
    const needsItems = isWanted(id) || isWanted(projection);
    if (pieces.length === 0 && !needsItems) return;
    const chunks = chunkRows(segments, rows);
    const tokens = segments.start[rows] as number;
    arena.copy(TowerField.ChunkStart, chunks);
    arena.change(TowerField.StateGradient, stateGradient);
    engine.run(TowerOp.Backward, arena.structure, chunks.length - 1);

    const pieceChunks = pieces.length === 0 ? 0 : PIECE_CHUNKS;
    const itemChunks = !needsItems ? 0 : tokens < ITEM_CHUNKS * FEWEST_TOKENS ? 1 : ITEM_CHUNKS;
    arena.copy(TowerField.Pieces, pieces);
    arena.change(TowerField.PieceCount, pieces.length / CollectField.Count);
    arena.change(TowerField.PartCount, chunks.length - 1);
    arena.change(TowerField.PieceChunks, pieceChunks);
    arena.change(TowerField.ItemChunks, itemChunks);
    arena.change(TowerField.GradientTokens, tokens);
    arena.change(TowerField.IdGradient, isWanted(id) ? gradientOf(id) : 0);
    arena.change(TowerField.IdFlags, isWanted(id) ? parameters.flagsOf(id) : 0);
    engine.run(TowerOp.Collect, arena.structure, pieceChunks + itemChunks);

    if (features === undefined || distinct === undefined || !isWanted(projection)) return;
    const group = featuresOfChunk(features.givenWidth);
    arena.change(TowerField.ChunkFeatures, group);
    arena.change(TowerField.ProjectionGradient, gradientOf(projection));
    engine.run(TowerOp.Projection, arena.structure, Math.ceil(features.givenWidth / group));
  }

  dispose(): void {
    this.#last = undefined;
    for (const arena of Object.values(this.#arenas)) arena.dispose();
  }

  /** Pointer to a parameter's values; 0 where the model has none of that name. */
  #valuesOf(name: string): number {
    const { store, parameters } = this.#parts;
    return store.has(name) ? parameters.data + parameters.offsetOf(name) : 0;
  }

  /** The words that stay: the model's sizes, its parameters, and where in a part their gradients go. */
  #setModel(arena: Arena, isTraining: boolean): void {
    const { spec, features } = this.#parts;
    const { width, blocks, heads, feedForward, historyLength } = this.#form;
    const { encoder, item } = this.#prefixes;
    arena.set(TowerField.Width, width);
    arena.set(TowerField.Heads, heads);
    arena.set(TowerField.HeadWidth, width / heads);
    arena.set(TowerField.PaddedHead, this.#paddedHead);
    arena.set(TowerField.FeedForward, feedForward);
    arena.set(TowerField.Blocks, blocks);
    arena.setFloat(TowerField.Scale, 1 / Math.sqrt(width / heads));
    arena.set(TowerField.IsTraining, isTraining ? 1 : 0);
    arena.set(TowerField.IdTable, this.#valuesOf(`${item}/id`));
    arena.repeat(TowerField.VectorTable, TowerField.IdTable);
    if (features !== undefined) {
      arena.set(TowerField.Features, features.pointer);
      arena.set(TowerField.FeatureWidth, features.givenWidth);
      arena.set(TowerField.FeatureStride, features.width);
      arena.set(TowerField.Projection, this.#valuesOf(`${item}/projection`));
    }
    arena.set(TowerField.Position, this.#valuesOf(`${encoder}/position`));
    arena.set(TowerField.Start, this.#valuesOf(`${encoder}/start`));
    arena.set(TowerField.ContextWeights, this.#valuesOf(`${encoder}/context`));
    arena.set(TowerField.ContextWidth, spec.contextWidth);
    arena.set(TowerField.PartStep, this.#partBytes);
    arena.set(TowerField.PositionPart, this.#partOffsets.get('position') as number);
    arena.set(TowerField.PositionBytes, historyLength * width * 4);
    arena.set(TowerField.StartPart, this.#partOffsets.get('start') as number);
    arena.set(TowerField.ContextPart, this.#partOffsets.get('context') ?? 0);
    for (let index = 0; index < blocks; index++) {
      const words = wordsOf(index);
      for (const [name, word, part] of BLOCK_PARAMETERS) {
        const path = `block${index}/${name}`;
        arena.set(words + word, this.#valuesOf(`${encoder}/${path}`));
        arena.set(words + part, this.#partOffsets.get(path) as number);
      }
      arena.repeat(words + BlockField.Query, words + BlockField.PlainQuery);
      arena.repeat(words + BlockField.QueryBias, words + BlockField.PlainQueryBias);
      arena.repeat(words + BlockField.KeyValue, words + BlockField.PlainKeyValue);
      arena.repeat(words + BlockField.Output, words + BlockField.PlainOutput);
    }
  }

  /** Tokens, segments and item vectors. */
  #layOutInputs(arena: Arena, { segments, distinct }: Pass): void {
    const { rows, count: states } = segments;
    const tokens = segments.tokenItem.length;
    arena.set(TowerField.Rows, rows);
    arena.set(TowerField.Segments, states);
    arena.take(TowerField.TokenVector, tokens);
    arena.take(TowerField.TokenPosition, tokens);
    arena.take(TowerField.SegmentStart, states + 1);
    arena.take(TowerField.PrefixStart, states);
    arena.take(TowerField.PrefixLength, states);
    arena.take(TowerField.ChunkStart, MOST_CHUNKS + 1);
    arena.take(TowerField.WeightStart, states);
    arena.take(TowerField.Context, states * this.#parts.spec.contextWidth);
    if (distinct === undefined) return;
    arena.take(TowerField.VectorTable, distinct.items.length * this.#form.width);
    arena.take(TowerField.DistinctItems, distinct.items.length);
    arena.set(TowerField.Distinct, distinct.items.length);
  }

  #setDropout(arena: Arena, call: CheckedCall, hasDropout: boolean): void {
    arena.set(TowerField.HasDropout, hasDropout ? 1 : 0);
    if (!hasDropout) return;
    const { dropout } = this.#form;
    const seed = call.dropoutSeed as number;
    arena.set(TowerField.WindowLength, call.window.length);
    arena.set(TowerField.SeedLow, seed);
    arena.set(TowerField.SeedHigh, Math.floor(seed / 2 ** 32));
    arena.set(TowerField.FirstSite, this.#prefixes.dropoutSite);
    // A whole number is below the threshold, which need not be whole, where it is at most this.
    arena.set(TowerField.DropLimit, Math.ceil(dropout * 2 ** 32) - 1);
    arena.setFloat(TowerField.Kept, 1 / (1 - dropout));
  }

  /** Activations that are not a block's own, and scratch. */
  #layOutActivations(arena: Arena, { segments }: Pass): void {
    const { spec, features } = this.#parts;
    const { width, heads } = this.#form;
    const { count: states, mostTokens } = segments;
    const tokens = segments.tokenItem.length;
    const keys = upTo4(segments.mostKeys);
    arena.take(TowerField.Tokens, tokens * width);
    arena.take(TowerField.Change, tokens * width);
    arena.take(TowerField.Last, states * width);
    arena.take(TowerField.Asking, states * width);
    arena.take(TowerField.Pairs, states * 2 * heads * width);
    arena.take(TowerField.Mixed, states * heads * width);
    arena.set(TowerField.LastWeightRow, keys);
    arena.take(TowerField.Normal3, states * width);
    arena.take(TowerField.Rate3, states);
    if (spec.contextWidth > 0) arena.take(TowerField.States, states * width);
    else arena.repeat(TowerField.States, TowerField.Normal3);

    const toWeights = this.#paddedHead * keys;
    const toPadded = toWeights + mostTokens * keys;
    const padded = this.#inner === width ? 0 : (4 * width + 1) * this.#inner;
    const copied = COPIED_ITEMS * featuresOfChunk(features?.givenWidth ?? 0);
    const step = aligned(Math.max(toPadded + padded, copied) * 4);
    arena.set(TowerField.ScratchStep, step);
    arena.set(TowerField.ScratchWeights, toWeights * 4);
    arena.set(TowerField.ScratchPadded, toPadded * 4);
    arena.take(TowerField.Scratch, (MOST_CHUNKS * step) / 4);
  }

  /** Room for a block's weights, padded and transposed where they are read so. */
  #layOutWeights(arena: Arena, index: number, isTraining: boolean): void {
    const { width, feedForward } = this.#form;
    const inner = this.#inner;
    const words = wordsOf(index);
    if (inner !== width) {
      arena.take(words + BlockField.Query, width * inner);
      arena.take(words + BlockField.QueryBias, inner);
      arena.take(words + BlockField.KeyValue, width * 2 * inner);
      arena.take(words + BlockField.Output, inner * width);
    }
    arena.take(words + BlockField.KeyValueT, 2 * inner * width);
    if (!isTraining) return;
    arena.take(words + BlockField.QueryT, inner * width);
    arena.take(words + BlockField.OutputT, width * inner);
    arena.take(words + BlockField.Feed1T, feedForward * width);
    arena.take(words + BlockField.Feed2T, width * feedForward);
  }

  /** A block's activations. Without a backward pass all blocks but the last take turns in the room of the first. */
  #layOutBlock(arena: Arena, index: number, { segments, isTraining }: Pass, weights: number): void {
    const { width, blocks, heads, feedForward } = this.#form;
    const inner = this.#inner;
    const tokens = segments.tokenItem.length;
    const isLast = index === blocks - 1;
    const rows = isLast ? segments.count : tokens;
    const words = wordsOf(index);
    const isOwn = isTraining || isLast || index === 0;
    const take = (word: BlockField, count: number): void => {
      if (isOwn) arena.take(words + word, count);
      else arena.repeat(words + word, wordsOf(0) + word);
    };
    take(BlockField.Normal1, tokens * width);
    take(BlockField.Rate1, tokens);
    take(BlockField.Queries, rows * inner);
    if (!isLast) take(BlockField.KeyValues, tokens * 2 * inner);
    take(BlockField.Weights, isLast ? rows * 2 * heads * upTo4(segments.mostKeys) : weights);
    take(BlockField.Attended, rows * inner);
    take(BlockField.Normal2, rows * width);
    take(BlockField.Rate2, rows);
    take(BlockField.Hidden, rows * feedForward);
  }

  /** What a backward pass writes. */
  #layOutGradients(arena: Arena, { segments, distinct }: Pass, chunks: number): void {
    const { width, heads, feedForward } = this.#form;
    const inner = this.#inner;
    const { rows } = segments;
    const tokens = segments.start[rows] as number;
    arena.take(TowerField.TokenGradient, tokens * width);
    arena.take(TowerField.NormalGradient, tokens * width);
    arena.take(TowerField.HiddenGradient, tokens * feedForward);
    arena.take(TowerField.AttendedGradient, tokens * inner);
    arena.take(TowerField.QueryGradient, tokens * inner);
    arena.take(TowerField.KeyValueGradient, tokens * 2 * inner);
    arena.take(TowerField.LastGradient, rows * width);
    arena.take(TowerField.AskedGradient, rows * heads * width);
    arena.take(TowerField.Parts, (chunks * this.#partBytes) / 4);
    arena.take(TowerField.Pieces, this.#pieceCount * CollectField.Count);
    if (distinct !== undefined) arena.take(TowerField.VectorGradient, distinct.items.length * width);
  }

  #copyContext(arena: Arena, call: CheckedCall, next: CheckedCall | undefined): void {
    if (call.context !== undefined) arena.copyFloats(TowerField.Context, call.context, 0);
    if (next?.context !== undefined) arena.copyFloats(TowerField.Context, next.context, next.context.length);
  }

  /** What of a part is added to which gradient, cut small so that threads can share it. */
  #pieces(isWanted: (name: string) => boolean): Int32Array {
    const { store, parameters } = this.#parts;
    const pieces: number[] = [];
    for (const [path, offset] of this.#partOffsets) {
      const name = `${this.#prefixes.encoder}/${path}`;
      if (!isWanted(name)) continue;
      const gradient = parameters.gradient + parameters.offsetOf(name);
      const [rows, columns = 1] = store.get(name).shape as [number, number?];
      const bytes = rows * columns * 4;
      for (let at = 0; at < bytes; at += PIECE_BYTES) {
        pieces.push(offset + at, gradient + at, Math.min(PIECE_BYTES, bytes - at));
      }
    }
    return Int32Array.from(pieces);
  }
}

/** Where the words of a block's structure begin: they follow the tower's. */
function wordsOf(block: number): number {
  return TowerField.Count + block * BlockField.Count;
}

function upTo4(count: number): number {
  return Math.ceil(count / 4) * 4;
}

/** Rows of the projection that one chunk computes the gradient of. */
function featuresOfChunk(width: number): number {
  return upTo4(Math.ceil(width / MOST_CHUNKS));
}

/** Where a block keeps each segment's attention weights, in words; -1: nowhere, for next histories take no gradient. */
function keptWeights({ segments, isTraining }: Pass, heads: number): { weightStart: Int32Array; weights: number } {
  const { rows, count, start } = segments;
  const weightStart = new Int32Array(count).fill(-1);
  let weights = 0;
  for (let row = 0; isTraining && row < rows; row++) {
    weightStart[row] = weights;
    const tokens = (start[row + 1] as number) - (start[row] as number);
    weights += heads * tokens * upTo4(tokens);
  }
  return { weightStart, weights };
}
