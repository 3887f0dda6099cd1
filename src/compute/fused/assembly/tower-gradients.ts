/** SASRec backward: from states' gradients to those of tokens and, a part a chunk, of the encoder's parameters. */
import { BlockField, TowerField } from '../tower-layout';
import { attendBackward, attendLastBackward } from './attention';
import { bytes, field, size } from './head-arrays';
import { multiply, multiplyAdd, multiplyStrided, multiplyTransposedLeft } from './matrix';
import { addRow, normaliseBackward, rectifyBackward, sumRows } from './token-rows';
import { attentionSite, dropStates, dropTokens, EMBEDDING_SITE, feedForwardSite } from './tower-dropout';
import { keyValuePart, outputPart, queryBiasPart, queryPart, trimGradients } from './tower-weights';
import { blockOf, firstToken, int, isDropped, isPadded, row, scratchOf } from './tower-words';

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
  dropStates(tower, dChange, dLast, firstSegment, lastSegment, feedForwardSite(index));
  const normal2 = row(field(block, BlockField.Normal2), firstSegment, width);
  const rates2 = field(block, BlockField.Rate2) + bytes(firstSegment);
  const hidden = row(field(block, BlockField.Hidden), firstSegment, feed);
  feedForwardBackward(tower, block, part, dLast, dChange, normal2, rates2, hidden, first, n);

  dropStates(tower, dChange, dLast, firstSegment, lastSegment, attentionSite(index));
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
    multiplyStrided(
      dMixed + bytes(h * width),
      2 * step,
      da,
      bytes(inner),
      4,
      values,
      bytes(width),
      n,
      head,
      width,
      0,
      0,
    );
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

function fullBlockBackward(
  tower: usize,
  index: i32,
  firstSegment: i32,
  lastSegment: i32,
  part: usize,
  scratch: usize,
): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const inner = size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead);
  const block = blockOf(tower, index);
  const first = firstToken(tower, firstSegment);
  const n = firstToken(tower, lastSegment) - first;
  const padded = isPadded(tower) ? scratch + field(tower, TowerField.ScratchPadded) : 0;

  const dTokens = row(field(tower, TowerField.TokenGradient), first, width);
  const dChange = isDropped(tower, firstSegment) ? row(field(tower, TowerField.Change), first, width) : dTokens;
  dropTokens(tower, dChange, dTokens, firstSegment, lastSegment, feedForwardSite(index));
  const normal2 = row(field(block, BlockField.Normal2), first, width);
  const rates2 = field(block, BlockField.Rate2) + bytes(first);
  const hidden = row(field(block, BlockField.Hidden), first, feed);
  feedForwardBackward(tower, block, part, dTokens, dChange, normal2, rates2, hidden, first, n);

  dropTokens(tower, dChange, dTokens, firstSegment, lastSegment, attentionSite(index));
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

/** From the gradients by activations to those by item vectors; adds up those of positions and the start vector. */
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
