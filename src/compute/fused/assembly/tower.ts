/**
 * SASRec on ragged histories: from tokens to states. The formula stands at `sasRec`; letters and words of the
 * structures in `tower-layout.ts`.
 *
 * A segment is one history, its tokens neighbours in every array, without padding; its state is its last token's. A
 * segment may go on from the tokens of another one (its prefix), when one causal pass serves both. A chunk is a range
 * of rows: their segments, and those of the next histories, through all blocks, so that no thread waits for another in
 * between.
 */
import { BlockField, TowerField } from '../tower-layout';
import { attend, attendLast } from './attention';
import { bytes, field, size } from './head-arrays';
import { multiply, multiplyBias, multiplyStrided } from './matrix';
import { addAndNormalise, addRows, copyRow, dropOut, dropoutKey, normalise, rectify } from './token-rows';
import { attentionSite, dropStates, dropTokens, EMBEDDING_SITE, feedForwardSite, tokenIndex } from './tower-dropout';
import { blockOf, firstToken, int, isDropped, row, scratchOf } from './tower-words';

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
  dropTokens(tower, change, change, firstSegment, lastSegment, attentionSite(index));
  const normal2 = row(field(block, BlockField.Normal2), first, width);
  addAndNormaliseRows(normal2, field(block, BlockField.Rate2) + bytes(first), tokens, change, n, width);
  const hidden = row(field(block, BlockField.Hidden), first, feed);
  feedForward(block, change, normal2, hidden, n, width, feed);
  dropTokens(tower, change, change, firstSegment, lastSegment, feedForwardSite(index));
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
    multiplyStrided(
      asked + bytes(h * width),
      2 * step,
      query,
      bytes(inner),
      4,
      keys,
      bytes(width),
      n,
      head,
      width,
      0,
      0,
    );
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
  dropStates(tower, change, change, firstSegment, lastSegment, attentionSite(index));
  const normal2 = row(field(block, BlockField.Normal2), firstSegment, width);
  addAndNormaliseRows(normal2, field(block, BlockField.Rate2) + bytes(firstSegment), last, change, n, width);
  const hidden = row(field(block, BlockField.Hidden), firstSegment, feed);
  feedForward(block, change, normal2, hidden, n, width, feed);
  dropStates(tower, change, change, firstSegment, lastSegment, feedForwardSite(index));
  const normal3 = row(field(tower, TowerField.Normal3), firstSegment, width);
  addAndNormaliseRows(normal3, field(tower, TowerField.Rate3) + bytes(firstSegment), last, change, n, width);
  const contextWidth = size(tower, TowerField.ContextWidth);
  if (contextWidth == 0) return;
  const context = row(field(tower, TowerField.Context), firstSegment, contextWidth);
  const states = row(field(tower, TowerField.States), firstSegment, width);
  const w = field(tower, TowerField.ContextWeights);
  multiplyStrided(
    states,
    bytes(width),
    context,
    bytes(contextWidth),
    4,
    w,
    bytes(width),
    n,
    contextWidth,
    width,
    normal3,
    bytes(width),
  );
}
