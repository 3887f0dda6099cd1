/**
 * The words of the structures that the host and the engine's encoder tower share. Read by TypeScript and by
 * AssemblyScript, so the two cannot disagree: plain enumerations only.
 *
 * Letters: B rows of the batch, S segments (one a state: B, or 2B with next histories), N tokens, U distinct items, D
 * width of item vectors and states, G heads, I = G times the padded width of a head, F width of the feed-forward layer,
 * C width of the context.
 */

/** Numbers of the tower's operations; what each does stands in `assembly/tower*.ts`. */
export enum TowerOp {
  /** Pads and transposes weights; one chunk. */
  Prepare = 20,
  /** Vectors of the distinct items from id rows and features; chunks are groups of them. */
  Vectors = 21,
  /** From tokens to states; chunks are groups of rows. */
  Forward = 22,
  /** From states' gradients to tokens' gradients and each chunk's part of the weights'; chunks are groups of rows. */
  Backward = 23,
  /** Adds up the weights' gradients (the first chunks) and those of item vectors (the others). */
  Collect = 24,
  /** Gradient of the projection of item features; chunks are rows of the projection. */
  Projection = 25,
}

/** Words of a tower's structure; pointers unless said. Those of its blocks' structures follow. */
export enum TowerField {
  /** Number of rows B; dropout is for their segments only. */
  Rows = 0,
  /** Number of segments and states S: B, or 2B. */
  Segments,
  /** Width D. */
  Width,
  /** Number of heads G. */
  Heads,
  /** Width D / G of a head. */
  HeadWidth,
  /** The same rounded up to a multiple of 4. */
  PaddedHead,
  /** Width F. */
  FeedForward,
  /** Number of blocks. */
  Blocks,
  /** 1 / sqrt(D / G), float. */
  Scale,
  /** 1 when a backward pass may follow. */
  IsTraining,

  /** Item of each token `[N]`, or, with features, its number among the distinct ones; -1: the start vector. */
  TokenVector,
  /** Position of each token `[N]`. */
  TokenPosition,
  /** First token of each segment `[S + 1]`; a segment's tokens are neighbours. */
  SegmentStart,
  /** First token of what a segment goes on from `[S]`. */
  PrefixStart,
  /** Number of tokens of what a segment goes on from `[S]`; 0 for most. */
  PrefixLength,
  /** First row of each chunk `[chunks + 1]`. */
  ChunkStart,
  /** Words from a block's weights to a segment's `[S]`; -1 where they are not kept. */
  WeightStart,

  /** Item vectors `[A or U, D]`. */
  VectorTable,
  /** Item of each distinct item `[U]`. */
  DistinctItems,
  /** Number of distinct items U. */
  Distinct,
  /** Distinct items a chunk of {@link TowerOp.Vectors}. */
  ChunkDistinct,
  /** Id rows of all items `[A, D]`; 0 for none. */
  IdTable,
  /** Features of all items, rows FeatureStride floats apart. */
  Features,
  /** Width of the features. */
  FeatureWidth,
  /** Floats from one item's features to the next's. */
  FeatureStride,
  /** `[FeatureWidth, D]`. */
  Projection,
  /** `[H, D]`. */
  Position,
  /** `[D]`. */
  Start,
  /** Weights of the context `[C, D]`. */
  ContextWeights,
  /** Context of each state `[S, C]`. */
  Context,
  /** Width C of the context; 0 for none. */
  ContextWidth,

  /** 1 when dropout is on. */
  HasDropout,
  /** Columns L of the batch's window, which dropout counts in. */
  WindowLength,
  /** Low 32 bits of the seed. */
  SeedLow,
  /** The bits above. */
  SeedHigh,
  /** Number of the first dropout site. */
  FirstSite,
  /** Largest 32-bit number that drops. */
  DropLimit,
  /** Factor of what is kept, float. */
  Kept,

  /** Activations between blocks `[N, D]`. */
  Tokens,
  /** What is added to them, and gradients by it `[N, D]`. */
  Change,
  /** The last block's activations `[S, D]`. */
  Last,
  /** Normalised last tokens that ask in the last block `[S, D]`. */
  Asking,
  /** For each segment gradients by Mixed, then its queries times the keys' weights `[S, 2 G, D]`. */
  Pairs,
  /** Weighted sums of normalised tokens `[S, G, D]`. */
  Mixed,
  /** Words of one row of weights in the last block, a multiple of 4. */
  LastWeightRow,
  /** States before the context is added `[S, D]`. */
  Normal3,
  /** Rates of their normalisation `[S]`. */
  Rate3,
  /** States `[S, D]`. */
  States,

  /** Scratch of each chunk. */
  Scratch,
  /** Bytes from one chunk's scratch to the next's. */
  ScratchStep,
  /** Bytes from a chunk's scratch to its weights of one segment. */
  ScratchWeights,
  /** Bytes from a chunk's scratch to its gradients of padded weights. */
  ScratchPadded,

