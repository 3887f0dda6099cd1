import { DisposedError, OracleError } from '../foundation/errors.js';
import { isUnsent, retryAfterMs } from '../oracle/back-end-failure.js';
import { orAbort } from '../oracle/or-abort.js';
import { at } from './wire.js';

/** A `fetch` as it is called here: the platform's, or one of your own (a proxy, a certificate, a test). */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Where and how an {@link HttpClient} asks; checked by who makes it. */
export interface HttpClientSettings {
  /** Scheme, host and path before the API's own paths; no user, query or slash at the end. */
  readonly root: string;
  /** Bearer token, or who gives it at each call. */
  readonly apiKey: string | (() => string | Promise<string>) | undefined;
  /** Further headers of each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** The platform's where undefined. */
  readonly fetch: Fetch | undefined;
  /** For one request, its body read and its key fetched. */
  readonly timeoutMs: number;
  /** Longest answer that is read. */
  readonly maxResponseBytes: number;
}

/** Longest error body that is looked at for the server's error code. */
const MAX_ERROR_BYTES = 65_536;

/** Error codes and types that servers are known to give. Others are not repeated: they may be made of what was sent. */
const SERVER_CODES = new Set([
  'BadRequestError',
  'NotFoundError',
  'authentication_error',
  'billing_not_active',
  'content_filter',
  'context_length_exceeded',
  'exceed_context_size_error',
  'insufficient_quota',
  'invalid_api_key',
  'invalid_request_error',
  'model_not_found',
  'not_found_error',
  'not_supported_error',
  'overloaded_error',
  'permission_error',
  'rate_limit_exceeded',
  'server_error',
  'unavailable_error',
  'unsupported_parameter',
  'unsupported_value',
]);

/** Of the operating system and of undici: `ECONNREFUSED`, `UND_ERR_SOCKET`. */
const SYSTEM_CODE = /^(?:E[A-Z]{3,20}|UND_ERR_[A-Z_]{1,30}|CERT_[A-Z_]{1,40}|[A-Z_]{1,30}_CERT[A-Z_]{0,30})$/u;

/**
 * Asks one server for JSON. Every request ends: with the answer, or with an `OracleError` (status, `retryAfterMs`) whose text holds
 * nothing of the request, of its headers, or of the answer. Redirects are refused, for they would carry the key elsewhere.
 */
export class HttpClient {
  readonly #settings: HttpClientSettings;
  readonly #origin: string;
  readonly #open = new Set<AbortController>();
  #closed = false;

  /** @param settings - checked. */
  constructor(settings: HttpClientSettings) {
    this.#settings = settings;
    this.#origin = new URL(settings.root).origin;
  }

  /** Scheme, host and port: what messages may name. */
  get origin(): string {
    return this.#origin;
  }

