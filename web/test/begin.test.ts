import { afterEach, describe, expect, it } from "vitest";
import type { Info, KeptPicture, NewJob } from "../src/api/types";
import { addBegin, askedFor, begin, beginProblems } from "../src/begin/begin";
import { brightnessToOpacity, isPainted, painted } from "../src/begin/mask";
import { emptyDraft } from "../src/state/draft";

const info = (able: boolean): Info => ({
  version: "1", device: "cpu", precision: "int8", limits: { count: 4, prompt_bytes: 100, pixels: 512 * 512, steps: 50, upload_bytes: 1000 }, loras: [],
  models: [{ name: "mini", default: true, default_width: 256, default_height: 256, multiple_of: 16, default_steps: 24, presets: [], masks: [], negative_prompt: false, guidance: true, progressive: true, init_image: able, loaded: true }],
});
const from = (source: Blob | KeptPicture) => begin.set({ source, url: "", width: 4, height: 4 });
const bytes = (...values: number[]) => new Uint8ClampedArray(values);

afterEach(() => begin.set(null));

describe("a picture to begin from", () => {
  it("is sent as a file, or by the id under which the server has it", async () => {
    const job: NewJob = { prompt: "a fox" };
    expect(await addBegin(job, emptyDraft())).toEqual({});
    expect(job).toEqual({ prompt: "a fox" });
    const kept = { id: "0".repeat(64), width: 4, height: 4 };
    from(kept);
    expect(await addBegin(job, { ...emptyDraft(), strength: 0.3 })).toEqual({});
    expect(job).toEqual({ prompt: "a fox", init_image: kept, strength: 0.3 });
    const file = new Blob(["x"]);
    from(file);
    const other: NewJob = { prompt: "a fox" };
    expect(await addBegin(other, emptyDraft())).toEqual({ init_image: file });
    expect(other).toEqual({ prompt: "a fox", strength: 0.6 });
  });
  it("has no first steps at half size", () => {
    expect(askedFor({ ...emptyDraft(), progressive: "0.4" }).progressive).toBe("0.4");
    from(new Blob(["x"]));
    expect(askedFor({ ...emptyDraft(), progressive: "0.4" }).progressive).toBe("");
  });
  it("needs a model that takes one, and a file that is not too large", () => {
    expect(beginProblems(emptyDraft(), info(false))).toEqual({});
    from(new Blob(["x".repeat(1001)]));
    expect(beginProblems(emptyDraft(), info(false)).init_image).toMatch(/begins from no picture/);
    expect(beginProblems(emptyDraft(), info(true)).init_image).toMatch(/1001 B.*1000 B|takes at most/);
    from(new Blob(["x"]));
    expect(beginProblems(emptyDraft(), info(true))).toEqual({});
  });
});

describe("a mask", () => {
  it("is what is not transparent", () => {
    expect(isPainted(bytes(9, 9, 9, 0, 9, 9, 9, 0))).toBe(false);
    expect(isPainted(bytes(9, 9, 9, 0, 0, 0, 0, 1))).toBe(true);
    expect(painted(bytes(0, 0, 0, 255, 0, 0, 0, 0))).toBe(0.5);
    expect(painted(bytes())).toBe(0);
  });
  it("of a job becomes what can be painted on", () => {
    const data = bytes(255, 255, 255, 255, 0, 0, 0, 255, 40, 40, 40, 255);
    brightnessToOpacity(data);
    expect([data[3], data[7], data[11]]).toEqual([255, 0, 40]);
  });
});
