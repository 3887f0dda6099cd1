/** Scores of listed items, and their gradients: only the items' own rows are read and changed. */
import { HeadField } from '../head-layout';
import { addScaled, addTo, bytes, dot, field, firstRow, lastRow, size } from './head-arrays';
import { slotOf } from './head-scores';

/** Raw scores of the items listed for a group of rows. */
export function listScores(head: usize, chunk: i32): void {
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const items = size(head, HeadField.Items);
  const listWidth = size(head, HeadField.ListWidth);
  const table = field(head, HeadField.Table);
  const features = field(head, HeadField.Features);
  const hasHistory = field(head, HeadField.History) != 0;
  const last = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < last; row++) {
    const state = field(head, HeadField.PackedStates) + bytes(row * width);
    const query = field(head, HeadField.Queries) + bytes(row * featureWidth);
    for (let i = row * listWidth; i < (row + 1) * listWidth; i++) {
      const item = load<i32>(field(head, HeadField.List) + bytes(i));
      let sum: f32;
      if (item == items) sum = load<f32>(field(head, HeadField.None));
      else {
        sum = load<f32>(field(head, HeadField.Bias) + bytes(item));
        if (table != 0) sum += dot(state, table + bytes(item * width), width);
        if (featureWidth > 0) sum += dot(query, features + bytes(item * featureWidth), featureWidth);
        if (hasHistory) sum += historyOfItem(head, row, item, 0, 0);
      }
      store<f32>(field(head, HeadField.ListScores) + bytes(i), sum);
    }
  }
}

/** History planes' part of the score of one item for one row (without the last and recent text, which the query holds); with `partial`, adds `slope` times each plane to it as well. */
function historyOfItem(head: usize, row: i32, item: i32, partial: usize, slope: f32): f32 {
  const recentWidth = size(head, HeadField.RecentWidth);
  const recent = field(head, HeadField.Recent) + bytes(row * recentWidth);
  const history = field(head, HeadField.History);
  const stride = size(head, HeadField.Stride);
  let sum: f32 = 0;
  const repeats = min(size(head, HeadField.Repeats), recentWidth);
  for (let j = 0; j < repeats; j++) {
    if (load<i32>(recent + bytes(j)) != item) continue;
    sum += load<f32>(history + bytes(j));
    if (partial != 0) addTo(partial + bytes(j), slope);
  }
  if (size(head, HeadField.Slots) > 0) {
    for (let attribute = 0, n = size(head, HeadField.Attributes); attribute < n; attribute++) {
      const slot = slotOf(head, attribute, item);
      if (slot < 0) continue;
      const at = bytes(slot * stride + row);
      sum += load<f32>(field(head, HeadField.AttributeScores) + at);
      if (partial != 0) {
        const to = partial + bytes(size(head, HeadField.AttributePlane) + 2 * attribute);
        addTo(to, slope * load<f32>(field(head, HeadField.AttributeLast) + at));
        addTo(to + 4, slope * load<f32>(field(head, HeadField.AttributeRecent) + at));
      }
    }
  }
  const textPlane = size(head, HeadField.TextPlane);
  if (textPlane >= 0 && recentWidth > 0 && load<i32>(recent) >= 0) {
    const cosine = largestCosine(head, recent, recentWidth, item);
    sum += cosine * load<f32>(history + bytes(textPlane + 2));
    if (partial != 0) addTo(partial + bytes(textPlane + 2), slope * cosine);
  }
  return sum;
}

function largestCosine(head: usize, recent: usize, recentWidth: i32, item: i32): f32 {
  const width = size(head, HeadField.FeatureWidth);
  const features = field(head, HeadField.Features);
  let largest: f32 = -1;
  for (let j = 0, n = min(recentWidth, size(head, HeadField.TextItems)); j < n; j++) {
    const other = load<i32>(recent + bytes(j));
    if (other < 0) break;
    largest = max(largest, dot(features + bytes(item * width), features + bytes(other * width), width));
  }
  return largest;
}

/** Gradients of listed scores by states, queries, history weights and None, for a group of rows. */
export function listGradientsByRow(head: usize, chunk: i32): void {
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const items = size(head, HeadField.Items);
  const listWidth = size(head, HeadField.ListWidth);
  const table = field(head, HeadField.Table);
  const features = field(head, HeadField.Features);
  const planes = size(head, HeadField.Planes);
  const partial = field(head, HeadField.HistoryPartials) + bytes((size(head, HeadField.Chunks) + chunk) * (planes + 1));
  const hasHistory = field(head, HeadField.HistoryGradient) != 0;
  const last = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < last; row++) {
    const to = field(head, HeadField.StateGradient) + bytes(row * width);
    const query = field(head, HeadField.QueryGradient) + bytes(row * featureWidth);
    for (let i = row * listWidth; i < (row + 1) * listWidth; i++) {
      const item = load<i32>(field(head, HeadField.List) + bytes(i));
      const slope = load<f32>(field(head, HeadField.ListCotangents) + bytes(i));
      if (slope == 0) continue;
      if (item == items) {
        addTo(partial + bytes(planes), slope);
        continue;
      }
      if (table != 0) addScaled(to, table + bytes(item * width), slope, width);
      if (featureWidth > 0) addScaled(query, features + bytes(item * featureWidth), slope, featureWidth);
      if (hasHistory) historyOfItem(head, row, item, partial, slope);
    }
  }
}

/** Gradients of listed scores by the rows and biases of a range of items; every chunk reads the whole list. */
export function listGradientsByItem(head: usize, chunk: i32): void {
  const width = size(head, HeadField.Width);
  const listWidth = size(head, HeadField.ListWidth);
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(size(head, HeadField.Items), first + size(head, HeadField.ChunkItems));
  const tableGradient = field(head, HeadField.TableGradient);
  const biasGradient = field(head, HeadField.BiasGradient);
  const flags = field(head, HeadField.TableFlags);
  for (let row = 0, rows = size(head, HeadField.Rows); row < rows; row++) {
    const state = field(head, HeadField.PackedStates) + bytes(row * width);
    for (let i = row * listWidth; i < (row + 1) * listWidth; i++) {
      const item = load<i32>(field(head, HeadField.List) + bytes(i));
      if (item < first || item >= last) continue;
      const slope = load<f32>(field(head, HeadField.ListCotangents) + bytes(i));
      if (slope == 0) continue;
      if (biasGradient != 0) addTo(biasGradient + bytes(item), slope);
      if (tableGradient == 0) continue;
      addScaled(tableGradient + bytes(item * width), state, slope, width);
      store<u8>(flags + item, load<u8>(flags + item) | 1);
    }
  }
}
