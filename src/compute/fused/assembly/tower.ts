/**
 * SASRec on ragged histories: from tokens to states and back. The formula stands at `sasRec`; letters and words of the
 * structures in `tower-layout.ts`.
 *
 * A segment is one history, its tokens neighbours in every array, without padding; its state is its last token's. A
 * segment may go on from the tokens of another one (its prefix), when one causal pass serves both. A chunk is a range of
 * rows: their segments, and those of the next histories, with all blocks, so that no thread waits for another in between.
 */
import { BlockField, CollectField, TowerField } from '../tower-layout';
import { attend, attendBackward, attendLast, attendLastBackward, int, row } from './attention';
import { bytes, field, size } from './head-arrays';
import { multiply, multiplyAdd, multiplyBias, multiplyStrided, multiplyTransposedLeft, tile4, tile8, transpose } from './matrix';
import {
  addAndNormalise,
  addRow,
  addRows,
  copyRow,
  dropOut,
  dropoutKey,
  normalise,
  normaliseBackward,
  rectify,
  rectifyBackward,
  sumRows,
} from './token-rows';

/** Dropout site after the embedding; each block has two more, after attention and after the feed-forward layer. */
const EMBEDDING_SITE: i32 = 0;
/** Features of items that are multiplied in one go, so that their part of the projection stays in the cache. */
const FEATURE_BLOCK: i32 = 256;
/** Distinct items whose features are copied side by side in one go. */
const COPIED_ITEMS: i32 = 64;

@inline function blockOf(tower: usize, index: i32): usize {
  return tower + bytes(TowerField.Count + index * BlockField.Count);
}

@inline function scratchOf(tower: usize, chunk: i32): usize {
  return field(tower, TowerField.Scratch) + <usize>chunk * field(tower, TowerField.ScratchStep);
}

@inline function firstToken(tower: usize, segment: i32): i32 {
  return int(field(tower, TowerField.SegmentStart), segment);
}

@inline function isPadded(tower: usize): bool {
  return size(tower, TowerField.PaddedHead) != size(tower, TowerField.HeadWidth);
}

/** Pads the heads' weights where their width is no multiple of 4, and transposes what will be read transposed. */
export function prepareTower(tower: usize): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const inner = size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead);
  const isTraining = size(tower, TowerField.IsTraining) != 0;
  const blocks = size(tower, TowerField.Blocks);
  for (let index = 0; index < blocks; index++) {
    const block = blockOf(tower, index);
    if (isPadded(tower)) padWeights(tower, block);
    if (!isTraining && index < blocks - 1) continue;
    const keyValue = field(block, BlockField.KeyValue);
    transpose(field(block, BlockField.KeyValueT), bytes(width), keyValue, bytes(2 * inner), width, 2 * inner);
    if (!isTraining) continue;
    transpose(field(block, BlockField.QueryT), bytes(width), field(block, BlockField.Query), bytes(inner), width, inner);
    transpose(field(block, BlockField.OutputT), bytes(inner), field(block, BlockField.Output), bytes(width), inner, width);
    transpose(field(block, BlockField.Feed1T), bytes(width), field(block, BlockField.Feed1), bytes(feed), width, feed);
    transpose(field(block, BlockField.Feed2T), bytes(feed), field(block, BlockField.Feed2), bytes(width), feed, width);
  }
}

function padWeights(tower: usize, block: usize): void {
  const width = size(tower, TowerField.Width);
  const heads = size(tower, TowerField.Heads);
  const inner = heads * size(tower, TowerField.PaddedHead);
  padColumns(tower, field(block, BlockField.Query), field(block, BlockField.PlainQuery), width, heads);
  padColumns(tower, field(block, BlockField.QueryBias), field(block, BlockField.PlainQueryBias), 1, heads);
  padColumns(tower, field(block, BlockField.KeyValue), field(block, BlockField.PlainKeyValue), width, 2 * heads);
  const head = size(tower, TowerField.HeadWidth);
  const padded = size(tower, TowerField.PaddedHead);
  const output = field(block, BlockField.Output);
  memory.fill(output, 0, bytes(inner * width));
  for (let h = 0; h < heads; h++) {
    const from = row(field(block, BlockField.PlainOutput), h * head, width);
    memory.copy(row(output, h * padded, width), from, bytes(head * width));
  }
}

