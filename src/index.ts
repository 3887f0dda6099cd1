/**
 * Recommendation policies learned from a language model's preferences before the first user, then adapted online: iALP and
 * A-iALP (WSDM 2025). Distil with a {@link PreferenceOracle}, pre-train with {@link pretrain}, adapt with {@link adapt}.
 *
 * Runs in Node and in browsers; files, and readers of data sets from disk, are in `ialp/node`, contracts and test doubles in
 * `ialp/testing`.
 *
 * @module ialp
 */

// Distil, pre-train, adapt, evaluate.

export type { EvaluateOptions, EvaluationMode, EvaluationRow } from './metrics/evaluate.js';
export { evaluate } from './metrics/evaluate.js';
export { intraListDiversity, selfInformation } from './metrics/list-metrics.js';
export type { Interval } from './metrics/statistics.js';
export { confidenceInterval } from './metrics/statistics.js';
export type {
  AdaptAlgorithm,
  AdaptOptions,
  AdaptResult,
  NamedPpoSettings,
  NamedReplaySettings,
} from './train/adapt.js';
export { adapt } from './train/adapt.js';
export type { DistilOptions, DistilProgress, DistilResult } from './train/distil.js';
export { distil } from './train/distil.js';
export type { DistilCost } from './train/distil-cost.js';
export type { LlmOnlineOptions, LlmOnlineResult } from './train/llm-online.js';
export { llmOnline } from './train/llm-online.js';
export type { DistilPlan, OpenQuestionsOptions, PlanDistilOptions } from './train/plan-distil.js';
export { openQuestions, planDistil } from './train/plan-distil.js';
export type {
  NamedListSettings,
  NamedPaperSettings,
  PretrainAlgorithm,
  PretrainOptions,
  PretrainResult,
  PretrainStart,
} from './train/pretrain.js';
export { pretrain } from './train/pretrain.js';
export type { QuestionPlanOptions } from './train/question-plan.js';
export type { ChoiceFit } from './train/serving-temperature.js';
export type {
  EventBase,
  TrainingCounts,
  TrainingEmitter,
  TrainingEvents,
  TrainingPhase,
  TrainingProgress,
} from './train/training-events.js';
export type { EpisodePoint, LoopResult } from './train/training-loop.js';
export type { TrainingHookOptions } from './train/training-options.js';

// Items, and what is known of them.

export type { AmazonData, AmazonOptions } from './catalog/amazon.js';
export { AMAZON_FILES, parseAmazon } from './catalog/amazon.js';
export type { CatalogOptions, Item, ItemId, ItemIndex } from './catalog/catalog.js';
export { Catalog } from './catalog/catalog.js';
export type { CoatData, CoatFiles, CoatOptions } from './catalog/coat.js';
export { COAT_FILES, parseCoat } from './catalog/coat.js';
export type { EmbedOptions, ItemTerms, SavedFeatures, TfidfOptions } from './catalog/item-features.js';
export { ItemFeatures } from './catalog/item-features.js';
export type { LastfmData, LastfmFiles, LastfmOptions } from './catalog/lastfm.js';
export { LASTFM_FILES, parseLastfm } from './catalog/lastfm.js';
export type { MovielensData, MovielensFiles, MovielensOptions } from './catalog/movielens.js';
export { MOVIELENS_FILES, parseMovielens } from './catalog/movielens.js';
export type {
  OwnDataForm,
  OwnInteractions,
  ParseInteractionsOptions,
  ParseItemNumbersOptions,
  ParseItemsOptions,
} from './catalog/own-data.js';
export { parseInteractions, parseItemNumbers, parseItems } from './catalog/own-data.js';
export type { SequenceStatistics, SplitOptions } from './catalog/sequences.js';
export { Sequences } from './catalog/sequences.js';
export type { TextSource } from './catalog/text-source.js';
export type { TrackSequencesOptions, TracksData, TracksFiles, TracksOptions } from './catalog/tracks.js';
export { parseTracks, TRACKS_FILES, trackSequences } from './catalog/tracks.js';

// Whom to ask for preferences.

