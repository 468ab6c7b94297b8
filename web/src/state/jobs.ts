// Jobs as the page knows them: what lists and events say, merged.
import { isEnded, type Job, type Picture, type Progress } from "../api/types";
import type { ServerEvent } from "../api/sse";

export interface Preview {
  picture: number;
  step: number;
  image: string; // a data: URL
}

export interface Jobs {
  byId: ReadonlyMap<string, Job>;
  previews: ReadonlyMap<string, Preview>; // of jobs that run
  speed: number | null; // steps a second, measured between progress events
  clock: { id: string; picture: number; step: number; at: number } | null; // of the last of these
}

export const noJobs: Jobs = { byId: new Map(), previews: new Map(), speed: null, clock: null };

export type JobsAction =
  | { kind: "list"; jobs: readonly Job[] }
  | { kind: "newest"; jobs: readonly Job[] } // every job since the oldest of these
  | { kind: "job"; job: Job }
  | { kind: "progress"; id: string; progress: Progress; at: number } // at: milliseconds of any clock
  | { kind: "preview"; id: string; preview: Preview }
  | { kind: "picture"; id: string; picture: Picture }
  | { kind: "removed"; id: string };

const kOrder = { queued: 0, running: 1, done: 2, failed: 2, cancelled: 2 };

// An answer may be older than an event that overtook it: states never go back.
function newer(old: Job | undefined, job: Job): Job {
  if (!old) return job;
  if (kOrder[job.status] < kOrder[old.status] && !(old.status === "running" && job.status === "queued")) return old;
  if (job.pictures.length < old.pictures.length && job.status === old.status) return { ...job, pictures: old.pictures };
  return job;
}

function withJobs(state: Jobs, jobs: readonly Job[]): Jobs {
  const byId = new Map(state.byId);
  const previews = new Map(state.previews);
  for (const job of jobs) {
    const kept = newer(byId.get(job.id), job);
    byId.set(job.id, kept);
    if (isEnded(kept)) previews.delete(job.id);
  }
  return { ...state, byId, previews };
}

// Ended jobs that a complete list does not have were deleted while nobody listened.
function withoutGone(state: Jobs, jobs: readonly Job[]): Jobs {
  const there = new Set(jobs.map((job) => job.id));
  const oldest = jobs.at(-1)?.id ?? "";
  const byId = new Map([...state.byId].filter(([id, job]) => there.has(id) || id < oldest || !isEnded(job)));
  return { ...state, byId };
}

function withProgress(state: Jobs, id: string, progress: Progress, at: number): Jobs {
  const job = state.byId.get(id);
  if (!job || isEnded(job)) return state;
  const byId = new Map(state.byId).set(id, { ...job, status: "running", position: 0, progress });
  const last = state.clock;
  const clock = { id, picture: progress.picture, step: progress.step, at };
  if (progress.phase !== "denoise") return { ...state, byId };
  if (!last || last.id !== id || last.picture !== progress.picture || progress.step <= last.step || at <= last.at) {
    return { ...state, byId, clock: last && last.id === id && last.picture === progress.picture && last.step === progress.step ? last : clock };
  }
  const now = ((progress.step - last.step) * 1000) / (at - last.at);
  const speed = state.speed === null ? now : 0.7 * state.speed + 0.3 * now;
  return { ...state, byId, clock, speed };
}

function withPicture(state: Jobs, id: string, picture: Picture): Jobs {
  const job = state.byId.get(id);
  if (!job) return state;
  const pictures = [...job.pictures.filter((p) => p.index !== picture.index), picture].sort((a, b) => a.index - b.index);
  const previews = new Map(state.previews);
  previews.delete(id); // of the picture that is there now
  return { ...state, previews, byId: new Map(state.byId).set(id, { ...job, pictures }) };
}

export function jobsReducer(state: Jobs, action: JobsAction): Jobs {
  switch (action.kind) {
    case "list":
      return withJobs(state, action.jobs);
    case "newest":
      return withJobs(withoutGone(state, action.jobs), action.jobs);
    case "job":
      return withJobs(state, [action.job]);
    case "progress":
      return withProgress(state, action.id, action.progress, action.at);
    case "preview": {
      const job = state.byId.get(action.id);
      if (!job || isEnded(job)) return state;
      return { ...state, previews: new Map(state.previews).set(action.id, action.preview) };
    }
    case "picture":
      return withPicture(state, action.id, action.picture);
    case "removed": {
      if (!state.byId.has(action.id)) return state;
      const byId = new Map(state.byId);
      const previews = new Map(state.previews);
      byId.delete(action.id);
      previews.delete(action.id);
      return { ...state, byId, previews };
    }
  }
}

// What an event of /api/events does; null: nothing, or it is not understood.
export function actionOf(event: ServerEvent, at: number): JobsAction | null {
  let data: Record<string, unknown>;
  try {
    data = JSON.parse(event.data) as Record<string, unknown>;
  } catch {
    return null;
  }
  const id = data["id"];
  if (typeof id !== "string") return null;
  switch (event.event) {
    case "state":
      return { kind: "job", job: data as unknown as Job };
    case "progress":
      return { kind: "progress", id, progress: data as unknown as Progress, at };
    case "preview":
      return { kind: "preview", id, preview: data as unknown as Preview };
    case "picture":
      return { kind: "picture", id, picture: data["picture"] as Picture };
    case "removed":
      return { kind: "removed", id };
    default:
      return null;
  }
}

const newestFirst = (a: Job, b: Job) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);

export const allJobs = (jobs: Pick<Jobs, "byId">): Job[] => [...jobs.byId.values()].sort(newestFirst);

// Running first, then by place in the queue.
export const activeJobs = (jobs: Jobs): Job[] =>
  [...jobs.byId.values()]
    .filter((job) => !isEnded(job))
    .sort((a, b) => kOrder[b.status] - kOrder[a.status] || a.position - b.position || (a.id < b.id ? -1 : 1));

// From 1 on; what the server said of others may be older than what it said of this one.
export const placeInQueue = (jobs: Jobs, job: Job): number =>
  activeJobs(jobs).filter((other) => other.status === "queued").findIndex((other) => other.id === job.id) + 1;

export interface Print {
  job: Job;
  picture: Picture;
}

// Pictures that are there, newest first.
export const prints = (jobs: readonly Job[]): Print[] =>
  jobs.flatMap((job) => job.pictures.map((picture) => ({ job, picture })).reverse());