/** Copies `rows` rows of `groups` heads each, every head followed by zeros up to its padded width. */
function padColumns(tower: usize, to: usize, from: usize, rows: i32, groups: i32): void {
  const head = size(tower, TowerField.HeadWidth);
  const padded = size(tower, TowerField.PaddedHead);
  for (let i = 0; i < rows * groups; i++) {
    for (let k = 0; k < padded; k++) store<f32>(to + bytes(k), k < head ? load<f32>(from + bytes(k)) : 0);
    to += bytes(padded);
    from += bytes(head);
  }
}

/** Copies what {@link padColumns} padded back, without the padding. */
function trimColumns(tower: usize, to: usize, from: usize, rows: i32, groups: i32): void {
  const head = size(tower, TowerField.HeadWidth);
  const padded = size(tower, TowerField.PaddedHead);
  for (let i = 0; i < rows * groups; i++) {
    for (let k = 0; k < head; k++) store<f32>(to + bytes(k), load<f32>(from + bytes(k)));
    to += bytes(head);
    from += bytes(padded);
  }
}

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

/** States of a chunk's rows and, where there are next histories, of theirs. */
export function towerForward(tower: usize, chunk: i32): void {
  const chunkStart = field(tower, TowerField.ChunkStart);
  const first = int(chunkStart, chunk);
  const last = int(chunkStart, chunk + 1);
  if (first == last) return;
  const rows = size(tower, TowerField.Rows);
  const hasNext = size(tower, TowerField.Segments) > rows;
  const scratch = scratchOf(tower, chunk);
  embed(tower, first, last);
  if (hasNext) embed(tower, rows + first, rows + last);
  const blocks = size(tower, TowerField.Blocks);
  for (let index = 0; index < blocks - 1; index++) {
    fullBlock(tower, index, first, last, scratch);
    if (hasNext) fullBlock(tower, index, rows + first, rows + last, scratch);
  }
  lastBlock(tower, first, last);
  if (hasNext) lastBlock(tower, rows + first, rows + last);
}

/** Item vectors with their positions, normalised for the first block. */
function embed(tower: usize, firstSegment: i32, lastSegment: i32): void {
  const width = size(tower, TowerField.Width);
  const vectors = field(tower, TowerField.TokenVector);
  const positions = field(tower, TowerField.TokenPosition);
  const table = field(tower, TowerField.VectorTable);
  const position = field(tower, TowerField.Position);
  const start = field(tower, TowerField.Start);
  const tokens = field(tower, TowerField.Tokens);
  const normals = field(blockOf(tower, 0), BlockField.Normal1);
  const rates = field(blockOf(tower, 0), BlockField.Rate1);
  const key = dropoutKey(tower, EMBEDDING_SITE);
  for (let segment = firstSegment; segment < lastSegment; segment++) {
    const first = firstToken(tower, segment);
    const last = firstToken(tower, segment + 1);
    const drops = isDropped(tower, segment);
    let index = tokenIndex(tower, segment);
    for (let token = first; token < last; token++) {
      const vector = int(vectors, token);
      const from = vector < 0 ? start : row(table, vector, width);
      const at = row(position, int(positions, token), width);
      const to = row(tokens, token, width);
      const z = row(normals, token, width);
      let rate: f32;
      if (drops) {
        addRows(to, from, at, width);
        dropOut(tower, to, to, width, key, index);
        index += width;
        rate = normalise(z, to, width);
      } else rate = addAndNormalise(z, to, from, at, width);
      store<f32>(rates + bytes(token), rate);
    }
  }
}

@inline function isDropped(tower: usize, segment: i32): bool {
  return size(tower, TowerField.HasDropout) != 0 && segment < size(tower, TowerField.Rows);
}

/** Where dropout counts the first element of a row's tokens from. */
@inline function tokenIndex(tower: usize, segment: i32): u32 {
  return <u32>segment * <u32>(size(tower, TowerField.WindowLength) * size(tower, TowerField.Width));
}