export type { RecordingCounts } from './oracle/ask-once.js';
export type {
  BatchError,
  BatchOptions,
  BatchReport,
  ExportBatchOptions,
  ImportBatchOptions,
} from './oracle/batch-files.js';
export { batchOracleId, exportBatch, importBatch } from './oracle/batch-files.js';
export type { BudgetCaps, Spending, TokenPrices } from './oracle/budget.js';
export type { BudgetedOracleOptions } from './oracle/budgeted-oracle.js';
export { BudgetedOracle } from './oracle/budgeted-oracle.js';
export type { CachedOracleOptions, KeyValueStore } from './oracle/cached-oracle.js';
export { CachedOracle } from './oracle/cached-oracle.js';
export type { ContentFree, DebiasedOracleOptions, DebiasMethod } from './oracle/debiased-oracle.js';
export { DebiasedOracle } from './oracle/debiased-oracle.js';
export type { EvaluateOracleOptions, EvaluationProgress } from './oracle/evaluate-oracle.js';
export { evaluateOracle } from './oracle/evaluate-oracle.js';
export type { InjectionAudit, InjectionAuditOptions, InjectionFinding } from './oracle/injection-audit.js';
export { injectionAudit } from './oracle/injection-audit.js';
export type { InvalidRateGuardOptions } from './oracle/invalid-rate-guard.js';
export { InvalidRateGuard } from './oracle/invalid-rate-guard.js';
export type {
  Complete,
  CompleteOptions,
  Completion,
  ContinuationScores,
  LabelScores,
  LanguageModel,
  ModelCallOptions,
} from './oracle/language-model.js';
export type { LikelihoodOracleCounts, LikelihoodOracleOptions } from './oracle/likelihood-oracle.js';
export { LikelihoodOracle } from './oracle/likelihood-oracle.js';
export type { LikelihoodTemplate } from './oracle/likelihood-template.js';
export { likelihoodTemplate } from './oracle/likelihood-template.js';
export type { LimitedOracleOptions } from './oracle/limited-oracle.js';
export { LimitedOracle } from './oracle/limited-oracle.js';
export type { LlmOracleCounts, LlmOracleOptions } from './oracle/llm-oracle.js';
export { LlmOracle } from './oracle/llm-oracle.js';
export type { ModelCallSettings } from './oracle/model-calls.js';
export type {
  EvaluationList,
  Negatives,
  NextItemListOptions,
  RatedListOptions,
  UserParts,
} from './oracle/next-item-lists.js';
export { nextItemLists, ratedLists, splitUsers } from './oracle/next-item-lists.js';
export type { FitNoneThresholdOptions, NoneThreshold, Readout, ThresholdList } from './oracle/none-threshold.js';
export { fitNoneThreshold } from './oracle/none-threshold.js';
export type { OracleEvaluation, OracleRow } from './oracle/oracle-evaluation.js';
export type { OracleVerdict } from './oracle/oracle-verdict.js';
export { judgeOracle } from './oracle/oracle-verdict.js';
export type { InvalidReason, ParsedAnswer } from './oracle/parser.js';
export { parseAnswer } from './oracle/parser.js';
export type {
  Meta,
  Preference,
  PreferenceOracle,
  PreferenceQuery,
  PreferOptions,
  Usage,
} from './oracle/preference-oracle.js';
export { preferInBatches } from './oracle/preference-oracle.js';
export type { Table1Options, Table1Prompt, Table1Style } from './oracle/prompt.js';
export { renderTable1 } from './oracle/prompt.js';
export type { ItemRatings, RateItemsOptions, RatingMethod } from './oracle/rate-items.js';
export { rateItems } from './oracle/rate-items.js';
export type { ReadAnswersOptions, RecordedAnswer, RecordedAnswers } from './oracle/recorded-answers.js';
export { readAnswers } from './oracle/recorded-answers.js';
export type { RecordingOracleOptions } from './oracle/recording-oracle.js';
export { RecordingOracle } from './oracle/recording-oracle.js';
export type { ReplayOracleOptions } from './oracle/replay-oracle.js';
export { ReplayOracle } from './oracle/replay-oracle.js';
export type { RetryingOracleOptions } from './oracle/retrying-oracle.js';
export { RetryingOracle } from './oracle/retrying-oracle.js';
export type { Script, ScriptedAnswer, ScriptedOracleOptions } from './oracle/scripted-oracle.js';
export { ScriptedOracle } from './oracle/scripted-oracle.js';
export type {
  BuildSftDatasetOptions,
  SftDataset,
  SftExample,
  SftFile,
  SftForm,
  SftFormat,
  SftManifest,
} from './oracle/sft-dataset.js';
export { buildSftDataset } from './oracle/sft-dataset.js';
export type { SimulatedOracleOptions, SimulatedPopularity } from './oracle/simulated-oracle.js';
export { SimulatedOracle } from './oracle/simulated-oracle.js';
export type { TextScore } from './oracle/text-oracle-score.js';
export { textOracleScore } from './oracle/text-oracle-score.js';

