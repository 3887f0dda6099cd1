/**
 * The words of the structures that the host and the engine's head operations share. Read by TypeScript and by
 * AssemblyScript, so the two cannot disagree: plain enumerations only.
 */

/** Numbers of the head operations; the functions stand in `assembly/head-*.ts` and `assembly/value-head.ts`. */
export enum HeadOp {
  /** Packs states for the heads; chunks are groups of rows up to the stride. */
  Pack = 40,
  /** Scores of all items with their statistics; chunks are ranges of items. */
  Score = 41,
  /** Joins the statistics of all chunks; chunks are groups of rows. */
  Finish = 42,
  /** Gradients of the scores of all items; chunks are ranges of items. */
  ScoreGradients = 43,
  /** Joins the chunks' gradients by the states; chunks are groups of rows. */
  JoinStates = 44,
  /** Gradient of the projection of item features; chunks are groups of its rows. */
  ProjectionGradient = 45,
  /** Gradients of the history weights and None; one chunk. */
  HistoryWeightGradients = 46,
  /** Scores of listed items; chunks are groups of rows. */
  ListScores = 47,
  /** Gradients of listed scores by states and history weights; chunks are groups of rows. */
  ListGradientsByRow = 48,
  /** Gradients of listed scores by item rows and biases; chunks are ranges of items. */
  ListGradientsByItem = 49,
  /** Draws an item a row; chunks are groups of rows. */
  Sample = 50,
  /** The best items of each row within a range of items; chunks are ranges of items. */
  TopK = 51,
  /** Probabilities of all items; chunks are groups of rows. */
  Probabilities = 52,
  /** Mean and last feature vectors of histories; chunks are groups of rows. */
  HistoryText = 53,
  /** Cosines of items to all items; chunks are ranges of items. */
  Cosines = 54,
  /** Text planes of histories over all items; chunks are ranges of items. */
  TextPlanes = 55,
  /** V(s); chunks are groups of rows. */
  Value = 56,
  /** Gradients of V(s) by states and hidden units; chunks are groups of rows. */
  ValueGradientsByRow = 57,
  /** Gradients of V(s) by its weights; chunks are ranges of the state's columns. */
  ValueGradientsByWeight = 58,
  /** Item vectors, id row plus projected features; chunks are ranges of items. */
  ItemVectors = 59,
}