/** A block in which every token asks. */
function fullBlock(tower: usize, index: i32, firstSegment: i32, lastSegment: i32, scratch: usize): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const inner = size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead);
  const block = blockOf(tower, index);
  const first = firstToken(tower, firstSegment);
  const n = firstToken(tower, lastSegment) - first;
  const tokens = row(field(tower, TowerField.Tokens), first, width);
  const change = row(field(tower, TowerField.Change), first, width);
  const normal1 = row(field(block, BlockField.Normal1), first, width);
  const queries = row(field(block, BlockField.Queries), first, inner);
  multiplyBias(queries, normal1, field(block, BlockField.Query), field(block, BlockField.QueryBias), n, width, inner);
  const keyValues = row(field(block, BlockField.KeyValues), first, 2 * inner);
  multiply(keyValues, normal1, field(block, BlockField.KeyValue), n, width, 2 * inner);
  for (let segment = firstSegment; segment < lastSegment; segment++) attend(tower, block, segment, scratch);
  const attended = row(field(block, BlockField.Attended), first, inner);
  multiplyBias(change, attended, field(block, BlockField.Output), field(block, BlockField.OutputBias), n, inner, width);
  dropTokens(tower, change, change, firstSegment, lastSegment, 2 * index + 1);
  const normal2 = row(field(block, BlockField.Normal2), first, width);
  addAndNormaliseRows(normal2, field(block, BlockField.Rate2) + bytes(first), tokens, change, n, width);
  const hidden = row(field(block, BlockField.Hidden), first, feed);
  feedForward(block, change, normal2, hidden, n, width, feed);
  dropTokens(tower, change, change, firstSegment, lastSegment, 2 * index + 2);
  const next = blockOf(tower, index + 1);
  const nextNormal = row(field(next, BlockField.Normal1), first, width);
  addAndNormaliseRows(nextNormal, field(next, BlockField.Rate1) + bytes(first), tokens, change, n, width);
}

/** change = relu(normal W1 + b1) W2 + b2. */
function feedForward(block: usize, change: usize, normal: usize, hidden: usize, n: i32, width: i32, feed: i32): void {
  multiplyBias(hidden, normal, field(block, BlockField.Feed1), field(block, BlockField.Feed1Bias), n, width, feed);
  rectify(hidden, <usize>n * <usize>feed);
  multiplyBias(change, hidden, field(block, BlockField.Feed2), field(block, BlockField.Feed2Bias), n, feed, width);
}

function addAndNormaliseRows(z: usize, rates: usize, x: usize, change: usize, n: i32, width: i32): void {
  const step = bytes(width);
  for (let i = 0; i < n; i++) {
    store<f32>(rates, addAndNormalise(z, x, x, change, width));
    rates += 4;
    z += step;
    x += step;
    change += step;
  }
}

/** Dropout over all tokens of neighbouring segments, where they have any; `to` may be `from`. */
function dropTokens(tower: usize, to: usize, from: usize, firstSegment: i32, lastSegment: i32, site: i32): void {
  if (!isDropped(tower, firstSegment)) return;
  const width = size(tower, TowerField.Width);
  const key = dropoutKey(tower, site);
  for (let segment = firstSegment; segment < lastSegment; segment++) {
    const count = (firstToken(tower, segment + 1) - firstToken(tower, segment)) * width;
    dropOut(tower, to, from, count, key, tokenIndex(tower, segment));
    to += bytes(count);
    from += bytes(count);
  }
}

/** Dropout over one row a segment, where they have any; `to` may be `from`. */
function dropStates(tower: usize, to: usize, from: usize, firstSegment: i32, lastSegment: i32, site: i32): void {
  if (!isDropped(tower, firstSegment)) return;
  const width = size(tower, TowerField.Width);
  const count = (lastSegment - firstSegment) * width;
  dropOut(tower, to, from, count, dropoutKey(tower, site), <u32>firstSegment * <u32>width);
}

/**
 * The last block, in which only the last token of each segment asks. Since `q · (z Wk) = (q Wk') · z` and
 * `sum w (z Wv) = (sum w z) Wv`, keys and values of the other tokens are never made.
 */
