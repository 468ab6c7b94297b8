import { useState } from "preact/hooks";
import { isEnded, type Job } from "../api/types";
import { promptTitle } from "../captions/caption";
import { ago, between, duration, plural } from "../format/format";
import { reuseSettings } from "../composer/draw";
import { remove } from "../state/app";
import { pictureFragment } from "../state/route";
import { CancelButton } from "../stage/CancelButton";
import { Progress } from "../stage/Progress";
import { Icon } from "../ui/Icon";
import { Image } from "../ui/Image";

const kStatus = { queued: "Waiting", running: "Drawing", done: "Done", failed: "Failed", cancelled: "Cancelled" } as const;

export function JobList({ jobs }: { jobs: readonly Job[] }) {
  return (
    <ul class="jobs">
      {jobs.map((job) => (
        <JobRow key={job.id} job={job} />
      ))}
    </ul>
  );
}

function JobRow({ job }: { job: Job }) {
  const [sure, setSure] = useState(false);
  const title = promptTitle(job.request.prompt);
  const took = between(job.started_at, job.finished_at);
  const facts = [
    job.request.model.replace(/^.*\//, ""),
    `${job.request.width} × ${job.request.height}`,
    job.request.steps === null ? "" : `${job.request.steps} steps`,
    job.request.count > 1 ? plural(job.request.count, "picture") : "",
    job.status === "done" && took !== null ? duration(took) : "",
    ago(job.created_at, Date.now()),
  ];
  const first = job.pictures[0];
  return (
    <li class="job" data-status={job.status}>
      {first ? (
        <a class="job-picture" href={pictureFragment("archive", job.id, first.index)} aria-label={`Open: ${title}`}>
          <Image url={first.url} alt="" width={first.width} height={first.height} />
        </a>
      ) : (
        <span class="job-picture uncut" />
      )}
      <div class="job-text">
        <p class="job-title">{title}</p>
        <p class="job-facts">
          <span class="badge">{kStatus[job.status]}</span> {facts.filter(Boolean).join(" · ")}
        </p>
        {job.error && <p class="problem">{job.error.message}</p>}
        {!isEnded(job) && <Progress job={job} small />}
      </div>
      <div class="job-actions">
        <button
          type="button"
          class="tool"
          aria-label={`Reuse the settings of: ${title}`}
          title="Reuse settings"
          onClick={() => reuseSettings(job, job.request.seed)}
        >
          <Icon name="reuse" />
        </button>
        {isEnded(job) ? (
          <button type="button" class={`tool ${sure ? "danger" : ""}`} aria-label={`${sure ? "Really delete" : "Delete"}: ${title}`} title={sure ? "Really delete?" : "Delete"} onBlur={() => setSure(false)} onClick={() => (sure ? void remove(job) : setSure(true))}>
            <Icon name={sure ? "check" : "trash"} />
          </button>
        ) : (
          <CancelButton job={job} />
        )}
      </div>
    </li>
  );
}