/** Words of a head's structure; pointers unless said. */
export enum HeadField {
  /** Number of items A. */
  Items = 0,
  /** Number of rows R. */
  Rows,
  /** Columns of every item's row of scores: 1, or R rounded up to 8. */
  Stride,
  /** Width D of the states. */
  Width,
  /** Width of the (padded) item features, a multiple of 4; 0 for none. */
  FeatureWidth,
  /** Rows of the projection: the features' width without padding; 0 when the head has no projection. */
  ProjectionRows,
  /** Items a chunk covers, a multiple of the tile. */
  ChunkItems,
  /** How many chunks of items. */
  Chunks,
  /** 1 / temperature, float. */
  Rate,
  /** `<head>/id` `[A, D]`; 0 for none. */
  Table,
  /** Item vectors `[A, D]` that all items are scored by: the table itself, or what ItemVectors made of it and the features. */
  Vectors,
  /** Item features `[A, FeatureWidth]`; 0 for none. */
  Features,
  /** `<head>/projection` `[F, D]`; 0 for none. */
  Projection,
  /** `<head>/bias` `[A]`. */
  Bias,
  /** `<head>/history` `[planes]`; 0 for none. */
  History,
  /** `<head>/none`, one number; 0 for none. */
  None,
  /** States as the tower gives them `[R, D]`. */
  States,
  /** States with rows of zeros up to the stride, `[stride, D]`. */
  PackedStates,
  /** The same in panels of 8 rows, `[stride / 8, D, 8]`. */
  StatesAcross,
  /** The same in panels of 8 columns, `[D / 8, stride, 8]`, the last panel with 4 columns if D is no multiple of 8. */
  StatePanels,
  /** What the features of listed items are multiplied by, `[stride, FeatureWidth]`; 0 where no items are listed. */
  Queries,
  /** Scores of the first items `[KeptItems, stride]`, divided by the temperature, about -1e20 or less where masked. */
  Scores,
  /** How many items' scores are kept, in whole tiles; those of the others are made again when they are needed. */
  KeptItems,
  /** Scores of the critic `[A, stride]` whose expectation is asked; 0 for none. */
  Expected,
  /** A scratch for each chunk, `[chunks, TILE + GROUP, stride]`: scores that are not kept, and gradients of a group of tiles. */
  Scratch,
  /** 1 when the sums of exponentials are wanted, 0 for the maximum alone. */
  WantsMass,
  /** Chunk statistics `[chunks, 4, stride]`: maximum, mass, mass * score, mass * expected. */
  ChunkStats,
  /** Tile statistics `[tiles, 2, stride]`: reference and mass; 0 for none. */
  TileStats,
  /** Row results `[5, stride]`: maximum, log of the sum of exponentials, entropy, expected score, score of the picked item. */
  RowStats,
  /** Item of each row whose score is picked `[R]`; 0 for none. */
  Picked,
  /** Marks `[PairCount, 3]`: item, row, plane (below 0: masked), in order of the tiles; see TileStarts. */
  Pairs,
  /** Where each tile's marks start `[tiles + 1]`; 0 when there is none. */
  TileStarts,
  /** Flags of items that no row may have `[A]` bytes; 0 for none. */
  Excluded,
  /** Number of attributes with two planes each. */
  Attributes,
  /** `[Attributes, 2]` pointers: codes of the items `[A]` (-1 none), and the slot of each code that some history holds, -1 for the others. */
  AttributeTables,
  /** First attribute plane. */
  AttributePlane,
  /** Attribute of each slot `[Slots]`. */
  SlotAttributes,
  /** Number of slots: values of attributes that some history of the batch holds. */
  Slots,
  /** 1 where the last item has the slot's value `[Slots, stride]`. */
  AttributeLast,
  /** Weighted share of recent items with the slot's value `[Slots, stride]`. */
  AttributeRecent,
  /** What the two planes add to the scores `[Slots, stride]`, made by Pack. */
  AttributeScores,
  /** First text plane (last, recent, max follow each other); below 0 for none. */
  TextPlane,
  /** Features of the last items `[R, FeatureWidth]`. */
  TextLast,
  /** Weighted mean features of the recent items `[R, FeatureWidth]`. */
  TextRecent,
  /**
   * Text planes of each row's history, pointers `[stride]`, each to `[tiles, 3, TILE]`: last, recent, max of the tile's items;
   * 0 for none.
   */
  PlaneRows,
  /** Repeat planes: number of marks a row may have. */
  Repeats,
  /** Items of the histories, newest first `[R, RecentWidth]`, -1 past the end. */
  Recent,
  /** Columns of Recent. */
  RecentWidth,
  /** How many of them the text planes read. */
  TextItems,
  /** Coefficients of the backward pass `[5, stride]`: of p, of p * score, of p * expected, of the picked item, lse. */
  Coefficients,
  /** Gradient of the table; 0 when frozen or none. */
  TableGradient,
  /** Row flags of the table. */
  TableFlags,
  /** Gradient of the bias; 0 when frozen. */
  BiasGradient,
  /** Gradient of the projection; 0 when frozen or none. */
  ProjectionGradient,
  /** Gradient of the history weights; 0 when frozen or none. */
  HistoryGradient,
  /** Gradient of None; 0 when frozen or none. */
  NoneGradient,
  /** Number of history planes. */
  Planes,
  /** Rows of HistoryPartials. */
  HistoryChunks,
  /** Chunks' gradients by the states `[chunks, stride, D]`. */
  StatePartials,
  /** Chunks' gradients by the history weights and None `[HistoryChunks, planes + 1]`. */
  HistoryPartials,
  /** Gradient by the states `[R, D]`, added to; it belongs to the tower. */
  StateGradient,
  /** Gradient by the queries `[stride, FeatureWidth]`; 0 where no items are listed. */
  QueryGradient,
  /** Listed items `[R, ListWidth]`; A means None. */
  List,
  /** Items listed a row. */
  ListWidth,
  /** Scores of the listed items `[R, ListWidth]`. */
  ListScores,
  /** Their cotangents. */
  ListCotangents,
  /** Rows a chunk of rows covers. */
  ChunkRows,
  /** Uniforms `[R]`, float64. */
  Uniforms,
  /** Drawn items `[R]`. */
  Drawn,
  /** How many best items. */
  Best,
  /** `[chunks, R, Best]` items. */
  BestItems,
  /** `[chunks, R, Best]` scores. */
  BestScores,
  /** Histories whose text planes are to be made `[PlaneJobCount, PlaneJob.Count + TextItems]`, see PlaneJob. */
  PlaneJobs,
  /** Their number. */
  PlaneJobCount,
  /** `[TextItems + 1, 2]`: what the newest cosine and the mean of those before are multiplied by in the mean of n cosines. */
  PlaneRates,
  /** Items whose cosine rows are to be made `[NewCosines, 2]`: item, pointer to its row. */
  CosineItems,
  /** Their number. */
  NewCosines,
  /** Weight of an item relative to the next newer one, float. */
  Decay,
  /** A group's gradients by item vectors for each chunk, `[chunks, GROUP, D]`, where they also go through the projection. */
  VectorGradients,
  /** Chunks' gradients of the projection `[chunks, ProjectionRows, D]`; 0 for none. */
  ProjectionPartials,
  /** Probabilities `[R, A]`. */
  Probabilities,
  /** Number of words. */
  Count,
}