function lastBlock(tower: usize, firstSegment: i32, lastSegment: i32): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const heads = size(tower, TowerField.Heads);
  const head = size(tower, TowerField.PaddedHead);
  const inner = heads * head;
  const index = size(tower, TowerField.Blocks) - 1;
  const block = blockOf(tower, index);
  const n = lastSegment - firstSegment;
  const asking = row(field(tower, TowerField.Asking), firstSegment, width);
  const last = row(field(tower, TowerField.Last), firstSegment, width);
  for (let i = 0; i < n; i++) {
    const token = firstToken(tower, firstSegment + i + 1) - 1;
    copyRow(row(asking, i, width), row(field(block, BlockField.Normal1), token, width), width);
    copyRow(row(last, i, width), row(field(tower, TowerField.Tokens), token, width), width);
  }
  const queries = row(field(block, BlockField.Queries), firstSegment, inner);
  multiplyBias(queries, asking, field(block, BlockField.Query), field(block, BlockField.QueryBias), n, width, inner);
  const asked = row(field(tower, TowerField.Pairs), 2 * firstSegment + 1, heads * width);
  const mixed = row(field(tower, TowerField.Mixed), firstSegment, heads * width);
  const attended = row(field(block, BlockField.Attended), firstSegment, inner);
  const step = bytes(heads * width);
  for (let h = 0; h < heads; h++) {
    const keys = row(field(block, BlockField.KeyValueT), h * head, width);
    const query = queries + bytes(h * head);
    multiplyStrided(asked + bytes(h * width), 2 * step, query, bytes(inner), 4, keys, bytes(width), n, head, width, 0, 0);
  }
  for (let i = 0; i < n; i++) attendLast(tower, block, firstSegment + i);
  for (let h = 0; h < heads; h++) {
    const values = field(block, BlockField.KeyValue) + bytes(inner + h * head);
    const weighted = mixed + bytes(h * width);
    const to = attended + bytes(h * head);
    multiplyStrided(to, bytes(inner), weighted, step, 4, values, bytes(2 * inner), n, width, head, 0, 0);
  }
  const change = row(field(tower, TowerField.Change), firstToken(tower, firstSegment), width);
  multiplyBias(change, attended, field(block, BlockField.Output), field(block, BlockField.OutputBias), n, inner, width);
  dropStates(tower, change, change, firstSegment, lastSegment, 2 * index + 1);
  const normal2 = row(field(block, BlockField.Normal2), firstSegment, width);
  addAndNormaliseRows(normal2, field(block, BlockField.Rate2) + bytes(firstSegment), last, change, n, width);
  const hidden = row(field(block, BlockField.Hidden), firstSegment, feed);
  feedForward(block, change, normal2, hidden, n, width, feed);
  dropStates(tower, change, change, firstSegment, lastSegment, 2 * index + 2);
  const normal3 = row(field(tower, TowerField.Normal3), firstSegment, width);
  addAndNormaliseRows(normal3, field(tower, TowerField.Rate3) + bytes(firstSegment), last, change, n, width);
  const contextWidth = size(tower, TowerField.ContextWidth);
  if (contextWidth == 0) return;
  const context = row(field(tower, TowerField.Context), firstSegment, contextWidth);
  const states = row(field(tower, TowerField.States), firstSegment, width);
  const w = field(tower, TowerField.ContextWeights);
  multiplyStrided(states, bytes(width), context, bytes(contextWidth), 4, w, bytes(width), n, contextWidth, width, normal3, bytes(width));
}

/** Gradients of a chunk's rows: by their tokens, and the chunk's part of those by the encoder's parameters. */
export function towerBackward(tower: usize, chunk: i32): void {
  const chunkStart = field(tower, TowerField.ChunkStart);
  const first = int(chunkStart, chunk);
  const last = int(chunkStart, chunk + 1);
  const part = field(tower, TowerField.Parts) + <usize>chunk * field(tower, TowerField.PartStep);
  const scratch = scratchOf(tower, chunk);
  const index = size(tower, TowerField.Blocks) - 1;
  lastBlockBackward(tower, first, last, part, scratch);
  for (let i = index - 1; i >= 0; i--) fullBlockBackward(tower, i, first, last, part, scratch);
  embedBackward(tower, first, last, part);
}

