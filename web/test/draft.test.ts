import { describe, expect, it } from "vitest";
import type { Info, JobRequest, Model } from "../src/api/types";
import { checkDraft, draftOf, emptyDraft, newJobOf, placesOf, problemsOf, type Draft } from "../src/state/draft";

const model = (name: string, part: Partial<Model> = {}): Model => ({
  name, default: false, default_width: 256, default_height: 256, multiple_of: 16, default_steps: 24, presets: [{ name: "TURBO_12", steps: 12 }],
  masks: [{ name: "half", steps: 24, share: 0.5 }, { name: "third", steps: 12, share: 0.33 }], negative_prompt: false, guidance: true, progressive: true, init_image: true, loaded: false, ...part,
});
const info: Info = {
  version: "1", device: "cpu", precision: "int8", limits: { count: 4, prompt_bytes: 100, pixels: 512 * 512, steps: 50, upload_bytes: 1000 },
  models: [model("other", { negative_prompt: true }), model("mini", { default: true })], loras: ["ink"],
};
const draft = (part: Partial<Draft>): Draft => ({ ...emptyDraft(), prompt: "a fox", ...part });

describe("a draft", () => {
  it("sends only what was chosen", () => {
    expect(newJobOf(draft({ prompt: " a fox " }), info)).toEqual({ prompt: "a fox", count: 1, previews: 4, model: "mini" });
  });
  it("sends every choice", () => {
    const full = draft({ model: "other", negative: "fog", schedule: "preset", preset: "TURBO_12", guidance: "7x9, 3x3", width: 256, height: 320, seedFixed: true, seed: 9, count: 2, loras: [{ name: "ink", strength: 0.5 }] });
    expect(newJobOf(full, info)).toEqual({ prompt: "a fox", count: 2, previews: 4, model: "other", negative_prompt: "fog", preset: "TURBO_12", guidance: "7x9,3x3", width: 256, height: 320, seed: 9, loras: [{ name: "ink", strength: 0.5 }] });
  });
  it("sends no preset with steps, nor what the model does not have", () => {
    expect(newJobOf(draft({ schedule: "steps", steps: 9, preset: "TURBO_12" }), info)).not.toHaveProperty("preset");
    expect(newJobOf(draft({ schedule: "preset", preset: "GONE" }), info)).not.toHaveProperty("preset");
    expect(newJobOf(draft({ negative: "fog" }), info)).not.toHaveProperty("negative_prompt");
  });
  it("sends a mask of the model for as many steps, or a share", () => {
    const sent = (part: Partial<Draft>) => newJobOf(draft(part), info).cache;
    expect(sent({ cache: "half" })).toBe("half");
    expect(sent({ cache: "half", schedule: "preset", preset: "TURBO_12" })).toBeUndefined();
    expect(sent({ cache: "third", schedule: "preset", preset: "TURBO_12" })).toBe("third");
    expect(sent({ cache: "third", schedule: "steps", steps: 12 })).toBe("third");
    expect(sent({ cache: "third", schedule: "steps", steps: null })).toBeUndefined();
    expect(sent({ cache: "gone" })).toBeUndefined();
    expect(sent({ cache: "0.4" })).toBe("0.4");
    expect(sent({ cache: "1" })).toBeUndefined();
  });
  it("begins small where the model can and the sides are even in tokens", () => {
    expect(newJobOf(draft({ progressive: "0.4" }), info).progressive).toBe("0.4");
    expect(problemsOf(draft({ progressive: "0.4" }), info)).toEqual({});
    expect(problemsOf(draft({ progressive: "0.4", width: 272, height: 256 }), info).progressive).toMatch(/multiples of 32/);
    const without = { ...info, models: [model("mini", { progressive: false })] };
    expect(newJobOf(draft({ progressive: "0.4" }), without)).not.toHaveProperty("progressive");
    expect(problemsOf(draft({ progressive: "0.4", width: 272, height: 256 }), without)).toEqual({});
  });
  it("is checked field by field", () => {
    expect(problemsOf(draft({}), info)).toEqual({});
    expect(problemsOf(draft({ prompt: "  " }), info).prompt).toMatch(/Write/);
    expect(problemsOf(draft({ prompt: "é".repeat(51) }), info).prompt).toMatch(/102 B.*100 B/);
    expect(problemsOf(draft({ width: 250, height: 256 }), info).size).toMatch(/multiple of 16/);
    expect(problemsOf(draft({ schedule: "steps", steps: 51 }), info).steps).toMatch(/1 to 50/);
    expect(problemsOf(draft({ guidance: "7x45;3" }), info).guidance).toMatch(/7x45,3x3/);
    expect(problemsOf(draft({ guidance: "7x45,3.5" }), info)).toEqual({});
    expect(problemsOf(draft({ seedFixed: true, seed: -1 }), info).seed).toMatch(/whole number/);
    expect(problemsOf(draft({ count: 5 }), info).count).toMatch(/4 pictures/);
    expect(problemsOf(draft({ loras: [{ name: "gone", strength: 1 }] }), info).loras).toMatch(/gone/);
    expect(problemsOf(draft({ mode: "caption" }), info).prompt).toMatch(/Describe/);
  });
  it("survives a reload, and what an older page kept", () => {
    const kept = draft({ seedFixed: true, seed: 5, width: 320 });
    expect(checkDraft(JSON.parse(JSON.stringify(kept)))).toEqual(kept);
    expect(checkDraft({ prompt: "x", count: "many", loras: null, caption: { elements: 3 }, stranger: 1 })).toEqual({ ...emptyDraft(), prompt: "x" });
    expect(checkDraft("x")).toBeNull();
  });
  it("asks for the same again", () => {
    const request: JobRequest = { prompt: "a fox", negative_prompt: null, model: "other", width: 256, height: 320, preset: null, steps: 9, guidance: "4", cache: "off", progressive: null, init_image: null, mask: null, strength: null, seed: 1, count: 3, loras: [] };
    expect(newJobOf(draftOf(request, 3), info)).toMatchObject({ prompt: "a fox", model: "other", width: 256, height: 320, steps: 9, guidance: "4", seed: 3, count: 1 });
    expect(draftOf(request, 3).cache).toBe("");
    expect(draftOf({ ...request, cache: "third" }, 3).cache).toBe("third");
    expect(draftOf({ ...request, preset: "TURBO_12" }, null)).toMatchObject({ schedule: "preset", guidance: "", count: 3, seedFixed: false });
    expect(draftOf({ ...request, prompt: '{"high_level_description":"x"}' }, 3)).toMatchObject({ mode: "caption", caption: { summary: "x" } });
  });
  it("tells places as the model learned them", () => {
    expect(placesOf(draft({}), model("mini"))).toBe("words");
    expect(placesOf(draft({}), model("ideogram-ai/ideogram-v4"))).toBe("boxes");
    expect(placesOf(draft({ places: "boxes" }), model("mini"))).toBe("boxes");
  });
});
