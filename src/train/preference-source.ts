import type { ActorCritic } from '../agent/actor-critic.js';
import { historyBatch } from '../compute/history-batch.js';
import type { Mask } from '../compute/mask.js';
import { CheckpointError, OracleError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { Rng } from '../foundation/rng.js';
import { type PreferenceOracle, preferInBatches } from '../oracle/preference-oracle.js';
import { AnswerJudge } from './answer-judge.js';
import { drawCandidates } from './draw-candidates.js';
import { EpisodeColumns } from './episode-columns.js';
import type { TrainingEmitter } from './training-events.js';
import type { ExperienceSource, SourceStep, StepContext } from './training-loop.js';

/** A start of simulated episodes, in item indices. */
export interface IndexedStart {
  /** x1: the items a user begins with; may be empty. */
  readonly history: readonly number[];
  /** The user context, `contextWidth` numbers. */
  readonly context?: readonly number[] | undefined;
  /** What the oracle is told of the user. */
  readonly text?: string | undefined;
}

/** How the k candidates of a question are drawn. */
export interface CandidateOptions {
  /** k, 2 to 25. */
  readonly count: number;
  /** Share of the k that the actor draws, 0 to 1; the rest is uniform. */
  readonly actorShare: number;
  /** Whether the actor's are sampled without replacement, or its top ones. */
  readonly actor: 'sample' | 'topK';
  /** Share of the budget during which all k are uniform, 0 to 1. */
  readonly uniformShare: number;
}

interface Lane {
  start: number;
  history: number[];
  steps: number;
  rewards: number;
  /** Whether what this user answers is held out. */
  heldOut: boolean;
}

/** Experience from an oracle: Algorithm 1, lines 5-12, for B simulated users at once. */
export class PreferenceSource implements ExperienceSource {
  readonly mask: Mask = { noRepeat: true };
  readonly isSaved = true;
  readonly #agent: ActorCritic;
  readonly #oracle: PreferenceOracle;
  readonly #starts: readonly IndexedStart[];
  readonly #candidates: CandidateOptions;
  readonly #stepsPerEpisode: number;
  readonly #totalSteps: number;
  readonly #heldOutShare: number;
  readonly #seed: number;
  readonly #judge: AnswerJudge;
  readonly #signal: AbortSignal | undefined;
  readonly #lanes: Lane[];
  #episodes = 0;
  #order = { pass: -1, starts: new Int32Array(0) };

  constructor(options: {
    readonly agent: ActorCritic;
    readonly oracle: PreferenceOracle;
    readonly starts: readonly IndexedStart[];
    readonly candidates: CandidateOptions;
    readonly lanes: number;
    readonly stepsPerEpisode: number;
    readonly totalSteps: number;
    readonly maxInvalidRate: number;
    /** Share of the simulated users whose answers are held out. */
    readonly heldOutShare: number;
    readonly seed: number;
    readonly events?: TrainingEmitter | undefined;
    readonly signal?: AbortSignal | undefined;
  }) {
    this.#agent = options.agent;
    this.#oracle = options.oracle;
    this.#starts = options.starts;
    this.#candidates = options.candidates;
    this.#stepsPerEpisode = options.stepsPerEpisode;
    this.#totalSteps = options.totalSteps;
    this.#heldOutShare = options.heldOutShare;
    this.#seed = options.seed;
    this.#judge = new AnswerJudge({
      phase: 'pretrain',
      oracleId: options.oracle.id,
      maxInvalidRate: options.maxInvalidRate,
      events: options.events,
    });
    this.#signal = options.signal;
    const idle = () => ({ start: 0, history: [], steps: 0, rewards: 0, heldOut: false });
    this.#lanes = Array.from({ length: options.lanes }, idle);
  }

  async start(): Promise<void> {
    for (const lane of this.#lanes) this.#begin(lane);
  }

  async step({ buffer, rng, steps }: StepContext): Promise<SourceStep> {
    const lanes = this.#lanes;
    const K = this.#candidates.count;
    const contextWidth = this.#agent.settings.contextWidth;
    // The last questions of a budget go to the first lanes alone.
    const asking = Math.min(lanes.length, this.#totalSteps - steps);
    const histories = historyBatch(
      lanes.map((lane) => lane.history),
      contextWidth > 0
        ? { context: lanes.map((lane) => this.#startOf(lane).context ?? new Array<number>(contextWidth).fill(0)) }
        : {},
    );
    const { actorShare, actor, uniformShare } = this.#candidates;
    const fromActor = steps / this.#totalSteps < uniformShare ? 0 : Math.round(K * actorShare);
    const candidates = drawCandidates(this.#agent, histories, { count: K, fromActor, actor }, this.mask, rng);
    // One draw a lane whether it is needed or not, so that an answer changes no other lane's draws.
    const whenNone = Int32Array.from({ length: lanes.length }, () => rng.integer(K));
    const queries = lanes.slice(0, asking).map((lane, b) => {
      const { text } = this.#startOf(lane);
      return {
        history: [...lane.history],
        candidates: [...candidates.subarray(b * K, (b + 1) * K)],
        ...(text === undefined ? {} : { context: text }),
      };
    });
    const answers = await preferInBatches(this.#oracle, queries, this.#signal ? { signal: this.#signal } : {});
    if (answers.length !== queries.length) {
      throw new OracleError(`${this.#oracle.id}: expected ${queries.length} answers, got ${answers.length}`);
    }
    this.#judge.judge(queries, answers, steps);

    const actions = new Int32Array(lanes.length);
    const rewards = new Float32Array(lanes.length);
    const truncated = new Uint8Array(lanes.length);
    const choices = new Int32Array(lanes.length).fill(-1);
    const rows = new Uint8Array(lanes.length);
    const ended = new EpisodeColumns();
    const over: Lane[] = [];
    for (const [b, answer] of answers.entries()) {
      const lane = lanes[b] as Lane;
      const shown = candidates.subarray(b * K, (b + 1) * K);
      if (answer.kind === 'invalid' || answer.kind === 'failed') continue;
      // Eqs. 2-3: the option named and 1, or for None one of the k at random and 0.
      const choice = answer.kind === 'choice' ? shown.indexOf(answer.choice) : K;
      rows[b] = 1;
      choices[b] = choice;
      rewards[b] = choice < K ? 1 : 0;
      actions[b] = shown[choice < K ? choice : (whenNone[b] as number)] as number;
      lane.steps++;
      lane.rewards += rewards[b] as number;
      if (lane.steps >= this.#stepsPerEpisode) {
        truncated[b] = 1;
        ended.push(b, lane.rewards, lane.steps);
        over.push(lane);
      }
    }
    const idle = new Float32Array(lanes.length);
    buffer.add({
      histories,
      actions,
      rewards,
      terminated: new Uint8Array(lanes.length),
      truncated,
      logProb: idle,
      candidates,
      choices,
      rows,
      heldOut: Uint8Array.from(lanes, ({ heldOut }) => (heldOut ? 1 : 0)),
    });
    for (const [b, lane] of lanes.entries()) if (rows[b]) lane.history.push(actions[b] as number);
    for (const lane of over) this.#begin(lane);
    return { steps: asking, oracleCalls: asking, ended };
  }

  saveState(): JsonValue {
    return {
      lanes: this.#lanes.map((lane) => ({ ...lane, history: [...lane.history] })),
      episodes: this.#episodes,
    };
  }

  restoreState(state: JsonValue): void {
    const saved = state as unknown as { readonly lanes: Lane[]; readonly episodes: number };
    if (saved.lanes.length !== this.#lanes.length) {
      throw new CheckpointError(`checkpoint: expected ${this.#lanes.length} lanes, got ${saved.lanes.length}`);
    }
    for (const [b, lane] of saved.lanes.entries()) Object.assign(this.#lanes[b] as Lane, lane);
    this.#episodes = saved.episodes;
    // Judged anew by each process: an oracle that was mended in between must get its chance.
    this.#judge.forget();
  }

  async restart(): Promise<void> {
    // saveState always has something to say, so the loop never asks for this.
  }

  /** Line 5: every start once in a seeded order, then again in another. */
  #begin(lane: Lane): void {
    const n = this.#starts.length;
    lane.start = this.#orderOf(Math.floor(this.#episodes / n))[this.#episodes % n] as number;
    lane.history = [...this.#startOf(lane).history];
    lane.steps = 0;
    lane.rewards = 0;
    // Evenly over the users, who come in a seeded order: the share of any number of them is right to one.
    const share = this.#heldOutShare;
    lane.heldOut = Math.floor((this.#episodes + 1) * share) > Math.floor(this.#episodes * share);
    this.#episodes++;
  }

  /** The order of the starts in a pass; the last one asked for is kept, since every episode asks. */
  #orderOf(pass: number): Int32Array {
    if (this.#order.pass !== pass) {
      const starts = Int32Array.from({ length: this.#starts.length }, (_, i) => i);
      this.#order = { pass, starts: new Rng(this.#seed).fork(`starts/${pass}`).shuffle(starts) };
    }
    return this.#order.starts;
  }

  #startOf(lane: Lane): IndexedStart {
    return this.#starts[lane.start] as IndexedStart;
  }
}