/** The same as a weight's gradient by {@link multiplyTransposedLeft}, for packed rows. */
@inline function weightGradient(to: usize, x: usize, dy: usize, n: i32, K: i32, M: i32): void {
  multiplyTransposedLeft(to, bytes(M), x, bytes(K), dy, bytes(M), n, K, M, false);
}

/**
 * From the gradient by `change` (what the feed-forward layer gave) to that by the activations before it, which is added
 * to `dx`.
 */
function feedForwardBackward(
  tower: usize,
  block: usize,
  part: usize,
  dx: usize,
  dChange: usize,
  normal: usize,
  rates: usize,
  hidden: usize,
  first: i32,
  n: i32,
): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const dHidden = row(field(tower, TowerField.HiddenGradient), first, feed);
  const dNormal = row(field(tower, TowerField.NormalGradient), first, width);
  sumRows(part + field(block, BlockField.Feed2BiasPart), dChange, bytes(width), n, width);
  weightGradient(part + field(block, BlockField.Feed2Part), hidden, dChange, n, feed, width);
  multiply(dHidden, dChange, field(block, BlockField.Feed2T), n, width, feed);
  rectifyBackward(dHidden, hidden, <usize>n * <usize>feed);
  sumRows(part + field(block, BlockField.Feed1BiasPart), dHidden, bytes(feed), n, feed);
  weightGradient(part + field(block, BlockField.Feed1Part), normal, dHidden, n, width, feed);
  multiply(dNormal, dHidden, field(block, BlockField.Feed1T), n, feed, width);
  normaliseBackward(dx, dNormal, normal, rates, n, width, true);
}

