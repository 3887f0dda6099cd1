/**
 * What tower and item tables exchange: vectors made from features, and the gradients of a backward pass, which are
 * added here to those of the parameters.
 */
import { ROW_HAS_GRADIENT } from '../optimiser-layout';
import { CollectField, TowerField } from '../tower-layout';
import { bytes, field, size } from './head-arrays';
import { multiplyStrided, tile4, tile8 } from './matrix';
import { addRow, copyRow } from './token-rows';
import { int, row, scratchOf } from './tower-words';

/** Features of items that are multiplied in one go, so that their part of the projection stays in the cache. */
const FEATURE_BLOCK: i32 = 256;
/** Distinct items whose features are copied side by side in one go. */
const COPIED_ITEMS: i32 = 64;

/** Vectors of a group of distinct items: id row plus features times projection. */
export function distinctVectors(tower: usize, chunk: i32): void {
  const width = size(tower, TowerField.Width);
  const group = size(tower, TowerField.ChunkDistinct);
  const first = chunk * group;
  const last = min(size(tower, TowerField.Distinct), first + group);
  const items = field(tower, TowerField.DistinctItems);
  const table = field(tower, TowerField.VectorTable);
  const ids = field(tower, TowerField.IdTable);
  const features = field(tower, TowerField.Features);
  const stride = size(tower, TowerField.FeatureStride);
  const featureWidth = size(tower, TowerField.FeatureWidth);
  for (let i = first; i < last; i++) {
    const to = row(table, i, width);
    if (ids != 0) copyRow(to, row(ids, int(items, i), width), width);
    else memory.fill(to, 0, bytes(width));
  }
  for (let k = 0; k < featureWidth; k += FEATURE_BLOCK) {
    const depth = min(featureWidth - k, FEATURE_BLOCK);
    const from = features + bytes(k);
    for (let column = 0; column < width; column += 8) {
      const w = row(field(tower, TowerField.Projection), k, width) + bytes(column);
      for (let i = first; i < last; i += 4) {
        const rows = min(last - i, 4);
        const x0 = row(from, int(items, i), stride);
        const x1 = rows > 1 ? row(from, int(items, i + 1), stride) : x0;
        const x2 = rows > 2 ? row(from, int(items, i + 2), stride) : x0;
        const x3 = rows > 3 ? row(from, int(items, i + 3), stride) : x0;
        const y = row(table, i, width) + bytes(column);
        const step = bytes(width);
        if (column + 8 <= width) tile8(y, step, x0, x1, x2, x3, 4, w, step, rows, depth, y, step);
        else tile4(y, step, x0, x1, x2, x3, 4, w, step, rows, depth, y, step);
      }
    }
  }
}

/**
 * Adds the backward's results to the gradients. The first PieceChunks chunks share out the encoder's parameters, whose
 * parts are added in their order; the ItemChunks after them the item vectors: each walks through all tokens, and takes
 * those of its items.
 */
export function collectGradients(tower: usize, chunk: i32): void {
  const pieceChunks = size(tower, TowerField.PieceChunks);
  if (chunk < pieceChunks) {
    const pieces = size(tower, TowerField.PieceCount);
    for (let piece = chunk; piece < pieces; piece += pieceChunks) addPiece(tower, piece);
  } else addTokens(tower, chunk - pieceChunks);
}

function addPiece(tower: usize, piece: i32): void {
  const words = row(field(tower, TowerField.Pieces), piece, CollectField.Count);
  const count = size(tower, TowerField.PartCount);
  const step = field(tower, TowerField.PartStep);
  const first = field(tower, TowerField.Parts) + field(words, CollectField.Part);
  const gradient = field(words, CollectField.Gradient);
  const end = field(words, CollectField.Bytes);
  for (let i: usize = 0; i < end; i += 16) {
    let part = first + i;
    let sum = v128.load(gradient + i);
    for (let c = 0; c < count; c++) {
      sum = f32x4.add(sum, v128.load(part));
      part += step;
    }
    v128.store(gradient + i, sum);
  }
}

function addTokens(tower: usize, chunk: i32): void {
  const width = size(tower, TowerField.Width);
  const chunks = size(tower, TowerField.ItemChunks);
  const tokens = size(tower, TowerField.GradientTokens);
  const vectors = field(tower, TowerField.TokenVector);
  const gradient = field(tower, TowerField.TokenGradient);
  const idGradient = field(tower, TowerField.IdGradient);
  const flags = field(tower, TowerField.IdFlags);
  const ofVectors = field(tower, TowerField.VectorGradient);
  const distinct = ofVectors == 0 ? 0 : size(tower, TowerField.Distinct);
  for (let i = chunk; i < distinct; i += chunks) memory.fill(row(ofVectors, i, width), 0, bytes(width));
  const table = ofVectors == 0 ? idGradient : ofVectors;
  for (let token = 0; token < tokens; token++) {
    const vector = int(vectors, token);
    // The start vector's -1 has all bits set, and would be taken by the last chunk.
    if ((vector & (chunks - 1)) != chunk || vector < 0) continue;
    addRow(row(table, vector, width), row(gradient, token, width), width);
    if (ofVectors == 0) flag(flags, vector);
  }
  if (ofVectors == 0 || idGradient == 0) return;
  for (let i = chunk; i < distinct; i += chunks) {
    const item = int(field(tower, TowerField.DistinctItems), i);
    addRow(row(idGradient, item, width), row(ofVectors, i, width), width);
    flag(flags, item);
  }
}

/** Says that a row's gradient may differ from 0. */
@inline function flag(flags: usize, item: i32): void {
  const at = flags + <usize>item;
  store<u8>(at, load<u8>(at) | ROW_HAS_GRADIENT);
}

/** Gradient of a range of the projection's rows, from the distinct items' vectors. */
export function projectionGradient(tower: usize, chunk: i32): void {
  const width = size(tower, TowerField.Width);
  const group = size(tower, TowerField.ChunkFeatures);
  const first = chunk * group;
  const columns = min(size(tower, TowerField.FeatureWidth) - first, group);
  const distinct = size(tower, TowerField.Distinct);
  const items = field(tower, TowerField.DistinctItems);
  const features = field(tower, TowerField.Features) + bytes(first);
  const stride = size(tower, TowerField.FeatureStride);
  const to = row(field(tower, TowerField.ProjectionGradient), first, width);
  const scratch = scratchOf(tower, chunk);
  const step = bytes(width);
  for (let i = 0; i < distinct; i += COPIED_ITEMS) {
    const rows = min(distinct - i, COPIED_ITEMS);
    for (let r = 0; r < rows; r++) {
      memory.copy(row(scratch, r, columns), row(features, int(items, i + r), stride), bytes(columns));
    }
    const dy = row(field(tower, TowerField.VectorGradient), i, width);
    multiplyStrided(to, step, scratch, 4, bytes(columns), dy, step, columns, rows, width, to, step);
  }
}
