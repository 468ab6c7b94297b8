// The endless stream of all jobs' events; connects again by itself, later each time it fails.
import { request } from "./client";
import { ApiError } from "./errors";
import { EventParser, type ServerEvent } from "./sse";

export type Link = "connecting" | "live" | "waiting" | "refused";

export const kFirstDelay = 500;
export const kLastDelay = 30_000;
export const kSilence = 45_000; // three of the server's comment lines missed: the line is dead

// Milliseconds before attempt `failures` + 1; random in [0, 1) spreads pages that lost one server.
export function backOff(failures: number, random: number): number {
  const delay = Math.min(kLastDelay, kFirstDelay * 2 ** Math.max(0, failures - 1));
  return Math.round(delay * (0.75 + 0.5 * random));
}

export interface StreamHandlers {
  event(event: ServerEvent): void;
  link(link: Link, retryInMs: number): void;
  connected(): void; // each time: what was missed must be asked for
}

export class EventStream {
  private abort: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private closed = false;

  constructor(private readonly path: string, private readonly handlers: StreamHandlers) {}

  start(): void {
    this.closed = false;
    clearTimeout(this.timer);
    this.abort?.abort();
    void this.run();
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    this.abort?.abort();
  }

  private async run(): Promise<void> {
    const abort = (this.abort = new AbortController());
    this.handlers.link("connecting", 0);
    try {
      const response = await request(this.path, { signal: abort.signal, headers: { Accept: "text/event-stream" } });
      this.failures = 0;
      this.handlers.link("live", 0);
      this.handlers.connected();
      await this.read(response, abort);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        if (this.abort === abort) this.handlers.link("refused", 0);
        return; // start() comes with the token
      }
    }
    if (this.closed || this.abort !== abort) return;
    this.failures += 1;
    const delay = backOff(this.failures, Math.random());
    this.handlers.link("waiting", delay);
    this.timer = setTimeout(() => this.start(), delay);
  }

  private async read(response: Response, abort: AbortController): Promise<void> {
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    if (!reader) return;
    const parser = new EventParser();
    let silence = setTimeout(() => abort.abort(), kSilence);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), kSilence);
        for (const event of parser.push(value)) this.handlers.event(event);
      }
    } finally {
      clearTimeout(silence);
    }
  }
}