// Policies, how they learn, and the losses they learn by: pure functions that give a loss and its cotangents.

export { ActorCritic } from './agent/actor-critic.js';
export type {
  ActorCriticOptions,
  ActorCriticSettings,
  AlgorithmName,
  HistoryFeatureOptions,
  HistoryFeatureSettings,
} from './agent/agent-model.js';
export type { ContentPolicyOptions } from './agent/content-policy.js';
export { ContentPolicy } from './agent/content-policy.js';
export type { CountingBanditOptions } from './agent/counting-bandit-policy.js';
export { CountingBanditPolicy } from './agent/counting-bandit-policy.js';
export type { EpsilonGreedyOptions, Exploration } from './agent/exploration.js';
export { categorical, epsilonGreedy, greedy } from './agent/exploration.js';
export type { ListSettings } from './agent/list-distillation.js';
export type { A2cInput, A2cLoss } from './agent/losses/a2c.js';
export { a2cLoss } from './agent/losses/a2c.js';
export {
  actorLoss,
  allActionLoss,
  clippedImportanceWeights,
  entropyBonus,
  reinforceLoss,
} from './agent/losses/actor-losses.js';
export type { CriticName, CriticReading } from './agent/losses/critic-losses.js';
export { criticLoss, discountsOf, dqnLoss, tdAdvantage, tdTarget } from './agent/losses/critic-losses.js';
export type { AnyLoss, CombinedLoss, FloatArray, Loss, Merged } from './agent/losses/loss.js';
export { combineLosses } from './agent/losses/loss.js';
export type { MixtureLogProb } from './agent/losses/mixture-log-prob.js';
export { learnerCotangent, mixtureLogProb } from './agent/losses/mixture-log-prob.js';
export type { PpoInput, PpoLoss } from './agent/losses/ppo.js';
export { ppoLoss } from './agent/losses/ppo.js';
export type { Advantages, RolloutInput } from './agent/losses/returns.js';
export { discountedReturns, gae, normaliseAdvantages } from './agent/losses/returns.js';
export type { ListInput } from './agent/losses/supervised-losses.js';
export { binaryCrossEntropy, listLoss } from './agent/losses/supervised-losses.js';
export type { MixtureDecision, ScoringPolicy } from './agent/mixture-policy.js';
export { MixturePolicy } from './agent/mixture-policy.js';
export type { ActMode, ActOptions, Decision, Feedback, Policy, PolicyOptions, Ranking } from './agent/policy.js';
export type { CatalogChange } from './agent/policy-file.js';
export { PopularityPolicy } from './agent/popularity-policy.js';
export type { PpoSettings } from './agent/ppo.js';
export { RandomPolicy } from './agent/random-policy.js';
export type { Recommendation, RecommendOptions } from './agent/recommend.js';
export type { ReplaySettings } from './agent/replay-a2c.js';
export type {
  ReplayBufferOptions,
  Rollout,
  TransitionBatch,
  TransitionColumns,
  TransitionStep,
} from './agent/replay-buffer.js';
export { nextValuesOf, ReplayBuffer } from './agent/replay-buffer.js';
export { RotationPolicy } from './agent/rotation-policy.js';

// State encoders and compute: scores out, cotangents in.

