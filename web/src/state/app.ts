// The page's stores and what is done with them.
import * as api from "../api/client";
import { ApiError, wordsOf } from "../api/errors";
import { EventStream, type Link } from "../api/stream";
import { isEnded, type Info, type Job } from "../api/types";
import { promptTitle } from "../captions/caption";
import { addBegin, askedFor, beginAsJob, beginProblems } from "../begin/begin";
import { checkDraft, draftOf, emptyDraft, newJobOf, problemsOf, type Draft, type Problems } from "./draft";
import { actionOf, allJobs, jobsReducer, noJobs, type Jobs, type JobsAction } from "./jobs";
import { noMachine, withMetrics, type Machine } from "./machine";
import { createStore, keep, recall } from "./store";

export interface Notice {
  key: number;
  kind: "info" | "error";
  text: string;
}

export const info = createStore<Info | null>(null);
export const jobs = createStore<Jobs>(noJobs);
export const draft = createStore<Draft>(recall("draft", checkDraft) ?? emptyDraft());
export const problems = createStore<Problems>({});
export const link = createStore<Link>("connecting");
export const machine = createStore<Machine>(noMachine);
export const tokenWanted = createStore(false);
export const notices = createStore<readonly Notice[]>([]);
export const spoken = createStore(""); // for screen readers
export const older = createStore<string | null>(null); // where the next page of the history begins
export const onStage = createStore<string | null>(recall("stage", (v) => (typeof v === "string" ? v : null))); // job's id
export const sending = createStore(false);
export const cancelling = createStore<ReadonlySet<string>>(new Set()); // running jobs end within a layer's time

let kept: ReturnType<typeof setTimeout> | undefined;
draft.subscribe(() => {
  clearTimeout(kept);
  kept = setTimeout(() => keep("draft", draft.get()), 150);
});
if (typeof addEventListener !== "undefined") addEventListener("pagehide", () => keep("draft", draft.get()));
onStage.subscribe(() => keep("stage", onStage.get()));

const apply = (action: JobsAction) => jobs.set((now) => jobsReducer(now, action));
let noticeKey = 0;

export const say = (text: string): void => spoken.set(text);

export function dismiss(key: number): void {
  notices.set((now) => now.filter((notice) => notice.key !== key));
}

export function notify(kind: Notice["kind"], text: string): void {
  const key = (noticeKey += 1);
  if (kind === "info") say(text);
  notices.set((now) => [...now.filter((notice) => notice.text !== text), { key, kind, text }].slice(-3));
  setTimeout(() => dismiss(key), kind === "error" ? 12_000 : 4000);
}

export function report(error: unknown): void {
  if (error instanceof ApiError && error.status === 401) return; // the token is asked for
  if (error instanceof DOMException && error.name === "AbortError") return;
  notify("error", wordsOf(error));
}

export const edit = (change: Partial<Draft>): void => {
  draft.set((now) => ({ ...now, ...change }));
  if (Object.keys(problems.get()).length > 0) {
    const now = info.get();
    if (now) problems.set(problemsOf(draft.get(), now));
  }
};

// Ended jobs are told once, when they end while the page looks on.
function tell(before: Job | undefined, after: Job): void {
  if (!before || isEnded(before) || !isEnded(after)) return;
  const title = promptTitle(after.request.prompt);
  if (after.status === "done") say(`Finished: ${title}`);
  if (after.status === "cancelled") say(`Cancelled: ${title}`);
  if (after.status === "failed") {
    notify("error", `“${title.slice(0, 60)}” could not be drawn: ${after.error?.message ?? "the server gives no reason."}`);
  }
}

const kMissed = 600; // jobs that are asked for again after the stream broke

// What the history has that the page does not: at first its newest page, later all that was missed.
async function refresh(): Promise<void> {
  try {
    if (!info.get()) info.set(await api.getInfo());
    else void api.getInfo().then((now) => info.set(now)).catch(() => {});
    const first = jobs.get().byId.size === 0;
    const page = await api.listJobs({ limit: 60 });
    for (let more = page.next; more !== null && !first && page.jobs.length < kMissed; more = page.next) {
      if (page.jobs.some((job) => jobs.get().byId.has(job.id))) break;
      const next = await api.listJobs({ limit: 60, before: more });
      page.jobs.push(...next.jobs);
      page.next = next.next;
    }
    apply({ kind: "newest", jobs: page.jobs });
    if (first || allJobs(jobs.get()).at(-1)?.id === page.jobs.at(-1)?.id) older.set(page.next);
    for (const status of ["running", "queued"]) apply({ kind: "list", jobs: (await api.listJobs({ status, limit: 200 })).jobs });
    tokenWanted.set(false);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 0)) report(error); // the link shows that by itself
  }
}

