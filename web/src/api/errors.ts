// Errors as people read them. The server's own words are kept where it has some.

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number, // of HTTP; 0: the server was not reached
    readonly code: string,
    readonly param: string | null = null,
    readonly retryAfter: number | null = null, // seconds
  ) {
    super(message);
    this.name = "ApiError";
  }
}

const kWords: Record<number, string> = {
  401: "This server asks for a token.",
  403: "The server refuses this address. Open the page by the address that it printed when it started.",
  404: "That is not there any more.",
  408: "The server waited too long for this request. Try again.",
  409: "That has already ended.",
  413: "That is too large for the server. Shorten the prompt.",
  414: "That search is too long.",
  429: "The queue is full.",
  500: "Something failed inside the server. Its log says more.",
  503: "The server is not ready to draw yet, or is shutting down.",
};

export function wait(seconds: number): string {
  const n = Math.max(1, Math.round(seconds));
  if (n < 90) return n === 1 ? "a second" : `${n} seconds`;
  const minutes = Math.round(n / 60);
  return minutes < 90 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
}

// body: what came back, parsed if it was JSON.
export function errorOf(status: number, body: unknown, retryAfter: string | null): ApiError {
  const error = (body as { error?: { message?: unknown; code?: unknown; param?: unknown } } | null)?.error;
  const text = (value: unknown) => (typeof value === "string" && value ? value : null);
  const seconds = retryAfter !== null && /^\d+$/.test(retryAfter.trim()) ? Number(retryAfter) : null;
  let message = text(error?.message) ?? kWords[status] ?? `The server answered ${status}, which this page does not understand.`;
  if (status === 429 && seconds !== null) message = `${message.replace(/\.?$/, ".")} Try again in ${wait(seconds)}.`;
  return new ApiError(message, status, text(error?.code) ?? "http_" + status, text(error?.param), seconds);
}

export const unreachable = (): ApiError =>
  new ApiError("The server does not answer. Is it still running?", 0, "unreachable");

export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
