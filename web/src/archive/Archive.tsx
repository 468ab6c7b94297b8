import { useState } from "preact/hooks";
import type { JobStatus } from "../api/types";
import { PrintGrid } from "../gallery/PrintGrid";
import { plural } from "../format/format";
import { prints } from "../state/jobs";
import { keep, recall } from "../state/store";
import { Icon } from "../ui/Icon";
import { Segmented } from "../ui/Segmented";
import { JobList } from "./JobList";
import { useSearch } from "./search";

type Filter = JobStatus | "all";
type View = "prints" | "jobs";

const kFilters: readonly { value: Filter; label: string }[] = [
  { value: "all", label: "All" },
  { value: "queued", label: "Waiting" },
  { value: "running", label: "Drawing" },
  { value: "done", label: "Done" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

// Everything that was ever asked for and is kept: searchable, page by page.
export function Archive() {
  const [words, setWords] = useState("");
  const [filter, setFilter] = useState<Filter>("all");
  const [view, setView] = useState<View>(() => recall("archive-view", (v) => (v === "jobs" ? v : null)) ?? "prints");
  const found = useSearch(words, filter === "all" ? "" : filter);
  const list = prints(found.jobs);
  const empty = view === "prints" ? list.length === 0 : found.jobs.length === 0;
  return (
    <section class="archive" aria-labelledby="archive-title">
      <div class="archive-head">
        <h1 id="archive-title" class="title">
          Archive
        </h1>
        <div class="search" role="search">
          <Icon name="search" />
          <label class="unseen" for="search">
            Search prompts
          </label>
          <input id="search" class="input" type="search" placeholder="Search prompts" value={words} autocomplete="off" onInput={(event) => setWords(event.currentTarget.value)} />
        </div>
        <div class="archive-filters">
          <label class="unseen" for="filter">
            Show
          </label>
          <select id="filter" class="input select" value={filter} onChange={(event) => setFilter(event.currentTarget.value as Filter)}>
            {kFilters.map((f) => (
              <option key={f.value} value={f.value}>
                {f.label}
              </option>
            ))}
          </select>
          <Segmented<View>
            legend="Show as"
            name="archive-view"
            value={view}
            choices={[
              { value: "prints", label: <><Icon name="grid" /><span class="unseen">Pictures</span></>, hint: "Pictures" },
              { value: "jobs", label: <><Icon name="list" /><span class="unseen">Jobs</span></>, hint: "Jobs" },
            ]}
            onChange={(value) => {
              setView(value);
              keep("archive-view", value);
            }}
          />
        </div>
      </div>
      <p class="hint" role="status">
        {found.busy ? "Searching…" : `${plural(list.length, "picture")} of ${plural(found.jobs.length, "job")}${found.more ? " so far" : ""}`}
      </p>
      {view === "prints" ? <PrintGrid prints={list} from="archive" /> : <JobList jobs={found.jobs} />}
      {empty && !found.busy && (
        <p class="empty">{words || filter !== "all" ? "Nothing fits. Try fewer words, or show all." : "Nothing has been drawn yet."}</p>
      )}
      {found.more && (
        <button type="button" class="quiet strong centre" disabled={found.busy} onClick={found.load}>
          Show older
        </button>
      )}
    </section>
  );
}
