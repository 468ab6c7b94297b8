import { describe, expect, it } from "vitest";
import { errorOf } from "../src/api/errors";
import { queryString } from "../src/api/client";
import { EventParser } from "../src/api/sse";
import { backOff, kFirstDelay, kLastDelay } from "../src/api/stream";

const kStream = ': hello\r\n\r\nevent: state\r\ndata: {"id":"1"}\r\n\r\ndata:two\rdata: lines\r\rid: 4\n: note\n\nevent: progress\ndata: {}\n\ndata: cut off';
const kEvents = [
  { event: "state", data: '{"id":"1"}' },
  { event: "message", data: "two\nlines" },
  { event: "progress", data: "{}" },
];

describe("event streams", () => {
  it("are read whole", () => expect(new EventParser().push(kStream)).toEqual(kEvents));
  it("are the same wherever the network cuts them", () => {
    for (let cut = 0; cut <= kStream.length; cut += 1) {
      const parser = new EventParser();
      expect([...parser.push(kStream.slice(0, cut)), ...parser.push(kStream.slice(cut))]).toEqual(kEvents);
    }
    const parser = new EventParser();
    expect([...kStream].flatMap((c) => parser.push(c))).toEqual(kEvents);
  });
  it("take one space after the colon, and fields without a value", () => {
    expect(new EventParser().push("data:  x\ndata\n\n")).toEqual([{ event: "message", data: " x\n" }]);
  });
  it("are asked for again ever later, within bounds", () => {
    expect(backOff(1, 0.5)).toBe(kFirstDelay);
    expect(backOff(3, 0.5)).toBe(4 * kFirstDelay);
    expect(backOff(50, 0.5)).toBe(kLastDelay);
    expect(backOff(1, 0)).toBeLessThan(backOff(1, 0.999));
  });
});

describe("errors", () => {
  it("keep the server's words", () => {
    const error = errorOf(400, { error: { code: "invalid_argument", message: "Width must be even.", param: "size" } }, null);
    expect([error.message, error.code, error.param]).toEqual(["Width must be even.", "invalid_argument", "size"]);
  });
  it("have words where the server has none", () => {
    expect(errorOf(413, null, null).message).toMatch(/too large/);
    expect(errorOf(418, "tea", null).message).toContain("418");
  });
  it("say when to come back", () => {
    expect(errorOf(429, { error: { message: "The queue is full" } }, "12").message).toBe("The queue is full. Try again in 12 seconds.");
    expect(errorOf(429, null, "300").message).toBe("The queue is full. Try again in 5 minutes.");
    expect(errorOf(429, null, "Sun, 29 Nov 2026 14:00:00 GMT").retryAfter).toBeNull();
  });
});

describe("queries", () => {
  it("leave out what is empty and escape the rest", () => expect(queryString({ q: "a&b c", status: "", limit: 5 })).toBe("?q=a%26b+c&limit=5"));
  it("may be none", () => expect(queryString({})).toBe(""));
});