const stream = new EventStream("/api/events", {
  event(event) {
    const action = actionOf(event, performance.now());
    if (!action) return;
    const id = action.kind === "job" ? action.job.id : "id" in action ? action.id : "";
    const before = jobs.get().byId.get(id);
    if (!before && action.kind !== "job" && action.kind !== "removed") return void api.getJob(id).then((job) => apply({ kind: "job", job }), () => {});
    apply(action);
    if (action.kind === "job") tell(before, action.job);
  },
  link: (now) => link.set(now),
  connected: () => void refresh(),
});

export const reconnect = (): void => stream.start();

export function enterToken(token: string | null): void {
  api.setToken(token);
  keep("token", token);
  tokenWanted.set(false);
  stream.start();
}

export function start(): void {
  api.setToken(recall("token", (v) => (typeof v === "string" ? v : null)));
  api.whenUnauthorized(() => tokenWanted.set(true));
  stream.start();
  addEventListener("online", () => stream.start());
  const read = async () => {
    if (document.visibilityState !== "visible" || link.get() !== "live") return;
    try {
      const text = await api.getMetrics();
      const running = [...jobs.get().byId.values()].some((job) => job.status === "running");
      machine.set((now) => withMetrics(now, text, Date.now(), running ? jobs.get().speed : null));
    } catch {
      // The panel keeps its last reading; the link says when the server is gone.
    }
  };
  setInterval(() => void read(), 2000);
  setTimeout(() => void read(), 600);
}

export async function loadOlder(): Promise<void> {
  const before = older.get();
  if (before === null) return;
  try {
    const page = await api.listJobs({ before, limit: 60 });
    apply({ kind: "list", jobs: page.jobs });
    older.set(page.next);
  } catch (error) {
    report(error);
  }
}

// True: accepted. Otherwise `problems` says what is wrong.
export async function generate(): Promise<boolean> {
  const known = info.get();
  if (!known || sending.get()) return false;
  const asked = askedFor(draft.get());
  const wrong = { ...problemsOf(asked, known), ...beginProblems(asked, known) };
  problems.set(wrong);
  const first = Object.values(wrong)[0];
  if (first !== undefined) {
    say(first);
    return false;
  }
  sending.set(true);
  try {
    const wanted = newJobOf(asked, known);
    const job = await api.createJob(wanted, await addBegin(wanted, asked));
    apply({ kind: "job", job });
    onStage.set(job.id);
    say(job.position > 1 ? `Accepted, number ${job.position} in the queue.` : "Accepted. Drawing begins.");
    return true;
  } catch (error) {
    const field = error instanceof ApiError ? ({ width: "size", height: "size", negative_prompt: "negative", mask: "init_image", strength: "init_image" }[error.param ?? ""] ?? error.param) : null;
    if (field) problems.set({ [field]: wordsOf(error) });
    report(error);
    return false;
  } finally {
    sending.set(false);
  }
}

export async function cancel(job: Job): Promise<void> {
  cancelling.set((now) => new Set(now).add(job.id));
  try {
    apply({ kind: "job", job: await api.cancelJob(job.id) });
  } catch (error) {
    cancelling.set((now) => new Set([...now].filter((id) => id !== job.id)));
    if (error instanceof ApiError && error.status === 409) void api.getJob(job.id).then((now) => apply({ kind: "job", job: now }), report);
    else report(error);
  }
}

export async function remove(job: Job): Promise<boolean> {
  try {
    await api.removeJob(job.id);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) {
      report(error);
      return false;
    }
  }
  apply({ kind: "removed", id: job.id });
  if (onStage.get() === job.id) onStage.set(null);
  say("Deleted.");
  return true;
}

export function reuse(job: Job, seed: number | null): void {
  draft.set(draftOf(job.request, seed));
  problems.set({});
  void beginAsJob(job).catch(report);
  notify("info", "Settings are in the composer.");
}

export const addJobs = (list: readonly Job[]): void => apply({ kind: "list", jobs: list });