/** Words of a history whose text planes are to be made; pointers to the cosine rows of its items follow, oldest first. */
export enum PlaneJob {
  /** Where they go. */
  Planes = 0,
  /** Planes of the history without its newest item, of which then only the cosines follow; 0 to make them from all. */
  Parent,
  /** Items of the history that count. */
  Items,
  /** Number of words. */
  Count,
}

/** Words of the value head's structure. */
export enum ValueField {
  /** Rows R. */
  Rows = 0,
  /** Width D of the states. */
  Width,
  /** Hidden units; 0 for a linear head. */
  Hidden,
  /** Rows a chunk covers. */
  ChunkRows,
  /** States `[R, D]`. */
  States,
  /** `value/w1` `[D, H]`. */
  W1,
  /** `value/b1` `[H]`. */
  B1,
  /** `value/w2` `[H or D, 1]`. */
  W2,
  /** `value/b2` `[1]`. */
  B2,
  /** Hidden units after the rectifier `[R, H]`. */
  Units,
  /** Values `[R]`. */
  Values,
  /** Cotangents of the values `[R]`. */
  Cotangents,
  /** Gradient by the hidden units `[R, H]`. */
  UnitGradient,
  /** Gradient by the states `[R, D]`, added to. */
  StateGradient,
  /** Gradients of the weights; 0 when frozen. */
  W1Gradient,
  /** See W1Gradient. */
  B1Gradient,
  /** See W1Gradient. */
  W2Gradient,
  /** See W1Gradient. */
  B2Gradient,
  /** How many chunks of columns the weights' gradients are made in. */
  WeightChunks,
  /** Number of words. */
  Count,
}

/** Items of a tile: its scores for 128 rows are 16 kB. */
export const TILE = 32;
/** Items of a group of tiles: what is read better in longer pieces, as a history's text planes, is read for all of them in one go. */
export const GROUP = 128;
/** What stands for the score of a masked item: exp of it is 0, 0 times it is 0, and no usable temperature makes it infinite. */
export const MASKED = -1e20;
