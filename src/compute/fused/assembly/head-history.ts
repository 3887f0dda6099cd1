/** What histories add to the scores by the text of their items. */
import { HeadField, TILE } from '../head-layout';
import { addScaled, bytes, dot, field, fill, firstRow, float, lastRow, size } from './head-arrays';
import { dots4 } from './head-scores';
import { zero } from './simd';

/** Text vectors of the histories of a group of rows: of the last item, and the recency-weighted mean. Rows without a history are zero. */
export function historyText(head: usize, chunk: i32): void {
  const width = size(head, HeadField.FeatureWidth);
  const recentWidth = size(head, HeadField.RecentWidth);
  const textItems = min(recentWidth, size(head, HeadField.TextItems));
  const features = field(head, HeadField.Features);
  const decay = <f64>float(head, HeadField.Decay);
  const end = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < end; row++) {
    const recent = field(head, HeadField.Recent) + bytes(row * recentWidth);
    const last = field(head, HeadField.TextLast) + bytes(row * width);
    const mean = field(head, HeadField.TextRecent) + bytes(row * width);
    fill(last, width, 0);
    fill(mean, width, 0);
    let total: f64 = 0, weight: f64 = 1;
    for (let j = 0; j < textItems && load<i32>(recent + bytes(j)) >= 0; j++) {
      total += weight;
      weight *= decay;
    }
    weight = 1;
    for (let j = 0; j < textItems; j++) {
      const item = load<i32>(recent + bytes(j));
      if (item < 0) break;
      const from = features + bytes(item * width);
      if (j == 0) memory.copy(last, from, bytes(width));
      addScaled(mean, from, <f32>(weight / total), width);
      weight *= decay;
    }
  }
}

/** Cosines of some items to a range of items. */
export function cosines(head: usize, chunk: i32): void {
  const width = size(head, HeadField.FeatureWidth);
  const features = field(head, HeadField.Features);
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(size(head, HeadField.Items), first + size(head, HeadField.ChunkItems));
  const wanted = field(head, HeadField.CosineItems);
  for (let item = first; item < last; item += TILE) {
    const end = min(last, item + TILE);
    for (let i = 0, n = size(head, HeadField.NewCosines); i < n; i++) {
      const own = features + bytes(load<i32>(wanted + bytes(2 * i)) * width);
      const to = <usize>load<u32>(wanted + bytes(2 * i + 1));
      let other = item;
      for (; other + 4 <= end; other += 4) v128.store(to + bytes(other), dots4(features + bytes(other * width), own, width));
      for (; other < end; other++) store<f32>(to + bytes(other), dot(features + bytes(other * width), own, width));
    }
  }
}

/**
 * Largest cosine of a range of items to the recent items of the rows FirstRow to LastRow - 1; 0 where a history is empty.
 * A tile at a time, so that the columns written stay in the cache.
 */
export function textMax(head: usize, chunk: i32): void {
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const textItems = min(size(head, HeadField.RecentWidth), size(head, HeadField.TextItems));
  const rows = field(head, HeadField.CosineRows);
  const out = field(head, HeadField.TextMaxima);
  const begin = chunk * size(head, HeadField.ChunkItems);
  const end = min(size(head, HeadField.Items), begin + size(head, HeadField.ChunkItems));
  for (let first = begin; first < end; first += TILE) {
    const last = min(end, first + TILE);
    for (let row = size(head, HeadField.FirstRow), n = size(head, HeadField.LastRow); row < n; row++) {
      const pointers = rows + bytes(row * textItems);
      const isEmpty = textItems == 0 || load<u32>(pointers) == 0;
      let item = first;
      for (; item + 4 <= last; item += 4) {
        let largest = isEmpty ? zero() : f32x4.splat(-1);
        for (let j = 0; j < textItems; j++) {
          const cosine = <usize>load<u32>(pointers + bytes(j));
          if (cosine == 0) break;
          largest = f32x4.pmax(largest, v128.load(cosine + bytes(item)));
        }
        const to = out + bytes(item * stride + row);
        if (stride == 1) v128.store(to, largest);
        else {
          v128.store32_lane(to, largest, 0);
          v128.store32_lane(to + step, largest, 1);
          v128.store32_lane(to + 2 * step, largest, 2);
          v128.store32_lane(to + 3 * step, largest, 3);
        }
      }
      for (; item < last; item++) {
        let largest: f32 = isEmpty ? 0 : -1;
        for (let j = 0; j < textItems; j++) {
          const cosine = <usize>load<u32>(pointers + bytes(j));
          if (cosine == 0) break;
          largest = max(largest, load<f32>(cosine + bytes(item)));
        }
        store<f32>(out + bytes(item * stride + row), largest);
      }
    }
  }
}
