import { OracleError, type OracleFacts } from '../foundation/errors.js';

const MAX_MESSAGE_LENGTH = 300;

/** Shorter texts would be found in any message. */
const SHORTEST_SECRET = 4;

/** The HTTP status that an error of a back-end carries, by the names in use (fetch wrappers, AI SDK, axios); undefined when none. */
function statusOf(error: unknown): number | undefined {
  const { status, statusCode, response } = fields(error);
  for (const value of [status, statusCode, fields(response).status]) {
    if (typeof value === 'number' && Number.isInteger(value)) return value;
  }
  return undefined;
}

/**
 * Whether a failed call may succeed when repeated: network errors and time-outs (no status), 408, 409, 429 and 5xx. A request
 * that the server understood and refused (400, 401, 403, 404…) is never repeated.
 */
export function isRetryable(error: unknown): boolean {
  const status = statusOf(error);
  // A ReferenceError is a mistake in the program of `complete`; a TypeError is what fetch throws when the network is down.
  return isPassingStatus(status) && !(status === undefined && error instanceof ReferenceError);
}

/** Whether an HTTP status says that the same request may succeed later; undefined (no answer came) does. */
export function isPassingStatus(status: number | undefined): boolean {
  return status === undefined || status === 408 || status === 409 || status === 429 || status >= 500;
}

/** The wait that a server asked for in its Retry-After header (seconds or a date), in milliseconds; undefined when none. */
export function retryAfterMs(error: unknown): number | undefined {
  const { headers, responseHeaders, response, retryAfterMs: known } = fields(error);
  if (typeof known === 'number' && known >= 0) return known;
  for (const source of [headers, responseHeaders, fields(response).headers]) {
    const value = source instanceof Headers ? source.get('retry-after') : fields(source)['retry-after'];
    if (typeof value !== 'string' && typeof value !== 'number') continue;
    const seconds = Number(value);
    if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
    const date = Date.parse(String(value));
    if (Number.isFinite(date)) return Math.max(0, date - Date.now());
  }
  return undefined;
}

/** What the operating system says of connections that were never made. */
const UNSENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** Whether a failure says that its request never left. */
export function isUnsent(error: unknown): boolean {
  const { code, cause } = fields(error);
  return [code, fields(cause).code].some((said) => typeof said === 'string' && UNSENT.has(said));
}

/** Whether a failed call may be billed: it reached the server, for all we know, and was not refused. */
export function mayBeBilled(error: unknown): boolean {
  if (error instanceof OracleError && error.lost !== undefined) return error.lost > 0;
  const status = statusOf(error);
  return (status === undefined || status < 300) && !isUnsent(error);
}

/**
 * A back-end's error as `OracleError`: its name, the start of its message and its status. Errors of clients carry the request, its
 * headers and its key; none of these fields comes along, and what was asked is cut out of the message, as it is or as JSON.
 *
 * @param secrets - the texts asked about.
 * @param made - the calls made so far, and what is known of their cost.
 */
export function failureOf(
  error: unknown,
  secrets: readonly string[],
  made: Required<Pick<OracleFacts, 'attempts' | 'lost' | 'paid'>>,
): OracleError {
  const known = error instanceof Error ? error : undefined;
  let said = known?.message ?? String(error);
  for (const secret of secrets) {
    if (secret.trim().length < SHORTEST_SECRET) continue;
    said = said.replaceAll(secret, '[prompt]').replaceAll(JSON.stringify(secret).slice(1, -1), '[prompt]');
  }
  const message = said.replace(/\s+/gu, ' ').slice(0, MAX_MESSAGE_LENGTH);
  const status = statusOf(error);
  const wait = retryAfterMs(error);
  const name = known === undefined ? typeof error : known.name;
  const cause = new Error(message);
  cause.name = name;
  return new OracleError(`The language model did not answer (attempt ${made.attempts}): ${message}`, {
    ...made,
    cause,
    ...(status === undefined ? {} : { status }),
    ...(wait === undefined ? {} : { retryAfterMs: wait }),
  });
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
