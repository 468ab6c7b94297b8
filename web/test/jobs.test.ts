import { describe, expect, it } from "vitest";
import type { Picture } from "../src/api/types";
import { actionOf, activeJobs, allJobs, jobsReducer, noJobs, placeInQueue, prints, type Jobs, type JobsAction } from "../src/state/jobs";
import { job } from "./made";

const picture = (index: number): Picture => ({ index, seed: 7 + index, width: 256, height: 256, bytes: 10, url: `/p/${index}.png` });
const progress = (step: number, at: number, id = "1"): JobsAction => ({
  kind: "progress", id, at, progress: { phase: "denoise", picture: 0, step, steps: 24, fraction: step / 24, seconds_left: 1 },
});
const run = (...actions: JobsAction[]): Jobs => actions.reduce(jobsReducer, noJobs);

describe("jobs", () => {
  it("follow one from acceptance to its picture", () => {
    const state = run({ kind: "job", job: job("1") }, progress(1, 0), { kind: "preview", id: "1", preview: { picture: 0, step: 1, image: "data:," } });
    expect(state.byId.get("1")?.status).toBe("running");
    expect(state.previews.get("1")?.step).toBe(1);
    const done = [{ kind: "picture", id: "1", picture: picture(0) }, { kind: "job", job: job("1", { status: "done", pictures: [picture(0)] }) }] as JobsAction[];
    const after = done.reduce(jobsReducer, state);
    expect(after.previews.size).toBe(0);
    expect(prints(allJobs(after)).map((p) => p.picture.url)).toEqual(["/p/0.png"]);
  });
  it("never go back to what an answer said before an event overtook it", () => {
    const state = run({ kind: "job", job: job("1", { status: "done" }) }, { kind: "list", jobs: [job("1", { status: "running" })] }, progress(5, 0));
    expect(state.byId.get("1")?.status).toBe("done");
  });
  it("may return to the queue when the server restarts", () => {
    expect(run({ kind: "job", job: job("1", { status: "running" }) }, { kind: "job", job: job("1") }).byId.get("1")?.status).toBe("queued");
  });
  it("take a picture once, in order", () => {
    const state = run({ kind: "job", job: job("1") }, ...[1, 0, 1].map((i): JobsAction => ({ kind: "picture", id: "1", picture: picture(i) })));
    expect(state.byId.get("1")?.pictures.map((p) => p.index)).toEqual([0, 1]);
  });
  it("keep pictures that a list has not seen yet", () => {
    const state = run({ kind: "job", job: job("1", { status: "running" }) }, { kind: "picture", id: "1", picture: picture(0) }, { kind: "list", jobs: [job("1", { status: "running" })] });
    expect(state.byId.get("1")?.pictures.length).toBe(1);
  });
  it("are forgotten when removed, and what is said of strangers changes nothing", () => {
    const state = run({ kind: "job", job: job("1") }, { kind: "removed", id: "1" });
    expect(state.byId.size).toBe(0);
    expect(jobsReducer(state, progress(3, 0, "9"))).toBe(state);
    expect(jobsReducer(state, { kind: "removed", id: "9" })).toBe(state);
  });
  it("that were deleted while nobody listened are forgotten, older and unfinished ones kept", () => {
    const done = (id: string) => job(id, { status: "done" });
    const state = run({ kind: "list", jobs: [job("5"), done("4"), done("3"), done("1")] }, { kind: "newest", jobs: [done("4"), done("2")] });
    expect(allJobs(state).map((j) => j.id)).toEqual(["5", "4", "2", "1"]);
  });
  it("tell the speed between two steps", () => {
    const state = run({ kind: "job", job: job("1") }, progress(2, 1000), progress(4, 2000));
    expect(state.speed).toBe(2);
    expect(jobsReducer(state, progress(4, 2500)).speed).toBe(2);
  });
  it("sort: history newest first, queue in its order", () => {
    const state = run({ kind: "list", jobs: [job("2", { position: 1 }), job("3", { position: 2 }), job("1", { status: "running", position: 0 }), job("0", { status: "done" })] });
    expect(allJobs(state).map((j) => j.id)).toEqual(["3", "2", "1", "0"]);
    expect(activeJobs(state).map((j) => j.id)).toEqual(["1", "2", "3"]);
    const left = jobsReducer(state, { kind: "job", job: job("2", { status: "cancelled" }) });
    expect([state, left].map((now) => placeInQueue(now, job("3")))).toEqual([2, 1]);
  });
});

describe("events", () => {
  it("become actions", () => {
    expect(actionOf({ event: "state", data: JSON.stringify(job("1")) }, 5)).toEqual({ kind: "job", job: job("1") });
    expect(actionOf({ event: "progress", data: '{"id":"1","phase":"decode"}' }, 5)).toMatchObject({ kind: "progress", id: "1", at: 5 });
    expect(actionOf({ event: "picture", data: '{"id":"1","picture":{"index":0}}' }, 5)).toEqual({ kind: "picture", id: "1", picture: { index: 0 } });
    expect(actionOf({ event: "removed", data: '{"id":"1"}' }, 5)).toEqual({ kind: "removed", id: "1" });
  });
  it.each([["state", "{"], ["state", "{}"], ["weather", '{"id":"1"}']])("%s %s is ignored", (event, data) => expect(actionOf({ event, data }, 0)).toBeNull());
});