export type { BackendName, BackendOptions, BackendReport } from './compute/backend.js';
export { currentBackend, useBackend } from './compute/backend.js';
export type { EngineVariant } from './compute/fused/engine-variants.js';
export { gatherRows } from './compute/gather-rows.js';
export type { HistoryBatch, HistoryBatchOptions } from './compute/history-batch.js';
export { historyBatch } from './compute/history-batch.js';
export type { DenseText, HistoryFeatureForm, HistoryFeatures, SparseText } from './compute/history-features.js';
export type {
  AskedFor,
  Cotangents,
  Head,
  Kernels,
  NextArrays,
  NextAskedFor,
  NextPart,
  NextScores,
  NextWant,
  OptionalNextPart,
  OptionalValuePart,
  Sampled,
  SampledActions,
  SampleOptions,
  ScoreArrays,
  ScoreOptions,
  Scores,
  TopItems,
  ValuePart,
  Want,
} from './compute/kernels.js';
export type { Mask } from './compute/mask.js';
export type { ModelSpec } from './compute/model.js';
export { normalParameter } from './compute/model.js';
export type { AdamOptions, StepResult } from './compute/optimiser.js';
export { Adam } from './compute/optimiser.js';
export type { Parameter } from './compute/parameter-store.js';
export { ParameterStore } from './compute/parameter-store.js';
export type { TermRows } from './compute/sparse-cosines.js';
export type {
  EncoderInput,
  NamedParameter,
  Parameters,
  SasRecForm,
  StateEncoder,
  StateEncoderForm,
} from './compute/state-encoder.js';
export type { PriorScale } from './encoder/history-features.js';
export type { MeanOptions } from './encoder/mean-encoder.js';
export { mean } from './encoder/mean-encoder.js';
export type { SasRecOptions } from './encoder/sasrec.js';
export { sasRec } from './encoder/sasrec.js';

// Environments, one user at a time or many at once, and what they are made of.

export type { BatchEnv, BatchReset, BatchStep, MaybePromise } from './env/batch-env.js';
export { isBatchEnv } from './env/batch-env.js';
export type { Calibration, CalibrationTarget } from './env/calibrate.js';
export type { CoatEvaluation, CoatWindow } from './env/coat-env.js';
export type { CoOccurrenceOptions, DotProductOptions } from './env/dot-product-model.js';
export { coOccurrenceVectors, DotProductModel } from './env/dot-product-model.js';
export type { Env, EnvReset, EnvStep, LiftOptions } from './env/env.js';
export { liftEnv } from './env/env.js';
export type { EpisodeHistories, EpisodeHistoriesOptions } from './env/episode-histories.js';
export type { EpisodeRules, LaneEnvOptions } from './env/lane-env.js';
export { LaneEnv } from './env/lane-env.js';
export type { DiversityRule, FatigueRule, StochasticRule, TemperRule } from './env/leave-rules.js';
export { INDUSTRY_TEMPER, PLAIN_TEMPER, SYNTHETIC_TEMPER } from './env/leave-rules.js';
export type { LogitModel, RewardModel } from './env/reward-model.js';
export { MAX_REWARD, SigmoidReward } from './env/reward-model.js';
export type { CalibrateRewardOptions, SequenceEnv, SequenceEnvOptions, SequenceSource } from './env/sequence-env.js';
export { calibrateReward, sequenceEnv } from './env/sequence-env.js';
export type { TemperRules, TemperSource } from './env/temper-rules.js';

// Worlds: data, users in splits, rewards, a leave rule, and the rows that every table must show.

