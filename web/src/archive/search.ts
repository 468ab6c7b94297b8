import { useEffect, useState } from "preact/hooks";
import { listJobs } from "../api/client";
import type { Job } from "../api/types";
import { addJobs, jobs, loadOlder, older, report } from "../state/app";
import { allJobs } from "../state/jobs";
import { useStore } from "../state/store";

export interface Found {
  jobs: Job[];
  busy: boolean;
  more: boolean;
  load: () => void;
}

const kPage = 60;

// Without words and status: all that the page knows, kept up by events. Otherwise what the server finds,
// asked again whenever a job begins or ends.
export function useSearch(words: string, status: string): Found {
  const byId = useStore(jobs, (j) => j.byId);
  const before = useStore(older, (o) => o);
  const [answer, setAnswer] = useState<{ ids: string[]; next: string | null }>({ ids: [], next: null });
  const [busy, setBusy] = useState(false);
  const plain = words.trim() === "" && status === "";
  const states = [...byId.values()].map((job) => job.status[0]).join("");

  const ask = async (from: string | null, signal?: AbortSignal) => {
    setBusy(true);
    try {
      const page = await listJobs({ q: words.trim(), status, limit: kPage, ...(from ? { before: from } : {}) }, signal);
      addJobs(page.jobs);
      setAnswer((now) => ({ ids: [...(from ? now.ids : []), ...page.jobs.map((job) => job.id)], next: page.next }));
      setBusy(false);
    } catch (error) {
      if (!signal?.aborted) setBusy(false);
      report(error);
    }
  };
  useEffect(() => {
    if (plain) return setBusy(false);
    const abort = new AbortController();
    const timer = setTimeout(() => void ask(null, abort.signal), 250);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [words.trim(), status, states]);

  if (plain) return { jobs: allJobs({ byId }), busy: false, more: before !== null, load: () => void loadOlder() };
  const found = answer.ids.flatMap((id) => byId.get(id) ?? []);
  return { jobs: found, busy, more: answer.next !== null, load: () => void ask(answer.next) };
}