function lastBlockBackward(tower: usize, firstSegment: i32, lastSegment: i32, part: usize, scratch: usize): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const heads = size(tower, TowerField.Heads);
  const head = size(tower, TowerField.PaddedHead);
  const inner = heads * head;
  const index = size(tower, TowerField.Blocks) - 1;
  const block = blockOf(tower, index);
  const first = firstToken(tower, firstSegment);
  const tokens = firstToken(tower, lastSegment) - first;
  const n = lastSegment - firstSegment;
  const padded = isPadded(tower) ? scratch + field(tower, TowerField.ScratchPadded) : 0;

  const dStates = row(field(tower, TowerField.StateGradient), firstSegment, width);
  const contextWidth = size(tower, TowerField.ContextWidth);
  if (contextWidth > 0) {
    const context = row(field(tower, TowerField.Context), firstSegment, contextWidth);
    weightGradient(part + field(tower, TowerField.ContextPart), context, dStates, n, contextWidth, width);
  }
  const dLast = row(field(tower, TowerField.LastGradient), firstSegment, width);
  const normal3 = row(field(tower, TowerField.Normal3), firstSegment, width);
  normaliseBackward(dLast, dStates, normal3, field(tower, TowerField.Rate3) + bytes(firstSegment), n, width, false);

  let dChange = isDropped(tower, firstSegment) ? row(field(tower, TowerField.Change), first, width) : dLast;
  dropStates(tower, dChange, dLast, firstSegment, lastSegment, 2 * index + 2);
  const normal2 = row(field(block, BlockField.Normal2), firstSegment, width);
  const rates2 = field(block, BlockField.Rate2) + bytes(firstSegment);
  const hidden = row(field(block, BlockField.Hidden), firstSegment, feed);
  feedForwardBackward(tower, block, part, dLast, dChange, normal2, rates2, hidden, first, n);

  dropStates(tower, dChange, dLast, firstSegment, lastSegment, 2 * index + 1);
  sumRows(part + field(block, BlockField.OutputBiasPart), dChange, bytes(width), n, width);
  const attended = row(field(block, BlockField.Attended), firstSegment, inner);
  weightGradient(outputPart(tower, block, part, padded), attended, dChange, n, inner, width);
  const dAttended = row(field(tower, TowerField.AttendedGradient), first, inner);
  multiply(dAttended, dChange, field(block, BlockField.OutputT), n, width, inner);

  const step = bytes(heads * width);
  const keyValueStep = bytes(2 * inner);
  const mixed = row(field(tower, TowerField.Mixed), firstSegment, heads * width);
  const dMixed = row(field(tower, TowerField.Pairs), 2 * firstSegment, heads * width);
  const dAsked = row(field(tower, TowerField.AskedGradient), firstSegment, heads * width);
  const queries = row(field(block, BlockField.Queries), firstSegment, inner);
  const dQueries = row(field(tower, TowerField.QueryGradient), first, inner);
  const dKeyValue = keyValuePart(tower, block, part, padded);
  for (let h = 0; h < heads; h++) {
    const da = dAttended + bytes(h * head);
    const values = row(field(block, BlockField.KeyValueT), inner + h * head, width);
    multiplyStrided(dMixed + bytes(h * width), 2 * step, da, bytes(inner), 4, values, bytes(width), n, head, width, 0, 0);
    const to = dKeyValue + bytes(inner + h * head);
    multiplyTransposedLeft(to, keyValueStep, mixed + bytes(h * width), step, da, bytes(inner), n, width, head, false);
  }
  for (let i = 0; i < n; i++) attendLastBackward(tower, block, firstSegment + i);
  for (let h = 0; h < heads; h++) {
    const da = dAsked + bytes(h * width);
    const keys = field(block, BlockField.KeyValue) + bytes(h * head);
    const dq = dQueries + bytes(h * head);
    multiplyStrided(dq, bytes(inner), da, step, 4, keys, keyValueStep, n, width, head, 0, 0);
    const to = dKeyValue + bytes(h * head);
    multiplyTransposedLeft(to, keyValueStep, da, step, queries + bytes(h * head), bytes(inner), n, width, head, false);
  }
  sumRows(queryBiasPart(tower, block, part, padded), dQueries, bytes(inner), n, inner);
  const asking = row(field(tower, TowerField.Asking), firstSegment, width);
  weightGradient(queryPart(block, part, padded), asking, dQueries, n, width, inner);
  dChange = row(field(tower, TowerField.Change), first, width);
  multiply(dChange, dQueries, field(block, BlockField.QueryT), n, inner, width);
  if (padded != 0) trimGradients(tower, block, part, padded);

  const dNormal = field(tower, TowerField.NormalGradient);
  const dTokens = field(tower, TowerField.TokenGradient);
  for (let i = 0; i < n; i++) {
    addRow(row(dNormal, firstToken(tower, firstSegment + i + 1) - 1, width), row(dChange, i, width), width);
  }
  const normal1 = row(field(block, BlockField.Normal1), first, width);
  const rates1 = field(block, BlockField.Rate1) + bytes(first);
  normaliseBackward(row(dTokens, first, width), row(dNormal, first, width), normal1, rates1, tokens, width, false);
  for (let i = 0; i < n; i++) {
    addRow(row(dTokens, firstToken(tower, firstSegment + i + 1) - 1, width), row(dLast, i, width), width);
  }
}

function fullBlockBackward(tower: usize, index: i32, firstSegment: i32, lastSegment: i32, part: usize, scratch: usize): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const inner = size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead);
  const block = blockOf(tower, index);
  const first = firstToken(tower, firstSegment);
  const n = firstToken(tower, lastSegment) - first;
  const padded = isPadded(tower) ? scratch + field(tower, TowerField.ScratchPadded) : 0;

  const dTokens = row(field(tower, TowerField.TokenGradient), first, width);
  const dChange = isDropped(tower, firstSegment) ? row(field(tower, TowerField.Change), first, width) : dTokens;
  dropTokens(tower, dChange, dTokens, firstSegment, lastSegment, 2 * index + 2);
  const normal2 = row(field(block, BlockField.Normal2), first, width);
  const rates2 = field(block, BlockField.Rate2) + bytes(first);
  const hidden = row(field(block, BlockField.Hidden), first, feed);
  feedForwardBackward(tower, block, part, dTokens, dChange, normal2, rates2, hidden, first, n);

  dropTokens(tower, dChange, dTokens, firstSegment, lastSegment, 2 * index + 1);
  sumRows(part + field(block, BlockField.OutputBiasPart), dChange, bytes(width), n, width);
  const attended = row(field(block, BlockField.Attended), first, inner);
  weightGradient(outputPart(tower, block, part, padded), attended, dChange, n, inner, width);
  const dAttended = row(field(tower, TowerField.AttendedGradient), first, inner);
  multiply(dAttended, dChange, field(block, BlockField.OutputT), n, width, inner);
  for (let segment = firstSegment; segment < lastSegment; segment++) attendBackward(tower, block, segment, scratch);

  const dQueries = row(field(tower, TowerField.QueryGradient), first, inner);
  const dKeyValues = row(field(tower, TowerField.KeyValueGradient), first, 2 * inner);
  const normal1 = row(field(block, BlockField.Normal1), first, width);
  sumRows(queryBiasPart(tower, block, part, padded), dQueries, bytes(inner), n, inner);
  weightGradient(queryPart(block, part, padded), normal1, dQueries, n, width, inner);
  weightGradient(keyValuePart(tower, block, part, padded), normal1, dKeyValues, n, width, 2 * inner);
  if (padded != 0) trimGradients(tower, block, part, padded);
  const dNormal = row(field(tower, TowerField.NormalGradient), first, width);
  multiply(dNormal, dQueries, field(block, BlockField.QueryT), n, inner, width);
  multiplyAdd(dNormal, dKeyValues, field(block, BlockField.KeyValueT), n, 2 * inner, width);
  normaliseBackward(dTokens, dNormal, normal1, field(block, BlockField.Rate1) + bytes(first), n, width, true);
}

