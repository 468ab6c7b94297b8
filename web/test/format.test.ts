import { describe, expect, it } from "vitest";
import { ago, between, bytes, duration, phaseWords, plural } from "../src/format/format";
import { parseMetrics, total } from "../src/format/prometheus";
import { toggled } from "../src/gallery/chosen";
import { differences, factsOf, fileName } from "../src/gallery/facts";
import { kReadings, linePoints, noMachine, withMetrics } from "../src/state/machine";
import { parseRoute, pictureFragment } from "../src/state/route";
import { nextTheme } from "../src/shell/theme";
import { job } from "./made";

describe("words for numbers", () => {
  it("of bytes", () => expect([0, 999, 1500, 418_000_000, 19.8e9].map(bytes)).toEqual(["0 B", "999 B", "1.5 kB", "418 MB", "19.8 GB"]));
  it("of times", () => expect([0, 0.42, 3.21, 42.4, 59.9, 61, 3700].map(duration)).toEqual(["0.1 s", "0.4 s", "3.2 s", "42 s", "60 s", "1 min 1 s", "1 h 1 min"]));
  it("of what is past", () => {
    const now = Date.parse("2026-11-29T14:00:00Z");
    expect(["2026-11-29T13:59:50Z", "2026-11-29T13:50:00Z", "2026-11-29T09:00:00Z", "rubbish"].map((t) => ago(t, now))).toEqual(["just now", "10 min ago", "5 h ago", ""]);
    expect(between("2026-11-29T14:00:00.100Z", "2026-11-29T14:00:02.600Z")).toBe(2.5);
    expect([between(null, "x"), between("b", "c")]).toEqual([null, null]);
  });
  it("of phases and counts", () => expect([phaseWords("denoise"), phaseWords("new_phase"), phaseWords(""), plural(1, "job"), plural(2, "job")]).toEqual(["Drawing", "New phase", "Starting", "1 job", "2 jobs"]));
});

const kMetrics = `# HELP x y
# TYPE intaglio_memory_bytes gauge
intaglio_memory_bytes{kind="resident"} 4.18e+08
intaglio_memory_bytes{kind="device"} 0
intaglio_jobs{state="queued"} 3
intaglio_pictures_total{model="a,\\"b\\" {c}",outcome="done"} 5 1700000000
intaglio_pictures_total{model="d",outcome="done",} 2
intaglio_pictures_total{model="d",outcome="failed"} 1
intaglio_wait_seconds_bucket{le="+Inf"} +Inf
not a line
`;

describe("metrics", () => {
  it("are read with their labels", () => {
    const samples = parseMetrics(kMetrics);
    expect(samples.length).toBe(7);
    expect(samples[3]).toEqual({ name: "intaglio_pictures_total", labels: { model: 'a,"b" {c}', outcome: "done" }, value: 5 });
    expect(total(samples, "intaglio_pictures_total", { outcome: "done" })).toBe(7);
    expect(total(samples, "intaglio_wait_seconds_bucket")).toBe(Infinity);
    expect(total(samples, "nothing")).toBeNull();
  });
  it("become a short history", () => {
    let machine = noMachine;
    for (let i = 0; i < kReadings + 5; i += 1) machine = withMetrics(machine, kMetrics, i, null);
    expect(machine.readings.length).toBe(kReadings);
    expect(machine.readings[0]).toEqual({ at: 5, resident: 418e6, device: null, stepsPerSecond: null });
    expect([machine.queued, machine.pictures, machine.secondsPerPicture]).toEqual([3, 7, null]);
  });
  it("become a line that ends at the right", () => {
    expect(linePoints([1], 100, 10)).toBe("");
    expect(linePoints([0, 2], kReadings - 1, 10)).toBe(`${kReadings - 2}.0,9.0 ${kReadings - 1}.0,1.0`);
  });
});

describe("addresses", () => {
  it("of views", () => expect(["", "#studio", "#archive", "#elsewhere"].map((f) => parseRoute(f).view)).toEqual(["studio", "studio", "archive", "studio"]));
  it("of pictures, there and back", () => {
    expect(parseRoute(pictureFragment("archive", "a/b", 3))).toEqual({ view: "picture", id: "a/b", index: 3, from: "archive" });
    expect(parseRoute("#studio/picture/x/y")).toEqual({ view: "studio" });
  });
});

describe("pictures", () => {
  const print = (seed: number, guidance: string | null = "4", cache: string | null = null) => ({
    job: job("1", { request: { ...job("1").request, prompt: "A fox, “HI”!", guidance, cache } }),
    picture: { index: 0, seed, width: 256, height: 256, bytes: 1500, url: "/p" },
  });
  it("have facts, without what they do not have", () => expect(factsOf(print(7)).map(([name]) => name)).toEqual(["Model", "Size", "Steps", "Guidance", "Seed", "Drawn", "File"]));
  it("differ in settings alone", () => expect(differences(print(7), print(8, null))).toEqual([["Guidance", "4", "none"], ["Seed", "7", "8"]]));
  it("say which passes were left out", () => {
    expect(differences(print(7), print(7, "4", "half"))).toEqual([["Fewer passes", "none", "half"]]);
    expect(differences(print(7), print(7, "4", "off"))).toEqual([]);
  });
  it("have names of files", () => expect(fileName(print(7))).toBe("a-fox-hi-7.png"));
  it("are picked in twos", () => {
    const [a, b, c] = [0, 1, 2].map((index) => ({ id: "1", index })) as [{ id: string; index: number }, { id: string; index: number }, { id: string; index: number }];
    expect(toggled(toggled(toggled([], a), b), c)).toEqual([a, c]);
    expect(toggled([a, b], { ...a })).toEqual([b]);
  });
});

it("the theme goes round", () => expect((["auto", "light", "dark"] as const).map(nextTheme)).toEqual(["light", "dark", "auto"]));