  /** Gradients by the states `[B, D]`. */
  StateGradient,
  /** Gradients by activations between blocks, at the end by item vectors `[N, D]`. */
  TokenGradient,
  /** Gradients by normalised tokens `[N, D]`. */
  NormalGradient,
  /** Gradients by hidden units `[N, F]`. */
  HiddenGradient,
  /** Gradients by attended values `[N, I]`. */
  AttendedGradient,
  /** Gradients by queries `[N, I]`. */
  QueryGradient,
  /** Gradients by keys and values `[N, 2 I]`. */
  KeyValueGradient,
  /** Gradients by the last block's activations `[B, D]`. */
  LastGradient,
  /** Gradients by the queries times the keys' weights `[B, G, D]`. */
  AskedGradient,
  /** Each chunk's gradients of the encoder's parameters. */
  Parts,
  /** Bytes from one chunk's part to the next's. */
  PartStep,
  /** Number of parts. */
  PartCount,
  /** Bytes from a part to the gradient of Position. */
  PositionPart,
  /** Bytes of it. */
  PositionBytes,
  /** Bytes from a part to the gradient of Start. */
  StartPart,
  /** Bytes from a part to the gradient of ContextWeights. */
  ContextPart,

  /** What of the parts is added to which gradient `[pieces, CollectField.Count]`. */
  Pieces,
  /** Number of pieces. */
  PieceCount,
  /** Number of chunks of {@link TowerOp.Collect} that add up pieces. */
  PieceChunks,
  /** Number of the chunks after them, which share out the item vectors; a power of 2. */
  ItemChunks,
  /** Number of tokens that carry gradient. */
  GradientTokens,
  /** Gradient of IdTable; 0: not wanted. */
  IdGradient,
  /** Flags of its rows. */
  IdFlags,
  /** Gradients by the distinct items' vectors `[U, D]`; 0 where there are no features. */
  VectorGradient,
  /** Gradient of Projection. */
  ProjectionGradient,
  /** Rows of the projection a chunk. */
  ChunkFeatures,
  /** Number of words. */
  Count,
}

/** Words of a block's structure; pointers unless said. Heads are padded where HeadWidth is no multiple of 4. */
export enum BlockField {
  /** `[D, I]`. */
  Query = 0,
  /** `[I]`. */
  QueryBias,
  /** `[D, 2 I]`. */
  KeyValue,
  /** `[I, D]`. */
  Output,
  /** `[D]`. */
  OutputBias,
  /** `[D, F]`. */
  Feed1,
  /** `[F]`. */
  Feed1Bias,
  /** `[F, D]`. */
  Feed2,
  /** `[D]`. */
  Feed2Bias,

  /** As the parameter is, without padding `[D, D]`. */
  PlainQuery,
  /** `[D]`. */
  PlainQueryBias,
  /** `[D, 2 D]`. */
  PlainKeyValue,
  /** `[D, D]`. */
  PlainOutput,

  /** Transposed `[I, D]`. */
  QueryT,
  /** Transposed `[2 I, D]`. */
  KeyValueT,
  /** Transposed `[D, I]`. */
  OutputT,
  /** Transposed `[F, D]`. */
  Feed1T,
  /** Transposed `[D, F]`. */
  Feed2T,

  /** Normalised tokens `[N, D]`. */
  Normal1,
  /** Rates of their normalisation `[N]`. */
  Rate1,
  /** Queries `[N, I]`; in the last block, and all below, a row a segment. */
  Queries,
  /** Keys and values `[N, 2 I]`; none in the last block. */
  KeyValues,
  /**
   * Attention's weights, of each segment `[G, tokens, keys rounded up to 4]`; in the last block `[2 G, LastWeightRow]`, the
   * weights and their gradients.
   */
  Weights,
  /** Attended values `[N, I]`. */
  Attended,
  /** Normalised tokens after attention `[N, D]`. */
  Normal2,
  /** Rates of their normalisation `[N]`. */
  Rate2,
  /** Hidden units `[N, F]`. */
  Hidden,

  /** Bytes from a chunk's part to the gradient of PlainQuery. */
  QueryPart,
  /** Bytes. */
  QueryBiasPart,
  /** Bytes. */
  KeyValuePart,
  /** Bytes. */
  OutputPart,
  /** Bytes. */
  OutputBiasPart,
  /** Bytes. */
  Feed1Part,
  /** Bytes. */
  Feed1BiasPart,
  /** Bytes. */
  Feed2Part,
  /** Bytes. */
  Feed2BiasPart,
  /** Number of words. */
  Count,
}

/** Words of a piece of the parts, which is added to the gradients. */
export enum CollectField {
  /** Bytes from the start of a part. */
  Part = 0,
  /** Pointer to the gradient. */
  Gradient,
  /** How many bytes, a multiple of 16. */
  Bytes,
  /** Number of words. */
  Count,
}