/*
 * Where the gradients of the heads' weights go: to the chunk's part, or, where heads are padded, to scratch that holds
 * query [D, I], keyValue [D, 2 I], output [I, D] and the query's bias [I] one after the other.
 */

@inline function queryPart(block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded : part + field(block, BlockField.QueryPart);
}

@inline function paddedMatrix(tower: usize): usize {
  return bytes(size(tower, TowerField.Width) * size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead));
}

@inline function keyValuePart(tower: usize, block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded + paddedMatrix(tower) : part + field(block, BlockField.KeyValuePart);
}

@inline function outputPart(tower: usize, block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded + 3 * paddedMatrix(tower) : part + field(block, BlockField.OutputPart);
}

@inline function queryBiasPart(tower: usize, block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded + 4 * paddedMatrix(tower) : part + field(block, BlockField.QueryBiasPart);
}

/** From padded gradients to the chunk's part. */
function trimGradients(tower: usize, block: usize, part: usize, padded: usize): void {
  const width = size(tower, TowerField.Width);
  const heads = size(tower, TowerField.Heads);
  const matrix = paddedMatrix(tower);
  trimColumns(tower, part + field(block, BlockField.QueryPart), padded, width, heads);
  trimColumns(tower, part + field(block, BlockField.KeyValuePart), padded + matrix, width, 2 * heads);
  trimColumns(tower, part + field(block, BlockField.QueryBiasPart), padded + 4 * matrix, 1, heads);
  const head = size(tower, TowerField.HeadWidth);
  for (let h = 0; h < heads; h++) {
    const from = row(padded + 3 * matrix, h * size(tower, TowerField.PaddedHead), width);
    memory.copy(row(part + field(block, BlockField.OutputPart), h * head, width), from, bytes(head * width));
  }
}

/** Turns the gradients by activations into those by item vectors, and adds up those of positions and the start vector. */
function embedBackward(tower: usize, firstSegment: i32, lastSegment: i32, part: usize): void {
  const width = size(tower, TowerField.Width);
  const first = firstToken(tower, firstSegment);
  const last = firstToken(tower, lastSegment);
  const gradient = field(tower, TowerField.TokenGradient);
  const tokens = row(gradient, first, width);
  dropTokens(tower, tokens, tokens, firstSegment, lastSegment, EMBEDDING_SITE);
  const position = part + field(tower, TowerField.PositionPart);
  const start = part + field(tower, TowerField.StartPart);
  memory.fill(position, 0, field(tower, TowerField.PositionBytes));
  memory.fill(start, 0, bytes(width));
  for (let token = first; token < last; token++) {
    const from = row(gradient, token, width);
    addRow(row(position, int(field(tower, TowerField.TokenPosition), token), width), from, width);
    if (int(field(tower, TowerField.TokenVector), token) < 0) addRow(start, from, width);
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
  store<u8>(at, load<u8>(at) | 1);
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
