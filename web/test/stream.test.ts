import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cancelJob, createJob, listJobs, setToken, whenUnauthorized } from "../src/api/client";
import { ApiError } from "../src/api/errors";
import { EventStream, kFirstDelay, kSilence, type Link } from "../src/api/stream";

type Answer = () => Promise<Response>;
let answers: Answer[] = [];
let asked: { path: string; init: RequestInit }[] = [];

// A response whose body the test writes to; the body ends when the request is aborted, as in a browser.
function open(): { answer: Answer; send: (text: string) => void; end: () => void } {
  let control!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (c) => void (control = c) });
  return {
    answer: () => {
      asked.at(-1)?.init.signal?.addEventListener("abort", () => control.error(new DOMException("", "AbortError")));
      return Promise.resolve(new Response(body));
    },
    send: (text) => control.enqueue(new TextEncoder().encode(text)),
    end: () => control.close(),
  };
}
const refused: Answer = () => Promise.reject(new TypeError("network"));
const json = (status: number, body: unknown): Answer => () => Promise.resolve(new Response(JSON.stringify(body), { status }));

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  answers = [];
  asked = [];
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    asked.push({ path, init });
    return (answers.shift() ?? refused)();
  });
});
afterEach(() => {
  setToken(null);
  whenUnauthorized(() => {});
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function watch(): { stream: EventStream; log: string[] } {
  const log: string[] = [];
  const stream = new EventStream("/api/events", {
    event: (event) => log.push(`${event.event} ${event.data}`),
    link: (link: Link, wait) => log.push(wait ? `${link} ${wait}` : link),
    connected: () => log.push("connected"),
  });
  return { stream, log };
}
const settle = () => vi.advanceTimersByTimeAsync(0);

describe("the stream of events", () => {
  it("tells events as they come, and connects again when the server ends it", async () => {
    const [first, second] = [open(), open()];
    answers = [first.answer, second.answer];
    const { stream, log } = watch();
    stream.start();
    await settle();
    first.send("event: state\nda");
    first.send('ta: {"id":"1"}\n\n');
    await settle();
    first.end();
    await settle();
    await vi.advanceTimersByTimeAsync(kFirstDelay);
    second.send("data: x\n\n");
    await settle();
    expect(log).toEqual(["connecting", "live", "connected", 'state {"id":"1"}', `waiting ${kFirstDelay}`, "connecting", "live", "connected", "message x"]);
    stream.close();
  });
  it("waits longer each time, and starts over once it was live", async () => {
    const live = open();
    answers = [refused, refused, live.answer];
    const { stream, log } = watch();
    stream.start();
    await vi.advanceTimersByTimeAsync(3 * kFirstDelay);
    live.end();
    await settle();
    expect(log.filter((line) => line.startsWith("waiting"))).toEqual([kFirstDelay, 2 * kFirstDelay, kFirstDelay].map((ms) => `waiting ${ms}`));
    stream.close();
  });
  it("gives up a line that has gone silent, and not one that is kept open", async () => {
    const line = open();
    answers = [line.answer];
    const { stream, log } = watch();
    stream.start();
    await settle();
    await vi.advanceTimersByTimeAsync(kSilence - 1);
    line.send(": still here\n\n");
    await vi.advanceTimersByTimeAsync(kSilence - 1);
    expect(log.at(-1)).toBe("connected");
    await vi.advanceTimersByTimeAsync(2);
    expect(log.at(-1)).toBe(`waiting ${kFirstDelay}`);
    stream.close();
  });
  it("does not ask again without a token that is wanted", async () => {
    answers = [json(401, { error: { message: "A token, please." } })];
    const wanted = vi.fn();
    whenUnauthorized(wanted);
    const { stream, log } = watch();
    stream.start();
    await vi.advanceTimersByTimeAsync(120_000);
    expect([log, asked.length, wanted.mock.calls.length]).toEqual([["connecting", "refused"], 1, 1]);
  });
  it("is quiet after it was closed", async () => {
    answers = [refused];
    const { stream } = watch();
    stream.start();
    await settle();
    stream.close();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(asked.length).toBe(1);
  });
});

describe("requests", () => {
  const header = (name: string) => new Headers(asked.at(-1)?.init.headers).get(name);
  it("carry the token and JSON", async () => {
    setToken("sesame");
    answers = [json(201, { id: "1" })];
    expect(await createJob({ prompt: "a fox" })).toEqual({ id: "1" });
    expect([asked[0]?.path, header("Authorization"), header("Content-Type"), asked[0]?.init.body]).toEqual(["/api/jobs", "Bearer sesame", "application/json", '{"prompt":"a fox"}']);
  });
  it("escape ids", async () => {
    answers = [json(200, {})];
    await cancelJob("../x");
    expect(asked[0]?.path).toBe("/api/jobs/..%2Fx/cancel");
  });
  it("fail in words", async () => {
    await expect(listJobs({})).rejects.toThrow("The server does not answer.");
    answers = [json(400, { error: { code: "invalid_argument", message: "limit: expected a number", param: "limit" } })];
    const error: unknown = await listJobs({ limit: 0 }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ message: "limit: expected a number", status: 400, param: "limit" });
    answers = [() => Promise.resolve(new Response("<html>", { status: 502 }))];
    await expect(listJobs({})).rejects.toThrow("502");
  });
});
