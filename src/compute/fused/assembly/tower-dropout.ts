/** Where dropout is, and how it counts: as if rows were padded to the window of the batch. */
import { TowerField } from '../tower-layout';
import { bytes, size } from './head-arrays';
import { dropOut, dropoutKey } from './token-rows';
import { firstToken, isDropped } from './tower-words';

/** Dropout site after the embedding. */
export const EMBEDDING_SITE: i32 = 0;

/** Dropout site after a block's attention. */
@inline export function attentionSite(block: i32): i32 {
  return 2 * block + 1;
}

/** Dropout site after a block's feed-forward layer. */
@inline export function feedForwardSite(block: i32): i32 {
  return 2 * block + 2;
}

/** Where dropout counts the first element of a row's tokens from. */
@inline export function tokenIndex(tower: usize, segment: i32): u32 {
  return <u32>segment * <u32>(size(tower, TowerField.WindowLength) * size(tower, TowerField.Width));
}

/** Dropout over all tokens of neighbouring segments, where they have any; `to` may be `from`. */
export function dropTokens(tower: usize, to: usize, from: usize, firstSegment: i32, lastSegment: i32, site: i32): void {
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
export function dropStates(tower: usize, to: usize, from: usize, firstSegment: i32, lastSegment: i32, site: i32): void {
  if (!isDropped(tower, firstSegment)) return;
  const width = size(tower, TowerField.Width);
  const count = (lastSegment - firstSegment) * width;
  dropOut(tower, to, from, count, dropoutKey(tower, site), <u32>firstSegment * <u32>width);
}