export type { AmazonWorldOptions } from './world/amazon-world.js';
export { amazonWorld } from './world/amazon-world.js';
export type { CardProgress, CardRow, WorldCardOptions } from './world/card.js';
export { worldCard } from './world/card.js';
export type { CoatModel, CoatModelOptions, SeenArray } from './world/coat-model.js';
export { fitCoatModel } from './world/coat-model.js';
export type { CoatWorld, CoatWorldOptions } from './world/coat-world.js';
export { coatWorld } from './world/coat-world.js';
export { customWorldSpec, movielensWorldSpec, tracksWorldSpec } from './world/custom-world.js';
export type { EpisodeTrace, TracedStep, TraceOptions } from './world/episode-trace.js';
export { traceEpisode, typicalEpisodes } from './world/episode-trace.js';
export { INDUSTRY_WORLD_TEMPER, industryWorldSpec } from './world/industry-world.js';
export { LFM_TEMPER, lfmWorldSpec } from './world/lfm-world.js';
export type { Planner } from './world/planner.js';
export type { SequenceModelSettings } from './world/sequence-model.js';
export { SEQUENCE_MODEL } from './world/sequence-model.js';
export type {
  BuildSequenceWorldOptions,
  BuildWorldProgress,
  BuiltSequenceWorld,
  SequenceWorld,
  SequenceWorldData,
  SequenceWorldSpec,
  WorldFit,
  WorldFitName,
} from './world/sequence-world.js';
export { buildSequenceWorld, sequenceWorld } from './world/sequence-world.js';
export type {
  StoredCoatWorld,
  StoredSequenceWorld,
  StoredSyntheticWorld,
  StoredWorld,
} from './world/stored-world.js';
export { storedWorld } from './world/stored-world.js';
export type { SyntheticWorldOptions } from './world/synthetic-world.js';
export { syntheticWorld } from './world/synthetic-world.js';
export type { CardPolicy, PlannedEnv, World, WorldEnvOptions, WorldSplit, WorldStarts } from './world/world.js';
export { CARD_POLICIES, WORLD_SPLITS, worldStarts } from './world/world.js';
export type { WorldInput } from './world/world-files.js';
export type { BuildWorldFolderOptions, OpenWorldOptions, SaveWorldOptions, WorldClaim } from './world/world-folder.js';
export {
  buildWorldFolder,
  openWorldCards,
  openWorldFolder,
  saveWorldCard,
  saveWorldFolder,
} from './world/world-folder.js';

// Tables and reports.

export type { Comparison, ComparisonOptions, ComparisonProgress } from './experiment/compare-methods.js';
export { compareMethods } from './experiment/compare-methods.js';
export type { DemoOptions } from './experiment/demo.js';
export { demoWorld, runDemo } from './experiment/demo.js';
export type { PolicyFacts } from './experiment/policy-facts.js';
export type { PresetAgentOptions, WorldPreset } from './experiment/presets.js';
export { catalogPreset, worldPreset } from './experiment/presets.js';
export type { CurvePoint, ReportAssets, ReportCurve, ReportData } from './experiment/report.js';
export { renderReport } from './experiment/report.js';
export type {
  Method,
  Mode,
  RewardSource,
  RowAlgorithm,
  RunRow,
  Window,
} from './experiment/result-schema.js';
export {
  ALGORITHMS as ROW_ALGORITHMS,
  METHODS as ROW_METHODS,
  MODES as ROW_MODES,
  REWARD_SOURCES as ROW_REWARDS,
  WINDOWS as ROW_WINDOWS,
} from './experiment/result-schema.js';
export type {
  AdaptOnWorldOptions,
  AdaptOnWorldResult,
  EvaluateOnWorldOptions,
  PretrainOnWorldOptions,
  PretrainOnWorldResult,
  RunOnWorldOptions,
  RunOnWorldResult,
  RunProgress,
} from './experiment/run-on-world.js';
export { adaptOnWorld, evaluateOnWorld, plannedCalls, pretrainOnWorld } from './experiment/run-on-world.js';

// Errors, randomness, schedules, events, storage.

export type {
  BackendFacts,
  BudgetFacts,
  CheckpointFacts,
  DivergedFacts,
  InvalidArgumentFacts,
  InvalidDataFacts,
  OracleFacts,
  PaidCalls,
} from './foundation/errors.js';
export {
  BackendError,
  BudgetExceededError,
  CheckpointError,
  DisposedError,
  DivergedError,
  IalpError,
  InvalidArgumentError,
  InvalidDataError,
  OracleError,
} from './foundation/errors.js';
export type { EventListener } from './foundation/events.js';
export { EventEmitter } from './foundation/events.js';
export type { JsonValue } from './foundation/json.js';
export type { NamedArray, NamedArrayData, NamedArrays } from './foundation/named-arrays.js';
export type { RngState, RngWords, Shuffled } from './foundation/rng.js';
export { Rng } from './foundation/rng.js';
export type { ExponentialScheduleOptions, LinearScheduleOptions, Schedule } from './foundation/schedules.js';
export { constantSchedule, exponentialSchedule, linearSchedule } from './foundation/schedules.js';
export type { Storage } from './foundation/storage.js';
export { MemoryStorage, prefixedStorage } from './foundation/storage.js';