  /**
   * @param method - `POST` with a JSON body, or `GET`.
   * @param path - of the API, with the slash before it.
   * @param body - becomes JSON; undefined for `GET`.
   * @param signal - the caller's abort.
   * @returns the answer's JSON, unchecked.
   * @throws {OracleError} for everything that is no JSON answer with status 2xx within the time-out.
   * @throws {DisposedError} after {@link HttpClient.close}.
   * @throws `signal.reason` on abort.
   */
  async request(
    method: 'GET' | 'POST',
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    if (this.#closed) throw new DisposedError('OpenAICompatibleModel');
    signal?.throwIfAborted();
    const { timeoutMs } = this.#settings;
    const call = new AbortController();
    // Not a listener on the caller's signal: Node warns of more than ten, and a call may be many requests.
    const ended = signal === undefined ? call.signal : AbortSignal.any([call.signal, signal]);
    const timer = setTimeout(() => {
      call.abort(new OracleError(`${this.#name(method, path)} gave no whole answer within timeoutMs = ${timeoutMs}`));
    }, timeoutMs);
    this.#open.add(call);
    try {
      return await orAbort(this.#exchange(method, path, body, ended), ended);
    } finally {
      clearTimeout(timer);
      this.#open.delete(call);
    }
  }

  /** Fetches the key once and throws it away, so that a key that cannot be sent is told before anything is asked. */
  async checkKey(signal: AbortSignal | undefined): Promise<void> {
    await orAbort(this.#headers(false), signal);
  }

  /** Ends what is open, whose requests reject with `DisposedError`; later ones do too. */
  close(): void {
    this.#closed = true;
    for (const call of this.#open) call.abort(new DisposedError('OpenAICompatibleModel'));
  }

  #name(method: string, path: string): string {
    return `${method} ${path} of ${this.#origin}`;
  }

  async #exchange(method: string, path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    const name = this.#name(method, path);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const { root, maxResponseBytes, fetch = globalThis.fetch } = this.#settings;
    const headers = await this.#headers(text !== undefined);
    signal.throwIfAborted();
    let response: Response;
    try {
      response = await fetch(`${root}${path}`, {
        method,
        headers,
        redirect: 'error',
        signal,
        ...(text === undefined ? {} : { body: text }),
      });
    } catch (error) {
      signal.throwIfAborted();
      throw networkError(name, error);
    }
    if (!response.ok) throw await this.#refusal(name, response, signal);
    const type = response.headers.get('content-type') ?? 'application/json';
    if (!/\bjson\b/iu.test(type)) {
      void response.body?.cancel().catch(() => {});
      const kind = /^[a-z]+\/[a-z0-9.+-]{1,40}/iu.exec(type)?.[0] ?? 'another type';
      throw new OracleError(`${name} answered with ${kind} instead of JSON: check \`url\``, {
        status: response.status,
      });
    }
    const answer = await readText(response, maxResponseBytes, name, signal);
    try {
      return JSON.parse(answer);
    } catch {
      // The parser's message quotes the text.
      throw new OracleError(`${name} answered with ${answer.length} characters that are no whole JSON`);
    }
  }

  async #headers(hasBody: boolean): Promise<Headers> {
    const { apiKey, headers: given } = this.#settings;
    let key: unknown;
    try {
      key = typeof apiKey === 'function' ? await apiKey() : apiKey;
    } catch (error) {
      const kind = error instanceof Error ? error.name : typeof error;
      throw new OracleError(`\`apiKey\` threw (${kind}): no request was made`, { lost: 0 });
    }
    if (typeof apiKey === 'function' && (typeof key !== 'string' || key === ''))
      throw new OracleError('`apiKey` gave no key: expected it to return a string that is not empty', { lost: 0 });
    const headers = new Headers();
    const all = { ...(key === undefined ? {} : { authorization: `Bearer ${String(key)}` }), ...given };
    for (const [header, value] of Object.entries(all)) {
      try {
        headers.set(header, value);
      } catch {
        // The platform's message quotes the value.
        throw new OracleError(
          `the value of the header ${header} holds a line break or another character that HTTP forbids`,
        );
      }
    }
    headers.set('accept', 'application/json');
    if (hasBody) headers.set('content-type', 'application/json');
    return headers;
  }

  async #refusal(name: string, response: Response, signal: AbortSignal): Promise<OracleError> {
    const { status } = response;
    let code: string | undefined;
    try {
      code = codeOf(JSON.parse(await readText(response, MAX_ERROR_BYTES, name, signal)));
    } catch {
      signal.throwIfAborted();
    }
    const wait = retryAfterMs({ headers: response.headers });
    return new OracleError(
      `${name} answered HTTP ${status}${code === undefined ? '' : ` (${code})`}${advice(status)}`,
      {
        status,
        ...(wait === undefined ? {} : { retryAfterMs: wait }),
      },
    );
  }
}

function advice(status: number): string {
  if (status === 401 || status === 403) return ': check `apiKey`';
  if (status === 404 || status === 405) return ': check `url` (without /v1) and that the server has the `model`';
  if (status === 429) return ': too many requests, or no budget left';
  if (status >= 500) return ': the server failed';
  if (status >= 300 && status < 400) return ': redirects are not followed; check `url`';
  return ': the server refused the request';
}

function networkError(name: string, error: unknown): OracleError {
  const cause = (error as { cause?: { code?: unknown; message?: unknown } } | undefined)?.cause;
  if (cause?.message === 'unexpected redirect')
    return new OracleError(`${name} answered with a redirect, which is not followed: check \`url\``);
  const code = typeof cause?.code === 'string' && SYSTEM_CODE.test(cause.code) ? ` (${cause.code})` : '';
  const message = `${name} could not be reached${code}: check \`url\` and that the server runs`;
  return new OracleError(message, isUnsent(error) ? { lost: 0 } : {});
}

/** The server's own name for an error, where it is a known one. */
function codeOf(answer: unknown): string | undefined {
  return [at(answer, 'error', 'code'), at(answer, 'error', 'type')].find(
    (code): code is string => typeof code === 'string' && SERVER_CODES.has(code),
  );
}

/** The body as text, at most `maxBytes` of it: a longer one is dropped unread. */
async function readText(response: Response, maxBytes: number, name: string, signal: AbortSignal): Promise<string> {
  const { body, status } = response;
  if (body === null) return '';
  const reader = body.getReader();
  const drop = (): void => void reader.cancel().catch(() => {});
  signal.addEventListener('abort', drop, { once: true });
  try {
    const decoder = new TextDecoder();
    let text = '';
    let bytes = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes += value.byteLength;
      if (bytes > maxBytes) {
        drop();
        throw new OracleError(`${name} answered with more than maxResponseBytes = ${maxBytes} bytes`, { status });
      }
      text += decoder.decode(value, { stream: true });
    }
    signal.throwIfAborted();
    return text + decoder.decode();
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof OracleError ? error : new OracleError(`${name} broke off its answer`);
  } finally {
    signal.removeEventListener('abort', drop);
  }
}
